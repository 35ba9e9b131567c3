//! As they are written.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::objects::fields::{self, Given};
use crate::objects::target::RawTarget;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::objects) struct RawTelemetry {
    pub(super) selector: Option<RawSelector>,
    pub(super) target_ref: Option<RawTarget>,
    #[serde(default, deserialize_with = "fields::or_default")]
    pub(super) target_refs: Option<Vec<Given<RawTarget>>>,
    #[serde(default, deserialize_with = "fields::or_default")]
    pub(super) access_logging: Vec<RawLog>,
    #[serde(default, deserialize_with = "fields::or_default")]
    pub(super) tracing: Vec<RawTracing>,
    #[serde(default, deserialize_with = "fields::or_default")]
    pub(super) metrics: Vec<RawMetrics>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawSelector {
    #[serde(default, deserialize_with = "fields::or_default")]
    pub(super) match_labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawProvider {
    pub(super) name: String,
}

/// Which side it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Mode {
    ClientAndServer,
    Client,
    Server,
    Undefined,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMode {
    mode: Option<Mode>,
}

impl RawMode {
    pub(super) fn is_client_only(&self) -> bool {
        self.mode == Some(Mode::Client)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLog {
    #[serde(rename = "match")]
    pub(super) matched: Option<RawMode>,
    #[serde(default, deserialize_with = "fields::or_default")]
    pub(super) providers: Vec<RawProvider>,
    pub(super) disabled: Option<bool>,
    pub(super) filter: Option<RawFilter>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFilter {
    #[serde(default)]
    pub(super) expression: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawTracing {
    #[serde(rename = "match")]
    matched: Option<RawMode>,
    #[serde(default, deserialize_with = "fields::or_default")]
    pub(super) providers: Vec<RawProvider>,
    pub(super) random_sampling_percentage: Option<f64>,
    pub(super) disable_span_reporting: Option<bool>,
    pub(super) custom_tags: Option<BTreeMap<String, RawTag>>,
    pub(super) use_request_id_for_trace_sampling: Option<IgnoredAny>,
    pub(super) enable_istio_tags: Option<bool>,
}

impl RawTracing {
    pub(super) fn is_client_only(&self) -> bool {
        self.matched.as_ref().is_some_and(RawMode::is_client_only)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTag {
    pub(super) literal: Option<RawLiteral>,
    pub(super) header: Option<RawNamed>,
    pub(super) environment: Option<RawNamed>,
    pub(super) formatter: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLiteral {
    pub(super) value: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawNamed {
    pub(super) name: String,
    pub(super) default_value: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawMetrics {
    #[serde(default, deserialize_with = "fields::or_default")]
    pub(super) providers: Vec<RawProvider>,
    #[serde(default, deserialize_with = "fields::or_default")]
    pub(super) overrides: Vec<RawOverride>,
    pub(super) reporting_interval: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawOverride {
    #[serde(rename = "match")]
    pub(super) matched: Option<RawMetricMatch>,
    pub(super) disabled: Option<bool>,
    #[serde(default, deserialize_with = "fields::or_default")]
    pub(super) tag_overrides: BTreeMap<String, RawTagOverride>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawMetricMatch {
    pub(super) metric: Option<String>,
    pub(super) custom_metric: Option<String>,
    mode: Option<Mode>,
}

impl RawMetricMatch {
    pub(super) fn is_client_only(&self) -> bool {
        self.mode == Some(Mode::Client)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTagOverride {
    pub(super) operation: Option<Operation>,
    pub(super) value: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Operation {
    Upsert,
    Remove,
}
