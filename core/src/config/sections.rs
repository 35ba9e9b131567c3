//! What a node proxy is told, a struct for each part of it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::identity::TrustDomains;
use crate::telemetry::LogFormat;
use crate::token::TokenSource;

/// Everything. Serialised (without secrets) into the config dump.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Where this proxy is.
    pub mesh: MeshConfig,
    /// The pod that this proxy itself runs in, if it was told.
    pub own_pod: Option<OwnPod>,
    /// Discovery.
    pub xds: XdsConfig,
    /// Certificates.
    pub ca: CaConfig,
    /// HBONE's HTTP/2.
    pub hbone: HboneConfig,
    /// The pool of HBONE connections.
    pub pool: PoolConfig,
    /// Requests at a waypoint.
    pub http: HttpConfig,
    /// The node agent.
    pub inpod: InpodConfig,
    /// Sockets.
    pub sockets: SocketConfig,
    /// The DNS proxy.
    pub dns: DnsConfig,
    /// Admin, metrics and readiness.
    pub admin: AdminConfig,
    /// The log.
    pub log: LogConfig,
    /// How long open connections may go on after a request to stop.
    pub drain_deadline: Duration,
    /// Threads that carry traffic.
    pub worker_threads: usize,
    /// Whether two pods of this node are joined directly instead of through HBONE.
    pub local_path: bool,
    /// For `istio_build`.
    pub version: String,
}

/// Where this proxy is.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MeshConfig {
    /// Network of its node.
    pub network: Arc<str>,
    /// Its node.
    pub node: Option<Arc<str>>,
    /// Its cluster.
    pub cluster_id: Arc<str>,
    /// Domain of service names.
    pub cluster_domain: Arc<str>,
    /// Identities that are accepted.
    #[serde(serialize_with = "trust_domains")]
    pub trust_domains: TrustDomains,
    /// Its own address.
    pub instance_ip: Option<IpAddr>,
}

/// A pod by its identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnPod {
    /// Name.
    pub name: String,
    /// Kubernetes namespace.
    pub namespace: String,
    /// Service account.
    pub service_account: String,
}

/// How to reach one service of the controller.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ControllerEndpoint {
    /// `https://host:port`.
    pub address: String,
    /// Who may have issued its certificate.
    pub roots: Roots,
    /// What proves who we are.
    pub token: TokenSource,
    /// gRPC metadata besides the token, by lower-case name. Values may be secret.
    #[serde(serialize_with = "header_names")]
    pub headers: Vec<(String, String)>,
}

/// Discovery.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct XdsConfig {
    /// The controller.
    pub endpoint: ControllerEndpoint,
    /// Node metadata, of `ISTIO_META_*`.
    pub metadata: BTreeMap<String, String>,
    /// Node metadata of `ISTIO_METAJSON_*`.
    pub metadata_json: BTreeMap<String, serde_json::Value>,
}

/// Certificates.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CaConfig {
    /// The authority.
    pub endpoint: ControllerEndpoint,
    /// Lifetime to ask for.
    pub ttl: Duration,
}

/// Root certificates of the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Roots {
    /// A file of PEM, read anew at each connect.
    File(PathBuf),
    /// The PEM itself.
    Pem(Arc<str>),
}

/// HBONE's HTTP/2. What isn't set is for the tunnel's own module to choose.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HboneConfig {
    /// Receive window of a stream, bytes.
    pub stream_window_bytes: Option<u32>,
    /// Receive window of a connection, bytes.
    pub connection_window_bytes: Option<u32>,
    /// Largest frame that is read, bytes.
    pub frame_bytes: Option<u32>,
    /// Whether a tunnel's answer describes the destination.
    pub response_baggage: bool,
}

/// The pool of HBONE connections.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolConfig {
    /// Streams on one connection.
    pub streams_max: u32,
    /// Time after which an unused connection goes.
    pub idle: Duration,
}

/// Requests at a waypoint: how long nothing may move. What isn't set is for the waypoint to choose.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpConfig {
    /// Within a message that has an end to come to. Never zero.
    pub message_idle: Option<Duration>,
    /// Within a response that doesn't say how long it is. Zero: for ever.
    pub stream_idle: Option<Duration>,
    /// Within gRPC, events and upgraded connections. Zero: for ever.
    pub live_idle: Option<Duration>,
}

/// The node agent.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InpodConfig {
    /// Its socket.
    pub socket: PathBuf,
    /// Mark on every packet that the proxy sends.
    pub mark: u32,
    /// Whether two proxies may listen in one pod, for a handover.
    pub reuse_port: bool,
}

/// Sockets of pods' connections.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SocketConfig {
    /// Probing of silent peers; `None` for never.
    pub keepalive: Option<Keepalive>,
    /// Whether unacknowledged data ends a connection when keepalive would.
    pub user_timeout: bool,
    /// Whether inbound connections keep the client's address; `None` for "if it works here".
    pub original_source: Option<bool>,
}

/// TCP keepalive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Keepalive {
    /// Silence before the first probe.
    pub time: Duration,
    /// Time between probes.
    pub interval: Duration,
    /// Probes without an answer that end the connection.
    pub retries: u32,
}

/// The DNS proxy.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DnsConfig {
    /// Whether there is one.
    pub enabled: bool,
    /// Where it listens in a pod.
    pub address: SocketAddr,
    /// Namespace whose service is taken if several have the name.
    pub preferred_namespace: Option<Arc<str>>,
    /// Whether AAAA queries are answered with addresses.
    pub ipv6: bool,
}

/// Admin, metrics and readiness.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AdminConfig {
    /// Admin, on loopback.
    pub address: SocketAddr,
    /// Metrics.
    pub metrics: SocketAddr,
    /// Readiness.
    pub ready: SocketAddr,
    /// File of the token that lets a request change something.
    pub token_file: Option<PathBuf>,
    /// Whether requests may change things without a token, as the incumbent allows.
    pub open: bool,
}

/// The log.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogConfig {
    /// Levels, see [`crate::telemetry::LogSettings`].
    pub levels: String,
    /// Format.
    pub format: LogFormat,
}

fn trust_domains<S: Serializer>(domains: &TrustDomains, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(domains.own())
}

fn header_names<S: Serializer>(headers: &[(String, String)], out: S) -> Result<S::Ok, S::Error> {
    out.collect_seq(headers.iter().map(|(name, _)| name))
}
