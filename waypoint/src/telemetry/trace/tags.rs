//! What a span says, under the names of Envoy and Istio.

use http::HeaderName;
use weft_proto::opentelemetry::common::v1::{AnyValue, KeyValue, any_value::Value};

use super::super::access_log::cut;
use super::super::record::RequestRecord;
use super::span::{AttemptEnd, Tracer};
use crate::limits;

/// Who sends the spans: this waypoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// `waypoint.shop`: the service under which a collector shows them.
    pub service: String,
    /// The waypoint's canonical service.
    pub canonical_service: String,
    /// Its canonical revision.
    pub canonical_revision: String,
    /// Its namespace.
    pub namespace: String,
    /// The mesh.
    pub mesh: String,
    /// The cluster.
    pub cluster: String,
}

/// A tag of a Telemetry object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomTag {
    /// Its name.
    pub name: Box<str>,
    /// What it says.
    pub value: TagValue,
}

/// What a tag says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagValue {
    /// Always this: a literal, or a variable of the environment as it was when the tag was made.
    Literal(Box<str>),
    /// A header of the request.
    Header {
        /// Which one.
        name: HeaderName,
        /// What it says without that header; no tag if empty.
        otherwise: Box<str>,
    },
}

impl Origin {
    /// As attributes of the resource that spans come from (OpenTelemetry's semantic conventions, "Service").
    pub(super) fn resource(&self) -> Vec<KeyValue> {
        vec![text("service.name", &self.service)]
    }
}

/// The name of a request's span: the service and port that were addressed, as Istio's decorator says it.
pub(super) fn operation(record: &RequestRecord<'_>) -> String {
    let stream = &record.stream;
    match (stream.parties.service, stream.downstream.local) {
        (Some(service), Some(local)) => format!("{}:{}/*", service.host, local.port()),
        (Some(service), None) => format!("{}/*", service.host),
        (None, Some(local)) => format!("{local}/*"),
        (None, None) => "ingress".to_owned(),
    }
}

/// What the span of a request says.
pub(super) fn of_request(record: &RequestRecord<'_>, tracer: &Tracer) -> Vec<KeyValue> {
    let (stream, http) = (&record.stream, &record.http);
    let header = |name: &str| {
        let value = http.request_headers.get(name).map(|it| it.as_bytes()).unwrap_or_default();
        String::from_utf8_lossy(cut(value, limits::TAG_BYTES_MAX)).into_owned()
    };
    let path = String::from_utf8_lossy(cut(http.path.as_bytes(), tracer.path_bytes_max));
    let peer = stream.downstream.remote.map(|remote| remote.ip().to_string());
    let authority = String::from_utf8_lossy(cut(http.authority.as_bytes(), limits::TAG_BYTES_MAX));
    let mut tags = vec![
        text("component", "proxy"),
        text("http.method", http.method.as_str()),
        text("http.url", &format!("{}://{authority}{path}", http.scheme)),
        text("http.protocol", protocol(http.version)),
        text("http.status_code", &http.status.to_string()),
        text("response_flags", &stream.flags.to_string()),
        text("request_size", &stream.sizes.received.to_string()),
        text("response_size", &stream.sizes.sent.to_string()),
        text("guid:x-request-id", &header("x-request-id")),
        text("user_agent", &header("user-agent")),
        text("peer.address", &peer.unwrap_or_default()),
        text("upstream_cluster", stream.upstream.cluster),
        text("upstream_cluster.name", stream.upstream.cluster),
    ];
    if let Some(status) = http.grpc_status {
        tags.push(text("grpc.status_code", &status.to_string()));
    }
    if http.status >= 500 || http.status == 0 {
        tags.push(text("error", "true"));
    }
    if tracer.has_istio_tags {
        istio(record, tracer, &mut tags);
    }
    for tag in &tracer.tags {
        let value = match &tag.value {
            TagValue::Literal(value) => value.clone().into(),
            TagValue::Header { name, otherwise } => match http.request_headers.get(name) {
                Some(value) => {
                    let value = cut(value.as_bytes(), limits::TAG_BYTES_MAX);
                    String::from_utf8_lossy(value).into_owned()
                }
                None => otherwise.clone().into(),
            },
        };
        if !value.is_empty() {
            tags.retain(|usual| usual.key != *tag.name);
            tags.push(text(&tag.name, &value));
        }
    }
    tags
}

fn istio(record: &RequestRecord<'_>, tracer: &Tracer, tags: &mut Vec<KeyValue>) {
    let origin = &tracer.origin;
    let parties = &record.stream.parties;
    let (source, destination) = (parties.source.party(), parties.destination.party());
    for (name, value) in [
        ("istio.canonical_service", origin.canonical_service.as_str()),
        ("istio.canonical_revision", &origin.canonical_revision),
        ("istio.namespace", &origin.namespace),
        ("istio.mesh_id", &origin.mesh),
        ("istio.cluster_id", &origin.cluster),
        ("istio.downstream.workload", &source.workload),
        ("istio.downstream.namespace", &source.namespace),
        ("istio.upstream.workload", &destination.workload),
        ("istio.upstream.namespace", &destination.namespace),
    ] {
        if !value.is_empty() {
            tags.push(text(name, value));
        }
    }
}

/// What the span of an attempt says.
pub(super) fn of_attempt(end: &AttemptEnd<'_>) -> Vec<KeyValue> {
    let mut tags = vec![
        text("component", "proxy"),
        text("upstream_cluster", end.cluster),
        text("upstream_cluster.name", end.cluster),
    ];
    if let Some(address) = end.address {
        tags.push(text("upstream_address", &address.to_string()));
        tags.push(text("peer.address", &address.to_string()));
    }
    if let Some(status) = end.status {
        tags.push(text("http.status_code", &status.to_string()));
    }
    if end.status.is_none_or(|status| status >= 500) {
        tags.push(text("error", "true"));
    }
    tags
}

fn protocol(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_09 | http::Version::HTTP_10 => "HTTP/1.0",
        http::Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

pub(super) fn text(name: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(Value::StringValue(value.to_owned())) };
    KeyValue { key: name.to_owned(), value: Some(value) }
}
