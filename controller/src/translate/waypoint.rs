//! Which waypoint, if any, stands before a service or a workload.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use weft_proto::contract::port;
use weft_proto::workload::gateway_address::Destination;
use weft_proto::workload::{GatewayAddress, NamespacedHostname, NetworkAddress};

use crate::objects::{Labels, Meta};

use super::names;
use super::view::View;

/// What a waypoint stands before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Traffic {
    /// Services.
    #[default]
    Service,
    /// Workloads that are addressed themselves.
    Workload,
    /// Both.
    All,
    /// Neither.
    None,
}

/// Whose namespaces may use a waypoint.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Admission {
    /// Its own.
    #[default]
    Same,
    /// Any.
    All,
    /// Those with these labels.
    Selected(Arc<Labels>),
}

/// How a waypoint is reached.
#[derive(Debug, Clone, PartialEq)]
pub enum WaypointHost {
    /// By name.
    Name(Arc<str>),
    /// By address.
    Address(IpAddr),
}

/// A waypoint that can be used.
#[derive(Debug, Clone, PartialEq)]
pub struct Waypoint {
    /// How it is reached.
    pub host: WaypointHost,
    /// What it stands before.
    pub traffic: Traffic,
    /// Who may use it.
    pub admission: Admission,
}

/// Waypoints that can be used, by namespace and name of their Gateway.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Waypoints(pub BTreeMap<(Arc<str>, Arc<str>), Waypoint>);

/// Who asks for a waypoint.
#[derive(Debug, Clone, Copy)]
pub enum User<'a> {
    /// A service.
    Service(&'a Meta),
    /// A service entry; a private one is seen by its own namespace only.
    ServiceEntry {
        /// Of the entry.
        meta: &'a Meta,
        /// Only its own namespace sees it.
        is_private: bool,
    },
    /// A pod or a workload entry.
    Workload(&'a Meta),
}

/// The outcome.
#[derive(Debug, Clone, PartialEq)]
pub enum Binding {
    /// None is asked for, or it is not for this kind of traffic.
    None,
    /// This one.
    Bound {
        /// Namespace and name.
        name: String,
        /// As the wire has it.
        address: GatewayAddress,
    },
    /// One is asked for and can't be had, so traffic goes without.
    Refused {
        /// Namespace and name.
        name: String,
        /// Istio's reason.
        reason: &'static str,
        /// What is the matter.
        message: String,
    },
}

impl Binding {
    /// As the wire has it.
    pub(super) fn address(self) -> Option<GatewayAddress> {
        match self {
            Self::Bound { address, .. } => Some(address),
            _ => None,
        }
    }
}

pub(super) const USE: &str = "istio.io/use-waypoint";
const USE_NAMESPACE: &str = "istio.io/use-waypoint-namespace";
const MANAGED: &str = "gateway.istio.io/managed";
/// Waypoints and gateways between networks get no waypoint themselves.
const UNBOUND: [&str; 2] = ["istio.io-mesh-controller", "istio.io-eastwest-controller"];

/// The waypoint of a service or a workload: by its own label, else by its namespace's. One that the object's own
/// label names and that can't be used is not replaced by the namespace's.
pub fn resolve(view: &View<'_>, user: User<'_>) -> Binding {
    let meta = user.meta();
    if meta.labels.get(MANAGED).is_some_and(|managed| UNBOUND.contains(&managed)) {
        return Binding::None;
    }
    let of_namespace = namespace_labels(view, meta);
    let is_own = meta.labels.get(USE).is_some();
    let Some(labels) = Some(&*meta.labels).filter(|_| is_own).or(of_namespace) else {
        return Binding::None;
    };
    let Some(name) = labels.get(USE).filter(|name| *name != "none" && !name.is_empty()) else {
        return Binding::None;
    };
    let home: &str = labels.get(USE_NAMESPACE).unwrap_or(&meta.namespace);
    let full = names::resource_name(home, name);
    let Some(waypoint) = view.waypoints.0.get(&(home.into(), name.into())) else {
        let message = format!(
            "waypoint {full} doesn't exist or has no address yet, so traffic goes without it"
        );
        return Binding::Refused { name: full, reason: "WaypointIsNotReady", message };
    };
    if !is_own && !user.fits(waypoint.traffic) {
        return Binding::None;
    }
    match refusal(view, user, home, waypoint) {
        Some((reason, message)) => {
            let message = format!("waypoint {full} {message}");
            Binding::Refused { name: full, reason, message }
        }
        None => Binding::Bound { address: address(view, home, &waypoint.host), name: full },
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
        let message = format!("is not for {} (label istio.io/waypoint-for)", user.noun());
        return Some(("UnsupportedTrafficType", message));
    }
    if matches!(user, User::ServiceEntry { is_private: true, .. }) && *home != *meta.namespace {
        let message = "is in another namespace, and only its own one sees the entry";
        return Some(("CrossNamespaceWaypointForbidden", message.to_owned()));
    }
    let is_admitted = match &waypoint.admission {
        Admission::All => true,
        Admission::Same => *home == *meta.namespace,
        Admission::Selected(selector) => {
            namespace_labels(view, meta).is_some_and(|labels| selector.select(labels))
        }
    };
    let message = || format!("admits no users of namespace {}", meta.namespace);
    (!is_admitted).then(|| ("AttachmentDenied", message()))
}

fn namespace_labels<'a>(view: &View<'a>, meta: &Meta) -> Option<&'a Labels> {
    let objects = view.namespace(&meta.namespace)?;
    objects.namespace.as_ref().map(|namespace| &*namespace.meta.labels)
}

fn address(view: &View<'_>, namespace: &str, host: &WaypointHost) -> GatewayAddress {
    let destination = match host {
        WaypointHost::Name(host) => Destination::Hostname(NamespacedHostname {
            namespace: namespace.to_owned(),
            hostname: host.to_string(),
        }),
        WaypointHost::Address(address) => Destination::Address(NetworkAddress {
            network: view.network().to_owned(),
            address: names::address_bytes(*address),
            length: None,
        }),
    };
    GatewayAddress { destination: Some(destination), hbone_mtls_port: port::HBONE.into() }
}

impl<'a> User<'a> {
    fn meta(self) -> &'a Meta {
        match self {
            Self::Service(meta) | Self::ServiceEntry { meta, .. } | Self::Workload(meta) => meta,
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
