//! What the controller says about a service's telemetry, understood once: `weft.route.v1.TelemetryPolicy`.
//!
//! A policy that reaches the proxy is never refused for one bad part: what can't be understood is left out, and named in
//! [`Decoded::problems`]. A log whose format or filter can't be read isn't written at all, since it might say too much.

use std::sync::Arc;
use std::time::Duration;

use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message as _;
use weft_proto::contract::telemetry as bounds;
use weft_proto::route as proto;

use super::access_log::{AccessLog, Filter, Layout};
use super::metrics::{Attribute, Change, Tag, View};
use super::share::Share;
use super::trace::{CustomTag, Origin, OtlpProtocol, SpanQueue, TagValue, Tracer};

/// What is told of a service's requests. The default: metrics as usual, no log, no traces.
#[derive(Debug, Clone, Default)]
pub struct ServiceTelemetry {
    /// A line a request in each.
    pub logs: Vec<AccessLog>,
    /// What is changed of metrics.
    pub view: Option<Arc<View>>,
    /// How requests are traced.
    pub tracing: Option<Tracing>,
}

/// How requests of a service are traced, apart from the queue for their spans: services with equal collectors share one.
#[derive(Debug, Clone)]
pub struct Tracing {
    /// Where spans go.
    pub collector: CollectorAddress,
    share: Share,
    is_silent: bool,
    has_istio_tags: bool,
    path_bytes_max: usize,
    tags: Vec<CustomTag>,
}

/// A collector and how it is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectorAddress {
    /// Host and port: the host is a service of the mesh, or a name outside of it.
    pub authority: Authority,
    /// gRPC or HTTP.
    pub protocol: OtlpProtocol,
    /// In every request.
    pub headers: HeaderMap,
    /// For one request; `None`: as usual.
    pub deadline: Option<Duration>,
}

/// A policy and what of it couldn't be understood.
#[derive(Debug, Default)]
pub struct Decoded {
    /// `namespace/hostname`.
    pub service: String,
    /// What could.
    pub telemetry: ServiceTelemetry,
    /// A sentence each.
    pub problems: Vec<String>,
}

/// The bytes are no policy.
#[derive(Debug, thiserror::Error)]
#[error("telemetry policy can't be decoded: {0}")]
pub struct PolicyError(#[from] prost::DecodeError);

/// Reads a policy. `environment` looks a variable of this process up.
pub fn decode(
    bytes: &[u8],
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Decoded, PolicyError> {
    let policy = proto::TelemetryPolicy::decode(bytes)?;
    let mut decoded = Decoded {
        service: format!("{}/{}", policy.namespace, policy.hostname),
        ..Decoded::default()
    };
    let problems = &mut decoded.problems;
    for rule in policy.access_logs.iter().take(bounds::LOGS_MAX) {
        match access_log(rule) {
            Ok(log) => decoded.telemetry.logs.push(log),
            Err(problem) => problems.push(problem),
        }
    }
    if !policy.metrics.is_empty() {
        decoded.telemetry.view = Some(Arc::new(view(&policy.metrics, problems)));
    }
    if let Some(rule) = &policy.tracing {
        decoded.telemetry.tracing = tracing(rule, environment, problems);
    }
    Ok(decoded)
}

impl Tracing {
    /// Of how many requests, in percent.
    pub(super) fn percent(&self) -> f64 {
        self.share.percent()
    }

    /// The tracer that hands spans to `queue`.
    pub fn tracer(&self, origin: Arc<Origin>, queue: SpanQueue) -> Tracer {
        Tracer {
            share: self.share,
            is_silent: self.is_silent,
            tags: self.tags.clone(),
            has_istio_tags: self.has_istio_tags,
            path_bytes_max: self.path_bytes_max,
            origin,
            queue,
        }
    }
}

fn access_log(rule: &proto::AccessLogRule) -> Result<AccessLog, String> {
    use proto::access_log_rule::Format;
    let layout = match &rule.format {
        None => Layout::text(""),
        Some(Format::Text(text)) => Layout::text(text),
        Some(Format::Json(text)) if text.is_empty() => Layout::json(None),
        Some(Format::Json(text)) if text.len() <= bounds::FORMAT_BYTES_MAX => {
            let object = serde_json::from_str(text)
                .map_err(|error| format!("access log format: it is no JSON object: {error}"))?;
            Layout::json(Some(&object))
        }
        Some(Format::Json(_)) => return Err("access log format: it is larger than allowed".into()),
    };
    let layout = Arc::new(layout.map_err(|error| error.to_string())?);
    let filter = match rule.filter.as_str() {
        "" => None,
        text => Some(Arc::new(Filter::new(text).map_err(|error| error.to_string())?)),
    };
    let share = rule.share_millionths.map_or(Share::ALL, Share::of_millionths);
    Ok(AccessLog { layout, filter, share })
}

fn view(rules: &[proto::MetricRule], problems: &mut Vec<String>) -> View {
    let mut changes: [Change; bounds::METRICS.len()] = Default::default();
    for rule in rules {
        let place = bounds::METRICS.iter().position(|it| *it as i32 == rule.metric);
        let Some(change) = place.and_then(|place| changes.get_mut(place)) else {
            problems.push(format!("metric {} is not known", rule.metric));
            continue;
        };
        change.is_disabled = rule.is_disabled;
        for tag in rule.tags.iter().take(bounds::TAGS_MAX) {
            match metric_tag(tag) {
                Some(value) => change.tags.push((tag.name.as_str().into(), value)),
                None => problems.push(format!("label {} of a metric is not understood", tag.name)),
            }
        }
    }
    View::new(changes)
}

fn metric_tag(tag: &proto::MetricTag) -> Option<Tag> {
    use proto::metric_tag::Value;
    is_label_name(&tag.name).then_some(())?;
    match &tag.value {
        None => Some(Tag::Remove),
        Some(Value::Literal(text)) if text.len() > bounds::TEXT_BYTES_MAX => None,
        Some(Value::Literal(text)) => Some(Tag::Literal(text.as_str().into())),
        Some(Value::Attribute(number)) => match Attribute::try_from(*number) {
            Ok(Attribute::Unknown) | Err(_) => None,
            Ok(attribute) => Some(Tag::Attribute(attribute)),
        },
    }
}

/// Prometheus's names of labels; another one would break the whole scrape. `le` is a histogram's own.
fn is_label_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    starts_well && name.len() <= 128 && name.bytes().all(is_allowed) && name != "le"
}

fn tracing(
    rule: &proto::TracingRule,
    environment: &dyn Fn(&str) -> Option<String>,
    problems: &mut Vec<String>,
) -> Option<Tracing> {
    let authority = format!("{}:{}", rule.collector_host, rule.collector_port).parse();
    let Ok(authority) = authority else {
        problems.push(format!("tracing: {:?} is no host", rule.collector_host));
        return None;
    };
    let mut headers = HeaderMap::new();
    for header in rule.headers.iter().take(bounds::HEADERS_MAX) {
        let name = HeaderName::from_bytes(header.name.as_bytes());
        match (name, HeaderValue::from_str(&header.value)) {
            (Ok(name), Ok(mut value)) => {
                value.set_sensitive(true);
                headers.append(name, value);
            }
            _ => problems.push(format!("tracing: header {:?} can't be sent", header.name)),
        }
    }
    let protocol = match rule.http_path.as_str() {
        "" => OtlpProtocol::Grpc,
        path => OtlpProtocol::Http { path: path.to_owned() },
    };
    let mut tags = Vec::new();
    for tag in rule.tags.iter().take(bounds::TAGS_MAX) {
        match span_tag(tag, environment) {
            Some(value) => tags.push(CustomTag { name: tag.name.as_str().into(), value }),
            None => problems.push(format!("tracing: tag {:?} is not understood", tag.name)),
        }
    }
    let path_bytes_max = usize::try_from(rule.path_bytes_max).unwrap_or_default();
    let deadline = rule.timeout_milliseconds.min(crate::limits::MILLISECONDS_MAX);
    let deadline = Some(deadline).filter(|it| *it > 0).map(Duration::from_millis);
    Some(Tracing {
        collector: CollectorAddress { authority, protocol, headers, deadline },
        share: Share::of_millionths(rule.share_millionths),
        is_silent: rule.is_silent,
        has_istio_tags: !rule.omits_istio_tags,
        path_bytes_max: match path_bytes_max {
            0 => crate::limits::TAG_BYTES_MAX,
            given => given.min(bounds::TEXT_BYTES_MAX),
        },
        tags,
    })
}

fn span_tag(
    tag: &proto::TracingTag,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Option<TagValue> {
    use proto::tracing_tag::Source;
    let otherwise = tag.otherwise.as_str().into();
    match tag.source.as_ref()? {
        Source::Literal(text) => Some(TagValue::Literal(text.as_str().into())),
        Source::Header(name) => {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            Some(TagValue::Header { name, otherwise })
        }
        Source::Environment(name) => {
            Some(TagValue::Literal(environment(name).map_or(otherwise, Into::into)))
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::access_log_rule::Format;
    use proto::metric_tag::Value;
    use proto::tracing_tag::Source;

    use super::*;

    fn read(policy: &proto::TelemetryPolicy) -> Decoded {
        let environment = |name: &str| (name == "REGION").then(|| "eu".to_owned());
        decode(&policy.encode_to_vec(), &environment).unwrap()
    }

    #[test]
    fn empty_policy_is_telemetry_as_usual() {
        let decoded = read(&proto::TelemetryPolicy::default());
        assert!(decoded.problems.is_empty() && decoded.telemetry.logs.is_empty());
        assert!(decoded.telemetry.view.is_none() && decoded.telemetry.tracing.is_none());
    }

    #[test]
    fn log_that_cant_be_understood_is_not_written_and_named() {
        let log = |format: Option<Format>, filter: &str| proto::AccessLogRule {
            format,
            filter: filter.into(),
            share_millionths: None,
        };
        let access_logs = vec![
            log(None, ""),
            log(Some(Format::Json(String::new())), "response.code >= 500"),
            log(Some(Format::Text("%NO_SUCH%".into())), ""),
            log(Some(Format::Json("[]".into())), ""),
            log(None, "no.such == 1"),
        ];
        let decoded = read(&proto::TelemetryPolicy { access_logs, ..Default::default() });
        assert_eq!(decoded.telemetry.logs.len(), 2);
        assert!(decoded.telemetry.logs[1].filter.is_some());
        let problems = decoded.problems.join("\n");
        assert!(problems.contains("%NO_SUCH%") && problems.contains("attribute no"), "{problems}");
        assert_eq!(decoded.problems.len(), 3);
    }

    #[test]
    fn tracing_is_understood_with_its_tags() {
        let tag = |name: &str, source| proto::TracingTag {
            name: name.into(),
            source,
            otherwise: "none".into(),
        };
        let rule = proto::TracingRule {
            collector_host: "otel.observability.svc.cluster.local".into(),
            collector_port: 4317,
            share_millionths: 50_000,
            tags: vec![
                tag("region", Some(Source::Environment("REGION".into()))),
                tag("other", Some(Source::Environment("OTHER".into()))),
                tag("tenant", Some(Source::Header("x-tenant".into()))),
                tag("later", None),
            ],
            ..Default::default()
        };
        let decoded = read(&proto::TelemetryPolicy { tracing: Some(rule), ..Default::default() });
        let tracing = decoded.telemetry.tracing.unwrap();
        let literal = |text: &str| TagValue::Literal(text.into());
        assert_eq!(tracing.tags[0].value, literal("eu"));
        assert_eq!(tracing.tags[1].value, literal("none"));
        assert_eq!(tracing.tags.len(), 3);
        assert_eq!(decoded.problems, ["tracing: tag \"later\" is not understood"]);
        assert_eq!(tracing.share, Share::of_millionths(50_000));
        assert_eq!(tracing.collector.protocol, OtlpProtocol::Grpc);
        assert_eq!(tracing.collector.authority.port_u16(), Some(4317));
    }

    #[test]
    fn label_that_would_break_a_scrape_is_left_out() {
        let tag = |name: &str, value| proto::MetricTag { name: name.into(), value };
        let literal = |text: &str| Some(Value::Literal(text.into()));
        let rule = proto::MetricRule {
            metric: proto::Metric::RequestCount.into(),
            is_disabled: false,
            tags: vec![
                tag("a b", literal("x")),
                tag("le", literal("x")),
                tag("", None),
                tag("later", Some(Value::Attribute(99))),
                tag("fine_1", literal("x")),
            ],
        };
        let later = proto::MetricRule { metric: 99, ..Default::default() };
        let decoded =
            read(&proto::TelemetryPolicy { metrics: vec![rule, later], ..Default::default() });
        assert_eq!(decoded.problems.len(), 5, "{:?}", decoded.problems);
        assert!(decoded.telemetry.view.is_some());
    }

    #[test]
    fn damaged_bytes_never_panic() {
        let policy = proto::TelemetryPolicy {
            hostname: "a".into(),
            access_logs: vec![proto::AccessLogRule {
                format: Some(Format::Text("%REQ(:PATH)% %START_TIME(%s)%".into())),
                filter: "response.code > 1".into(),
                share_millionths: Some(5),
            }],
            tracing: Some(proto::TracingRule { collector_host: "a".into(), ..Default::default() }),
            ..Default::default()
        };
        let bytes = policy.encode_to_vec();
        for at in 0..bytes.len() {
            for value in [0, 1, 0x25, 0x28, 0x7f, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] = value;
                let _ = decode(&damaged, &|_| None);
            }
        }
    }
}
