//! Which security policies apply to a service or a workload at its waypoint. What they say is translated elsewhere; here
//! it only counts that there is one.

use crate::objects::{Action, Object, ObjectKey, PolicyBody, TargetKind};

use super::view::View;
use super::waypoint::{GatewayName, User};

/// The first policy that applies at `gateway`: one that is attached to the service, to the waypoint, or in the root
/// namespace to the waypoint's class.
pub(super) fn applying<'a>(
    view: &View<'a>,
    user: User<'_>,
    gateway: &GatewayName,
) -> Option<&'a ObjectKey> {
    let targets = view.model.targets();
    let own = match user {
        User::Service(meta) => Some((TargetKind::Service, meta)),
        User::ServiceEntry(meta) => Some((TargetKind::ServiceEntry, meta)),
        User::Workload(_) => None,
    };
    let own = own.into_iter().flat_map(|(kind, it)| targets.of(kind, &it.namespace, &it.name));
    let (home, name) = gateway;
    let of_gateway = targets.of(TargetKind::Gateway, home, name);
    let class = view.model.gateway(home, name).map(|gateway| &gateway.class);
    let root = &view.settings.root_namespace;
    let of_class = class.into_iter().flat_map(|it| targets.of(TargetKind::GatewayClass, root, it));
    own.chain(of_gateway).chain(of_class).find(|key| is_enforcing(view, key))
}

/// A policy that only reports opens nothing when it is gone round.
fn is_enforcing(view: &View<'_>, key: &ObjectKey) -> bool {
    match view.model.object(key) {
        Some(Object::AuthorizationPolicy(policy)) => match &policy.body {
            PolicyBody::Unreadable => true,
            PolicyBody::Rules { action, .. } => !policy.is_dry_run && *action != Action::Audit,
        },
        // A RequestAuthentication refuses tokens that aren't valid.
        Some(_) => true,
        None => false,
    }
}
