//! The mesh's configuration: the ConfigMap `istio` of the root namespace, as waypoints read it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use weft_core::identity::TrustDomain;

use super::duration;
use super::fields::{self, FieldError};
use super::mesh_providers::MeshTelemetry;
use super::mesh_raw::RawMesh;
use super::meta::Meta;

/// Name of the ConfigMap, and the key in it.
pub const MESH_CONFIG: (&str, &str) = ("istio", "mesh");

/// A ConfigMap without certificates. All but the mesh's is without content.
#[derive(Debug, Clone, PartialEq)]
pub struct MeshConfig {
    /// Name, labels and so on.
    pub meta: Meta,
    /// How far paths are brought to one form.
    pub normalisation: Normalisation,
    /// Trust domains that mean the mesh's own.
    pub trust_domain_aliases: Box<[TrustDomain]>,
    /// Services that CUSTOM policies ask, by name. What can't be honoured has its reason instead.
    pub checkers: BTreeMap<Arc<str>, Result<ExtensionChecker, String>>,
    /// Services that count requests, by name. What can't be honoured has its reason instead.
    pub limiters: BTreeMap<Arc<str>, Result<ExtensionLimiter, String>>,
    /// What it says about telemetry.
    pub telemetry: Arc<MeshTelemetry>,
    /// Where workloads may connect to, unless their namespace says.
    pub outbound: OutboundMode,
    /// Keys that are read by nobody here.
    pub ignored: Box<[String]>,
    /// It couldn't be read and no earlier version is known: paths are normalised as far as possible.
    pub is_unreadable: bool,
}

/// `outboundTrafficPolicy.mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OutboundMode {
    /// Anywhere.
    #[default]
    AllowAny,
    /// Only to what the mesh knows.
    RegistryOnly,
}

/// `pathNormalization.normalization`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Normalisation {
    /// As [`Normalisation::Base`].
    #[default]
    Default,
    /// Not at all.
    None,
    /// RFC 3986, and backslashes.
    Base,
    /// Slashes merged, too.
    MergeSlashes,
    /// Encoded slashes decoded, too.
    DecodeAndMergeSlashes,
}

/// A service that is asked about requests: where, for how long, and what holds where it can't be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedService {
    /// Its namespace; nothing: whoever answers to the host.
    pub namespace: Option<Arc<str>>,
    /// Its host, in lower case.
    pub host: Arc<str>,
    /// Its port.
    pub port: u16,
    /// Longest time for an answer.
    pub timeout: Option<Duration>,
    /// Requests go on where it can't be asked.
    pub fails_open: bool,
    /// The answer where it can't be asked.
    pub status_on_error: Option<u16>,
}

/// A service that CUSTOM policies ask (`envoyExtAuthzHttp`, `envoyExtAuthzGrpc`).
#[derive(Debug, Clone, PartialEq)]
pub struct ExtensionChecker {
    /// Whom to ask.
    pub asked: AskedService,
    /// What it is sent of bodies.
    pub body: Option<CheckedBody>,
    /// By HTTP; nothing: by gRPC.
    pub http: Option<HttpChecker>,
    /// Fields that have no effect.
    pub ignored: Box<[&'static str]>,
}

/// A service that counts requests (`envoyRateLimitGrpc`, which is Weft's own: Istio has no provider of that kind).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtensionLimiter {
    /// Whom to ask.
    pub asked: AskedService,
    /// Clients of gRPC are told RESOURCE_EXHAUSTED, not UNAVAILABLE.
    pub as_resource_exhausted: bool,
}

/// `includeRequestBodyInCheck`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CheckedBody {
    /// Bytes.
    #[serde(default)]
    pub max_request_bytes: u32,
    /// A longer body is cut.
    #[serde(default)]
    pub allow_partial_message: bool,
    /// As bytes; gRPC only.
    #[serde(default)]
    pub pack_as_bytes: bool,
}

/// What is particular to checks by HTTP. Names of headers may have a `*` at one end.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HttpChecker {
    /// Before the path.
    pub path_prefix: String,
    /// Headers of the request that are sent.
    pub request_headers: Vec<String>,
    /// Headers that are sent besides.
    pub additional: BTreeMap<String, String>,
    /// Headers of the answer that go on with the request.
    pub to_upstream: Vec<String>,
    /// Headers of the answer that go into the response.
    pub to_downstream_allowed: Vec<String>,
    /// Headers of the answer that go into the refusal.
    pub to_downstream_denied: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawConfigMap {
    pub(super) metadata: super::meta::RawMeta,
    #[serde(default, deserialize_with = "fields::or_default")]
    pub(super) data: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawChecker {
    service: String,
    port: fields::Port,
    timeout: Option<String>,
    #[serde(default)]
    fail_open: bool,
    status_on_error: Option<String>,
    include_request_body_in_check: Option<CheckedBody>,
    clear_route_cache: Option<IgnoredAny>,
    path_prefix: Option<String>,
    // An older name of the next one.
    include_headers_in_check: Option<Vec<String>>,
    include_request_headers_in_check: Option<Vec<String>>,
    include_additional_headers_in_check: Option<BTreeMap<String, String>>,
    headers_to_upstream_on_allow: Option<Vec<String>>,
    headers_to_downstream_on_allow: Option<Vec<String>>,
    headers_to_downstream_on_deny: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawLimiter {
    service: String,
    port: fields::Port,
    timeout: Option<String>,
    fail_open: Option<bool>,
    status_on_error: Option<String>,
    #[serde(default)]
    rate_limited_as_resource_exhausted: bool,
}

pub(super) fn config_map(meta: Meta, raw: &RawConfigMap) -> Result<MeshConfig, FieldError> {
    let text = raw.data.get(MESH_CONFIG.1).filter(|_| *meta.name == *MESH_CONFIG.0);
    let Some(text) = text else {
        return Ok(MeshConfig::empty(meta));
    };
    let mesh = RawMesh::read(text)?;
    let telemetry = MeshTelemetry::read(&mesh)?;
    let mut ignored: Vec<String> = mesh.others.into_keys().collect();
    ignored.extend(telemetry.ignored.iter().map(|it| it.field.clone()));
    let (mut checkers, mut limiters) = (BTreeMap::new(), BTreeMap::new());
    for provider in &mesh.extension_providers {
        let name: Arc<str> = Arc::from(provider.name.as_str());
        for (value, is_http) in provider.checkers() {
            checkers.insert(name.clone(), checker(value, is_http));
        }
        if let Some(value) = &provider.envoy_rate_limit_grpc {
            limiters.insert(name, limiter(value));
        }
    }
    let aliases = mesh.trust_domain_aliases.iter().map(|text| {
        let domain: Result<TrustDomain, _> = text.parse();
        domain.map_err(|error| {
            FieldError::new("data.mesh", format!("trustDomainAliases: {text:?}: {error}"))
        })
    });
    Ok(MeshConfig {
        normalisation: mesh.path_normalization.normalization,
        trust_domain_aliases: aliases.collect::<Result<_, _>>()?,
        checkers,
        limiters,
        telemetry: Arc::new(telemetry),
        outbound: mesh.outbound_traffic_policy.mode,
        ignored: ignored.into(),
        ..MeshConfig::empty(meta)
    })
}

impl MeshConfig {
    pub(super) fn empty(meta: Meta) -> Self {
        Self {
            meta,
            normalisation: Normalisation::default(),
            trust_domain_aliases: Box::default(),
            checkers: BTreeMap::new(),
            limiters: BTreeMap::new(),
            telemetry: MeshTelemetry::usual(),
            outbound: OutboundMode::default(),
            ignored: Box::default(),
            is_unreadable: false,
        }
    }
}

/// Where a checker isn't understood, the policies that name it refuse what they cover.
fn checker(value: &Value, is_http: bool) -> Result<ExtensionChecker, String> {
    let raw: RawChecker =
        Deserialize::deserialize(value).map_err(|error: serde_json::Error| error.to_string())?;
    let http = http_checker(&raw);
    if !is_http && http != HttpChecker::default() {
        return Err("has fields of envoyExtAuthzHttp".to_owned());
    }
    let (timeout, status) = (raw.timeout.as_deref(), raw.status_on_error.as_deref());
    Ok(ExtensionChecker {
        asked: AskedService::read(&raw.service, raw.port, timeout, raw.fail_open, status)?,
        body: raw.include_request_body_in_check,
        http: is_http.then_some(http),
        ignored: raw.clear_route_cache.iter().map(|_| "clearRouteCache").collect(),
    })
}

/// Where a limiter isn't understood, the services that name it aren't limited by it.
fn limiter(value: &Value) -> Result<ExtensionLimiter, String> {
    let raw: RawLimiter =
        Deserialize::deserialize(value).map_err(|error: serde_json::Error| error.to_string())?;
    let (timeout, status) = (raw.timeout.as_deref(), raw.status_on_error.as_deref());
    // Open is Envoy's default, too.
    let fails_open = raw.fail_open.unwrap_or(true);
    let asked = AskedService::read(&raw.service, raw.port, timeout, fails_open, status)?;
    let longest = weft_proto::contract::limit::TIMEOUT_MAX;
    if asked.timeout.is_some_and(|it| it.is_zero() || it > longest) {
        return Err(format!(
            "timeout has to be above 0s and at most {longest:?}: requests wait for it"
        ));
    }
    Ok(ExtensionLimiter { asked, as_resource_exhausted: raw.rate_limited_as_resource_exhausted })
}

impl AskedService {
    fn read(
        service_text: &str,
        port: fields::Port,
        timeout: Option<&str>,
        fails_open: bool,
        status_on_error: Option<&str>,
    ) -> Result<Self, String> {
        let (namespace, host) = service(service_text)?;
        Ok(Self {
            namespace,
            host,
            port: port.get(),
            timeout: timeout.map(duration::parse).transpose()?,
            fails_open,
            status_on_error: status_on_error.map(status).transpose()?,
        })
    }

    /// The longest time for an answer in milliseconds. Less than one is one: 0, nothing set, has another meaning.
    pub fn timeout_ms(&self) -> u32 {
        let whole = |it: Duration| u32::try_from(it.as_millis()).unwrap_or(u32::MAX).max(1);
        self.timeout.map_or(0, whole)
    }
}

/// `[<namespace>/]<host>`
fn service(text: &str) -> Result<(Option<Arc<str>>, Arc<str>), String> {
    let (namespace, host) = match text.split_once('/') {
        Some((namespace, host)) => (Some(namespace), host),
        None => (None, text),
    };
    let host = host.to_ascii_lowercase();
    if !fields::is_dns_subdomain(&host) || namespace.is_some_and(|it| !fields::is_dns_label(it)) {
        return Err(format!("service {text:?} is neither <host> nor <namespace>/<host>"));
    }
    Ok((namespace.map(Arc::from), host.into()))
}

fn status(text: &str) -> Result<u16, String> {
    let code = text.parse().ok().filter(|code| (200..600).contains(code));
    code.ok_or_else(|| format!("statusOnError {text:?} is no HTTP status"))
}

fn http_checker(raw: &RawChecker) -> HttpChecker {
    let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let mut request_headers = list(&raw.include_headers_in_check);
    request_headers.extend(list(&raw.include_request_headers_in_check));
    HttpChecker {
        path_prefix: raw.path_prefix.clone().unwrap_or_default(),
        request_headers,
        additional: raw.include_additional_headers_in_check.clone().unwrap_or_default(),
        to_upstream: list(&raw.headers_to_upstream_on_allow),
        to_downstream_allowed: list(&raw.headers_to_downstream_on_allow),
        to_downstream_denied: list(&raw.headers_to_downstream_on_deny),
    }
}
