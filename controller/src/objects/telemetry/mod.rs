//! Telemetry objects. What isn't honoured is kept by its path and why, for the object's status.

mod metrics;
mod raw;

use std::sync::Arc;

use super::Pool;
use super::fields::FieldError;
use super::meta::Meta;
use super::target::{self, PolicyTarget};
pub use metrics::{MetricChange, MetricValue};
pub(super) use raw::RawTelemetry;
use raw::{RawLog, RawTag, RawTracing};

/// A field that has no effect, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ignored {
    /// Path from the object's top.
    pub field: String,
    /// Why.
    pub reason: &'static str,
}

/// What a mesh wants to be told.
#[derive(Debug, Clone, PartialEq)]
pub struct Telemetry {
    /// Name, labels and so on.
    pub meta: Meta,
    /// For whom.
    pub scope: TelemetryScope,
    /// In the order written.
    pub logs: Box<[LogChange]>,
    /// Of a million requests that a log would have, how many it has (`weft.io/access-log-sampling`, per cent).
    pub log_share_millionths: Option<u32>,
    /// Traces.
    pub tracing: Option<TracingChange>,
    /// In the order written.
    pub metrics: Box<[MetricChange]>,
    /// Fields that have no effect.
    pub ignored: Box<[Ignored]>,
}

/// For whom a Telemetry object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TelemetryScope {
    /// All of its namespace; in the root namespace all of the mesh.
    Namespace,
    /// Pods, which have no such telemetry.
    Selector,
    /// These.
    Targets(Box<[PolicyTarget]>),
}

/// What changes of access logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogChange {
    /// Its place in `spec.accessLogging`.
    pub place: usize,
    /// Names of providers; empty: those in force.
    pub providers: Box<[Arc<str>]>,
    /// Whether they are off.
    pub is_disabled: bool,
    /// CEL.
    pub filter: Option<Arc<str>>,
}

/// What changes of traces.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TracingChange {
    /// Its place in `spec.tracing`.
    pub place: usize,
    /// The provider's name.
    pub provider: Option<Arc<str>>,
    /// Of a million requests.
    pub share_millionths: Option<u32>,
    /// Spans aren't sent.
    pub is_silent: Option<bool>,
    /// Whether Istio's own tags are there.
    pub has_istio_tags: Option<bool>,
    /// All tags besides those.
    pub tags: Option<Tags>,
}

/// Tags of spans by name, in order.
pub type Tags = Box<[(Arc<str>, TagSource)]>;

/// What a tag of spans says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagSource {
    /// Always this.
    Literal(Arc<str>),
    /// A header of the request; the second where it is missing.
    Header(Arc<str>, Arc<str>),
    /// A variable of the waypoint's environment; the second where it is missing.
    Environment(Arc<str>, Arc<str>),
}

/// Which side of a connection it is about: a waypoint is the server's.
const CLIENT_ONLY: &str =
    "a waypoint reports as the server does: write SERVER or CLIENT_AND_SERVER";
const SAMPLING: &str = "weft.io/access-log-sampling";
/// Entries of one list. People write one or two.
const LIST_MAX: usize = 64;

pub(super) fn telemetry(
    meta: Meta,
    raw: &RawTelemetry,
    pool: &mut Pool,
) -> Result<Telemetry, FieldError> {
    let mut ignored = Vec::new();
    let lists = [
        ("spec.accessLogging", raw.access_logging.len()),
        ("spec.tracing", raw.tracing.len()),
        ("spec.metrics", raw.metrics.len()),
        ("spec.targetRefs", raw.target_refs.as_ref().map_or(0, Vec::len)),
    ];
    if let Some((field, _)) = lists.into_iter().find(|(_, length)| *length > LIST_MAX) {
        return Err(FieldError::new(field, format!("has more than {LIST_MAX} entries")));
    }
    let scope = scope(&meta, raw, pool)?;
    let log_share_millionths = match meta.annotations.get(SAMPLING) {
        Some(text) => Some(text.parse().ok().and_then(millionths).ok_or_else(|| {
            let field = format!("metadata.annotations.{SAMPLING}");
            FieldError::new(field, format!("{text:?} is no percentage from 0 to 100"))
        })?),
        None => None,
    };
    let mut logs = Vec::new();
    for (at, raw) in raw.access_logging.iter().enumerate() {
        logs.extend(log(raw, at, &mut ignored, pool)?);
    }
    let mut tracing = None;
    for (at, raw) in raw.tracing.iter().enumerate() {
        let field = format!("spec.tracing[{at}]");
        if raw.is_client_only() {
            ignored.push(Ignored { field: format!("{field}.match.mode"), reason: CLIENT_ONLY });
        } else if tracing.is_some() {
            ignored.push(Ignored { field, reason: "the first entry alone counts" });
        } else {
            tracing = Some(tracing_of(raw, at, &mut ignored, pool)?);
        }
    }
    let metrics = metrics::changes(&raw.metrics, &mut ignored, pool)?;
    Ok(Telemetry {
        scope,
        logs: logs.into(),
        log_share_millionths,
        tracing,
        metrics,
        ignored: ignored.into(),
        meta,
    })
}

/// Of a percentage.
pub(super) fn millionths(percent: f64) -> Option<u32> {
    // A percentage has four digits more than a share in millionths.
    let scaled = (percent * 10_000.0).round();
    (0.0..=1_000_000.0).contains(&scaled).then(|| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is in range"
        )]
        let scaled = scaled as u32;
        scaled
    })
}

fn scope(meta: &Meta, raw: &RawTelemetry, pool: &mut Pool) -> Result<TelemetryScope, FieldError> {
    let has_selector = raw.selector.as_ref().is_some_and(|it| !it.match_labels.is_empty());
    let (single, list) = (raw.target_ref.as_ref(), raw.target_refs.as_ref());
    let targets = target::targets(single, list, has_selector, meta, pool)?;
    if has_selector {
        return Ok(TelemetryScope::Selector);
    }
    Ok(if targets.is_empty() {
        TelemetryScope::Namespace
    } else {
        TelemetryScope::Targets(targets)
    })
}

fn log(
    raw: &RawLog,
    place: usize,
    ignored: &mut Vec<Ignored>,
    pool: &mut Pool,
) -> Result<Option<LogChange>, FieldError> {
    use weft_proto::contract::telemetry::FILTER_BYTES_MAX;
    let field = format!("spec.accessLogging[{place}]");
    if raw.matched.as_ref().is_some_and(raw::RawMode::is_client_only) {
        ignored.push(Ignored { field: format!("{field}.match.mode"), reason: CLIENT_ONLY });
        return Ok(None);
    }
    let filter = raw.filter.as_ref().map(|filter| &filter.expression);
    if filter.is_some_and(|text| text.len() > FILTER_BYTES_MAX) {
        let reason = format!("is longer than {FILTER_BYTES_MAX} bytes");
        return Err(FieldError::new(format!("{field}.filter.expression"), reason));
    }
    Ok(Some(LogChange {
        place,
        providers: raw.providers.iter().map(|it| pool.text(&it.name)).collect(),
        is_disabled: raw.disabled.unwrap_or_default(),
        filter: filter.filter(|text| !text.is_empty()).map(|text| pool.text(text)),
    }))
}

fn tracing_of(
    raw: &RawTracing,
    place: usize,
    ignored: &mut Vec<Ignored>,
    pool: &mut Pool,
) -> Result<TracingChange, FieldError> {
    let field = format!("spec.tracing[{place}]");
    if raw.providers.len() > 1 {
        let reason = "spans go to one provider, the first";
        ignored.push(Ignored { field: format!("{field}.providers[1]"), reason });
    }
    if raw.use_request_id_for_trace_sampling.is_some() {
        let reason = "request IDs are never rewritten to carry a decision";
        ignored.push(Ignored { field: format!("{field}.useRequestIdForTraceSampling"), reason });
    }
    let share_millionths = match raw.random_sampling_percentage {
        Some(percent) => Some(millionths(percent).ok_or_else(|| {
            let field = format!("{field}.randomSamplingPercentage");
            FieldError::new(field, format!("{percent} is no percentage from 0 to 100"))
        })?),
        None => None,
    };
    let mut tags = Vec::new();
    for (name, raw) in raw.custom_tags.iter().flatten() {
        match tag(raw, pool) {
            Some(source) => tags.push((pool.text(name), source)),
            None => ignored.push(Ignored {
                field: format!("{field}.customTags.{name}"),
                reason: "a tag is a literal, a header or a variable of the environment",
            }),
        }
    }
    if tags.len() > weft_proto::contract::telemetry::TAGS_MAX {
        return Err(FieldError::new(format!("{field}.customTags"), "has too many entries"));
    }
    Ok(TracingChange {
        place,
        provider: raw.providers.first().map(|it| pool.text(&it.name)),
        share_millionths,
        is_silent: raw.disable_span_reporting,
        has_istio_tags: raw.enable_istio_tags,
        tags: raw.custom_tags.as_ref().map(|_| tags.into()),
    })
}

fn tag(raw: &RawTag, pool: &mut Pool) -> Option<TagSource> {
    let mut text = |text: &Option<String>| pool.text(text.as_deref().unwrap_or_default());
    Some(match raw {
        RawTag { literal: Some(it), header: None, environment: None, formatter: None } => {
            TagSource::Literal(text(&Some(it.value.clone())))
        }
        RawTag { literal: None, header: Some(it), environment: None, formatter: None } => {
            TagSource::Header(text(&Some(it.name.clone())), text(&it.default_value))
        }
        RawTag { literal: None, header: None, environment: Some(it), formatter: None } => {
            TagSource::Environment(text(&Some(it.name.clone())), text(&it.default_value))
        }
        _ => return None,
    })
}
