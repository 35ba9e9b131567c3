//! Authorisation policies, as far as L4 can enforce them.
//!
//! What only an L7 proxy could tell is left out towards the stricter side: an ALLOW loses the whole rule, a DENY
//! loses the condition.

use std::sync::Arc;

use ipnet::IpNet;
use weft_proto::security::{
    Action as WireAction, Address, Authorization, Clause, Match, Rule as WireRule, Scope,
    ServiceAccountMatch, StringMatch, string_match::MatchType,
};

use crate::objects::{
    Action, AuthorizationPolicy, Labels, Operation, Pattern, PolicyBody, Rule, ServiceAccountName,
    Source, WhenKey,
};

use super::names;
use super::settings::Settings;
use super::view::View;

/// What became of a policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversion {
    /// As node proxies enforce it; nothing: they don't.
    pub authorization: Option<Authorization>,
    /// L7 fields that were left out: path within the object, name.
    pub left_out: Vec<(String, String)>,
}

/// A policy as node proxies enforce it.
pub fn authorization(policy: &AuthorizationPolicy, settings: &Settings) -> Conversion {
    let mut left_out = Vec::new();
    let rules = match &policy.body {
        // A rule without clauses matches everything.
        PolicyBody::Unreadable => vec![WireRule::default()],
        PolicyBody::Rules { action, rules, .. } => {
            let rules = rules.iter().enumerate();
            rules.filter_map(|(at, it)| rule(*action, it, at, &mut left_out)).collect()
        }
    };
    let mut built = Authorization {
        name: policy.meta.name.to_string(),
        namespace: policy.meta.namespace.to_string(),
        rules,
        dry_run: policy.is_dry_run,
        ..Authorization::default()
    };
    built.set_scope(match &policy.selector {
        Some(_) => Scope::WorkloadSelector,
        None if policy.meta.namespace == settings.root_namespace => Scope::Global,
        None => Scope::Namespace,
    });
    built.set_action(match &policy.body {
        PolicyBody::Rules { action: Action::Allow, .. } => WireAction::Allow,
        _ => WireAction::Deny,
    });
    Conversion { authorization: is_enforced(policy, settings).then_some(built), left_out }
}

/// Whether node proxies enforce the policy at all.
pub(super) fn is_enforced(policy: &AuthorizationPolicy, settings: &Settings) -> bool {
    let is_known = match &policy.body {
        PolicyBody::Unreadable => true,
        PolicyBody::Rules { action, .. } => matches!(action, Action::Allow | Action::Deny),
    };
    is_known && !policy.has_targets() && (!policy.is_dry_run || settings.sends_dry_run)
}

/// The policies that select a workload: of its own namespace and of the root namespace.
pub(super) fn selecting(view: &View<'_>, namespace: &str, labels: &Labels) -> Vec<String> {
    let root = &*view.settings.root_namespace;
    let homes = [Some(namespace), Some(root).filter(|root| *root != namespace)];
    let policies = homes
        .into_iter()
        .flatten()
        .filter_map(|home| view.namespace(home))
        .flat_map(|objects| objects.authorization_policies.values());
    let selects = |policy: &&Arc<AuthorizationPolicy>| {
        policy.selector.as_ref().is_some_and(|selector| selector.select(labels))
            && is_enforced(policy, view.settings)
    };
    let name = |policy: &Arc<AuthorizationPolicy>| {
        names::resource_name(&policy.meta.namespace, &policy.meta.name)
    };
    policies.filter(selects).map(name).collect()
}

fn rule(
    action: Action,
    rule: &Rule,
    at: usize,
    left_out: &mut Vec<(String, String)>,
) -> Option<WireRule> {
    let before = left_out.len();
    note_l7(rule, at, left_out);
    if action == Action::Allow && left_out.len() > before {
        return None;
    }
    let from = alternatives(rule.from.iter().map(source));
    let to = alternatives(rule.to.iter().map(operation));
    let when = rule.when.iter().filter_map(|condition| when_matches(&condition.key));
    let when = when.map(|it| Clause { matches: vec![it] });
    Some(WireRule { clauses: from.into_iter().chain(to).chain(when).collect() })
}

fn note_l7(rule: &Rule, at: usize, left_out: &mut Vec<(String, String)>) {
    let mut note = |path: String, names: &[&str]| {
        left_out.extend(names.iter().map(|name| (format!("{path}.{name}"), (*name).to_owned())));
    };
    for (index, source) in rule.from.iter().enumerate() {
        note(format!("spec.rules[{at}].from[{index}].source"), &source.l7_fields);
    }
    for (index, operation) in rule.to.iter().enumerate() {
        note(format!("spec.rules[{at}].to[{index}].operation"), &operation.l7_fields);
    }
    for (index, condition) in rule.when.iter().enumerate() {
        if let WhenKey::L7(key, _) = &condition.key {
            left_out.push((format!("spec.rules[{at}].when[{index}].key"), key.to_string()));
        }
    }
}

/// A clause of alternatives. One that nothing is left of matches everything, so the clause says nothing. (Sent as it
/// is, an empty match would match nothing, and a DENY would lose what it denies.)
fn alternatives(matches: impl Iterator<Item = Match>) -> Option<Clause> {
    let matches: Vec<_> = matches.collect();
    let says_something = !matches.is_empty() && !matches.contains(&Match::default());
    says_something.then_some(Clause { matches })
}

fn source(source: &Source) -> Match {
    Match {
        principals: strings(&source.principals.0),
        not_principals: strings(&source.principals.1),
        namespaces: strings(&source.namespaces.0),
        not_namespaces: strings(&source.namespaces.1),
        service_accounts: accounts(&source.service_accounts.0),
        not_service_accounts: accounts(&source.service_accounts.1),
        source_ips: blocks(&source.blocks.0),
        not_source_ips: blocks(&source.blocks.1),
        ..Match::default()
    }
}

fn operation(operation: &Operation) -> Match {
    Match {
        destination_ports: ports(&operation.ports.0),
        not_destination_ports: ports(&operation.ports.1),
        ..Match::default()
    }
}

fn when_matches(key: &WhenKey) -> Option<Match> {
    Some(match key {
        WhenKey::SourceIp((yes, no)) => {
            Match { source_ips: blocks(yes), not_source_ips: blocks(no), ..Match::default() }
        }
        WhenKey::SourceNamespace((yes, no)) => {
            Match { namespaces: strings(yes), not_namespaces: strings(no), ..Match::default() }
        }
        WhenKey::SourcePrincipal((yes, no)) => {
            Match { principals: strings(yes), not_principals: strings(no), ..Match::default() }
        }
        WhenKey::DestinationIp((yes, no)) => Match {
            destination_ips: blocks(yes),
            not_destination_ips: blocks(no),
            ..Match::default()
        },
        WhenKey::DestinationPort((yes, no)) => Match {
            destination_ports: ports(yes),
            not_destination_ports: ports(no),
            ..Match::default()
        },
        WhenKey::L7(..) => return None,
    })
}

/// Any text at all.
pub(super) fn presence() -> StringMatch {
    // The generated type of an empty message is the unit.
    StringMatch { match_type: Some(MatchType::Presence(())) }
}

fn strings(patterns: &[Pattern]) -> Vec<StringMatch> {
    let build = |pattern: &Pattern| match pattern {
        Pattern::Exact(text) => MatchType::Exact(text.to_string()),
        Pattern::Prefix(text) => MatchType::Prefix(text.to_string()),
        Pattern::Suffix(text) => MatchType::Suffix(text.to_string()),
        Pattern::Present => MatchType::Presence(()),
    };
    patterns.iter().map(|it| StringMatch { match_type: Some(build(it)) }).collect()
}

fn accounts(accounts: &[ServiceAccountName]) -> Vec<ServiceAccountMatch> {
    let build = |account: &ServiceAccountName| ServiceAccountMatch {
        namespace: account.namespace.to_string(),
        service_account: account.name.to_string(),
    };
    accounts.iter().map(build).collect()
}

fn blocks(blocks: &[IpNet]) -> Vec<Address> {
    let build = |block: &IpNet| Address {
        address: names::address_bytes(block.addr()),
        length: block.prefix_len().into(),
    };
    blocks.iter().map(build).collect()
}

fn ports(ports: &[u16]) -> Vec<u32> {
    ports.iter().map(|port| u32::from(*port)).collect()
}
