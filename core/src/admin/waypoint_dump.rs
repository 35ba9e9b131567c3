//! What a waypoint's `/config_dump` says. The proxy writes these, `weft` reads them. What is secret has no place here: of
//! headers that are set or that collectors are sent there are names alone, of issuers how many keys they have.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::dump::Certificate;

/// The whole dump.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WaypointDump {
    /// Whose dump it is; another proxy's has none.
    pub waypoint: WaypointName,
    /// What runs here.
    pub version: Value,
    /// The configuration, without secrets.
    pub config: Value,
    /// What is bound to this waypoint, by name.
    pub services: Vec<BoundService>,
    /// What requests have gone to lately.
    pub clusters: Vec<LiveCluster>,
    /// Certificates, without keys.
    pub certificates: Vec<Certificate>,
}

/// A waypoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WaypointName {
    /// Its SPIFFE ID.
    pub identity: String,
    /// Its namespace.
    pub namespace: String,
    /// The service account of its identity.
    pub service_account: String,
    /// Where the mesh finds it.
    pub address: String,
    /// The network in which the address means something.
    pub network: String,
    /// The services that it is an instance of, `namespace/hostname`.
    pub services: Vec<String>,
}

/// A service that is bound to the waypoint, and all that is set for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BoundService {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its host name.
    pub hostname: String,
    /// `network/address`.
    pub vips: Vec<String>,
    /// What it offers.
    pub ports: Vec<ServicePort>,
    /// Where its requests go.
    pub routes: Routes,
    /// Who may do what.
    pub access: Access,
    /// How its endpoints are treated.
    pub backends: BackendPolicy,
    /// What is told of its requests.
    pub telemetry: Telemetry,
}

/// A port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    /// As clients see it.
    pub port: u16,
    /// `HTTP/1.1`, `HTTP/2`, `gRPC`, `TCP`, `TLS`; or `sniffed`.
    pub protocol: String,
}

/// Routes of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Routes {
    /// `InForce`; `None`: requests go to the service itself; `Unusable`: they are answered 500.
    pub state: String,
    /// In order: the first one that is for a port and a caller counts for them.
    pub sets: Vec<RouteSet>,
}

/// The routes of some ports for some callers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteSet {
    /// Empty: all.
    pub ports: Vec<u16>,
    /// Empty: everybody.
    pub source_namespaces: Vec<String>,
    /// For HTTP, in order of precedence.
    pub http: Vec<RouteRule>,
    /// For TLS that passes through, likewise.
    pub tls: Vec<RouteRule>,
    /// For other connections, likewise.
    pub tcp: Vec<RouteRule>,
}

/// A rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteRule {
    /// Its place among the set's rules, from 0.
    pub rank: usize,
    /// Where it comes from.
    pub origin: RuleOrigin,
    /// All must hold, in words. Empty: it matches everything.
    pub conditions: Vec<String>,
    /// It wasn't understood, and never matches.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_never: bool,
    /// What is changed on the way, in words.
    pub filters: Vec<String>,
    /// Where it ends, in words.
    pub outcome: String,
}

/// Which object a rule comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RuleOrigin {
    /// Such as `HTTPRoute`.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The rule's name; empty if it has none.
    pub rule: String,
    /// The rule's place in the object, from 0.
    pub index: u32,
}

impl RuleOrigin {
    /// `HTTPRoute shop/web, rule 1 (beta)`.
    pub fn sentence(&self) -> String {
        let Self { kind, namespace, name, rule, index } = self;
        let named = if rule.is_empty() { String::new() } else { format!(" ({rule})") };
        format!("{kind} {namespace}/{name}, rule {index}{named}")
    }
}

/// Who may do what with a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Access {
    /// `InForce`; `Missing`: nothing was received, so every request is answered 503; `Unusable: …`: all are refused.
    pub state: String,
    /// What is done with paths before rules see them.
    pub path_normalisation: String,
    /// In the order in which they are asked.
    pub policies: Vec<AccessPolicy>,
    /// Whose tokens are looked at.
    pub issuers: Vec<TokenIssuer>,
    /// What wasn't understood.
    pub problems: Vec<String>,
}

/// A policy. Its rules are its object's affair.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AccessPolicy {
    /// Such as `ns[shop]-policy[web]`.
    pub name: String,
    /// `CUSTOM`, `DENY`, `ALLOW` or `AUDIT`.
    pub action: String,
    /// How many rules it has.
    pub rules: usize,
    /// It is told and not carried out.
    pub dry_run: bool,
    /// Who is asked, of a CUSTOM policy; empty: nobody known, so it denies.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub checker: String,
}

/// An issuer of tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TokenIssuer {
    /// Its name.
    pub issuer: String,
    /// For whom tokens must be; empty: anybody.
    pub audiences: Vec<String>,
    /// How many keys are known; without any its tokens are refused.
    pub keys: usize,
}

/// How endpoints of a service are treated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendPolicy {
    /// `InForce`; `None`: as usual; `Unusable`: requests are answered 500.
    pub state: String,
    /// By subset and port.
    pub settings: Vec<BackendSettings>,
}

/// The settings of a service, of a subset, or of one port of either.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendSettings {
    /// Empty: of all endpoints.
    pub subset: String,
    /// `None`: of ports without settings of their own.
    pub port: Option<u16>,
    /// In words, by name.
    pub settings: BTreeMap<String, String>,
}

/// What is told of requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Telemetry {
    /// A sentence an access log.
    pub logs: Vec<String>,
    /// Metrics differ from the usual ones.
    pub changes_metrics: bool,
    /// Where spans go.
    pub tracing: Option<Tracing>,
}

/// Where spans go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Tracing {
    /// `host:port`.
    pub collector: String,
    /// Names of the headers that it is sent.
    pub headers: Vec<String>,
    /// Of how many requests, in percent.
    pub sampled: String,
}

/// A port of a service, or a subset of its endpoints, that requests go to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LiveCluster {
    /// `namespace/hostname`.
    pub service: String,
    /// Its port.
    pub port: u16,
    /// Empty: all endpoints.
    pub subset: String,
    /// In words, by name.
    pub settings: BTreeMap<String, String>,
    /// What is under way and what was.
    pub counts: ClusterCounts,
    /// In order of their names.
    pub endpoints: Vec<LiveEndpoint>,
}

/// Numbers of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "at one time, or since the beginning")]
pub struct ClusterCounts {
    pub requests: u32,
    pub pending: u32,
    pub connections: u32,
    pub retries: u32,
    pub ejected: usize,
    /// So few are healthy that all are used.
    pub is_panic: bool,
    pub ejections_total: u64,
    pub ejections_refused_total: u64,
    pub overflows_total: u64,
}

/// An endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LiveEndpoint {
    /// Its workload's uid.
    pub workload: String,
    /// The application's address.
    pub address: String,
    /// `HBONE`, or `TCP` for one without a proxy.
    pub protocol: String,
    /// Its share beside the others'.
    pub weight: u32,
    /// It is ready.
    pub is_healthy: bool,
    /// It would take a request now.
    pub takes_requests: bool,
    /// Left out for its failures until then, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ejected_until: Option<String>,
    /// Ejections in succession.
    pub ejections: u32,
    /// Requests that are on their way.
    pub active_requests: u32,
    /// Share of its weight while it warms up, in percent.
    pub warmth_percent: u64,
}
