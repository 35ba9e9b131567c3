//! What became of a BackendTLSPolicy, for its owner: conditions for each target, with the Gateway API's types and reasons.

use std::sync::Arc;

use crate::objects::{BackendTlsPolicy, DestinationRule, TargetKind, TlsTarget, TrafficPolicy};
use crate::translate::route::frontend::Frontend;
use crate::translate::status::ConditionStatus;
use crate::translate::view::View;

use super::{merge, tls};

const ACCEPTED: &str = "Accepted";

/// Reason and message of something that doesn't hold.
type Refusal = (&'static str, String);

/// Conditions of a policy.
pub(in crate::translate) fn tls_status(
    view: &View<'_>,
    policy: &BackendTlsPolicy,
) -> Vec<ConditionStatus> {
    let of_target = |target: &TlsTarget| {
        let name = target_name(policy, target);
        let of_target = move |it| ConditionStatus { parent: Some(name.clone()), ..it };
        conditions(view, policy, target).into_iter().map(of_target)
    };
    let mut conditions: Vec<_> = policy.targets.iter().flat_map(of_target).collect();
    let message = "the rest of the policy counts without them";
    conditions.extend(ConditionStatus::not_honoured(policy.ignored.to_vec(), message));
    conditions
}

fn target_name(policy: &BackendTlsPolicy, target: &TlsTarget) -> String {
    let section = target.section.as_ref().map(|it| format!("#{it}")).unwrap_or_default();
    format!("{:?} {}/{}{section}", target.object.kind, policy.meta.namespace, target.object.name)
}

fn conditions(
    view: &View<'_>,
    policy: &BackendTlsPolicy,
    target: &TlsTarget,
) -> Vec<ConditionStatus> {
    if policy.validation.is_none() {
        let message = "it can't be read and no earlier version is known; unless something else says which TLS is spoken, connections fail";
        return vec![ConditionStatus::new(ACCEPTED, (false, "Invalid"), message)];
    }
    let frontends = match frontends(view, policy, target) {
        Ok(frontends) => frontends,
        Err((reason, message)) => {
            return vec![ConditionStatus::new(ACCEPTED, (false, reason), message)];
        }
    };
    let copies = frontends.iter().map(|it| tls::copies(it, &super::rules(view, it))).max();
    let trusted = tls::trusted(view, policy, copies.unwrap_or_default());
    let accepted = match (overruled(view, policy, target), &trusted.certificates) {
        (Some(message), _) => ConditionStatus::new(ACCEPTED, (false, "Conflicted"), message),
        (None, Err(reason)) => {
            let message = format!("{reason}; connections fail rather than go unverified");
            ConditionStatus::new(ACCEPTED, (false, "NoValidCACertificate"), message)
        }
        (None, Ok(_)) => beside_rules(view, &frontends, target),
    };
    vec![accepted, resolved(trusted.faults)]
}

/// The hosts that it is for; never none.
fn frontends<'a>(
    view: &View<'a>,
    policy: &BackendTlsPolicy,
    target: &TlsTarget,
) -> Result<Vec<Frontend<'a>>, Refusal> {
    let (namespace, name) = (&policy.meta.namespace, &target.object.name);
    let mut frontends: Vec<Frontend<'a>> = match target.object.kind {
        TargetKind::ServiceEntry => {
            let entry = view.model.service_entry(namespace, name);
            let of = |entry| {
                let hosts = view.hosts_won(entry);
                hosts.map(|host| Frontend::of_entry(view, entry, host)).collect::<Vec<_>>()
            };
            entry.map(|entry| of(entry)).unwrap_or_default()
        }
        _ => {
            let service = view.model.service(namespace, name);
            service.and_then(|it| Frontend::of_service(view, it)).into_iter().collect()
        }
    };
    if frontends.is_empty() {
        let message = format!("there is no {:?} {name} with a host of its own", target.object.kind);
        return Err(("TargetNotFound", message));
    }
    if let Some(section) = &target.section {
        frontends.retain(|it| it.ports.iter().any(|(name, _)| *name == &**section));
        if frontends.is_empty() {
            let message =
                format!("{:?} {name} has no port of the name {section}", target.object.kind);
            return Err(("TargetNotFound", message));
        }
    }
    Ok(frontends)
}

/// The policy that speaks instead.
fn overruled(view: &View<'_>, policy: &BackendTlsPolicy, target: &TlsTarget) -> Option<String> {
    let policies = tls::policies(view, &policy.meta.namespace, &target.object);
    let first = tls::speaker(&policies, &target.object, target.section.as_deref())?;
    (first.meta.name != policy.meta.name)
        .then(|| format!("{} has the same target and counts before it", first.meta.name))
}

/// A destination rule of the same host that says something about TLS says all of it.
fn beside_rules(
    view: &View<'_>,
    frontends: &[Frontend<'_>],
    target: &TlsTarget,
) -> ConditionStatus {
    let (mut all, mut lost, mut rule_name) = (0, 0, None);
    let mut is_lost_for_subsets = false;
    for frontend in frontends {
        let mut rules = super::rules(view, frontend);
        if !tls::speak_for_host(&rules) {
            rules.clear();
        }
        let first = rules.iter().find(|rule| rule.policy.is_some());
        for port in ports(view, frontend, target) {
            let own = first.and_then(|rule| rule.policy.as_ref());
            let is_lost = own.is_some_and(|own| merge::at_port(own, port).tls.is_some());
            (all, lost) = (all + 1, lost + usize::from(is_lost));
            if let Some(rule) = first.filter(|_| is_lost) {
                rule_name.get_or_insert_with(|| named(rule));
            }
        }
        if let Some(rule) = rules.iter().find(|rule| has_subset_with_tls(rule)) {
            is_lost_for_subsets = true;
            rule_name.get_or_insert_with(|| named(rule));
        }
    }
    let rule_name = rule_name.unwrap_or_default();
    if lost > 0 && lost == all {
        let message = format!("DestinationRule {rule_name} says which TLS is spoken there");
        return ConditionStatus::new(ACCEPTED, (false, "Conflicted"), message);
    }
    if lost > 0 || is_lost_for_subsets {
        let message = format!(
            "it counts where DestinationRule {rule_name} doesn't say which TLS is spoken, by port or by subset"
        );
        return ConditionStatus::new(ACCEPTED, (true, "PartiallyConflicted"), message);
    }
    let message = match frontends.iter().any(|it| it.waypoint.is_some()) {
        true => "waypoints speak TLS to the endpoints",
        false => "it counts where a waypoint sends requests there; none stands before it",
    };
    ConditionStatus::new(ACCEPTED, (true, "Accepted"), message)
}

/// Ports for which a target speaks.
fn ports(view: &View<'_>, frontend: &Frontend<'_>, target: &TlsTarget) -> Vec<u16> {
    let policies = tls::policies(view, &frontend.meta.namespace, &target.object);
    let is_meant = |name: &str| match &target.section {
        Some(section) => **section == *name,
        None => tls::speaker(&policies, &target.object, Some(name)).is_none(),
    };
    let ports = frontend.ports.iter().filter(|(name, _)| is_meant(name));
    ports.map(|(_, port)| *port).collect()
}

fn named(rule: &DestinationRule) -> Arc<str> {
    format!("{}/{}", rule.meta.namespace, rule.meta.name).into()
}

fn has_subset_with_tls(rule: &DestinationRule) -> bool {
    let has_tls = |policy: &TrafficPolicy| {
        policy.parts.tls.is_some() || policy.ports.iter().any(|(_, parts)| parts.tls.is_some())
    };
    rule.subsets.iter().any(|subset| subset.policy.as_ref().is_some_and(has_tls))
}

fn resolved(faults: Vec<(String, &'static str, String)>) -> ConditionStatus {
    const KIND: &str = "ResolvedRefs";
    let Some((_, reason, message)) = faults.first().cloned() else {
        return ConditionStatus::new(
            KIND,
            (true, "ResolvedRefs"),
            "every reference leads somewhere",
        );
    };
    ConditionStatus {
        fields: faults.into_iter().map(|(field, ..)| field).collect(),
        ..ConditionStatus::new(KIND, (false, reason), message)
    }
}
