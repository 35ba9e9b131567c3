//! What became of a destination rule, for its owner. Istio says nothing here.

use crate::model::full_host;
use crate::objects::{DestinationRule, Meta};
use crate::translate::access::mesh_config;
use crate::translate::route::frontend::{Frontend, frontends_of_host};
use crate::translate::status::ConditionStatus;
use crate::translate::view::View;

use super::{credential, global_limit, merge, rate_limit};
use crate::translate::route::session;

const ACCEPTED: &str = "weft.io/WaypointAccepted";

type Outcome = (bool, &'static str);

/// Conditions of a destination rule.
pub(in crate::translate) fn rule_status(
    view: &View<'_>,
    rule: &DestinationRule,
) -> Vec<ConditionStatus> {
    let (outcome, message, fields) = verdict(view, rule);
    let mut conditions =
        vec![ConditionStatus { fields, ..ConditionStatus::new(ACCEPTED, outcome, message) }];
    conditions.extend(credential::status(view, rule, &applied(view, rule, all(view, rule))));
    let message = "the rest of the object counts without them";
    conditions.extend(ConditionStatus::not_honoured(rule.ignored.to_vec(), message));
    conditions
}

/// Whether it counts, why not, and for which of its fields not.
fn verdict(view: &View<'_>, rule: &DestinationRule) -> (Outcome, String, Vec<String>) {
    if rule.is_for_workloads {
        let message = "it is for some callers alone, whom a waypoint can't tell; its subsets are found by routes all the same";
        return ((false, "UnsupportedValue"), message.into(), vec!["spec.workloadSelector".into()]);
    }
    let is_wide = rule.host.starts_with('*');
    if is_wide && !rule.subsets.is_empty() && !rule.has_policies() {
        let message = "subsets are looked for under the host's own name, not below another";
        return ((false, "UnsupportedValue"), message.into(), vec!["spec.host".into()]);
    }
    if !rule.has_policies() {
        return ((true, "Accepted"), "routes find its subsets".into(), Vec::new());
    }
    let host = full_host(&rule.host, &rule.meta.namespace, &view.settings.dns_domain);
    let frontends = all(view, rule);
    if frontends.is_empty() {
        let message = format!("no service or service entry has the host {host}");
        return ((false, "NoMatchingHost"), message, vec!["spec.host".into()]);
    }
    let count = frontends.len();
    let frontends = applied(view, rule, frontends);
    let Some(first) = frontends.first() else {
        let message = format!(
            "exportTo, a rule with a nearer host, or rules of another namespace keep it from {host}"
        );
        return ((false, "NotApplied"), message, Vec::new());
    };
    let overruled = overruled(view, first, rule);
    match (overruled.is_empty(), frontends.len() == count) {
        (false, _) => {
            let message = "an older rule of the same host has them; the rest of the rule counts";
            ((true, "PartiallyConflicted"), message.into(), overruled)
        }
        (true, true) => {
            let is_bound = is_wide || first.waypoint.is_some();
            let where_from = match is_bound {
                true => "",
                false => ", where a waypoint sends requests there; none stands before it",
            };
            ((true, "Accepted"), format!("it counts for {host}{where_from}"), Vec::new())
        }
        (true, false) => {
            let message = format!(
                "it counts for {} of {count} services below {host}; nearer rules or those of their namespaces for the others",
                frontends.len()
            );
            ((true, "Accepted"), message, Vec::new())
        }
    }
}

fn is_same(one: &DestinationRule, other: &DestinationRule) -> bool {
    one.meta.namespace == other.meta.namespace && one.meta.name == other.meta.name
}

/// Services and entries that have the rule's host.
fn all<'a>(view: &View<'a>, rule: &DestinationRule) -> Vec<Frontend<'a>> {
    let host = full_host(&rule.host, &rule.meta.namespace, &view.settings.dns_domain);
    match host.starts_with('*') {
        true => below(view, &host),
        false => frontends_of_host(view, &host),
    }
}

/// Those of them for which it counts.
fn applied<'a>(
    view: &View<'a>,
    rule: &DestinationRule,
    mut frontends: Vec<Frontend<'a>>,
) -> Vec<Frontend<'a>> {
    frontends.retain(|frontend| super::rules(view, frontend).iter().any(|it| is_same(it, rule)));
    frontends
}

fn below<'a>(view: &View<'a>, wide: &str) -> Vec<Frontend<'a>> {
    let suffix = wide.strip_prefix('*').unwrap_or(wide);
    let hosts = view.model.hosts().filter(|host| host.ends_with(suffix));
    hosts.flat_map(|host| frontends_of_host(view, host)).collect()
}

/// Fields that an older rule, or the bound, leaves without effect.
fn overruled(view: &View<'_>, frontend: &Frontend<'_>, rule: &DestinationRule) -> Vec<String> {
    let rules = super::rules(view, frontend);
    let older = || rules.iter().take_while(|it| !is_same(it, rule));
    let mut fields = Vec::new();
    if rule.policy.is_some() && older().any(|it| it.policy.is_some()) {
        fields.push("spec.trafficPolicy".to_owned());
    }
    let asked = super::tls::asked(view, frontend, &rules);
    let common = merge::Common {
        rate_limit: None,
        session: None,
        global_limit: None,
        asked: &asked,
        subject_alt_names: &[],
    };
    let left_out = merge::merged(&rules, &common).left_out;
    for (at, subset) in rule.subsets.iter().enumerate().filter(|(_, it)| it.policy.is_some()) {
        let has = |it: &&DestinationRule| {
            it.subsets.iter().any(|own| own.name == subset.name && own.policy.is_some())
        };
        if older().any(has) || left_out.contains(&subset.name) {
            fields.push(format!("spec.subsets[{at}].trafficPolicy"));
        }
    }
    fields
}

/// Conditions of a service or an entry: what of its own annotations and labels isn't understood.
pub(in crate::translate) fn settings_statuses(
    view: &View<'_>,
    meta: &Meta,
) -> Vec<ConditionStatus> {
    let condition = |kind, reason, field: String, message| ConditionStatus {
        fields: vec![field],
        ..ConditionStatus::new(kind, (false, reason), message)
    };
    let annotation = |name: &str| format!("metadata.annotations.{name}");
    let local = rate_limit::of(meta).and_then(Result::err).map(|reason| {
        let message = format!("{reason}; there is no limit");
        condition(
            "weft.io/RateLimited",
            "InvalidValue",
            annotation(rate_limit::ANNOTATION),
            message,
        )
    });
    let mesh = mesh_config(view);
    let global = global_limit::of(meta, mesh.as_deref()).and_then(Result::err);
    let global = global.map(|(reason, message)| {
        let message = format!("{message}; nobody is asked");
        let field = annotation(global_limit::ANNOTATION);
        condition("weft.io/GloballyRateLimited", reason, field, message)
    });
    let session = session::of_labels(meta).and_then(Result::err).map(|(label, reason)| {
        let message = format!("{reason}; requests are balanced");
        let field = format!("metadata.labels.{label}");
        condition("weft.io/SessionPersistence", "InvalidValue", field, message)
    });
    [local, global, session].into_iter().flatten().collect()
}
