//! Policies of a rule, its ports and its subsets → settings, each whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weft_proto::contract::backend::BACKEND_SETTINGS_MAX;
use weft_proto::route as proto;

use crate::objects::{DestinationRule, PolicyParts, TrafficPolicy};

use super::tls::Asked;

/// What all settings of a service share.
#[derive(Debug)]
pub(super) struct Common<'a> {
    pub(super) rate_limit: Option<proto::RateLimit>,
    pub(super) session: Option<proto::Session>,
    pub(super) global_limit: Option<proto::GlobalRateLimit>,
    /// Of certificates, where a rule says nothing.
    pub(super) subject_alt_names: &'a [Arc<str>],
    /// By BackendTLSPolicies.
    pub(super) asked: &'a Asked,
}

impl Common<'_> {
    /// Whether neither the service itself nor a policy of its TLS says anything.
    pub(super) fn is_empty(&self) -> bool {
        let Self { rate_limit, session, global_limit, .. } = self;
        let says_nothing = rate_limit.is_none() && session.is_none() && global_limit.is_none();
        says_nothing && self.asked.is_empty()
    }
}

/// A policy, and what it has no room for.
#[derive(Debug)]
pub(super) struct Merged {
    /// Without its names.
    pub(super) policy: proto::BackendPolicy,
    /// Subsets whose settings are left out.
    pub(super) left_out: Vec<Arc<str>>,
}

/// Merges rules of one host, the oldest first.
pub(super) fn merged(rules: &[&DestinationRule], common: &Common<'_>) -> Merged {
    let none = TrafficPolicy::default();
    let own = rules.iter().find_map(|rule| rule.policy.as_ref()).unwrap_or(&none);
    let mut policy = proto::BackendPolicy {
        settings: Some(settings(own.parts.clone(), common, None)),
        ports: listed_ports(own, &TrafficPolicy::default(), common)
            .into_iter()
            .map(|port| (u32::from(port), settings(at_port(own, port), common, Some(port))))
            .collect(),
        ..Default::default()
    };
    let mut count = 1 + policy.ports.len();
    let mut left_out = Vec::new();
    for subset in rules.iter().flat_map(|rule| &rule.subsets) {
        let Some(more) = &subset.policy else {
            continue;
        };
        if policy.subsets.contains_key(&*subset.name) {
            continue;
        }
        let built = of_subset(own, more, common);
        count += 1 + built.ports.len();
        match count <= BACKEND_SETTINGS_MAX {
            true => {
                policy.subsets.insert(subset.name.to_string(), built);
            }
            false => left_out.push(subset.name.clone()),
        }
    }
    policy.origins = rules.iter().map(|rule| origin(rule)).collect();
    policy.origins.extend(common.asked.origins.iter().cloned());
    Merged { policy, left_out }
}

fn origin(rule: &DestinationRule) -> proto::PolicyOrigin {
    proto::PolicyOrigin {
        kind: "DestinationRule".to_owned(),
        namespace: rule.meta.namespace.to_string(),
        name: rule.meta.name.to_string(),
    }
}

fn of_subset(
    own: &TrafficPolicy,
    subset: &TrafficPolicy,
    common: &Common<'_>,
) -> proto::SubsetSettings {
    let listed = listed_ports(own, subset, common);
    let ports: BTreeMap<u32, proto::BackendSettings> = listed
        .into_iter()
        .map(|port| {
            let base = at_port(own, port);
            let parts = match listed_port(subset, port) {
                Some(of_port) => PolicyParts {
                    retry_budget: subset.parts.retry_budget.or(base.retry_budget),
                    ..of_port.clone()
                },
                None => over(base, &subset.parts),
            };
            (u32::from(port), settings(parts, common, Some(port)))
        })
        .collect();
    let all = settings(over(own.parts.clone(), &subset.parts), common, None);
    proto::SubsetSettings { settings: Some(all), ports }
}

/// Ports that something says more about than about the others.
fn listed_ports(own: &TrafficPolicy, subset: &TrafficPolicy, common: &Common<'_>) -> BTreeSet<u16> {
    let of_rules = own.ports.iter().chain(&subset.ports).map(|(port, _)| *port);
    of_rules.chain(common.asked.ports.keys().copied()).collect()
}

fn listed_port(policy: &TrafficPolicy, port: u16) -> Option<&PolicyParts> {
    policy.ports.iter().find(|(own, _)| *own == port).map(|(_, parts)| parts)
}

/// What is listed for a port holds instead of all else but the budget, which ports don't have; also what isn't given there is
/// not inherited.
pub(super) fn at_port(policy: &TrafficPolicy, port: u16) -> PolicyParts {
    match listed_port(policy, port) {
        Some(parts) => PolicyParts { retry_budget: policy.parts.retry_budget, ..parts.clone() },
        None => policy.parts.clone(),
    }
}

/// Each part that is given replaces the other's as a whole.
fn over(base: PolicyParts, more: &PolicyParts) -> PolicyParts {
    PolicyParts {
        load_balancer: more.load_balancer.clone().or(base.load_balancer),
        connection_pool: more.connection_pool.or(base.connection_pool),
        outlier_detection: more.outlier_detection.clone().or(base.outlier_detection),
        tls: more.tls.clone().or(base.tls),
        retry_budget: more.retry_budget.or(base.retry_budget),
    }
}

/// `port`: nothing for those that aren't listed.
fn settings(parts: PolicyParts, common: &Common<'_>, port: Option<u16>) -> proto::BackendSettings {
    let own = parts.tls.map(|it| tls(it, common));
    proto::BackendSettings {
        load_balancer: parts.load_balancer,
        connection_pool: parts.connection_pool,
        outlier_detection: parts.outlier_detection,
        retry_budget: parts.retry_budget,
        tls: common.asked.beside(own, port),
        rate_limit: common.rate_limit,
        session: common.session.clone(),
        global_rate_limit: common.global_limit.clone(),
    }
}

fn tls(mut tls: proto::UpstreamTls, common: &Common<'_>) -> proto::UpstreamTls {
    let is_own = matches!(tls.mode(), proto::TlsMode::Simple | proto::TlsMode::Mutual);
    if is_own && tls.subject_alt_names.is_empty() {
        tls.subject_alt_names = common.subject_alt_names.iter().map(ToString::to_string).collect();
    }
    tls
}
