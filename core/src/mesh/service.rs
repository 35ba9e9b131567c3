//! A name, with or without virtual addresses, in front of workloads.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use weft_proto::workload as proto;

use super::gateway::{ip, port};
use super::intern::Interner;
use super::memo::Memo;
use super::{DecodeError, GatewayAddress};
use crate::identity::SpiffeId;
use crate::telemetry::ServiceLabels;

/// A name in front of workloads.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// `<namespace>/<hostname>`: its name in the control plane, and how workloads refer to it.
    pub key: Arc<str>,
    /// Name of the object.
    pub name: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its full host name.
    pub hostname: Arc<str>,
    /// Its virtual addresses. None for a headless service.
    pub vips: Box<[Vip]>,
    /// The ports that it offers.
    pub ports: Arc<[Port]>,
    /// Identities that a server of it may present besides its workload's own. Names that are no mesh identity can't be
    /// presented by a verified peer and are left out.
    pub subject_alt_names: Box<[SpiffeId]>,
    /// The waypoint in front of it.
    pub waypoint: Option<Box<GatewayAddress>>,
    /// Several waypoints, chosen by weight; these come before `waypoint`.
    pub weighted_waypoints: Box<[WeightedWaypoint]>,
    /// How endpoints are preferred.
    pub load_balancing: Option<Box<LoadBalancing>>,
    /// Which families its endpoints are reached by.
    pub ip_families: IpFamilies,
    /// Preferred among services with one host name.
    pub is_canonical: bool,
    /// Traffic from gateways goes through the waypoint too. For gateways.
    pub ingress_uses_waypoint: bool,
    /// Who may resolve it.
    pub visibility: Visibility,
    /// Its labels in metrics.
    pub labels: Memo<Arc<ServiceLabels>>,
}

/// A virtual address or block of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vip {
    /// The network in which it means something.
    pub network: Arc<str>,
    /// A single address is a block with the longest prefix.
    pub block: IpNet,
}

impl Vip {
    /// The address, if it is a single one.
    pub fn ip(&self) -> Option<IpAddr> {
        (self.block.prefix_len() == self.block.max_prefix_len()).then(|| self.block.addr())
    }
}

/// A port of a service, or a workload's own version of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Port {
    /// What clients connect to.
    pub service_port: u16,
    /// What the workload listens on; 0 where each workload has its own.
    pub target_port: u16,
    /// What is spoken there.
    pub app_protocol: AppProtocol,
}

/// What is spoken on a port. One of a later version is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "names of protocols")]
pub enum AppProtocol {
    Unknown,
    Http11,
    Http2,
    Grpc,
    Tcp,
    Tls,
}

/// One of several waypoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightedWaypoint {
    /// Where it is.
    pub gateway: GatewayAddress,
    /// Its share. 0 is never chosen.
    pub weight: u32,
}

/// How endpoints are preferred.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadBalancing {
    /// What should be shared with the source, most important first.
    pub scopes: Box<[LoadBalancingScope]>,
    /// What the scopes mean.
    pub mode: LoadBalancingMode,
    /// Which endpoints count at all.
    pub health_policy: HealthPolicy,
}

/// What the scopes mean. A mode of a later version is random.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadBalancingMode {
    /// Nothing.
    Random,
    /// Only endpoints that share all of them.
    Strict,
    /// Endpoints that share the most, counted from the first.
    Failover,
    /// Where there is no endpoint, the client's destination is connected to as it is.
    Passthrough,
}

/// Something that endpoint and source may share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum LoadBalancingScope {
    Region,
    Zone,
    Subzone,
    Node,
    Cluster,
    Network,
    /// One of a later version: never shared.
    Unknown,
}

/// Which endpoints count. A policy of a later version counts healthy ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum HealthPolicy {
    OnlyHealthy,
    AllowAll,
}

/// Which families a service's endpoints are reached by. A value of a later version is automatic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum IpFamilies {
    Automatic,
    V4Only,
    V6Only,
    Dual,
}

impl IpFamilies {
    /// Whether `ip` is of an allowed family.
    pub fn allow(self, ip: IpAddr) -> bool {
        match self {
            Self::Automatic | Self::Dual => true,
            Self::V4Only => ip.is_ipv4(),
            Self::V6Only => ip.is_ipv6(),
        }
    }
}

/// Who may resolve a service. A value of a later version is the narrowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// Everybody.
    Public,
    /// Clients in its namespace.
    Namespace,
}

impl Port {
    pub(super) fn decode_all(messages: &[proto::Port]) -> Result<Vec<Self>, DecodeError> {
        let decode = |message: &proto::Port| {
            Ok(Self {
                service_port: port(message.service_port)?,
                target_port: port(message.target_port)?,
                app_protocol: app_protocol(message.app_protocol),
            })
        };
        messages.iter().map(decode).collect()
    }
}

impl Service {
    /// The port that clients connect to as `service_port`.
    pub fn port(&self, service_port: u16) -> Option<&Port> {
        self.ports.iter().find(|port| port.service_port == service_port)
    }

    /// How endpoints are chosen.
    pub fn mode(&self) -> LoadBalancingMode {
        self.load_balancing.as_ref().map_or(LoadBalancingMode::Random, |it| it.mode)
    }

    /// Whether a client in `namespace` may resolve it.
    pub fn is_visible_to(&self, namespace: &str) -> bool {
        self.visibility == Visibility::Public || &*self.namespace == namespace
    }

    pub(super) fn decode(
        name: &str,
        message: &proto::Service,
        interner: &mut Interner,
    ) -> Result<Self, DecodeError> {
        let key = format!("{}/{}", message.namespace, message.hostname);
        if key != name {
            return Err(DecodeError::Name(key));
        }
        let vips: Result<Box<[Vip]>, _> =
            message.addresses.iter().map(|address| vip(address, interner)).collect();
        let ports = Port::decode_all(&message.ports)?;
        let sans = message.subject_alt_names.iter();
        Ok(Self {
            key: interner.text(&key),
            name: message.name.as_str().into(),
            namespace: interner.text(&message.namespace),
            hostname: interner.text(&message.hostname),
            vips: vips?,
            ports: interner.ports(&ports),
            subject_alt_names: sans.filter_map(|text| text.parse().ok()).collect(),
            waypoint: GatewayAddress::decode_optional(message.waypoint.as_ref(), interner)?,
            weighted_waypoints: weighted_waypoints(&message.weighted_waypoints, interner)?,
            load_balancing: message.load_balancing.as_ref().map(|it| Box::new(load_balancing(it))),
            ip_families: ip_families(message.ip_families),
            is_canonical: message.canonical,
            ingress_uses_waypoint: message.ingress_use_waypoint,
            labels: Memo::default(),
            visibility: match proto::Visibility::try_from(message.visibility) {
                Ok(proto::Visibility::Public) => Visibility::Public,
                Ok(proto::Visibility::Namespace) | Err(_) => Visibility::Namespace,
            },
        })
    }
}

fn vip(message: &proto::NetworkAddress, interner: &mut Interner) -> Result<Vip, DecodeError> {
    let address = ip(&message.address)?;
    let block = match message.length {
        None => IpNet::from(address),
        Some(length) => {
            let error = DecodeError::Prefix(length);
            // The address may have been IPv4 written as IPv6; the prefix then counts the 96 bits in front.
            let is_mapped = address.is_ipv4() && message.address.len() == 16;
            let length = if is_mapped { length.checked_sub(96) } else { Some(length) };
            let length = length.and_then(|length| u8::try_from(length).ok());
            length.and_then(|length| IpNet::new(address, length).ok()).ok_or(error)?.trunc()
        }
    };
    Ok(Vip { network: interner.text(&message.network), block })
}

fn weighted_waypoints(
    messages: &[proto::WeightedWaypoint],
    interner: &mut Interner,
) -> Result<Box<[WeightedWaypoint]>, DecodeError> {
    let decode = |message: &proto::WeightedWaypoint| {
        let missing = proto::GatewayAddress::default();
        let destination = message.destination.as_ref().unwrap_or(&missing);
        let gateway = GatewayAddress::decode(destination, interner)?;
        Ok(WeightedWaypoint { gateway, weight: message.weight })
    };
    messages.iter().map(decode).collect()
}

fn load_balancing(message: &proto::LoadBalancing) -> LoadBalancing {
    use proto::load_balancing::{HealthPolicy as Health, Mode, Scope};
    let scope = |number: &i32| match Scope::try_from(*number) {
        Ok(Scope::UnspecifiedScope) => None,
        Ok(Scope::Region) => Some(LoadBalancingScope::Region),
        Ok(Scope::Zone) => Some(LoadBalancingScope::Zone),
        Ok(Scope::Subzone) => Some(LoadBalancingScope::Subzone),
        Ok(Scope::Node) => Some(LoadBalancingScope::Node),
        Ok(Scope::Cluster) => Some(LoadBalancingScope::Cluster),
        Ok(Scope::Network) => Some(LoadBalancingScope::Network),
        Err(_) => Some(LoadBalancingScope::Unknown),
    };
    LoadBalancing {
        scopes: message.routing_preference.iter().filter_map(scope).collect(),
        mode: match Mode::try_from(message.mode) {
            Ok(Mode::Strict) => LoadBalancingMode::Strict,
            Ok(Mode::Failover) => LoadBalancingMode::Failover,
            Ok(Mode::Passthrough) => LoadBalancingMode::Passthrough,
            Ok(Mode::UnspecifiedMode) | Err(_) => LoadBalancingMode::Random,
        },
        health_policy: match Health::try_from(message.health_policy) {
            Ok(Health::AllowAll) => HealthPolicy::AllowAll,
            Ok(Health::OnlyHealthy) | Err(_) => HealthPolicy::OnlyHealthy,
        },
    }
}

fn ip_families(number: i32) -> IpFamilies {
    match proto::IpFamilies::try_from(number) {
        Ok(proto::IpFamilies::Ipv4Only) => IpFamilies::V4Only,
        Ok(proto::IpFamilies::Ipv6Only) => IpFamilies::V6Only,
        Ok(proto::IpFamilies::Dual) => IpFamilies::Dual,
        Ok(proto::IpFamilies::Automatic) | Err(_) => IpFamilies::Automatic,
    }
}

fn app_protocol(number: i32) -> AppProtocol {
    match proto::AppProtocol::try_from(number) {
        Ok(proto::AppProtocol::Http11) => AppProtocol::Http11,
        Ok(proto::AppProtocol::Http2) => AppProtocol::Http2,
        Ok(proto::AppProtocol::Grpc) => AppProtocol::Grpc,
        Ok(proto::AppProtocol::Tcp) => AppProtocol::Tcp,
        Ok(proto::AppProtocol::Tls) => AppProtocol::Tls,
        Ok(proto::AppProtocol::Unknown) | Err(_) => AppProtocol::Unknown,
    }
}
