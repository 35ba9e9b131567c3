//! Where requests go: references resolved, or the reason why they can't be.

use std::sync::Arc;

use weft_proto::route as proto;
use weft_proto::route::weighted_backend::Target;

use crate::objects::{BackendRef, Route};
use crate::translate::names;
use crate::translate::view::View;

/// A reference that leads nowhere: its share is answered 500.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unresolved {
    /// Of the condition `ResolvedRefs`.
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Unresolved {
    fn new(reason: &'static str, message: String) -> Self {
        Self { reason, message }
    }
}

/// The destination that a reference of `route` means.
pub(super) fn resolve(
    view: &View<'_>,
    route: &Route,
    to: &BackendRef,
) -> Result<proto::Destination, Unresolved> {
    if to.is_hostname() {
        return of_host(view, route, to);
    }
    let name = format!("{}/{}", to.namespace, to.name);
    if !to.is_service() {
        let kind = if to.group.is_empty() { &to.kind } else { &to.group };
        let message = format!("{name} is a {kind}; backends are Services and Hostnames");
        return Err(Unresolved::new("InvalidKind", message));
    }
    if !is_permitted(view, route, to) {
        let message =
            format!("no ReferenceGrant in {} permits it to refer to {name}", to.namespace);
        return Err(Unresolved::new("RefNotPermitted", message));
    }
    let not_found = |message: String| Unresolved::new("BackendNotFound", message);
    let service = view.model.service(&to.namespace, &to.name).filter(|it| !it.is_external_name);
    let service = service.ok_or_else(|| not_found(format!("there is no Service {name}")))?;
    let port =
        to.port.ok_or_else(|| not_found(format!("which port of {name} is meant isn't said")))?;
    if !service.ports.iter().any(|own| own.port == port) {
        return Err(not_found(format!("Service {name} has no port {port}")));
    }
    Ok(proto::Destination {
        namespace: to.namespace.to_string(),
        hostname: names::service_host(service, view.settings),
        port: u32::from(port),
        ..proto::Destination::default()
    })
}

fn of_host(
    view: &View<'_>,
    route: &Route,
    to: &BackendRef,
) -> Result<proto::Destination, Unresolved> {
    let namespace = owner_of_host(view, &route.meta.namespace, &to.name);
    let missing = || {
        let message = format!("no service or service entry has the host {}", to.name);
        Unresolved::new("BackendNotFound", message)
    };
    Ok(proto::Destination {
        namespace: namespace.ok_or_else(missing)?.to_string(),
        hostname: to.name.to_string(),
        port: to.port.map_or(0, u32::from),
        ..proto::Destination::default()
    })
}

/// Whose host it is, as seen from a namespace: its own before others.
pub(in crate::translate) fn owner_of_host<'a>(
    view: &View<'a>,
    namespace: &str,
    host: &str,
) -> Option<&'a Arc<str>> {
    use crate::translate::settings::EntryVisibility;
    let is_seen = |claim: &&crate::model::HostClaim| {
        !claim.is_entry
            || match view.settings.entry_visibility {
                EntryVisibility::Public => true,
                EntryVisibility::Namespace => *claim.namespace == *namespace,
                EntryVisibility::None => false,
            }
    };
    let claims = || view.model.claims(host).filter(is_seen);
    let own = claims().find(|claim| *claim.namespace == *namespace);
    own.or_else(|| claims().next()).map(|claim| &claim.namespace)
}

/// A reference into another namespace needs a grant there, but to the very service that the route is attached to:
/// requests would go there anyway.
fn is_permitted(view: &View<'_>, route: &Route, to: &BackendRef) -> bool {
    let own = &route.meta.namespace;
    let is_parent = |parent: &crate::objects::ParentRef| {
        parent.kind == crate::objects::ParentKind::Service
            && parent.namespace == to.namespace
            && parent.name == to.name
    };
    if to.namespace == *own || route.parents.iter().any(is_parent) {
        return true;
    }
    let kind = route.kind.kind().to_string();
    let grants = view.namespace(&to.namespace).map(|objects| objects.reference_grants.values());
    grants.into_iter().flatten().any(|grant| {
        grant.from.iter().any(|from| {
            *from.group == *"gateway.networking.k8s.io"
                && *from.kind == *kind
                && from.namespace == *own
        }) && grant.to.iter().any(|what| {
            what.group == to.group
                && what.kind == to.kind
                && what.name.as_ref().is_none_or(|name| *name == to.name)
        })
    })
}

/// A share that is answered 500.
pub(in crate::translate) fn invalid(weight: u32, reason: String) -> proto::WeightedBackend {
    proto::WeightedBackend { weight, target: Some(Target::Invalid(reason)), filters: Vec::new() }
}
