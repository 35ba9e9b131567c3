//! Istio's VirtualService, as far as it concerns the mesh: what names ingress gateways alone is left out while reading.
//!
//! A field that isn't known is refused with the whole object, as in routes of the Gateway API.

mod connection;
mod http;
mod matcher;
mod parts;

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::Pool;
use super::fields::{self, AllHosts, FieldError};
use super::meta::Meta;
use super::route::{HeaderEdit, TextMatch};

/// Key and value of a label.
pub type LabelPair = (Arc<str>, Arc<str>);

/// A virtual service.
#[derive(Debug, Clone, PartialEq)]
pub struct VirtualService {
    /// Name, labels and so on.
    pub meta: Meta,
    /// Hosts that it is for, in lower case, as written: short names are of its own namespace. Empty for one that others
    /// delegate to.
    pub hosts: Box<[Arc<str>]>,
    /// It is for callers inside of the mesh, not for ingress gateways alone.
    pub is_for_mesh: bool,
    /// Namespaces whose callers it is for: `*`, `.` or names. Empty: all.
    pub export_to: Box<[Arc<str>]>,
    /// HTTP rules, in order.
    pub http: Box<[VirtualHttp]>,
    /// Rules for connections that begin with a TLS handshake, in order.
    pub tls: Box<[VirtualConnection]>,
    /// Rules for other connections, in order.
    pub tcp: Box<[VirtualConnection]>,
    /// Fields that are known and not honoured.
    pub ignored: Box<[String]>,
}

impl VirtualService {
    /// Everything that it sends requests, copies or connections to.
    pub fn destinations(&self) -> impl Iterator<Item = &VirtualDestination> {
        let of_http = self.http.iter().flat_map(|rule| {
            let routes = match &rule.outcome {
                VirtualOutcome::Route(routes) => &**routes,
                _ => &[],
            };
            routes.iter().map(|it| &it.to).chain(rule.mirrors.iter().map(|(to, _)| to))
        });
        let connections = self.tls.iter().chain(&self.tcp).flat_map(|rule| &rule.routes);
        of_http.chain(connections.map(|it| &it.to))
    }
}

/// An HTTP rule.
#[derive(Debug, Clone, PartialEq)]
pub struct VirtualHttp {
    /// Its place in the object.
    pub place: usize,
    /// Its name.
    pub name: Option<Arc<str>>,
    /// Alternatives; empty: everything.
    pub matches: Box<[VirtualMatch]>,
    /// Where requests end.
    pub outcome: VirtualOutcome,
    /// New host and path.
    pub rewrite: Option<VirtualRewrite>,
    /// For the whole request; zero: none.
    pub timeout: Option<Duration>,
    /// Retries; absent: the mesh's default.
    pub retries: Option<VirtualRetry>,
    /// Faults that are injected.
    pub fault: Option<VirtualFault>,
    /// Copies, each with its share.
    pub mirrors: Box<[(VirtualDestination, Share)]>,
    /// Who may read responses from a script.
    pub cors: Option<VirtualCors>,
    /// Edits of headers.
    pub headers: VirtualHeaders,
}

/// A share of requests, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share(pub u32);

/// One alternative of a rule. All that is given must hold.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct VirtualMatch {
    /// The path.
    pub uri: Option<TextMatch>,
    /// Letters of the path are the same in both cases.
    pub ignores_uri_case: bool,
    /// The scheme.
    pub scheme: Option<TextMatch>,
    /// The method.
    pub method: Option<TextMatch>,
    /// `:authority` or `Host`.
    pub authority: Option<TextMatch>,
    /// Headers by name in lower case.
    pub headers: Box<[(Arc<str>, TextMatch)]>,
    /// Claims of the caller's token, each a path.
    pub claims: Box<[ClaimMatch]>,
    /// Headers that must not match.
    pub without_headers: Box<[(Arc<str>, TextMatch)]>,
    /// Claims that must not match.
    pub without_claims: Box<[ClaimMatch]>,
    /// Query parameters.
    pub query: Box<[(Arc<str>, TextMatch)]>,
    /// The service's port.
    pub port: Option<u16>,
    /// Labels of callers.
    pub source_labels: Box<[LabelPair]>,
    /// Namespace of callers.
    pub source_namespace: Option<Arc<str>>,
}

/// A claim of the caller's token, and what is asked of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimMatch {
    /// Names from the outermost object inward.
    pub path: Box<[Arc<str>]>,
    /// What is asked of its value.
    pub value: TextMatch,
}

/// Where requests end.
#[derive(Debug, Clone, PartialEq)]
pub enum VirtualOutcome {
    /// At one of these.
    Route(Box<[VirtualRoute]>),
    /// Back at the client, which is sent elsewhere.
    Redirect(VirtualRedirect),
    /// Here.
    Direct {
        /// 200 to 599.
        status: u16,
        /// The answer's body.
        body: Arc<[u8]>,
    },
    /// Another virtual service's rules say.
    Delegate {
        /// Its namespace.
        namespace: Arc<str>,
        /// Its name.
        name: Arc<str>,
    },
}

/// A backend and its share.
#[derive(Debug, Clone, PartialEq)]
pub struct VirtualRoute {
    /// Where it is.
    pub to: VirtualDestination,
    /// Its share.
    pub weight: u32,
    /// Edits of headers.
    pub headers: VirtualHeaders,
}

/// A host, or a subset of its endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualDestination {
    /// In lower case, as written.
    pub host: Arc<str>,
    /// A DestinationRule names it.
    pub subset: Option<Arc<str>>,
    /// Its port.
    pub port: Option<u16>,
}

/// Where a client is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualRedirect {
    /// The new path.
    pub uri: Option<Arc<str>>,
    /// The new host.
    pub authority: Option<Arc<str>>,
    /// The new port.
    pub port: RedirectPort,
    /// The new scheme.
    pub scheme: Option<Arc<str>>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// The port that a redirect names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedirectPort {
    /// As requested.
    Unset,
    /// This one.
    Number(u16),
    /// The scheme's.
    Protocol,
    /// The one that the request came to.
    Request,
}

/// New host and path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualRewrite {
    /// In place of the prefix that matched, or of the whole path.
    pub uri: Option<Arc<str>>,
    /// What is looked for in the path, and what takes its place.
    pub regex: Option<(Arc<str>, Arc<str>)>,
    /// The new host.
    pub authority: Option<Arc<str>>,
}

/// Retries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualRetry {
    /// Besides the first attempt; 0: none.
    pub attempts: u32,
    /// For one attempt.
    pub attempt_timeout: Option<Duration>,
    /// On what; empty: the default.
    pub on: Box<[RetryCondition]>,
    /// Shortest wait.
    pub backoff: Option<Duration>,
    /// Endpoints elsewhere may be tried.
    pub is_any_locality: bool,
    /// Endpoints that were tried already may be tried again.
    pub reuses_endpoints: bool,
}

/// On what is retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryCondition {
    /// Any status from 500, and any failure.
    ServerError,
    /// 502, 503, 504.
    GatewayError,
    /// The stream ended before the response began.
    Reset,
    /// As `Reset`, and nothing of the request had been sent.
    ResetBeforeRequest,
    /// No connection.
    ConnectFailure,
    /// The peer never processed the request.
    RefusedStream,
    /// 409.
    Conflict,
    /// An answer that says it was limited, whatever its status.
    RateLimited,
    /// The codes that are listed; says nothing by itself.
    Codes,
    /// Headers that are listed, for which there is no field: says nothing by itself.
    Headers,
    /// This status.
    Http(u16),
    /// This status of gRPC.
    Grpc(u32),
}

/// Faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VirtualFault {
    /// Share and length.
    pub delay: Option<(Share, Duration)>,
    /// Share and answer.
    pub abort: Option<(Share, AbortAnswer)>,
}

/// An injected answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AbortAnswer {
    /// This status.
    Http(u16),
    /// This status of gRPC.
    Grpc(u32),
}

/// Who may read responses from a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualCors {
    /// Origins.
    pub origins: Box<[TextMatch]>,
    /// Methods.
    pub methods: Box<[Arc<str>]>,
    /// Headers of requests.
    pub headers: Box<[Arc<str>]>,
    /// Headers of responses.
    pub exposed: Box<[Arc<str>]>,
    /// How long a browser remembers the answer.
    pub max_age: Option<Duration>,
    /// Requests may carry cookies and the like.
    pub allows_credentials: bool,
    /// Preflights from an origin that isn't allowed go to the backend.
    pub forwards_unmatched: bool,
}

/// Edits of headers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VirtualHeaders {
    /// On requests.
    pub request: HeaderEdit,
    /// On responses.
    pub response: HeaderEdit,
}

/// A rule for connections.
#[derive(Debug, Clone, PartialEq)]
pub struct VirtualConnection {
    /// Its place in the object.
    pub place: usize,
    /// Alternatives; empty: every connection.
    pub matches: Box<[ConnectionMatch]>,
    /// Where they go.
    pub routes: Box<[VirtualRoute]>,
}

/// One alternative of a rule for connections. All that is given must hold.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ConnectionMatch {
    /// Names in the handshake.
    pub server_names: Box<[Arc<str>]>,
    /// Addresses that are connected to.
    pub destinations: Box<[ipnet::IpNet]>,
    /// The service's port.
    pub port: Option<u16>,
    /// Labels of callers.
    pub source_labels: Box<[LabelPair]>,
    /// Namespace of callers.
    pub source_namespace: Option<Arc<str>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawVirtualService {
    #[serde(default, deserialize_with = "fields::or_default")]
    hosts: Vec<String>,
    #[serde(default, deserialize_with = "fields::or_default")]
    gateways: Vec<String>,
    #[serde(default, deserialize_with = "fields::or_default")]
    http: Vec<http::RawHttp>,
    #[serde(default, deserialize_with = "fields::or_default")]
    tls: Vec<connection::RawConnection>,
    #[serde(default, deserialize_with = "fields::or_default")]
    tcp: Vec<connection::RawConnection>,
    #[serde(default, deserialize_with = "fields::or_default")]
    export_to: Vec<String>,
}

pub(super) fn virtual_service(
    meta: Meta,
    raw: &RawVirtualService,
    pool: &mut Pool,
) -> Result<VirtualService, FieldError> {
    let mut ignored = Vec::new();
    let mut rules = Vec::with_capacity(raw.http.len());
    for (at, raw) in raw.http.iter().enumerate() {
        rules.extend(http::rule(raw, at, &meta, &mut ignored, pool)?);
    }
    Ok(VirtualService {
        hosts: fields::host_patterns(&raw.hosts, "spec.hosts", AllHosts::Allowed, pool)?,
        is_for_mesh: names_mesh(&raw.gateways),
        export_to: raw.export_to.iter().map(|text| pool.text(text)).collect(),
        http: rules.into(),
        tls: connection::rules(&raw.tls, "spec.tls", &mut ignored, pool)?,
        tcp: connection::rules(&raw.tcp, "spec.tcp", &mut ignored, pool)?,
        ignored: ignored.into(),
        meta,
    })
}

/// `mesh` stands for every caller inside of it, and is what no gateways at all mean.
fn names_mesh(gateways: &[String]) -> bool {
    gateways.is_empty() || gateways.iter().any(|name| name == "mesh")
}
