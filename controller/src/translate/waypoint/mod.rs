//! Which waypoint, if any, stands before a service or a workload.
//!
//! ```text
//! Gateways, classes, their Services and instances ─▶ Waypoints
//! labels of an object, or of its namespace ─▶ resolve ─▶ Binding ─┬▶ reference on the wire (Service, Workload)
//! security policies at the waypoint ─▶ Enforcement ───────────────┼▶ what node proxies refuse (guard)
//!                                                                 └▶ who is served its routes (audience), status
//! ```
//!
//! Invariant: where going round the waypoint is refused, the reference is on the wire whether the waypoint can be had or
//! not, so that a client's connection fails instead of going round it.

mod declared;
mod enforcement;
mod explain;

use std::collections::BTreeSet;

use weft_proto::contract::port;
use weft_proto::workload::gateway_address::Destination;
use weft_proto::workload::{GatewayAddress, NamespacedHostname, WeightedWaypoint};

use crate::objects::{Admission, Labels, Meta, Object};

use super::names;
use super::settings::EntryVisibility;
use super::view::View;

pub(super) use declared::{
    GATEWAY_NAME, TRAFFIC, concerns_workload, is_mesh_listener, is_waypoint_class,
};
pub use declared::{GatewayName, Readiness, Traffic, Waypoint, Waypoints};
pub use enforcement::{Cause, Enforcement};
pub(super) use enforcement::{ENFORCEMENT, said};
pub use explain::{BoundObject, Explanation, Step, WaypointStatus, explain, waypoint_statuses};

/// Who asks for a waypoint.
#[derive(Debug, Clone, Copy)]
pub enum User<'a> {
    /// A service.
    Service(&'a Meta),
    /// A service entry.
    ServiceEntry(&'a Meta),
    /// A pod or a workload entry.
    Workload(&'a Meta),
}

/// The outcome.
#[derive(Debug, Clone, PartialEq)]
pub enum Binding {
    /// Traffic goes without a waypoint.
    None(Unbound),
    /// One is asked for.
    Asked(Box<Asked>),
}

/// Why an object has no waypoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unbound {
    /// It is a waypoint's own, or a gateway's between networks.
    Exempt,
    /// Its label says `none`.
    OptedOut,
    /// Neither it nor its namespace asks for one.
    NotAsked,
    /// Its namespace's is for another kind of traffic.
    OtherTraffic(GatewayName),
}

/// A waypoint that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// Which.
    pub gateway: GatewayName,
    /// The label is the object's own, not its namespace's.
    pub is_own: bool,
    /// Whether it can be had.
    pub verdict: Verdict,
    /// Whether calls may go round it.
    pub enforcement: Enforcement,
    /// A second one that takes a share of the connections.
    pub canary: Option<Canary>,
}

/// Whether a waypoint can be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It can.
    Ready,
    /// It takes the object, and can't take connections yet.
    NotReady(Readiness),
    /// It doesn't exist.
    Missing,
    /// It doesn't take the object.
    Refused {
        /// Istio's reason.
        reason: &'static str,
        /// What is the matter: the rest of a sentence that begins with the waypoint's name.
        message: String,
    },
}

/// A second waypoint that takes a share of the connections.
#[derive(Debug, Clone, PartialEq)]
pub struct Canary {
    /// Which.
    pub gateway: GatewayName,
    /// Of a hundred connections; nothing: what is written is no such number.
    pub weight: Option<u32>,
    /// Whether it can be had.
    pub verdict: Verdict,
}

pub(super) const USE: &str = "istio.io/use-waypoint";
const USE_NAMESPACE: &str = "istio.io/use-waypoint-namespace";
pub(super) const CANARY: &str = "istio.io/use-waypoint-canary";
const CANARY_NAMESPACE: &str = "istio.io/use-waypoint-canary-namespace";
pub(super) const CANARY_WEIGHT: &str = "istio.io/use-waypoint-canary-weight";
pub(super) const MANAGED: &str = "gateway.istio.io/managed";
/// Waypoints and gateways between networks get no waypoint themselves.
const UNBOUND: [&str; 2] = ["istio.io-mesh-controller", "istio.io-eastwest-controller"];
/// A host that no service has (RFC 6761 section 6.4): what refers to it fails at the client's node.
const NOWHERE: &str = "refused.invalid";

/// The waypoint of a service or a workload: by its own label, else by its namespace's. One that the object's own
/// label names and that can't be used is not replaced by the namespace's.
pub fn resolve(view: &View<'_>, user: User<'_>) -> Binding {
    let meta = user.meta();
    if is_exempt(view, user) {
        return Binding::None(Unbound::Exempt);
    }
    let is_own = meta.labels.get(USE).is_some();
    let asking = if is_own { Some(meta) } else { namespace_meta(view, meta) };
    let name = asking.and_then(|asking| asking.labels.get(USE));
    let (Some(asking), Some(name)) = (asking, name.filter(|name| !name.is_empty())) else {
        return Binding::None(Unbound::NotAsked);
    };
    if name == "none" {
        return Binding::None(Unbound::OptedOut);
    }
    let gateway = gateway_name(asking, meta, (name, USE_NAMESPACE));
    let waypoint = view.waypoints.get(&gateway.0, &gateway.1);
    if !is_own && waypoint.is_some_and(|waypoint| !user.fits(waypoint.traffic)) {
        return Binding::None(Unbound::OtherTraffic(gateway));
    }
    let canary = asking.labels.get(CANARY).filter(|name| !matches!(*name, "" | "none"));
    // A workload's reference has no room for a second one.
    let canary = canary.filter(|_| !matches!(user, User::Workload(_)));
    let canary = canary.map(|name| canary_of(view, user, asking, name));
    let second = canary.as_ref().map(|canary| &canary.gateway);
    Binding::Asked(Box::new(Asked {
        is_own,
        verdict: verdict(view, user, &gateway),
        enforcement: enforcement::enforcement(view, user, &gateway, second),
        canary,
        gateway,
    }))
}

/// Whether an object is a waypoint's own, by its labels or as what its Gateway names.
pub(super) fn is_exempt(view: &View<'_>, user: User<'_>) -> bool {
    let meta = user.meta();
    let is_managed = meta.labels.get(MANAGED).is_some_and(|managed| UNBOUND.contains(&managed));
    let is_gateways = |name: &str| view.waypoints.get(&meta.namespace, name).is_some();
    is_managed
        || is_of_waypoint(view, &meta.namespace, &meta.labels)
        || matches!(user, User::Service(_)) && is_gateways(&meta.name)
}

fn canary_of(view: &View<'_>, user: User<'_>, asking: &Meta, name: &str) -> Canary {
    let gateway = gateway_name(asking, user.meta(), (name, CANARY_NAMESPACE));
    let weight = asking.annotations.get(CANARY_WEIGHT).unwrap_or("0");
    Canary {
        weight: weight.parse().ok().filter(|weight| *weight <= 100),
        verdict: verdict(view, user, &gateway),
        gateway,
    }
}

fn gateway_name(asking: &Meta, meta: &Meta, (name, key): (&str, &str)) -> GatewayName {
    let home = asking.labels.get(key).filter(|home| !home.is_empty());
    (home.map_or_else(|| meta.namespace.clone(), Into::into), name.into())
}

fn verdict(view: &View<'_>, user: User<'_>, gateway: &GatewayName) -> Verdict {
    let Some(waypoint) = view.waypoints.get(&gateway.0, &gateway.1) else {
        return Verdict::Missing;
    };
    match refusal(view, user, &gateway.0, waypoint) {
        Some((reason, message)) => Verdict::Refused { reason, message },
        None if waypoint.is_ready() => Verdict::Ready,
        None => Verdict::NotReady(waypoint.readiness),
    }
}

/// Why a waypoint in namespace `home` doesn't take a user.
fn refusal(
    view: &View<'_>,
    user: User<'_>,
    home: &str,
    waypoint: &Waypoint,
) -> Option<(&'static str, String)> {
    let meta = user.meta();
    if !user.fits(waypoint.traffic) {
        let message = format!("is not for {} (label {TRAFFIC})", user.noun());
        return Some(("UnsupportedTrafficType", message));
    }
    let is_private = view.settings.entry_visibility == EntryVisibility::Namespace;
    if is_private && matches!(user, User::ServiceEntry(_)) && *home != *meta.namespace {
        let message = "is in another namespace, and only its own one sees the entry";
        return Some(("CrossNamespaceWaypointForbidden", message.to_owned()));
    }
    let message = || format!("admits no users of namespace {}", meta.namespace);
    let is_admitted = is_admitted(view, &waypoint.admission, home, &meta.namespace);
    (!is_admitted).then(|| ("AttachmentDenied", message()))
}

/// Whether a listener in namespace `home` takes objects of `namespace`.
pub(super) fn is_admitted(
    view: &View<'_>,
    admission: &Admission,
    home: &str,
    namespace: &str,
) -> bool {
    match admission {
        Admission::All => true,
        Admission::Same => *home == *namespace,
        Admission::None => false,
        Admission::Selected(selector) => {
            let objects = view.namespace(namespace);
            let own = objects.and_then(|objects| objects.namespace.as_ref());
            own.is_some_and(|own| selector.selects(&own.meta.labels))
        }
    }
}

fn namespace_meta<'a>(view: &View<'a>, meta: &Meta) -> Option<&'a Meta> {
    view.namespace(&meta.namespace)?.namespace.as_ref().map(|namespace| &namespace.meta)
}

fn reference(view: &View<'_>, (namespace, name): &GatewayName) -> GatewayAddress {
    let host = match view.waypoints.get(namespace, name) {
        Some(waypoint) => waypoint.host.to_string(),
        None => format!("{name}.{namespace}.svc.{}", view.settings.dns_domain),
    };
    to_host(namespace, host)
}

fn to_host(namespace: &str, hostname: String) -> GatewayAddress {
    let name = NamespacedHostname { namespace: namespace.to_owned(), hostname };
    GatewayAddress {
        destination: Some(Destination::Hostname(name)),
        hbone_mtls_port: port::HBONE.into(),
    }
}

impl Binding {
    /// What is asked for.
    pub fn asked(&self) -> Option<&Asked> {
        match self {
            Self::None(_) => None,
            Self::Asked(asked) => Some(asked),
        }
    }

    /// The reference as the wire has it.
    pub(super) fn address(&self, view: &View<'_>) -> Option<GatewayAddress> {
        self.asked()?.address(view)
    }

    /// Both waypoints of a service with a canary, as the wire has them.
    pub(super) fn weighted(&self, view: &View<'_>) -> Vec<WeightedWaypoint> {
        self.asked().map(|asked| asked.weighted(view)).unwrap_or_default()
    }

    /// Who is served what concerns the object.
    pub(super) fn audience(&self) -> Vec<GatewayName> {
        self.asked().map(Asked::waypoints).unwrap_or_default()
    }
}

impl Asked {
    /// The waypoints that take the object, ready or not: one that is starting up needs its routes first.
    pub fn waypoints(&self) -> Vec<GatewayName> {
        let canary = self.canary.iter().filter(|it| it.verdict.is_admitted() && it.is_other(self));
        let own = self.verdict.is_admitted().then_some(&self.gateway);
        own.into_iter().chain(canary.map(|canary| &canary.gateway)).cloned().collect()
    }

    fn address(&self, view: &View<'_>) -> Option<GatewayAddress> {
        match &self.verdict {
            Verdict::Ready => Some(reference(view, &self.gateway)),
            _ if !self.enforcement.is_enforced => None,
            Verdict::NotReady(_) | Verdict::Missing => Some(reference(view, &self.gateway)),
            // The waypoint is there and must not be used.
            Verdict::Refused { .. } => Some(to_host(&self.gateway.0, NOWHERE.to_owned())),
        }
    }

    /// Only where both can be had, and the canary has a share.
    fn weighted(&self, view: &View<'_>) -> Vec<WeightedWaypoint> {
        let canary = self.canary.as_ref().filter(|it| it.refusal(self).is_none());
        let weight = canary.and_then(|canary| canary.weight).unwrap_or_default();
        let (Some(canary), Verdict::Ready, 1..) = (canary, &self.verdict, weight) else {
            return Vec::new();
        };
        let build = |gateway, weight| WeightedWaypoint {
            destination: Some(reference(view, gateway)),
            weight,
        };
        vec![build(&self.gateway, 100 - weight), build(&canary.gateway, weight)]
    }

    /// Identities of the waypoints' instances, without `spiffe://`, in order. None if none takes the object.
    pub(super) fn identities(&self, view: &View<'_>) -> BTreeSet<String> {
        let identities = self.waypoints().into_iter().flat_map(|(namespace, name)| {
            let accounts = view.waypoints.get(&namespace, &name).map(|it| it.accounts.clone());
            let domain = &view.settings.trust_domain;
            let identity = move |account| format!("{domain}/ns/{namespace}/sa/{account}");
            accounts.unwrap_or_default().into_iter().map(identity)
        });
        identities.collect()
    }
}

impl Canary {
    fn is_other(&self, asked: &Asked) -> bool {
        self.gateway != asked.gateway
    }

    /// Why it takes no connections: Istio's reason, and a sentence.
    pub(super) fn refusal(&self, asked: &Asked) -> Option<(&'static str, String)> {
        let name = full_name(&self.gateway);
        if self.weight.is_none() {
            let message = format!("the annotation {CANARY_WEIGHT} is no number from 0 to 100");
            return Some(("CanaryInvalidWeight", message));
        }
        if !self.is_other(asked) {
            let message = format!("canary {name} is the waypoint itself");
            return Some(("CanarySameAsPrimary", message));
        }
        let (reason, message) = self.verdict.fault()?;
        Some((reason, format!("canary {name} {message}")))
    }
}

impl Verdict {
    /// Whether the waypoint takes the object, ready or not.
    pub fn is_admitted(&self) -> bool {
        matches!(self, Self::Ready | Self::NotReady(_))
    }

    /// Istio's reason, and the rest of a sentence that begins with the waypoint's name.
    pub(super) fn fault(&self) -> Option<(&'static str, String)> {
        const NOT_READY: &str = "WaypointIsNotReady";
        Some(match self {
            Self::Ready => return None,
            Self::Missing => (NOT_READY, "doesn't exist".to_owned()),
            Self::NotReady(Readiness::NoService) => (NOT_READY, "has no Service yet".to_owned()),
            Self::NotReady(_) => (NOT_READY, "has no ready instance".to_owned()),
            Self::Refused { reason, message } => (reason, message.clone()),
        })
    }
}

/// Namespace and name, as messages show them.
pub(super) fn full_name((namespace, name): &GatewayName) -> String {
    names::resource_name(namespace, name)
}

impl<'a> User<'a> {
    /// The object as one that may ask; nothing for kinds that can't.
    pub(super) fn of(object: &'a Object) -> Option<Self> {
        Some(match object {
            Object::Service(it) => User::Service(&it.meta),
            Object::ServiceEntry(it) => User::ServiceEntry(&it.meta),
            Object::Pod(it) => User::Workload(&it.meta),
            Object::WorkloadEntry(it) => User::Workload(&it.meta),
            _ => return None,
        })
    }

    pub(super) fn meta(self) -> &'a Meta {
        match self {
            Self::Service(meta) | Self::ServiceEntry(meta) | Self::Workload(meta) => meta,
        }
    }

    fn fits(self, traffic: Traffic) -> bool {
        match self {
            Self::Workload(_) => matches!(traffic, Traffic::Workload | Traffic::All),
            _ => matches!(traffic, Traffic::Service | Traffic::All),
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Workload(_) => "workloads",
            _ => "services",
        }
    }
}

/// Whether a pod or a service is a waypoint's own by the label that Istio's deployer sets.
pub(super) fn is_of_waypoint(view: &View<'_>, namespace: &str, labels: &Labels) -> bool {
    labels.get(GATEWAY_NAME).is_some_and(|name| view.waypoints.get(namespace, name).is_some())
}
