//! As the wire has it.

use std::sync::Arc;

use weft_proto::contract::telemetry::{LOGS_MAX, TAGS_MAX};
use weft_proto::route as proto;
use weft_proto::route::{access_log_rule::Format, metric_tag::Value, tracing_tag::Source};

use crate::objects::{MeshTelemetry, MetricValue, OtlpProvider, Provider, TagSource};

use super::merge::{Merged, Metric, Tracing};

/// The policy of a host; nothing where all is as usual.
pub(super) fn policy(
    mesh: &MeshTelemetry,
    merged: &Merged,
    namespace: &str,
    host: &str,
) -> Option<proto::TelemetryPolicy> {
    let logs = merged.written().filter_map(|(name, log)| {
        let format = match mesh.providers.get(name)? {
            Provider::TextLog(text) => Format::Text(text.to_string()),
            Provider::JsonLog(text) => Format::Json(text.to_string()),
            _ => return None,
        };
        Some(proto::AccessLogRule {
            format: Some(format),
            filter: log.filter.as_deref().unwrap_or_default().to_owned(),
            share_millionths: merged.log_share_millionths,
        })
    });
    let access_logs: Vec<_> = logs.take(LOGS_MAX).collect();
    let tracing = match merged.tracing.provider.as_ref().and_then(|it| mesh.providers.get(it)) {
        Some(Provider::Otlp(provider)) => Some(tracing(provider, &merged.tracing)),
        _ => None,
    };
    let changed = merged.metrics.iter().filter(|(_, it)| it.is_disabled || !it.tags.is_empty());
    let metrics: Vec<_> = changed.map(|(name, it)| metric(*name, it)).collect();
    let has_any = !access_logs.is_empty() || tracing.is_some() || !metrics.is_empty();
    has_any.then(|| proto::TelemetryPolicy {
        namespace: namespace.to_owned(),
        hostname: host.to_owned(),
        access_logs,
        tracing,
        metrics,
    })
}

fn tracing(provider: &OtlpProvider, tracing: &Tracing) -> proto::TracingRule {
    let timeout = provider.timeout.map(|timeout| timeout.as_millis());
    let header = |(name, value): &(Arc<str>, Arc<str>)| proto::TracingHeader {
        name: name.to_string(),
        value: value.to_string(),
    };
    let tag = |(name, source): &(Arc<str>, TagSource)| {
        let (source, otherwise) = match source {
            TagSource::Literal(text) => (Source::Literal(text.to_string()), ""),
            TagSource::Header(name, otherwise) => (Source::Header(name.to_string()), &**otherwise),
            TagSource::Environment(name, otherwise) => {
                (Source::Environment(name.to_string()), &**otherwise)
            }
        };
        let (name, otherwise) = (name.to_string(), otherwise.to_owned());
        proto::TracingTag { name, source: Some(source), otherwise }
    };
    proto::TracingRule {
        collector_host: provider.host.to_string(),
        collector_port: provider.port.into(),
        http_path: provider.http_path.as_deref().unwrap_or_default().to_owned(),
        timeout_milliseconds: timeout.and_then(|it| u64::try_from(it).ok()).unwrap_or_default(),
        headers: provider.headers.iter().map(header).collect(),
        share_millionths: tracing.share_millionths,
        is_silent: tracing.is_silent,
        omits_istio_tags: !tracing.has_istio_tags,
        path_bytes_max: provider.path_bytes_max.unwrap_or_default(),
        tags: tracing.tags.iter().map(tag).collect(),
    }
}

fn metric(name: proto::Metric, metric: &Metric) -> proto::MetricRule {
    let tags = metric.tags.iter().take(TAGS_MAX).map(|(name, value)| {
        let value = value.as_ref().map(|value| match value {
            MetricValue::Literal(text) => Value::Literal(text.to_string()),
            MetricValue::Attribute(attribute) => Value::Attribute((*attribute).into()),
        });
        proto::MetricTag { name: name.to_string(), value }
    });
    proto::MetricRule { metric: name.into(), is_disabled: metric.is_disabled, tags: tags.collect() }
}

#[cfg(test)]
mod tests {
    use weft_proto::contract::telemetry::METRICS;

    use super::proto;

    #[test]
    fn metrics_of_the_contract_are_all_that_the_wire_has() {
        let on_wire = (1..).map_while(|number| proto::Metric::try_from(number).ok());
        assert!(on_wire.eq(METRICS));
    }
}
