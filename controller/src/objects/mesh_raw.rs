//! The mesh's configuration (`MeshConfig`) as it is written: one document, of which security and telemetry each read
//! their part.

use std::collections::BTreeMap;

use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::fields::{self, FieldError, Port};
use super::mesh_config::{Normalisation, OutboundMode};

/// All of it that is read.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawMesh {
    pub(super) access_log_file: Option<String>,
    pub(super) access_log_format: Option<String>,
    pub(super) access_log_encoding: Option<Encoding>,
    pub(super) enable_tracing: Option<bool>,
    #[serde(default, deserialize_with = "fields::or_default")]
    pub(super) default_providers: RawDefaults,
    #[serde(default, deserialize_with = "fields::or_default")]
    pub(super) default_config: RawProxyConfig,
    #[serde(default, deserialize_with = "fields::or_default")]
    pub(super) extension_providers: Vec<RawProvider>,
    #[serde(default, deserialize_with = "fields::or_default")]
    pub(super) path_normalization: RawNormalisation,
    #[serde(default, deserialize_with = "fields::or_default")]
    pub(super) trust_domain_aliases: Vec<String>,
    #[serde(default, deserialize_with = "fields::or_default")]
    pub(super) outbound_traffic_policy: RawOutbound,
    /// Read by nobody here.
    #[serde(flatten)]
    pub(super) others: BTreeMap<String, IgnoredAny>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Encoding {
    Text,
    Json,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawDefaults {
    #[serde(default, deserialize_with = "fields::or_default")]
    pub(super) access_logging: Vec<String>,
    #[serde(default, deserialize_with = "fields::or_default")]
    pub(super) tracing: Vec<String>,
    #[serde(default, deserialize_with = "fields::or_default")]
    pub(super) metrics: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RawProxyConfig {
    pub(super) tracing: Option<RawProxyTracing>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RawProxyTracing {
    pub(super) sampling: Option<f64>,
    #[serde(flatten)]
    pub(super) others: BTreeMap<String, IgnoredAny>,
}

/// A provider has one key besides its name, which is its kind.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawProvider {
    #[serde(deserialize_with = "text")]
    pub(super) name: String,
    pub(super) envoy_file_access_log: Option<RawFileLog>,
    pub(super) opentelemetry: Option<RawOtlp>,
    pub(super) prometheus: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "given")]
    pub(super) envoy_ext_authz_grpc: Option<Value>,
    #[serde(default, deserialize_with = "given")]
    pub(super) envoy_ext_authz_http: Option<Value>,
    #[serde(default, deserialize_with = "given")]
    pub(super) envoy_rate_limit_grpc: Option<Value>,
    #[serde(flatten)]
    pub(super) others: BTreeMap<String, IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawFileLog {
    pub(super) path: Option<String>,
    pub(super) log_format: Option<RawLogFormat>,
    pub(super) omit_empty_values: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLogFormat {
    pub(super) text: Option<String>,
    pub(super) labels: Option<Map<String, Value>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawOtlp {
    pub(super) service: String,
    pub(super) port: Port,
    pub(super) max_tag_length: Option<u32>,
    pub(super) http: Option<RawHttp>,
    pub(super) grpc: Option<RawGrpc>,
    pub(super) resource_detectors: Option<IgnoredAny>,
    pub(super) dynatrace_sampler: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHttp {
    pub(super) path: String,
    pub(super) timeout: Option<String>,
    #[serde(default, deserialize_with = "fields::or_default")]
    pub(super) headers: Vec<RawHeader>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawGrpc {
    pub(super) timeout: Option<String>,
    #[serde(default, deserialize_with = "fields::or_default")]
    pub(super) initial_metadata: Vec<RawHeader>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawHeader {
    pub(super) name: String,
    pub(super) value: Option<String>,
    pub(super) env_name: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOutbound {
    #[serde(default)]
    pub(super) mode: OutboundMode,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNormalisation {
    #[serde(default)]
    pub(super) normalization: Normalisation,
}

/// Policies refer to it as text, so that a number would be nobody's.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) => Ok(text),
        _ => Err(D::Error::custom("a provider's name is text")),
    }
}

/// A kind without a word is one, too.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl RawMesh {
    pub(super) fn read(text: &str) -> Result<Self, FieldError> {
        serde_saphyr::from_str(text)
            .map_err(|error| FieldError::new("data.mesh", error.to_string()))
    }
}

impl RawProvider {
    /// Services that policies may ask, and whether by HTTP; where both are given the last counts.
    pub(super) fn checkers(&self) -> impl Iterator<Item = (&Value, bool)> {
        let grpc = self.envoy_ext_authz_grpc.iter().map(|value| (value, false));
        grpc.chain(self.envoy_ext_authz_http.iter().map(|value| (value, true)))
    }

    /// Whether it is a service that waypoints ask about requests, and so none of telemetry's.
    pub(super) fn is_asked_about_requests(&self) -> bool {
        self.checkers().next().is_some() || self.envoy_rate_limit_grpc.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn provider_without_a_name_that_is_text_spoils_the_document() {
        for named in ["name: a", "name: '12'"] {
            let text = format!("extensionProviders: [{{{named}, prometheus: {{}}}}]");
            assert!(RawMesh::read(&text).is_ok(), "{text}");
        }
        for unnamed in ["", "name: 12", "name: ", "name: [a]"] {
            let text = format!("extensionProviders: [{{{unnamed}}}]");
            assert_eq!(RawMesh::read(&text).unwrap_err().field, "data.mesh", "{text}");
        }
    }

    #[test]
    fn checker_without_a_word_is_one() {
        let text = "extensionProviders: [{name: a, envoyExtAuthzHttp: }]";
        let read = RawMesh::read(text).unwrap();
        let checkers: Vec<_> = read.extension_providers[0].checkers().collect();
        assert_eq!(checkers, [(&Value::Null, true)]);
    }
}
