//! Istio's DestinationRule: so far its subsets, which routes refer to.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Pool;
use super::fields::{self, FieldError};
use super::meta::{Labels, Meta};

/// A destination rule.
#[derive(Debug, Clone, PartialEq)]
pub struct DestinationRule {
    /// Name, labels and so on.
    pub meta: Meta,
    /// The host that it is for, in lower case, as written: a short name is of its own namespace.
    pub host: Arc<str>,
    /// Names of subsets, and the labels that their endpoints have.
    pub subsets: Box<[(Arc<str>, Arc<Labels>)]>,
    /// Fields that are known and not honoured.
    pub ignored: Box<[String]>,
}

impl DestinationRule {
    /// The labels of a subset.
    pub fn subset(&self, name: &str) -> Option<&Arc<Labels>> {
        self.subsets.iter().find(|(own, _)| **own == *name).map(|(_, labels)| labels)
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawDestinationRule {
    host: String,
    #[serde(default, deserialize_with = "fields::or_default")]
    subsets: Vec<RawSubset>,
    traffic_policy: Option<IgnoredAny>,
    export_to: Option<IgnoredAny>,
    workload_selector: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawSubset {
    name: String,
    #[serde(default, deserialize_with = "fields::or_default")]
    labels: BTreeMap<String, String>,
    traffic_policy: Option<IgnoredAny>,
}

pub(super) fn destination_rule(
    meta: Meta,
    raw: &RawDestinationRule,
    pool: &mut Pool,
) -> Result<DestinationRule, FieldError> {
    let host = raw.host.to_ascii_lowercase();
    let name = if host == "*" { "x" } else { host.strip_prefix("*.").unwrap_or(&host) };
    if !fields::is_dns_subdomain(name) {
        let reason = format!("{:?} is no host name, nor one behind `*.`", raw.host);
        return Err(FieldError::new("spec.host", reason));
    }
    let known = [
        ("spec.trafficPolicy", &raw.traffic_policy),
        ("spec.exportTo", &raw.export_to),
        ("spec.workloadSelector", &raw.workload_selector),
    ];
    let known = known.into_iter().filter(|(_, given)| given.is_some());
    let mut ignored: Vec<String> = known.map(|(field, _)| field.to_owned()).collect();
    let mut subsets: Vec<(Arc<str>, Arc<Labels>)> = Vec::with_capacity(raw.subsets.len());
    for (at, subset) in raw.subsets.iter().enumerate() {
        let field = format!("spec.subsets[{at}]");
        if subset.name.is_empty() || subsets.iter().any(|(own, _)| **own == *subset.name) {
            let reason = "is missing, or another subset's";
            return Err(FieldError::new(format!("{field}.name"), reason));
        }
        if subset.traffic_policy.is_some() {
            ignored.push(format!("{field}.trafficPolicy"));
        }
        let labels = Labels::of_selector(&subset.labels, &format!("{field}.labels"), pool)?;
        subsets.push((pool.text(&subset.name), pool.labels(labels)));
    }
    Ok(DestinationRule {
        host: pool.text(&host),
        subsets: subsets.into(),
        ignored: ignored.into(),
        meta,
    })
}
