//! Namespaces, service accounts, nodes and pods.

use std::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;

use super::Pool;
use super::fields::{self, FieldError, Port};
use super::meta::Meta;

/// A namespace: its labels decide about enrolment, waypoint and network.
#[derive(Debug, Clone, PartialEq)]
pub struct Namespace {
    /// Name, labels and so on.
    pub meta: Meta,
}

/// A service account: an identity that pods may run under.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceAccount {
    /// Name, labels and so on.
    pub meta: Meta,
}

/// A node: its labels are the locality of its pods.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Name, labels and so on.
    pub meta: Meta,
}

/// How far a pod's life has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum Phase {
    /// Not all containers have started.
    Pending,
    /// At least one container runs.
    #[default]
    Running,
    /// All containers have ended well.
    Succeeded,
    /// All containers have ended, at least one badly.
    Failed,
    /// The node can't be asked.
    Unknown,
}

/// A pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Pod {
    /// Name, labels and so on.
    pub meta: Meta,
    /// The API server's uid, or where a file gives none, one derived from namespace and name.
    pub uid: Arc<str>,
    /// Where it runs, once that is known.
    pub node: Option<Arc<str>>,
    /// The identity that it runs under.
    pub service_account: Arc<str>,
    /// It shares its node's network namespace.
    pub is_host_network: bool,
    /// Named TCP ports of its containers, native sidecars included.
    pub ports: Box<[(Arc<str>, u16)]>,
    /// How far its life has come.
    pub phase: Phase,
    /// The `Ready` condition; nothing where there are no conditions at all.
    pub is_ready: Option<bool>,
    /// Of every family.
    pub addresses: Box<[IpAddr]>,
}

impl Pod {
    /// Whether it has ended and will not run again.
    pub fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }

    /// The number of its TCP port called `name`.
    pub fn port(&self, name: &str) -> Option<u16> {
        self.ports.iter().find(|(own, _)| &**own == name).map(|(_, number)| *number)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawPodSpec {
    node_name: Option<String>,
    service_account_name: Option<String>,
    #[serde(default, deserialize_with = "fields::or_default")]
    host_network: bool,
    #[serde(default, deserialize_with = "fields::or_default")]
    containers: Vec<RawContainer>,
    #[serde(default, deserialize_with = "fields::or_default")]
    init_containers: Vec<RawContainer>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawContainer {
    #[serde(default, deserialize_with = "fields::or_default")]
    ports: Vec<RawContainerPort>,
    restart_policy: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawContainerPort {
    name: Option<String>,
    container_port: Port,
    protocol: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawPodStatus {
    #[serde(default, deserialize_with = "fields::or_default")]
    phase: Phase,
    #[serde(rename = "podIP")]
    pod_ip: Option<Address>,
    #[serde(rename = "podIPs", default, deserialize_with = "fields::or_default")]
    pod_ips: Vec<RawPodAddress>,
    #[serde(default, deserialize_with = "fields::or_default")]
    conditions: Vec<RawCondition>,
}

#[derive(Debug, Deserialize)]
struct RawPodAddress {
    ip: Address,
}

#[derive(Debug, Deserialize)]
struct RawCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

/// An address that one pod can have: no unspecified, loopback or multicast one.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Address(pub(super) IpAddr);

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let address: IpAddr = text.parse().map_err(|_| format!("{text:?} is no address"))?;
        if address.is_unspecified() || address.is_loopback() || address.is_multicast() {
            return Err(format!("{text} is no address of one workload"));
        }
        Ok(Self(address))
    }
}

pub(super) fn pod(
    meta: Meta,
    spec: &RawPodSpec,
    status: &RawPodStatus,
    pool: &mut Pool,
) -> Result<Pod, FieldError> {
    let account = spec.service_account_name.as_deref().filter(|name| !name.is_empty());
    let account = account.unwrap_or("default");
    if !fields::is_dns_subdomain(account) {
        let reason = format!("{account:?} is no service account's name (RFC 1123)");
        return Err(FieldError::new("spec.serviceAccountName", reason));
    }
    let node = spec.node_name.as_deref().filter(|name| !name.is_empty());
    if let Some(node) = node.filter(|node| !fields::is_dns_subdomain(node)) {
        let reason = format!("{node:?} is no node's name (RFC 1123)");
        return Err(FieldError::new("spec.nodeName", reason));
    }
    let mut addresses: Vec<IpAddr> = status.pod_ips.iter().map(|entry| entry.ip.0).collect();
    if let Some(Address(first)) = status.pod_ip
        && !addresses.contains(&first)
    {
        addresses.insert(0, first);
    }
    let ready = status.conditions.iter().find(|condition| condition.kind == "Ready");
    let is_ready = (!status.conditions.is_empty())
        .then(|| ready.is_some_and(|condition| condition.status == "True"));
    Ok(Pod {
        uid: meta.uid.clone().unwrap_or_else(|| derived_uid(&meta)),
        node: node.map(|name| pool.text(name)),
        service_account: pool.text(account),
        is_host_network: spec.host_network,
        ports: named_ports(spec, pool),
        phase: status.phase,
        is_ready,
        addresses: addresses.into(),
        meta,
    })
}

/// An init container that restarts always is a sidecar that runs beside the others.
fn named_ports(spec: &RawPodSpec, pool: &mut Pool) -> Box<[(Arc<str>, u16)]> {
    let is_sidecar =
        |container: &&RawContainer| container.restart_policy.as_deref() == Some("Always");
    let containers = spec.containers.iter().chain(spec.init_containers.iter().filter(is_sidecar));
    let is_tcp = |port: &&RawContainerPort| port.protocol.as_deref().is_none_or(|it| it == "TCP");
    let named = |port: &RawContainerPort| Some((port.name.clone()?, port.container_port.get()));
    containers
        .flat_map(|container| container.ports.iter().filter(is_tcp).filter_map(named))
        .map(|(name, number)| (pool.text(&name), number))
        .collect()
}

/// Shaped as a uid. The same for the same namespace and name, so that a restarted controller and a second replica
/// name the pod alike.
fn derived_uid(meta: &Meta) -> Arc<str> {
    let text = format!("{}/{}", meta.namespace, meta.name);
    let hex = format!("{:032x}", xxhash_rust::xxh3::xxh3_128(text.as_bytes()));
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    let parts = [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)];
    parts.join("-").into()
}
