//! Services.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;

use super::Pool;
use super::core::Address;
use super::fields::{self, FieldError, Port, PortOrName};
use super::meta::{Labels, Meta};

/// What is spoken on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AppProtocol {
    /// Not said.
    #[default]
    Unknown,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
    /// gRPC
    Grpc,
    /// Anything over TCP.
    Tcp,
    /// TLS from end to end.
    Tls,
}

impl AppProtocol {
    /// As `appProtocol`, a port name's prefix, or a ServiceEntry's `protocol` writes it.
    pub fn of(text: &str) -> Self {
        match text.to_ascii_lowercase().as_str() {
            "http" | "kubernetes.io/ws" => Self::Http11,
            "http2" | "kubernetes.io/h2c" => Self::Http2,
            "grpc" | "grpc-web" => Self::Grpc,
            "tcp" | "mongo" | "redis" | "mysql" => Self::Tcp,
            "tls" | "https" | "kubernetes.io/wss" => Self::Tls,
            _ => Self::Unknown,
        }
    }

    fn of_port(app_protocol: Option<&str>, name: &str) -> Self {
        if let Some(text) = app_protocol {
            return Self::of(text);
        }
        if name == "grpc-web" || name.starts_with("grpc-web-") {
            return Self::Grpc;
        }
        Self::of(name.split_once('-').map_or(name, |(prefix, _)| prefix))
    }
}

/// Where a service's port leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetPort {
    /// The same number on every workload.
    Number(u16),
    /// The port of that name, each workload its own number.
    Name(Arc<str>),
}

/// A TCP port of a service.
#[derive(Debug, Clone, PartialEq)]
pub struct ServicePort {
    /// Empty for the only port.
    pub name: Arc<str>,
    /// The number that clients use.
    pub port: u16,
    /// Where it leads.
    pub target: TargetPort,
    /// What is spoken.
    pub app_protocol: AppProtocol,
}

/// Families of a service's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IpFamilies {
    /// Not said.
    #[default]
    Automatic,
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
    /// Both.
    Dual,
}

/// How far endpoints may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distribution {
    /// Those of the same zone first.
    PreferSameZone,
    /// Those of the same node first.
    PreferSameNode,
}

impl Distribution {
    /// As `trafficDistribution` or its annotation writes it; other values say nothing, as in Kubernetes.
    pub fn of(text: &str) -> Option<Self> {
        match text {
            "PreferClose" | "PreferSameZone" => Some(Self::PreferSameZone),
            "PreferSameNode" => Some(Self::PreferSameNode),
            _ => None,
        }
    }
}

/// A service.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Name, labels and so on.
    pub meta: Meta,
    /// It is an alias of a name elsewhere.
    pub is_external_name: bool,
    /// It has no address by its owner's will.
    pub is_headless: bool,
    /// Its virtual addresses.
    pub addresses: Box<[IpAddr]>,
    /// The labels of its pods; empty where its endpoints are listed.
    pub selector: Arc<Labels>,
    /// Its TCP ports.
    pub ports: Box<[ServicePort]>,
    /// `internalTrafficPolicy: Local`
    pub is_node_local: bool,
    /// How far endpoints may be.
    pub distribution: Option<Distribution>,
    /// Endpoints that aren't ready are used too.
    pub publishes_not_ready: bool,
    /// Families of its addresses.
    pub ip_families: IpFamilies,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawServiceSpec {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs", default, deserialize_with = "fields::or_default")]
    cluster_ips: Vec<String>,
    #[serde(default, deserialize_with = "fields::or_default")]
    selector: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "fields::or_default")]
    ports: Vec<RawServicePort>,
    internal_traffic_policy: Option<String>,
    traffic_distribution: Option<String>,
    #[serde(default, deserialize_with = "fields::or_default")]
    publish_not_ready_addresses: bool,
    #[serde(default, deserialize_with = "fields::or_default")]
    ip_families: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawServicePort {
    name: Option<String>,
    port: Port,
    target_port: Option<PortOrName>,
    protocol: Option<String>,
    app_protocol: Option<String>,
}

pub(super) fn service(
    meta: Meta,
    spec: &RawServiceSpec,
    pool: &mut Pool,
) -> Result<Service, FieldError> {
    let selector = Labels::of_selector(&spec.selector, "spec.selector", pool)?;
    let is_external_name = spec.kind.as_deref() == Some("ExternalName");
    let (is_headless, addresses) = cluster_addresses(spec)?;
    let has = |family: &str| spec.ip_families.iter().any(|own| own == family);
    Ok(Service {
        is_external_name,
        is_headless,
        addresses,
        selector: pool.labels(selector),
        ports: service_ports(&spec.ports, pool)?,
        is_node_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
        distribution: spec.traffic_distribution.as_deref().and_then(Distribution::of),
        publishes_not_ready: spec.publish_not_ready_addresses,
        ip_families: match (has("IPv4"), has("IPv6")) {
            (true, true) => IpFamilies::Dual,
            (true, false) => IpFamilies::V4,
            (false, true) => IpFamilies::V6,
            (false, false) => IpFamilies::Automatic,
        },
        meta,
    })
}

fn cluster_addresses(spec: &RawServiceSpec) -> Result<(bool, Box<[IpAddr]>), FieldError> {
    let single = spec.cluster_ip.iter().filter(|_| spec.cluster_ips.is_empty());
    let texts = spec.cluster_ips.iter().chain(single).enumerate();
    let (mut is_headless, mut addresses) = (false, Vec::new());
    for (at, text) in texts {
        match text.as_str() {
            "" => {}
            "None" => is_headless = true,
            text => {
                let Address(address) = text.to_owned().try_into().map_err(|reason: String| {
                    let field = match spec.cluster_ips.len() {
                        0 => "spec.clusterIP".to_owned(),
                        _ => format!("spec.clusterIPs[{at}]"),
                    };
                    FieldError::new(field, reason)
                })?;
                addresses.push(address);
            }
        }
    }
    Ok((is_headless && addresses.is_empty(), addresses.into()))
}

fn service_ports(
    ports: &[RawServicePort],
    pool: &mut Pool,
) -> Result<Box<[ServicePort]>, FieldError> {
    let mut built: Vec<ServicePort> = Vec::with_capacity(ports.len());
    for (at, port) in ports.iter().enumerate() {
        // The mesh carries TCP alone. A UDP port of the same number would stand in the TCP port's way.
        if port.protocol.as_deref().is_some_and(|protocol| protocol != "TCP") {
            continue;
        }
        if built.iter().any(|other| other.port == port.port.get()) {
            let reason = format!("port {} is listed twice", port.port.get());
            return Err(FieldError::new(format!("spec.ports[{at}].port"), reason));
        }
        let name = port.name.as_deref().unwrap_or_default();
        built.push(ServicePort {
            name: pool.text(name),
            port: port.port.get(),
            target: match &port.target_port {
                None => TargetPort::Number(port.port.get()),
                Some(PortOrName::Port(number)) => TargetPort::Number(*number),
                Some(PortOrName::Name(name)) => TargetPort::Name(pool.text(name)),
            },
            app_protocol: AppProtocol::of_port(port.app_protocol.as_deref(), name),
        });
    }
    Ok(built.into())
}
