//! From text to an object: one strict reader for every source.

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::backend_tls_policy::{self, RawBackendTlsPolicy, RawTlsReach};
use super::certificates::{self, CA_KEY};
use super::core::{self, RawPodSpec, RawPodStatus};
use super::destination_rule::{self, RawDestinationRule};
use super::fields::{self, FieldError};
use super::gateway::{self, RawGateway, RawGatewayClass};
use super::istio::{self, RawServiceEntry, RawWorkloadEntry};
use super::locate::line_of;
use super::mesh_config::{self, MESH_CONFIG, RawConfigMap};
use super::meta::RawMeta;
use super::peer::{self, RawPeerAuthentication};
use super::policy::{self, RawAuthorizationPolicy, RawReach};
use super::request_authentication::{self, RawRequestAuthentication};
use super::route::{self, RawGrant, RawGrpcRoute, RawHttpRoute, RawStreamRoute};
use super::secret::{self, RawSecret};
use super::service::{self, RawServiceSpec};
use super::slice::{self, RawSlice};
use super::telemetry::{self, RawTelemetry};
use super::virtual_service::{self, RawVirtualService};
use super::{
    AuthorizationPolicy, Kind, MeshConfig, Meta, MtlsMode, Namespace, Node, Object, ObjectKey,
    PeerAuthentication, PolicyBody, Pool, RequestAuthentication, RouteKind, ServiceAccount,
};

/// Why a text is no object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{reason}", .field.as_ref().map(|field| format!("{field}: ")).unwrap_or_default())]
pub struct ReadError {
    /// Line within the text, from 1.
    pub line: Option<u32>,
    /// Path of the field, such as `spec.rules[0].from[0].source.principals[1]`.
    pub field: Option<String>,
    /// What is wrong.
    pub reason: String,
}

/// What a document says that it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Header {
    /// Group and version.
    pub api_version: String,
    /// Kind, also of objects that the mesh doesn't read.
    pub kind: String,
    /// Namespace as written; empty if none is.
    pub namespace: String,
    /// Name as written.
    pub name: String,
    /// It is one with certificates, if it is a ConfigMap or a Secret.
    pub has_certificates: bool,
}

impl Header {
    /// The kind of the object that it announces, if the mesh reads such objects. Of ConfigMaps it reads
    /// the mesh's and those with certificates, of Secrets the latter.
    pub fn kind(&self) -> Option<Kind> {
        let kind = Kind::of(&self.api_version, &self.kind)?;
        let is_read = match kind {
            Kind::ConfigMap => self.name == MESH_CONFIG.0 || self.has_certificates,
            Kind::Secret => self.has_certificates,
            _ => true,
        };
        is_read.then_some(kind)
    }

    /// The key of the object that it announces, if the mesh reads such objects and the names are well formed.
    pub fn key(&self) -> Option<ObjectKey> {
        let kind = self.kind()?;
        let (namespace, name) =
            super::meta::checked_names(kind, &self.namespace, &self.name).ok()?;
        Some(ObjectKey::new(kind, namespace, name))
    }

    /// Whether the document is a list of objects (`kubectl get -o yaml` writes one).
    pub fn is_list(&self) -> bool {
        self.kind.ends_with("List")
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawHeader {
    #[serde(default, deserialize_with = "fields::or_default")]
    api_version: String,
    #[serde(default, deserialize_with = "fields::or_default")]
    kind: String,
    #[serde(default, deserialize_with = "fields::or_default")]
    metadata: RawNames,
    #[serde(default)]
    data: RawData,
    #[serde(default)]
    string_data: RawData,
    #[serde(default, rename = "type")]
    of: RawType,
}

/// Other kinds have `data` too, of any form.
#[derive(Deserialize, Default)]
#[serde(untagged)]
enum RawData {
    Map(BTreeMap<String, IgnoredAny>),
    Other(IgnoredAny),
    #[default]
    None,
}

impl RawData {
    fn has(&self, is_meant: impl Fn(&str) -> bool) -> bool {
        matches!(self, Self::Map(data) if data.keys().any(|key| is_meant(key)))
    }
}

/// A Secret's. Other kinds may have anything there.
#[derive(Deserialize, Default)]
#[serde(untagged)]
enum RawType {
    Text(String),
    Other(IgnoredAny),
    #[default]
    None,
}

#[derive(Deserialize, Default)]
struct RawNames {
    #[serde(default, deserialize_with = "fields::or_default")]
    namespace: String,
    #[serde(default, deserialize_with = "fields::or_default")]
    name: String,
}

/// Reads what a document says that it is. The whole document must be well-formed.
pub fn header(text: &str) -> Result<Header, ReadError> {
    header_of(Input::Text(text)).map_err(|error| without_values(error, text))
}

fn header_of(input: Input<'_>) -> Result<Header, ReadError> {
    let raw: RawHeader = typed(input)?;
    let required = [("apiVersion", &raw.api_version), ("kind", &raw.kind)];
    if let Some((field, _)) = required.iter().find(|(_, text)| text.is_empty()) {
        let field = Some((*field).to_owned());
        return Err(ReadError { line: None, field, reason: "is missing".to_owned() });
    }
    let RawNames { namespace, name } = raw.metadata;
    let is_secret_read = match &raw.of {
        RawType::Text(of) => secret::is_type_read(of),
        RawType::None | RawType::Other(_) => true,
    };
    let has_certificates = match &*raw.kind {
        "Secret" => {
            is_secret_read && [&raw.data, &raw.string_data].iter().any(|it| it.has(secret::is_read))
        }
        _ => raw.data.has(|key| key == CA_KEY),
    };
    Ok(Header { api_version: raw.api_version, kind: raw.kind, namespace, name, has_certificates })
}

/// Reads a document as an object of `kind`.
pub fn read(kind: Kind, text: &str, pool: &mut Pool) -> Result<Object, ReadError> {
    object(kind, Input::Text(text), pool).map_err(|mut error| {
        if error.line.is_none()
            && let Some(field) = &error.field
        {
            error.line = line_of(text, field);
        }
        error
    })
}

/// The items of a list, each with the line where it starts.
pub fn items(text: &str) -> Result<Vec<(u32, Value)>, ReadError> {
    #[derive(Deserialize)]
    struct RawList {
        #[serde(default, deserialize_with = "fields::or_default")]
        items: Vec<serde_saphyr::Spanned<Value>>,
    }
    let read = typed(Input::Text(text));
    let raw: RawList = read.map_err(|error| without_values(error, text))?;
    let line = |location: serde_saphyr::Location| u32::try_from(location.line()).unwrap_or(0);
    Ok(raw.items.into_iter().map(|item| (line(item.referenced), item.value)).collect())
}

/// Reads one item of a list: what it says that it is, and if the mesh reads such objects, the object.
pub fn read_item(item: Value, pool: &mut Pool) -> (Header, Option<Result<Object, ReadError>>) {
    let header = match header_of(Input::Value(item.clone())) {
        Ok(header) => header,
        Err(error) => return (Header::default(), Some(Err(error))),
    };
    let kind = header.kind();
    let object = kind.map(|kind| object(kind, Input::Value(item), pool));
    (header, object)
}

/// What a text that can't be parsed seems to be: top-level `apiVersion` and `kind`, and the names below `metadata`.
/// Good enough for a message, and to know what to keep in force.
pub fn sniff(text: &str) -> Header {
    let mut header = Header::default();
    let mut is_metadata = false;
    let value = |rest: &str| rest.trim().trim_matches(['"', '\'']).to_owned();
    for line in text.lines() {
        let inner = line.trim_start();
        if inner.len() == line.len() && !inner.is_empty() && !inner.starts_with('#') {
            is_metadata = inner.starts_with("metadata:");
        }
        let target = match (inner.split_once(':'), inner.len() == line.len()) {
            (Some(("apiVersion", rest)), true) => Some((&mut header.api_version, rest)),
            (Some(("kind", rest)), true) => Some((&mut header.kind, rest)),
            (Some(("name", rest)), false) if is_metadata => Some((&mut header.name, rest)),
            (Some(("namespace", rest)), false) if is_metadata => {
                Some((&mut header.namespace, rest))
            }
            _ => None,
        };
        if let Some((target, rest)) = target
            && target.is_empty()
        {
            *target = value(rest);
        }
    }
    header.has_certificates = header.kind == "Secret" || text.contains(CA_KEY);
    header
}

/// What stands in for a policy that can't be read and of which no earlier version is known: it denies what it covers.
/// Nothing for other kinds, and for policies that are attached to who knows what.
pub fn unreadable(key: &ObjectKey, text: &str, pool: &mut Pool) -> Option<Object> {
    #[derive(Deserialize, Default)]
    struct RawDocument<S: Default> {
        #[serde(default, bound(deserialize = "S: Deserialize<'de> + Default"))]
        spec: S,
    }
    // Certificates are as good as missing, which whoever names them is told.
    if key.kind == Kind::ConfigMap && *key.name != *MESH_CONFIG.0 {
        return None;
    }
    if key.kind == Kind::BackendTLSPolicy {
        let reach = typed::<RawDocument<RawTlsReach>>(Input::Text(text)).unwrap_or_default().spec;
        let policy = backend_tls_policy::unreadable(Meta::bare(key, pool), &reach, pool)?;
        return Some(Object::BackendTlsPolicy(Arc::new(policy)));
    }
    if key.kind == Kind::ConfigMap {
        let mesh = MeshConfig { is_unreadable: true, ..MeshConfig::empty(Meta::bare(key, pool)) };
        return Some(Object::MeshConfig(Arc::new(mesh)));
    }
    if !key.kind.is_security() {
        return None;
    }
    let reach = typed::<RawDocument<RawReach>>(Input::Text(text)).unwrap_or_default().spec;
    let selector = reach.selector(pool);
    let meta = Meta::bare(key, pool);
    match key.kind {
        Kind::AuthorizationPolicy => {
            let targets = match reach.targets(pool) {
                None => Box::default(),
                // Nobody can tell what it is attached to.
                Some(targets) if targets.is_empty() => return None,
                Some(targets) => targets,
            };
            let selector = selector.filter(|_| targets.is_empty());
            Some(Object::AuthorizationPolicy(Arc::new(AuthorizationPolicy {
                meta,
                selector,
                targets,
                is_dry_run: false,
                body: PolicyBody::Unreadable,
            })))
        }
        Kind::RequestAuthentication => {
            Some(Object::RequestAuthentication(Arc::new(RequestAuthentication {
                meta,
                selector,
                targets: reach.targets(pool).unwrap_or_default(),
                rules: Box::default(),
                is_unreadable: true,
            })))
        }
        Kind::PeerAuthentication => {
            Some(Object::PeerAuthentication(Arc::new(PeerAuthentication {
                meta,
                selector,
                mode: MtlsMode::Strict,
                ports: Box::default(),
                is_unreadable: true,
            })))
        }
        _ => None,
    }
}

#[derive(Deserialize)]
struct Document<S, T: Default> {
    metadata: RawMeta,
    #[serde(default = "Option::default")]
    spec: Option<S>,
    #[serde(
        default,
        deserialize_with = "fields::or_default",
        bound(deserialize = "T: Deserialize<'de>")
    )]
    status: T,
}

/// A policy whose rules stand one level too high must not read as one without rules.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "known fields")]
struct StrictDocument<S> {
    api_version: String,
    kind: String,
    metadata: RawMeta,
    #[serde(
        default = "Option::default",
        deserialize_with = "fields::not_null",
        bound(deserialize = "S: Deserialize<'de>")
    )]
    spec: Option<S>,
    status: Option<IgnoredAny>,
}

enum Input<'a> {
    Text(&'a str),
    Value(Value),
}

fn object(kind: Kind, input: Input<'_>, pool: &mut Pool) -> Result<Object, ReadError> {
    let plain = |input| typed::<Document<IgnoredAny, IgnoredAny>>(input);
    let missing = || FieldError::new("spec", "is missing");
    Ok(match kind {
        Kind::Namespace => {
            let meta = plain(input)?.metadata.build(kind, pool)?;
            Object::Namespace(Arc::new(Namespace { meta }))
        }
        Kind::ServiceAccount => {
            let meta = plain(input)?.metadata.build(kind, pool)?;
            Object::ServiceAccount(Arc::new(ServiceAccount { meta }))
        }
        Kind::Node => {
            let meta = plain(input)?.metadata.build(kind, pool)?;
            Object::Node(Arc::new(Node { meta }))
        }
        Kind::Pod => {
            let raw: Document<RawPodSpec, RawPodStatus> = typed(input)?;
            let meta = raw.metadata.build(kind, pool)?;
            let spec = raw.spec.ok_or_else(missing)?;
            Object::Pod(Arc::new(core::pod(meta, &spec, &raw.status, pool)?))
        }
        Kind::Service => {
            let raw: Document<RawServiceSpec, IgnoredAny> = typed(input)?;
            let meta = raw.metadata.build(kind, pool)?;
            let spec = raw.spec.ok_or_else(missing)?;
            Object::Service(Arc::new(service::service(meta, &spec, pool)?))
        }
        Kind::EndpointSlice => {
            let raw: RawSlice = typed(input)?;
            let meta = raw.metadata.build(kind, pool)?;
            Object::EndpointSlice(Arc::new(slice::endpoint_slice(meta, &raw, pool)?))
        }
        Kind::WorkloadEntry => {
            let raw: Document<RawWorkloadEntry, IgnoredAny> = typed(input)?;
            let meta = raw.metadata.build(kind, pool)?;
            let spec = raw.spec.ok_or_else(missing)?;
            Object::WorkloadEntry(Arc::new(istio::workload_entry(meta, &spec, pool)?))
        }
        Kind::ServiceEntry => {
            let raw: Document<RawServiceEntry, IgnoredAny> = typed(input)?;
            let meta = raw.metadata.build(kind, pool)?;
            let spec = raw.spec.ok_or_else(missing)?;
            Object::ServiceEntry(Arc::new(istio::service_entry(meta, &spec, pool)?))
        }
        Kind::HTTPRoute
        | Kind::GRPCRoute
        | Kind::TLSRoute
        | Kind::TCPRoute
        | Kind::ReferenceGrant
        | Kind::VirtualService
        | Kind::DestinationRule
        | Kind::BackendTLSPolicy
        | Kind::Gateway
        | Kind::GatewayClass => routing_object(kind, input, pool)?,
        Kind::Telemetry => {
            let raw: StrictDocument<RawTelemetry> = typed(input)?;
            let meta = raw.metadata.build(kind, pool)?;
            let spec = raw.spec.unwrap_or_default();
            Object::Telemetry(Arc::new(telemetry::telemetry(meta, &spec, pool)?))
        }
        Kind::AuthorizationPolicy
        | Kind::PeerAuthentication
        | Kind::RequestAuthentication
        | Kind::Secret
        | Kind::ConfigMap => security_object(kind, input, pool)?,
    })
}

/// Objects that say who may do what.
fn security_object(kind: Kind, input: Input<'_>, pool: &mut Pool) -> Result<Object, ReadError> {
    Ok(match kind {
        Kind::AuthorizationPolicy => {
            let raw: StrictDocument<RawAuthorizationPolicy> = typed(input)?;
            let meta = raw.metadata.build(kind, pool)?;
            let spec = raw.spec.unwrap_or_default();
            Object::AuthorizationPolicy(Arc::new(policy::authorization_policy(meta, &spec, pool)?))
        }
        Kind::RequestAuthentication => {
            let raw: StrictDocument<RawRequestAuthentication> = typed(input)?;
            let meta = raw.metadata.build(kind, pool)?;
            let spec = raw.spec.unwrap_or_default();
            let built = request_authentication::request_authentication(meta, &spec, pool)?;
            Object::RequestAuthentication(Arc::new(built))
        }
        Kind::Secret => {
            let raw: RawSecret = typed(input).map_err(unsaid)?;
            let meta = raw.metadata.build(kind, pool)?;
            Object::Secret(Arc::new(secret::secret(meta, &raw, pool)?))
        }
        Kind::ConfigMap => {
            let raw: RawConfigMap = typed(input)?;
            let meta = raw.metadata.build(kind, pool)?;
            match raw.data.get(CA_KEY).filter(|_| *meta.name != *MESH_CONFIG.0) {
                Some(text) => Object::CaBundle(Arc::new(certificates::ca_bundle(meta, text, pool))),
                None => Object::MeshConfig(Arc::new(mesh_config::config_map(meta, &raw)?)),
            }
        }
        _ => {
            let raw: StrictDocument<RawPeerAuthentication> = typed(input)?;
            let meta = raw.metadata.build(kind, pool)?;
            let spec = raw.spec.unwrap_or_default();
            Object::PeerAuthentication(Arc::new(peer::peer_authentication(meta, &spec, pool)?))
        }
    })
}

/// Objects that say where requests go. A match that is overlooked routes more than was written, so that every field has to
/// be known.
fn routing_object(kind: Kind, input: Input<'_>, pool: &mut Pool) -> Result<Object, ReadError> {
    fn read<S: DeserializeOwned>(
        kind: Kind,
        input: Input<'_>,
        pool: &mut Pool,
    ) -> Result<(Meta, Option<S>), ReadError> {
        let raw: StrictDocument<S> = typed(input)?;
        Ok((raw.metadata.build(kind, pool)?, raw.spec))
    }
    let missing = || FieldError::new("spec", "is missing");
    Ok(match kind {
        Kind::GRPCRoute => {
            let (meta, spec) = read::<RawGrpcRoute>(kind, input, pool)?;
            let route = route::grpc_route(meta, &spec.unwrap_or_default(), pool)?;
            Object::Route(Arc::new(route))
        }
        Kind::TLSRoute | Kind::TCPRoute => {
            let of = if kind == Kind::TLSRoute { RouteKind::Tls } else { RouteKind::Tcp };
            let (meta, spec) = read::<RawStreamRoute>(kind, input, pool)?;
            let route = route::stream_route(of, meta, &spec.unwrap_or_default(), pool)?;
            Object::Route(Arc::new(route))
        }
        Kind::ReferenceGrant => {
            let (meta, spec) = read::<RawGrant>(kind, input, pool)?;
            let grant = route::reference_grant(meta, &spec.ok_or_else(missing)?, pool)?;
            Object::ReferenceGrant(Arc::new(grant))
        }
        Kind::VirtualService => {
            let (meta, spec) = read::<RawVirtualService>(kind, input, pool)?;
            let spec = spec.unwrap_or_default();
            Object::VirtualService(Arc::new(virtual_service::virtual_service(meta, &spec, pool)?))
        }
        Kind::DestinationRule => {
            let (meta, spec) = read::<RawDestinationRule>(kind, input, pool)?;
            let spec = spec.ok_or_else(missing)?;
            let rule = destination_rule::destination_rule(meta, &spec, pool)?;
            Object::DestinationRule(Arc::new(rule))
        }
        Kind::BackendTLSPolicy => {
            let (meta, spec) = read::<RawBackendTlsPolicy>(kind, input, pool)?;
            let spec = spec.ok_or_else(missing)?;
            let policy = backend_tls_policy::backend_tls_policy(meta, &spec, pool)?;
            Object::BackendTlsPolicy(Arc::new(policy))
        }
        Kind::Gateway => {
            let (meta, spec) = read::<RawGateway>(kind, input, pool)?;
            let spec = spec.ok_or_else(missing)?;
            Object::Gateway(Arc::new(gateway::gateway(meta, &spec, pool)?))
        }
        Kind::GatewayClass => {
            let (meta, spec) = read::<RawGatewayClass>(kind, input, pool)?;
            let class = gateway::gateway_class(meta, &spec.ok_or_else(missing)?, pool);
            Object::GatewayClass(Arc::new(class))
        }
        _ => {
            let (meta, spec) = read::<RawHttpRoute>(kind, input, pool)?;
            let route = route::http_route(meta, &spec.unwrap_or_default(), pool)?;
            Object::Route(Arc::new(route))
        }
    })
}

/// Parts of a document that come from aliases: a pod written out has about a hundred.
const ALIASED_EVENTS_MAX: usize = 1_000;

fn typed<T: DeserializeOwned>(input: Input<'_>) -> Result<T, ReadError> {
    let mut track = serde_path_to_error::Track::new();
    let result = match input {
        Input::Value(value) => {
            T::deserialize(serde_path_to_error::Deserializer::new(value, &mut track))
                .map_err(|error| (None, error.to_string()))
        }
        Input::Text(text) => {
            let options = serde_saphyr::options! {
                with_snippet: false,
                emit_comments: false,
                // People repeat a block or two by an alias; aliases of aliases are how a short text takes seconds.
                alias_limits: serde_saphyr::alias_limits! {
                    max_total_replayed_events: ALIASED_EVENTS_MAX,
                },
            };
            serde_saphyr::with_deserializer_from_str_with_options(text, options, |yaml| {
                T::deserialize(serde_path_to_error::Deserializer::new(yaml, &mut track))
            })
            .map_err(|error| {
                let line = error.location().and_then(|at| u32::try_from(at.line()).ok());
                (line, error.to_string())
            })
        }
    };
    result.map_err(|(line, reason)| {
        let path = track.path().to_string();
        // "." and "?" are how the tracker writes "nowhere in particular".
        let path = path.trim_end_matches(".?");
        let field = Some(path).filter(|path| !matches!(*path, "." | "?")).map(str::to_owned);
        // The line is said once, and as that of the file.
        let reason = reason.rsplit_once(" at line ").map_or(&*reason, |(reason, _)| reason);
        ReadError { line, field, reason: reason.to_owned() }
    })
}

/// What a parser says may quote what it can't read, and in a Secret that is nobody's business. The line stays.
fn unsaid(error: ReadError) -> ReadError {
    let reason = "it can't be read; what stands there isn't shown, for it may be a Secret's";
    ReadError { field: None, reason: reason.to_owned(), ..error }
}

/// The same for a text of which it isn't known what it is.
fn without_values(error: ReadError, text: &str) -> ReadError {
    match text.contains("Secret") || text.contains("stringData") || text.contains("PRIVATE KEY") {
        true => unsaid(error),
        false => error,
    }
}

impl From<FieldError> for ReadError {
    fn from(error: FieldError) -> Self {
        Self { line: None, field: Some(error.field), reason: error.reason }
    }
}
