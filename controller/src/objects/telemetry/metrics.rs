//! What changes of metrics.

use std::sync::Arc;

use weft_proto::route::{Metric, MetricAttribute};

use super::raw::{Operation, RawMetrics, RawOverride, RawTagOverride};
use super::{CLIENT_ONLY, Ignored, LIST_MAX};
use crate::objects::Pool;
use crate::objects::fields::FieldError;

/// What changes of a metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricChange {
    /// Which; all if absent.
    pub metric: Option<Metric>,
    /// Whether it is off.
    pub is_disabled: Option<bool>,
    /// By the label's name; nothing: the label goes.
    pub tags: Box<[(Arc<str>, Option<MetricValue>)]>,
}

/// What a label shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetricValue {
    /// This text.
    Literal(Arc<str>),
    /// What a waypoint knows of a request and what has few values.
    Attribute(MetricAttribute),
}

const UNBOUNDED: &str =
    "a client or a server chooses its value, so it could make any number of series";
const NO_VALUE: &str =
    "a label shows a literal in quotes or one of the attributes that docs/telemetry.md names";
const NOT_TCP: &str = "metrics of TCP connections keep their labels";

pub(super) fn changes(
    raw: &[RawMetrics],
    ignored: &mut Vec<Ignored>,
    pool: &mut Pool,
) -> Result<Box<[MetricChange]>, FieldError> {
    let mut changes = Vec::new();
    for (at, raw) in raw.iter().enumerate() {
        let field = format!("spec.metrics[{at}]");
        if raw.reporting_interval.is_some() {
            let reason = "metrics are read whenever somebody asks for them";
            ignored.push(Ignored { field: format!("{field}.reportingInterval"), reason });
        }
        let is_ours = |name: &str| name == "prometheus";
        if let Some(at) = raw.providers.iter().position(|it| !is_ours(&it.name)) {
            let reason = "metrics are there for Prometheus alone";
            ignored.push(Ignored { field: format!("{field}.providers[{at}]"), reason });
        }
        if !raw.providers.is_empty() && !raw.providers.iter().any(|it| is_ours(&it.name)) {
            continue;
        }
        if raw.overrides.len() > LIST_MAX {
            let reason = format!("has more than {LIST_MAX} entries");
            return Err(FieldError::new(format!("{field}.overrides"), reason));
        }
        for (at, raw) in raw.overrides.iter().enumerate() {
            changes.extend(change(raw, &format!("{field}.overrides[{at}]"), ignored, pool)?);
        }
    }
    Ok(changes.into())
}

fn change(
    raw: &RawOverride,
    field: &str,
    ignored: &mut Vec<Ignored>,
    pool: &mut Pool,
) -> Result<Option<MetricChange>, FieldError> {
    let mut ignore = |part: &str, reason| {
        ignored.push(Ignored { field: format!("{field}{part}"), reason });
    };
    let matched = raw.matched.as_ref();
    if matched.is_some_and(|it| it.custom_metric.is_some()) {
        ignore(".match.customMetric", "waypoints have the standard metrics alone");
        return Ok(None);
    }
    if matched.is_some_and(super::raw::RawMetricMatch::is_client_only) {
        ignore(".match.mode", CLIENT_ONLY);
        return Ok(None);
    }
    let metric = match matched.and_then(|it| it.metric.as_deref()) {
        None | Some("ALL_METRICS") => {
            ignore("", NOT_TCP);
            None
        }
        Some("REQUEST_COUNT") => Some(Metric::RequestCount),
        Some("REQUEST_DURATION") => Some(Metric::RequestDuration),
        Some("REQUEST_SIZE") => Some(Metric::RequestSize),
        Some("RESPONSE_SIZE") => Some(Metric::ResponseSize),
        Some("GRPC_REQUEST_MESSAGES") => Some(Metric::RequestMessages),
        Some("GRPC_RESPONSE_MESSAGES") => Some(Metric::ResponseMessages),
        Some(
            "TCP_OPENED_CONNECTIONS"
            | "TCP_CLOSED_CONNECTIONS"
            | "TCP_SENT_BYTES"
            | "TCP_RECEIVED_BYTES",
        ) => {
            ignore(".match.metric", NOT_TCP);
            return Ok(None);
        }
        Some(other) => {
            let reason = format!("{other:?} is no metric of Istio's");
            return Err(FieldError::new(format!("{field}.match.metric"), reason));
        }
    };
    let mut tags = Vec::new();
    for (name, raw) in &raw.tag_overrides {
        match tag(name, raw, pool) {
            Ok(value) => tags.push((pool.text(name), value)),
            Err(reason) => ignore(&format!(".tagOverrides.{name}"), reason),
        }
    }
    if tags.len() > weft_proto::contract::telemetry::TAGS_MAX {
        return Err(FieldError::new(format!("{field}.tagOverrides"), "has too many entries"));
    }
    Ok(Some(MetricChange { metric, is_disabled: raw.disabled, tags: tags.into() }))
}

fn tag(
    name: &str,
    raw: &RawTagOverride,
    pool: &mut Pool,
) -> Result<Option<MetricValue>, &'static str> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts_well || !name.bytes().all(is_allowed) || name.len() > 128 || name == "le" {
        return Err("is no name of a label");
    }
    match (raw.operation.unwrap_or(Operation::Upsert), raw.value.as_deref()) {
        (Operation::Remove, _) => Ok(None),
        (Operation::Upsert, None) => Err(NO_VALUE),
        (Operation::Upsert, Some(text)) => value(text, pool).map(Some),
    }
}

/// The part of CEL that is understood: a literal, an attribute, and `string()` around either.
fn value(text: &str, pool: &mut Pool) -> Result<MetricValue, &'static str> {
    use MetricAttribute as Of;
    let text = text.trim();
    let inner = text.strip_prefix("string(").and_then(|rest| rest.strip_suffix(')'));
    let text = inner.unwrap_or(text).trim();
    for quote in ['\'', '"'] {
        let unquoted = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        if let Some(literal) = unquoted.filter(|it| !it.contains([quote, '\\'])) {
            return Ok(MetricValue::Literal(pool.text(literal)));
        }
    }
    if matches!(text, "true" | "false") || text.parse::<i64>().is_ok() {
        return Ok(MetricValue::Literal(pool.text(text)));
    }
    let attribute = match text {
        "request.method" => Of::RequestMethod,
        "request.protocol" => Of::RequestProtocol,
        "response.code" => Of::ResponseCode,
        "response.flags" => Of::ResponseFlags,
        "destination.port" => Of::DestinationPort,
        "connection.mtls" => Of::ConnectionMtls,
        "xds.route_name" | "route_name" => Of::RouteName,
        "source.principal" | "connection.uri_san_peer_certificate" => Of::SourcePrincipal,
        "source.workload" => Of::SourceWorkload,
        "source.namespace" => Of::SourceNamespace,
        "destination.principal" => Of::DestinationPrincipal,
        "destination.workload" => Of::DestinationWorkload,
        "destination.namespace" => Of::DestinationNamespace,
        "destination.service" => Of::DestinationServiceHost,
        other if other.starts_with("request.") || other.starts_with("response.") => {
            return Err(UNBOUNDED);
        }
        _ => return Err(NO_VALUE),
    };
    Ok(MetricValue::Attribute(attribute))
}
