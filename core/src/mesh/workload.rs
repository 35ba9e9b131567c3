//! One endpoint: a pod, a virtual machine, a gateway.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use weft_proto::{contract, workload as proto};

use super::gateway::{ip, port};
use super::intern::Interner;
use super::memo::Memo;
use super::service::Port;
use super::{DecodeError, GatewayAddress, extension};
use crate::identity::SpiffeId;
use crate::policy::PolicyName;
use crate::telemetry::SharedParty;

/// One endpoint. There are tens of thousands in a snapshot, so repeated texts are shared and rare parts boxed.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// `<cluster>/<group>/<kind>/<namespace>/<name>[/<section>]`: its name in the control plane.
    pub uid: Arc<str>,
    /// Name of the pod or object.
    pub name: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Where it can be reached; several if it has both families.
    pub addresses: Box<[IpAddr]>,
    /// Resolved when it is connected to, where there are no addresses. May be empty.
    pub hostname: Arc<str>,
    /// The network in which the addresses mean something.
    pub network: Arc<str>,
    /// How traffic reaches it.
    pub tunnel_protocol: TunnelProtocol,
    /// Who it is.
    pub identity: SpiffeId,
    /// The waypoint in front of it, for traffic addressed to the workload itself.
    pub waypoint: Option<Box<GatewayAddress>>,
    /// How it is reached from other networks.
    pub network_gateway: Option<Box<GatewayAddress>>,
    /// The node that it runs on. May be empty.
    pub node: Arc<str>,
    /// For telemetry.
    pub canonical_name: Arc<str>,
    /// For telemetry.
    pub canonical_revision: Arc<str>,
    /// For telemetry.
    pub workload_type: WorkloadType,
    /// Name of what owns it, for telemetry.
    pub workload_name: Arc<str>,
    /// It terminates HBONE itself.
    pub has_native_tunnel: bool,
    /// How a connection is handed to it, where not as it came.
    pub application_tunnel: Option<AppTunnel>,
    /// `<namespace>/<hostname>` of the services that it is an endpoint of, sorted, with its own ports.
    pub services: WorkloadServices,
    /// The policies that select it, besides those of its namespace and of the mesh.
    pub authorization_policies: Box<[PolicyName]>,
    /// Whether it wants traffic.
    pub status: WorkloadStatus,
    /// The cluster that it runs in.
    pub cluster_id: Arc<str>,
    /// Where it runs.
    pub locality: Arc<Locality>,
    /// Whether it has addresses of its own.
    pub network_mode: NetworkMode,
    /// Its weight in load balancing. 0 is never chosen.
    pub capacity: u32,
    /// Its labels as far as subsets and matches of callers name them; nearly always none.
    pub own_labels: Option<Arc<OwnLabels>>,
    /// Connections of it may go only to what the mesh knows.
    pub is_registry_only: bool,
    /// Its labels in metrics, under its own identity.
    pub labels: Memo<SharedParty>,
}

/// Service keys, sorted, with the workload's own ports for each.
pub type WorkloadServices = Box<[(Arc<str>, Arc<[Port]>)]>;

/// Labels of an object, by key.
pub type OwnLabels = BTreeMap<String, String>;

/// How traffic reaches a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TunnelProtocol {
    /// Plain TCP.
    Plain,
    /// HBONE.
    Hbone,
    /// A protocol that is not spoken here: Istio's older one or one of a later version. Plaintext would be a downgrade, so
    /// the workload can't be reached.
    Unreachable,
}

/// What kind of object owns a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "Kubernetes' own kinds")]
pub enum WorkloadType {
    Deployment,
    CronJob,
    Pod,
    Job,
    /// One of a later version.
    Unknown,
}

/// Whether a workload wants traffic. A status of a later version counts as unhealthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum WorkloadStatus {
    Healthy,
    Unhealthy,
}

/// Whether a workload has addresses of its own. A mode of a later version counts as standard: its traffic then goes
/// through its own protocol instead of past the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkMode {
    /// It has.
    Standard,
    /// It shares its node's, so it is not found by address.
    HostNetwork,
}

/// How a connection is handed to a workload's own proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppTunnel {
    /// What comes in front of the bytes.
    pub protocol: AppTunnelProtocol,
    /// Where the proxy listens; 0 where the connection's own port is kept.
    pub port: u16,
}

/// What comes in front of the bytes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppTunnelProtocol {
    /// Nothing.
    None,
    /// HAProxy's PROXY protocol, version 2.
    Proxy,
    /// A protocol of a later version: connections can't be handed over.
    Unknown,
}

/// Where a workload runs. Parts may be empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "Kubernetes' topology labels")]
pub struct Locality {
    pub region: Arc<str>,
    pub zone: Arc<str>,
    pub subzone: Arc<str>,
}

/// The uid that the control plane gives to a pod.
pub fn pod_uid(cluster_id: &str, namespace: &str, name: &str) -> String {
    format!("{cluster_id}//Pod/{namespace}/{name}")
}

impl Workload {
    /// Whether it is a pod, which owns its addresses where other kinds may only mention them.
    pub fn is_pod(&self) -> bool {
        self.uid.contains("//Pod/")
    }

    /// Its own ports for the service with key `<namespace>/<hostname>`, if it is an endpoint of it.
    pub fn ports_of(&self, service_key: &str) -> Option<&[Port]> {
        self.services.iter().find(|(key, _)| &**key == service_key).map(|(_, ports)| &**ports)
    }

    pub(super) fn decode(
        name: &Arc<str>,
        message: &proto::Workload,
        interner: &mut Interner,
    ) -> Result<Self, DecodeError> {
        if *message.uid != **name {
            return Err(DecodeError::Name(message.uid.clone()));
        }
        let trust_domain = or_default(&message.trust_domain, contract::DEFAULT_TRUST_DOMAIN);
        let service_account = or_default(&message.service_account, "default");
        let identity = interner.identity(trust_domain, &message.namespace, service_account)?;
        let addresses: Result<Box<[IpAddr]>, _> =
            message.addresses.iter().map(|bytes| ip(bytes)).collect();
        let policies = message.authorization_policies.iter();
        Ok(Self {
            uid: Arc::clone(name),
            name: message.name.as_str().into(),
            namespace: interner.text(&message.namespace),
            addresses: addresses?,
            hostname: interner.text(&message.hostname),
            network: interner.text(&message.network),
            tunnel_protocol: tunnel_protocol(message.tunnel_protocol),
            identity,
            waypoint: GatewayAddress::decode_optional(message.waypoint.as_ref(), interner)?,
            network_gateway: GatewayAddress::decode_optional(
                message.network_gateway.as_ref(),
                interner,
            )?,
            node: interner.text(&message.node),
            canonical_name: interner.text(&message.canonical_name),
            canonical_revision: interner.text(&message.canonical_revision),
            workload_type: workload_type(message.workload_type),
            workload_name: interner.text(&message.workload_name),
            has_native_tunnel: message.native_tunnel,
            application_tunnel: app_tunnel(message.application_tunnel.as_ref())?,
            services: services(message, interner)?,
            authorization_policies: policies
                .map(|name| PolicyName::new(interner.text(name)))
                .collect(),
            status: status(message.status),
            cluster_id: interner
                .text(or_default(&message.cluster_id, contract::DEFAULT_CLUSTER_ID)),
            locality: locality(message.locality.as_ref(), interner),
            network_mode: network_mode(message.network_mode),
            capacity: message.capacity.unwrap_or(1),
            own_labels: extension::labels(message, interner)?,
            is_registry_only: extension::is_registry_only(message),
            labels: Memo::default(),
        })
    }
}

fn or_default<'a>(text: &'a str, default: &'a str) -> &'a str {
    if text.is_empty() { default } else { text }
}

fn services(
    message: &proto::Workload,
    interner: &mut Interner,
) -> Result<WorkloadServices, DecodeError> {
    // The message's map is ordered, so the list is sorted.
    let decode = |(key, list): (&String, &proto::PortList)| {
        let ports = Port::decode_all(&list.ports)?;
        Ok((interner.text(key), interner.ports(&ports)))
    };
    message.services.iter().map(decode).collect()
}

fn tunnel_protocol(number: i32) -> TunnelProtocol {
    match proto::TunnelProtocol::try_from(number) {
        Ok(proto::TunnelProtocol::None) => TunnelProtocol::Plain,
        Ok(proto::TunnelProtocol::Hbone) => TunnelProtocol::Hbone,
        Ok(proto::TunnelProtocol::LegacyIstioMtls) | Err(_) => TunnelProtocol::Unreachable,
    }
}

fn workload_type(number: i32) -> WorkloadType {
    match proto::WorkloadType::try_from(number) {
        Ok(proto::WorkloadType::Deployment) => WorkloadType::Deployment,
        Ok(proto::WorkloadType::Cronjob) => WorkloadType::CronJob,
        Ok(proto::WorkloadType::Pod) => WorkloadType::Pod,
        Ok(proto::WorkloadType::Job) => WorkloadType::Job,
        Err(_) => WorkloadType::Unknown,
    }
}

fn status(number: i32) -> WorkloadStatus {
    match proto::WorkloadStatus::try_from(number) {
        Ok(proto::WorkloadStatus::Healthy) => WorkloadStatus::Healthy,
        Ok(proto::WorkloadStatus::Unhealthy) | Err(_) => WorkloadStatus::Unhealthy,
    }
}

fn network_mode(number: i32) -> NetworkMode {
    match proto::NetworkMode::try_from(number) {
        Ok(proto::NetworkMode::HostNetwork) => NetworkMode::HostNetwork,
        Ok(proto::NetworkMode::Standard) | Err(_) => NetworkMode::Standard,
    }
}

fn app_tunnel(
    message: Option<&proto::ApplicationTunnel>,
) -> Result<Option<AppTunnel>, DecodeError> {
    use proto::application_tunnel::Protocol;
    let Some(message) = message else {
        return Ok(None);
    };
    let protocol = match Protocol::try_from(message.protocol) {
        Ok(Protocol::None) => AppTunnelProtocol::None,
        Ok(Protocol::Proxy) => AppTunnelProtocol::Proxy,
        Err(_) => AppTunnelProtocol::Unknown,
    };
    Ok(Some(AppTunnel { protocol, port: port(message.port)? }))
}

fn locality(message: Option<&proto::Locality>, interner: &mut Interner) -> Arc<Locality> {
    let (region, zone, subzone) =
        message.map_or(("", "", ""), |it| (&*it.region, &*it.zone, &*it.subzone));
    let locality = Locality {
        region: interner.text(region),
        zone: interner.text(zone),
        subzone: interner.text(subzone),
    };
    interner.locality(locality)
}
