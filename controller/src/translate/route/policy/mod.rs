//! From destination rules to what waypoints are told about a service's endpoints: merged, whole, with every name in full.
//!
//! ```text
//! Frontend ─▶ rules: which destination rules speak for it ─▶ merge: settings by port and subset ─▶ BackendPolicy
//!                                  tls: BackendTLSPolicies, where the rules say nothing of TLS ─┤
//!                                       Common: annotations and labels of the service itself ─┘
//!
//! BackendPolicy ─▶ credential: what of the Secrets that it names can be had ─▶ ServiceCredentials
//! ```
//!
//! Who speaks is Istio's order: rules of the waypoint's namespace, else of the service's, else of the root namespace; of a
//! namespace those with the nearest host. Of several with one host the oldest says what holds for all endpoints, and subsets
//! are those of all.

mod credential;
mod global_limit;
mod merge;
mod rate_limit;
mod status;
mod tls;
mod tls_status;

use std::sync::Arc;

use weft_proto::route as proto;

use crate::objects::{DestinationRule, Service, ServiceEntry};
use crate::translate::access::mesh_config;
use crate::translate::view::View;

use super::frontend::Frontend;
use super::{session, virtual_service};

pub(in crate::translate) use credential::{credentials, secured_by};
pub(in crate::translate) use status::{rule_status, settings_statuses};
pub(in crate::translate) use tls::{targets as tls_targets, verified_by};
pub(in crate::translate) use tls_status::tls_status;

/// What is set about the endpoints of a service; nothing if the defaults hold.
pub fn service_policy(view: &View<'_>, service: &Service) -> Option<proto::BackendPolicy> {
    policy(view, &Frontend::of_service(view, service)?, &[])
}

/// The same of the hosts that an entry speaks for.
pub fn service_entry_policies(view: &View<'_>, entry: &ServiceEntry) -> Vec<proto::BackendPolicy> {
    let hosts: Vec<&Arc<str>> = view.hosts_won(entry).collect();
    let frontends = hosts.into_iter().map(|host| Frontend::of_entry(view, entry, host));
    frontends.filter_map(|it| policy(view, &it, &entry.subject_alt_names)).collect()
}

fn policy(
    view: &View<'_>,
    frontend: &Frontend<'_>,
    subject_alt_names: &[Arc<str>],
) -> Option<proto::BackendPolicy> {
    let rules = rules(view, frontend);
    let (mesh, asked) = (mesh_config(view), tls::asked(view, frontend, &rules));
    let common = merge::Common {
        rate_limit: rate_limit::of(frontend.meta).and_then(Result::ok),
        session: session::of_labels(frontend.meta).and_then(Result::ok),
        global_limit: global_limit::of(frontend.meta, mesh.as_deref()).and_then(Result::ok),
        subject_alt_names,
        asked: &asked,
    };
    if common.is_empty() && !rules.iter().any(|rule| rule.has_policies()) {
        return None;
    }
    let mut policy = proto::BackendPolicy {
        namespace: frontend.meta.namespace.to_string(),
        hostname: frontend.host.to_string(),
        ..merge::merged(&rules, &common).policy
    };
    credential::resolve(view, frontend, consumer(frontend), &mut policy);
    Some(policy)
}

/// Whose view of the service counts: the waypoint's namespace, or its own where it has none.
fn consumer<'a>(frontend: &'a Frontend<'_>) -> &'a Arc<str> {
    frontend.waypoint.as_ref().map_or(&frontend.meta.namespace, |(namespace, _)| namespace)
}

/// The rules that speak for a service, the oldest first.
fn rules<'a>(view: &View<'a>, frontend: &Frontend<'_>) -> Vec<&'a DestinationRule> {
    let consumer = consumer(frontend);
    let homes = [consumer, &frontend.meta.namespace, &view.settings.root_namespace];
    let hosts = virtual_service::hosts(&frontend.host);
    let of_home = |home: &Arc<str>| {
        hosts.iter().find_map(|host| {
            let keys = view.model.references().rules(host.clone());
            let keys = keys.filter(|key| key.namespace == *home);
            let rules = keys.filter_map(|key| view.model.destination_rule(key));
            let rules = rules.map(|rule| &**rule).filter(|rule| is_seen(rule, consumer));
            let mut rules: Vec<&DestinationRule> = rules.collect();
            rules.sort_by_key(|rule| (rule.meta.created, &rule.meta.name));
            Some(rules).filter(|rules| !rules.is_empty())
        })
    };
    homes.into_iter().find_map(of_home).unwrap_or_default()
}

/// Whether callers of a namespace, all of them, are to see the rule.
fn is_seen(rule: &DestinationRule, consumer: &Arc<str>) -> bool {
    let own = &rule.meta.namespace;
    let is_exported = rule.export_to.is_empty()
        || rule.export_to.iter().any(|to| match &**to {
            "*" => true,
            "." => own == consumer,
            to => *to == **consumer,
        });
    is_exported && !rule.is_for_workloads
}
