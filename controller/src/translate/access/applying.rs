//! Which policies apply to a service at its waypoints.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::objects::{
    AuthorizationPolicy, Meta, Object, ObjectKey, RequestAuthentication, TargetKind, Timestamp,
};
use crate::translate::view::View;
use crate::translate::waypoint::{GatewayName, User};

/// The oldest first, then by name.
#[derive(Debug, Default)]
pub(super) struct Applying {
    pub(super) policies: Vec<Arc<AuthorizationPolicy>>,
    pub(super) authentications: Vec<Arc<RequestAuthentication>>,
}

/// What is attached to the user itself, to `gateways`, and in the root namespace to their classes.
pub(super) fn applying(
    view: &View<'_>,
    user: Option<User<'_>>,
    gateways: &[GatewayName],
) -> Applying {
    let targets = view.model.targets();
    let own = match user {
        Some(User::Service(meta)) => Some((TargetKind::Service, meta)),
        Some(User::ServiceEntry(meta)) => Some((TargetKind::ServiceEntry, meta)),
        Some(User::Workload(_)) | None => None,
    };
    let own = own.into_iter().flat_map(|(kind, it)| targets.of(kind, &it.namespace, &it.name));
    let mut keys: BTreeSet<&ObjectKey> = own.collect();
    for (home, name) in gateways {
        keys.extend(targets.of(TargetKind::Gateway, home, name));
        if let Some(gateway) = view.model.gateway(home, name) {
            let root = &view.settings.root_namespace;
            keys.extend(targets.of(TargetKind::GatewayClass, root, &gateway.class));
        }
    }
    let mut found = Applying::default();
    for object in keys.into_iter().filter_map(|key| view.model.object(key)) {
        match object {
            Object::AuthorizationPolicy(policy) => found.policies.push(policy),
            Object::RequestAuthentication(object) => found.authentications.push(object),
            _ => {}
        }
    }
    found.policies.sort_by(|a, b| order(&a.meta).cmp(&order(&b.meta)));
    found.authentications.sort_by(|a, b| order(&a.meta).cmp(&order(&b.meta)));
    found
}

fn order(meta: &Meta) -> (Timestamp, &str, &str) {
    (meta.created, &meta.namespace, &meta.name)
}
