//! Hosts and subsets that virtual services name.

use std::sync::Arc;

use weft_proto::route as proto;

use crate::model::full_host;
use crate::objects::{Labels, Meta, VirtualDestination};
use crate::translate::route::backend::{Unresolved, owner_of_host};
use crate::translate::view::View;

/// The destination that an object's `to` means.
pub(super) fn resolve(
    view: &View<'_>,
    meta: &Meta,
    to: &VirtualDestination,
) -> Result<proto::Destination, Unresolved> {
    let host = full_host(&to.host, &meta.namespace, &view.settings.dns_domain);
    let missing = |message: String| Unresolved { reason: "BackendNotFound", message };
    let owner = owner_of_host(view, &meta.namespace, &host);
    let owner =
        owner.ok_or_else(|| missing(format!("no service or service entry has the host {host}")))?;
    let subset = to.subset.as_ref().map(|name| {
        let labels = subset(view, meta, owner, &host, name).ok_or_else(|| Unresolved {
            reason: "SubsetNotFound",
            message: format!("no DestinationRule of {host} has the subset {name}"),
        })?;
        let labels = labels.iter().map(|(key, value)| (key.to_string(), value.to_string()));
        Ok(proto::Subset { name: name.to_string(), labels: labels.collect() })
    });
    Ok(proto::Destination {
        namespace: owner.to_string(),
        hostname: host.to_string(),
        port: to.port.map_or(0, u32::from),
        subset: subset.transpose()?,
        protocol: proto::Protocol::Auto.into(),
    })
}

/// Labels of a subset. Rules of the object's own namespace count first, then those of the service's, then the mesh's.
fn subset<'a>(
    view: &View<'a>,
    meta: &Meta,
    owner: &Arc<str>,
    host: &Arc<str>,
    name: &str,
) -> Option<&'a Arc<Labels>> {
    let keys = || view.model.references().rules(host.clone());
    [&meta.namespace, owner, &view.settings.root_namespace].into_iter().find_map(|home| {
        let rules = keys().filter(|key| key.namespace == *home);
        rules.filter_map(|key| view.model.destination_rule(key)).find_map(|it| it.subset(name))
    })
}
