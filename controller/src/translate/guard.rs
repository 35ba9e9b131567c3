//! What node proxies refuse because it came round a waypoint.
//!
//! Where calls may not go round a waypoint, the workloads behind it get a DENY policy: on the ports that the service leads
//! to, everybody but the waypoint's own instances. It is an ordinary policy, so that a stock node proxy obeys it, too.
//!
//! A port that several services share is judged once: whoever is the waypoint of one of them gets in, and nobody else
//! does. Ports that no service leads to are judged by the workload's own waypoint, if it has one. Workloads that refuse
//! the same have one policy among them, whose name is made of what it says.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use weft_proto::security::{
    Action, Authorization, Clause, Match, Rule, Scope, StringMatch, string_match::MatchType,
};

use crate::objects::Meta;

use super::names;
use super::ports::{self, Target};
use super::view::View;
use super::waypoint::{self, GatewayName, User};

/// One claim to some of a workload's ports.
struct Claim {
    ports: BTreeSet<u32>,
    identities: BTreeSet<String>,
    /// Who enforces it.
    enforcing: Option<GatewayName>,
}

/// The policy of a workload; nothing if it may be called by whoever knows its address.
pub(super) fn guard(view: &View<'_>, meta: &Meta, target: Target<'_>) -> Option<Authorization> {
    let user = User::Workload(meta);
    if waypoint::is_exempt(view, user) {
        return None;
    }
    let claims = claims(view, meta, target);
    let own = waypoint::resolve(view, user);
    let own = own.asked().filter(|asked| asked.enforcement.is_enforced);
    let enforcing = claims.iter().find_map(|claim| claim.enforcing.as_ref());
    let name = enforcing.or(own.map(|own| &own.gateway))?;
    let mut rules = of_services(&claims);
    if let Some(own) = own {
        let all = claims.iter().flat_map(|claim| claim.identities.iter().cloned());
        let everybody = own.identities(view).into_iter().chain(all).collect();
        let ports = claims.iter().flat_map(|claim| claim.ports.iter().copied());
        let ports: BTreeSet<u32> = ports.collect();
        let elsewhere =
            Match { not_destination_ports: ports.into_iter().collect(), ..Match::default() };
        rules.push(rule(elsewhere, &everybody));
    }
    let mut built =
        Authorization { namespace: meta.namespace.to_string(), rules, ..Authorization::default() };
    built.set_scope(Scope::WorkloadSelector);
    built.set_action(Action::Deny);
    let content = xxhash_rust::xxh3::xxh3_64(&built.encode_to_vec());
    built.name = format!("weft_waypoint_{}_{}_{content:016x}", name.0, name.1);
    Some(built)
}

/// How a workload names its policy.
pub(super) fn name(guard: &Authorization) -> String {
    names::resource_name(&guard.namespace, &guard.name)
}

/// What services and entries claim of a workload.
fn claims(view: &View<'_>, meta: &Meta, target: Target<'_>) -> Vec<Claim> {
    let Some(objects) = view.namespace(&meta.namespace) else {
        return Vec::new();
    };
    let claim = |user: User<'_>, list: weft_proto::workload::PortList| {
        let binding = waypoint::resolve(view, user);
        let asked = binding.asked();
        let enforcing = asked.filter(|asked| asked.enforcement.is_enforced);
        Claim {
            ports: list.ports.iter().map(|port| port.target_port).collect(),
            identities: asked.map(|asked| asked.identities(view)).unwrap_or_default(),
            enforcing: enforcing.map(|asked| asked.gateway.clone()),
        }
    };
    let services = ports::selecting(objects, &meta.labels, target).into_iter();
    let services = services.map(|it| claim(User::Service(&it.meta), ports::of_service(it, target)));
    let entries = objects.service_entries.values().filter(|entry| {
        let selector = entry.selector.as_ref().filter(|selector| !selector.is_empty());
        selector.is_some_and(|selector| selector.select(&meta.labels))
            && view.hosts_won(entry).next().is_some()
    });
    let entries =
        entries.map(|it| claim(User::ServiceEntry(&it.meta), ports::of_entry(it, target)));
    services.chain(entries).collect()
}

/// A rule for the ports that the same callers may reach.
fn of_services(claims: &[Claim]) -> Vec<Rule> {
    let enforced = claims.iter().filter(|claim| claim.enforcing.is_some());
    let guarded: BTreeSet<u32> = enforced.flat_map(|claim| claim.ports.iter().copied()).collect();
    let mut by_identities: BTreeMap<BTreeSet<String>, Vec<u32>> = BTreeMap::new();
    for port in guarded {
        let claims = claims.iter().filter(|claim| claim.ports.contains(&port));
        let identities = claims.flat_map(|claim| claim.identities.iter().cloned()).collect();
        by_identities.entry(identities).or_default().push(port);
    }
    let build = |(identities, destination_ports)| {
        rule(Match { destination_ports, ..Match::default() }, &identities)
    };
    by_identities.into_iter().map(build).collect()
}

/// Refuses everybody but `identities`; everybody, if there are none. Callers without an identity are somebody else, too.
fn rule(ports: Match, identities: &BTreeSet<String>) -> Rule {
    let exact =
        |identity: &String| StringMatch { match_type: Some(MatchType::Exact(identity.clone())) };
    let not_principals = identities.iter().map(exact).collect();
    Rule { clauses: vec![Clause { matches: vec![Match { not_principals, ..ports }] }] }
}
