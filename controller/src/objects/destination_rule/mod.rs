//! Istio's DestinationRule: subsets of a service, and how its endpoints are treated.
//!
//! A field that isn't known is refused with the whole object; one that is known and not honoured is listed.

mod balancer;
mod connections;
mod outlier;
mod read;
mod tls;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;
use weft_proto::route as proto;

use super::Pool;
use super::fields::{self, AllHosts, FieldError, Port};
use super::meta::{Labels, Meta};
use super::route::check_count;
use balancer::RawBalancer;
use connections::RawPool;
use outlier::RawOutlier;
use read::RawBudget;
use tls::RawTls;

/// A destination rule.
#[derive(Debug, Clone, PartialEq)]
pub struct DestinationRule {
    /// Name, labels and so on.
    pub meta: Meta,
    /// The host that it is for, in lower case, as written: a short name is of its own namespace.
    pub host: Arc<str>,
    /// For all of the service's endpoints.
    pub policy: Option<TrafficPolicy>,
    /// In order.
    pub subsets: Box<[RuleSubset]>,
    /// Namespaces that see it: `*`, `.` or names. Empty: all.
    pub export_to: Box<[Arc<str>]>,
    /// It is for some callers alone, which sidecars could tell by their own labels.
    pub is_for_workloads: bool,
    /// Fields that are known and not honoured.
    pub ignored: Box<[String]>,
}

/// Some endpoints of a service.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleSubset {
    /// Unique in its rule.
    pub name: Arc<str>,
    /// What its endpoints are labelled.
    pub labels: Arc<Labels>,
    /// What differs from the rule's own.
    pub policy: Option<TrafficPolicy>,
}

/// How endpoints are treated.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TrafficPolicy {
    /// For ports that aren't listed.
    pub parts: PolicyParts,
    /// By the service's port, in order: in place of all parts but the budget, those that aren't given too.
    pub ports: Box<[(u16, PolicyParts)]>,
}

/// Parts of a policy, checked, and as a waypoint reads them; each is replaced as a whole.
#[derive(Debug, Clone, PartialEq, Default)]
#[expect(missing_docs, reason = "see the messages")]
pub struct PolicyParts {
    pub load_balancer: Option<proto::LoadBalancer>,
    pub connection_pool: Option<proto::ConnectionPool>,
    pub outlier_detection: Option<proto::OutlierDetection>,
    /// Its credential is a Secret's name alone.
    pub tls: Option<proto::UpstreamTls>,
    pub retry_budget: Option<proto::RetryBudget>,
}

/// Ports of one policy: more than services have.
const PORTS_MAX: usize = 64;

impl DestinationRule {
    /// The labels of a subset.
    pub fn subset(&self, name: &str) -> Option<&Arc<Labels>> {
        self.subsets.iter().find(|own| *own.name == *name).map(|own| &own.labels)
    }

    /// It says how endpoints are treated.
    pub fn has_policies(&self) -> bool {
        self.policy.is_some() || self.subsets.iter().any(|subset| subset.policy.is_some())
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawDestinationRule {
    host: String,
    #[serde(default, deserialize_with = "fields::or_default")]
    subsets: Vec<RawSubset>,
    traffic_policy: Option<RawPolicy>,
    #[serde(default, deserialize_with = "fields::or_default")]
    export_to: Vec<String>,
    workload_selector: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawSubset {
    name: String,
    #[serde(default, deserialize_with = "fields::or_default")]
    labels: BTreeMap<String, String>,
    traffic_policy: Option<RawPolicy>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawPolicy {
    load_balancer: Option<RawBalancer>,
    connection_pool: Option<RawPool>,
    outlier_detection: Option<RawOutlier>,
    tls: Option<RawTls>,
    #[serde(default, deserialize_with = "fields::or_default")]
    port_level_settings: Vec<RawPortPolicy>,
    tunnel: Option<IgnoredAny>,
    proxy_protocol: Option<IgnoredAny>,
    retry_budget: Option<RawBudget>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawPortPolicy {
    port: Option<RawPort>,
    load_balancer: Option<RawBalancer>,
    connection_pool: Option<RawPool>,
    outlier_detection: Option<RawOutlier>,
    tls: Option<RawTls>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPort {
    number: Option<Port>,
}

pub(super) fn destination_rule(
    meta: Meta,
    raw: &RawDestinationRule,
    pool: &mut Pool,
) -> Result<DestinationRule, FieldError> {
    let host = fields::host_pattern(&raw.host, "spec.host", AllHosts::Allowed)?;
    check_count(raw.subsets.len(), weft_proto::contract::route::LIST_MAX, "spec.subsets")?;
    for (at, to) in raw.export_to.iter().enumerate() {
        if !matches!(to.as_str(), "*" | "." | "~") && !fields::is_dns_label(to) {
            let reason = format!("{to:?} is no namespace, nor `*` or `.`");
            return Err(FieldError::new(format!("spec.exportTo[{at}]"), reason));
        }
    }
    let mut ignored = Vec::new();
    let policy = raw.traffic_policy.as_ref();
    let policy = policy.map(|it| it.build("spec.trafficPolicy", &mut ignored)).transpose()?;
    let mut subsets: Vec<RuleSubset> = Vec::with_capacity(raw.subsets.len());
    for (at, subset) in raw.subsets.iter().enumerate() {
        let field = format!("spec.subsets[{at}]");
        if subset.name.is_empty() || subsets.iter().any(|own| *own.name == *subset.name) {
            let reason = "is missing, or another subset's";
            return Err(FieldError::new(format!("{field}.name"), reason));
        }
        let labels = Labels::of_selector(&subset.labels, &format!("{field}.labels"), pool)?;
        let policy = subset.traffic_policy.as_ref();
        let policy = policy.map(|it| it.build(&format!("{field}.trafficPolicy"), &mut ignored));
        subsets.push(RuleSubset {
            name: pool.text(&subset.name),
            labels: pool.labels(labels),
            policy: policy.transpose()?,
        });
    }
    Ok(DestinationRule {
        host: pool.text(&host),
        policy,
        subsets: subsets.into(),
        export_to: raw.export_to.iter().map(|to| pool.text(to)).collect(),
        is_for_workloads: raw.workload_selector.is_some(),
        ignored: ignored.into(),
        meta,
    })
}

impl RawPolicy {
    fn build(&self, field: &str, ignored: &mut Vec<String>) -> Result<TrafficPolicy, FieldError> {
        for (name, given) in
            [("tunnel", self.tunnel.is_some()), ("proxyProtocol", self.proxy_protocol.is_some())]
        {
            if given {
                ignored.push(format!("{field}.{name}"));
            }
        }
        let raw = RawParts {
            load_balancer: self.load_balancer.as_ref(),
            connection_pool: self.connection_pool.as_ref(),
            outlier_detection: self.outlier_detection.as_ref(),
            tls: self.tls.as_ref(),
        };
        let mut parts = raw.build(field, ignored)?;
        let budget = self.retry_budget.as_ref();
        parts.retry_budget =
            budget.map(|it| it.build(&format!("{field}.retryBudget"), ignored)).transpose()?;
        check_count(
            self.port_level_settings.len(),
            PORTS_MAX,
            &format!("{field}.portLevelSettings"),
        )?;
        let mut ports: BTreeMap<u16, PolicyParts> = BTreeMap::new();
        for (at, it) in self.port_level_settings.iter().enumerate() {
            let field = format!("{field}.portLevelSettings[{at}]");
            let number = it.port.as_ref().and_then(|port| port.number).map(Port::get);
            let port = number.filter(|number| !ports.contains_key(number)).ok_or_else(|| {
                FieldError::new(format!("{field}.port.number"), "is missing, or was there before")
            })?;
            let raw = RawParts {
                load_balancer: it.load_balancer.as_ref(),
                connection_pool: it.connection_pool.as_ref(),
                outlier_detection: it.outlier_detection.as_ref(),
                tls: it.tls.as_ref(),
            };
            ports.insert(port, raw.build(&field, ignored)?);
        }
        Ok(TrafficPolicy { parts, ports: ports.into_iter().collect() })
    }
}

/// What policies of all ports and of single ones have in common.
struct RawParts<'a> {
    load_balancer: Option<&'a RawBalancer>,
    connection_pool: Option<&'a RawPool>,
    outlier_detection: Option<&'a RawOutlier>,
    tls: Option<&'a RawTls>,
}

impl RawParts<'_> {
    fn build(&self, field: &str, ignored: &mut Vec<String>) -> Result<PolicyParts, FieldError> {
        let at = |name: &str| format!("{field}.{name}");
        let balancer = self.load_balancer.map(|it| it.build(&at("loadBalancer"), ignored));
        let pool = self.connection_pool.map(|it| it.build(&at("connectionPool"), ignored));
        let outlier = self.outlier_detection.map(|it| it.build(&at("outlierDetection"), ignored));
        let tls = self.tls.map(|it| it.build(&at("tls")));
        Ok(PolicyParts {
            load_balancer: balancer.transpose()?,
            connection_pool: pool.transpose()?,
            outlier_detection: outlier.transpose()?,
            tls: tls.transpose()?,
            retry_budget: None,
        })
    }
}
