//! As the wire has it.

use std::sync::Arc;

use weft_proto::contract::telemetry::{LOGS_MAX, TAGS_MAX};
use weft_proto::route as proto;
use weft_proto::route::{access_log_rule::Format, metric_tag::Value, tracing_tag::Source};

use crate::objects::{MeshTelemetry, MetricName, MetricValue, OtlpProvider, Provider, TagSource};

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

fn metric(name: MetricName, metric: &Metric) -> proto::MetricRule {
    let tags = metric.tags.iter().take(TAGS_MAX).map(|(name, value)| {
        let value = value.as_ref().map(|value| match value {
            MetricValue::Literal(text) => Value::Literal(text.to_string()),
            // Both lists have one order; 0 is "unknown" on the wire.
            MetricValue::Attribute(attribute) => Value::Attribute(*attribute as i32 + 1),
        });
        proto::MetricTag { name: name.to_string(), value }
    });
    proto::MetricRule {
        metric: name as i32 + 1,
        is_disabled: metric.is_disabled,
        tags: tags.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::WaypointAttribute;

    #[test]
    fn numbers_on_the_wire_are_those_of_the_same_names() {
        let metrics = [
            (MetricName::RequestCount, proto::Metric::RequestCount),
            (MetricName::ResponseMessages, proto::Metric::ResponseMessages),
        ];
        for (own, wire) in metrics {
            assert_eq!(own as i32 + 1, wire as i32);
        }
        use proto::MetricAttribute as Wire;
        let attributes = [
            (WaypointAttribute::RequestMethod, Wire::RequestMethod),
            (WaypointAttribute::RequestProtocol, Wire::RequestProtocol),
            (WaypointAttribute::ResponseCode, Wire::ResponseCode),
            (WaypointAttribute::ResponseFlags, Wire::ResponseFlags),
            (WaypointAttribute::DestinationPort, Wire::DestinationPort),
            (WaypointAttribute::ConnectionMtls, Wire::ConnectionMtls),
            (WaypointAttribute::RouteName, Wire::RouteName),
            (WaypointAttribute::SourcePrincipal, Wire::SourcePrincipal),
            (WaypointAttribute::SourceWorkload, Wire::SourceWorkload),
            (WaypointAttribute::SourceNamespace, Wire::SourceNamespace),
            (WaypointAttribute::DestinationPrincipal, Wire::DestinationPrincipal),
            (WaypointAttribute::DestinationWorkload, Wire::DestinationWorkload),
            (WaypointAttribute::DestinationNamespace, Wire::DestinationNamespace),
            (WaypointAttribute::DestinationServiceHost, Wire::DestinationServiceHost),
        ];
        for (own, wire) in attributes {
            assert_eq!(own as i32 + 1, wire as i32);
        }
    }
}
