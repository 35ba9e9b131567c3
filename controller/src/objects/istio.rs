//! Workloads and services outside of the cluster.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Pool;
use super::core::Address;
use super::fields::{self, AllHosts, FieldError, Port};
use super::meta::{Labels, Meta, Timestamp};
use super::service::AppProtocol;

/// Where an outside workload is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// An address.
    Address(IpAddr),
    /// A name, resolved at each connection.
    Name(Arc<str>),
}

/// How an outside workload is reached and who it is.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkloadEntrySpec {
    /// Where it is reached.
    pub host: Host,
    /// Its own numbers for named ports.
    pub ports: Box<[(Arc<str>, u16)]>,
    /// Its labels; those of the metadata win.
    pub labels: Arc<Labels>,
    /// The network that it is on.
    pub network: Option<Arc<str>>,
    /// Region, zone and subzone, as far as given.
    pub locality: [Arc<str>; 3],
    /// Its share of connections; 0 where not said.
    pub weight: u32,
    /// The identity that it runs under.
    pub service_account: Option<Arc<str>>,
}

impl WorkloadEntrySpec {
    /// Its number for the port called `name`.
    pub fn port(&self, name: &str) -> Option<u16> {
        self.ports.iter().find(|(own, _)| &**own == name).map(|(_, number)| *number)
    }
}

/// A workload outside of the cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkloadEntry {
    /// Name and so on; its labels are `spec.labels`.
    pub meta: Meta,
    /// How it is reached.
    pub spec: WorkloadEntrySpec,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawWorkloadEntry {
    address: String,
    #[serde(default, deserialize_with = "fields::or_default")]
    ports: BTreeMap<String, Port>,
    #[serde(default, deserialize_with = "fields::or_default")]
    labels: BTreeMap<String, String>,
    network: Option<String>,
    locality: Option<String>,
    #[serde(default, deserialize_with = "fields::or_default")]
    weight: u32,
    service_account: Option<String>,
}

pub(super) fn workload_entry(
    mut meta: Meta,
    raw: &RawWorkloadEntry,
    pool: &mut Pool,
) -> Result<WorkloadEntry, FieldError> {
    let spec = entry_spec(raw, &meta.labels, "spec", pool)?;
    meta.labels = spec.labels.clone();
    Ok(WorkloadEntry { meta, spec })
}

fn entry_spec(
    raw: &RawWorkloadEntry,
    meta_labels: &Labels,
    field: &str,
    pool: &mut Pool,
) -> Result<WorkloadEntrySpec, FieldError> {
    let host = match raw.address.parse::<IpAddr>() {
        Ok(_) => Address::try_from(raw.address.clone()).map(|Address(ip)| Host::Address(ip)),
        Err(_) if fields::is_dns_subdomain(&raw.address.to_ascii_lowercase()) => {
            Ok(Host::Name(raw.address.to_ascii_lowercase().into()))
        }
        Err(_) => Err(format!("{:?} is neither an address nor a host's name", raw.address)),
    };
    let host = host.map_err(|reason| FieldError::new(format!("{field}.address"), reason))?;
    let account = raw.service_account.as_deref().filter(|name| !name.is_empty());
    if let Some(name) = account.filter(|name| !fields::is_dns_subdomain(name)) {
        let reason = format!("{name:?} is no service account's name (RFC 1123)");
        return Err(FieldError::new(format!("{field}.serviceAccount"), reason));
    }
    let labels = meta_labels.over(&Labels::of_map(&raw.labels, pool));
    let mut parts = raw.locality.as_deref().unwrap_or_default().splitn(3, '/');
    let mut part = || pool.text(parts.next().unwrap_or_default());
    let locality = [part(), part(), part()];
    Ok(WorkloadEntrySpec {
        host,
        ports: raw.ports.iter().map(|(name, port)| (pool.text(name), port.get())).collect(),
        labels: pool.labels(labels),
        network: raw.network.as_deref().map(|network| pool.text(network)),
        locality,
        weight: raw.weight,
        service_account: account.map(|name| pool.text(name)),
    })
}

/// How endpoints of an outside service are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Resolution {
    /// Clients' own destination addresses are kept.
    #[default]
    None,
    /// Those listed or selected.
    Static,
    /// By name.
    Dns,
    /// By name, each connection the next.
    DnsRoundRobin,
    /// By the very name that the client asked for.
    DynamicDns,
}

impl Resolution {
    /// Whether hosts without endpoints are looked up by their own name.
    pub fn is_dns(self) -> bool {
        matches!(self, Self::Dns | Self::DnsRoundRobin | Self::DynamicDns)
    }
}

/// Whether an outside service belongs to the mesh. That decides nothing here, nor in Istio's ambient mode: an endpoint
/// belongs to it if the mesh knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Location {
    #[default]
    MeshExternal,
    MeshInternal,
}

/// A port of an outside service.
#[derive(Debug, Clone, PartialEq)]
pub struct EntryPort {
    /// Its name.
    pub name: Arc<str>,
    /// The number that clients use.
    pub port: u16,
    /// The number on endpoints.
    pub target: u16,
    /// What is spoken.
    pub app_protocol: AppProtocol,
}

/// A service outside of the cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceEntry {
    /// Name, labels and so on.
    pub meta: Meta,
    /// Its names, in lower case; each is a service of its own.
    pub hosts: Box<[Arc<str>]>,
    /// Its virtual addresses and blocks.
    pub addresses: Box<[IpNet]>,
    /// Its ports.
    pub ports: Box<[EntryPort]>,
    /// How endpoints are found.
    pub resolution: Resolution,
    /// Endpoints that it lists.
    pub endpoints: Box<[WorkloadEntrySpec]>,
    /// Pods and workload entries of its namespace that are its endpoints.
    pub selector: Option<Arc<Labels>>,
    /// Identities that its servers may present.
    pub subject_alt_names: Box<[Arc<str>]>,
    /// Fields that count for nothing.
    pub ignored: Box<[&'static str]>,
}

impl ServiceEntry {
    /// Age, for the question which of several entries of one name counts.
    pub fn created(&self) -> Timestamp {
        self.meta.created
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawServiceEntry {
    hosts: Vec<String>,
    #[serde(default, deserialize_with = "fields::or_default")]
    addresses: Vec<String>,
    #[serde(default, deserialize_with = "fields::or_default")]
    ports: Vec<RawEntryPort>,
    #[serde(default, deserialize_with = "fields::or_default")]
    location: Location,
    #[serde(default, deserialize_with = "fields::or_default")]
    resolution: Resolution,
    #[serde(default, deserialize_with = "fields::or_default")]
    endpoints: Vec<RawWorkloadEntry>,
    workload_selector: Option<RawWorkloadSelector>,
    #[serde(default, deserialize_with = "fields::or_default")]
    subject_alt_names: Vec<String>,
    export_to: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawEntryPort {
    number: Port,
    name: String,
    protocol: Option<String>,
    target_port: Option<Port>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWorkloadSelector {
    #[serde(default, deserialize_with = "fields::or_default")]
    labels: BTreeMap<String, String>,
}

pub(super) fn service_entry(
    meta: Meta,
    raw: &RawServiceEntry,
    pool: &mut Pool,
) -> Result<ServiceEntry, FieldError> {
    if raw.workload_selector.is_some() && !raw.endpoints.is_empty() {
        let reason = "can't be given together with spec.endpoints";
        return Err(FieldError::new("spec.workloadSelector", reason));
    }
    if raw.location == Location::MeshInternal && raw.resolution == Resolution::DynamicDns {
        let reason = "MESH_INTERNAL with resolution DYNAMIC_DNS: what clients name is looked up outside of the mesh";
        return Err(FieldError::new("spec.location", reason));
    }
    let selector = match &raw.workload_selector {
        None => None,
        Some(selector) => {
            let field = "spec.workloadSelector.labels";
            let labels = Labels::of_selector(&selector.labels, field, pool)?;
            Some(pool.labels(labels))
        }
    };
    let mut addresses = Vec::with_capacity(raw.addresses.len());
    for (at, text) in raw.addresses.iter().enumerate() {
        let block = fields::block_of_text(text)
            .map_err(|reason| FieldError::new(format!("spec.addresses[{at}]"), reason))?;
        addresses.push(block);
    }
    let mut endpoints = Vec::with_capacity(raw.endpoints.len());
    for (at, endpoint) in raw.endpoints.iter().enumerate() {
        let field = format!("spec.endpoints[{at}]");
        endpoints.push(entry_spec(endpoint, &meta.labels, &field, pool)?);
    }
    Ok(ServiceEntry {
        hosts: hosts(&raw.hosts, pool)?,
        addresses: addresses.into(),
        ports: entry_ports(&raw.ports, pool)?,
        resolution: raw.resolution,
        endpoints: endpoints.into(),
        selector,
        subject_alt_names: raw.subject_alt_names.iter().map(|name| pool.text(name)).collect(),
        ignored: raw.export_to.iter().map(|_| "spec.exportTo").collect(),
        meta,
    })
}

fn hosts(raw: &[String], pool: &mut Pool) -> Result<Box<[Arc<str>]>, FieldError> {
    if raw.is_empty() {
        return Err(FieldError::new("spec.hosts", "at least one host is needed"));
    }
    let mut hosts: Vec<Arc<str>> = Vec::with_capacity(raw.len());
    for host in fields::host_patterns(raw, "spec.hosts", AllHosts::Refused, pool)? {
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    Ok(hosts.into())
}

fn entry_ports(raw: &[RawEntryPort], pool: &mut Pool) -> Result<Box<[EntryPort]>, FieldError> {
    let mut ports: Vec<EntryPort> = Vec::with_capacity(raw.len());
    for (at, port) in raw.iter().enumerate() {
        let number = port.number.get();
        if port.protocol.as_deref().is_some_and(|protocol| protocol.eq_ignore_ascii_case("udp")) {
            continue;
        }
        if ports.iter().any(|other| other.port == number) {
            let reason = format!("port {number} is listed twice");
            return Err(FieldError::new(format!("spec.ports[{at}].number"), reason));
        }
        ports.push(EntryPort {
            name: pool.text(&port.name),
            port: number,
            target: port.target_port.map_or(number, Port::get),
            app_protocol: port.protocol.as_deref().map_or_else(Default::default, AppProtocol::of),
        });
    }
    Ok(ports.into())
}
