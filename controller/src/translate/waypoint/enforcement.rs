//! Whether calls may go round a waypoint.
//!
//! As soon as a security policy applies at the waypoint they may not: it would be no policy otherwise. Where routes alone
//! apply they may, as in Istio, so that a waypoint that is away costs its features and not its service.

use crate::objects::Meta;
use crate::translate::settings::WaypointEnforcement;
use crate::translate::view::View;
use crate::translate::waypoint_policies;

use super::{GatewayName, User};

/// Label or annotation of a service, a pod or a namespace.
pub(in crate::translate) const ENFORCEMENT: &str = "weft.io/waypoint-enforcement";

/// Whether calls that don't come through the waypoint are refused, and calls fail while it isn't ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enforcement {
    /// They are.
    pub is_enforced: bool,
    /// Who says so.
    pub cause: Cause,
}

/// Who decided about enforcement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The object itself.
    Object,
    /// Its namespace.
    Namespace,
    /// The mesh's setting.
    Mesh,
    /// A policy that applies at the waypoint.
    Policy(String),
    /// No policy applies.
    NoPolicy,
}

/// What holds for a user of a waypoint, and of its canary: a policy at either is one that a share of the connections is
/// under.
pub(super) fn enforcement(
    view: &View<'_>,
    user: User<'_>,
    gateway: &GatewayName,
    canary: Option<&GatewayName>,
) -> Enforcement {
    let meta = user.meta();
    let own = |meta: &Meta| {
        meta.labels.get(ENFORCEMENT).or(meta.annotations.get(ENFORCEMENT)).and_then(said)
    };
    let of_namespace = || own(&view.namespace(&meta.namespace)?.namespace.as_ref()?.meta);
    let of_mesh = || match view.settings.waypoint_enforcement {
        WaypointEnforcement::Automatic => None,
        WaypointEnforcement::Enforced => Some(true),
        WaypointEnforcement::Permissive => Some(false),
    };
    let decided = |is_enforced, cause| Enforcement { is_enforced, cause };
    if let Some(own) = own(meta) {
        return decided(own, Cause::Object);
    }
    if let Some(of_namespace) = of_namespace() {
        return decided(of_namespace, Cause::Namespace);
    }
    if let Some(of_mesh) = of_mesh() {
        return decided(of_mesh, Cause::Mesh);
    }
    let mut gateways = std::iter::once(gateway).chain(canary);
    match gateways.find_map(|gateway| waypoint_policies::applying(view, user, gateway)) {
        Some(policy) => decided(true, Cause::Policy(policy.to_string())),
        None => decided(false, Cause::NoPolicy),
    }
}

/// Another value says nothing; the object's status tells.
pub(in crate::translate) fn said(text: &str) -> Option<bool> {
    match text {
        "enforced" => Some(true),
        "permissive" => Some(false),
        _ => None,
    }
}

impl Enforcement {
    /// Half a sentence: why.
    pub fn reason(&self) -> String {
        match &self.cause {
            Cause::Object => format!("{ENFORCEMENT} of the object says so"),
            Cause::Namespace => format!("{ENFORCEMENT} of its namespace says so"),
            Cause::Mesh => "the mesh's setting says so".to_owned(),
            Cause::Policy(policy) => format!("{policy} applies at the waypoint"),
            Cause::NoPolicy => "no security policy applies at the waypoint".to_owned(),
        }
    }
}
