//! What became of a virtual service, for its owner. Istio says nothing here.

use std::sync::Arc;

use crate::model::full_host;
use crate::objects::{VirtualOutcome, VirtualService};
use crate::translate::route::attach;
use crate::translate::route::frontend::frontends_of_host;
use crate::translate::status::ConditionStatus;
use crate::translate::view::View;

use super::destination;

const ACCEPTED: &str = "weft.io/WaypointAccepted";

/// Conditions of a virtual service; nothing for one that is for ingress gateways alone.
pub(in crate::translate) fn virtual_status(
    view: &View<'_>,
    object: &VirtualService,
) -> Vec<ConditionStatus> {
    if !object.is_for_mesh {
        return Vec::new();
    }
    let mut conditions = Vec::new();
    for (at, host) in object.hosts.iter().enumerate() {
        let (outcome, message) = host_verdict(view, object, host);
        conditions.push(ConditionStatus {
            fields: vec![format!("spec.hosts[{at}]")],
            parent: Some(host.to_string()),
            ..ConditionStatus::new(ACCEPTED, outcome, message)
        });
        conditions.extend(without_waypoint(view, object, (at, host)));
    }
    conditions.push(resolved(view, object));
    conditions.extend(ignored(&object.ignored));
    conditions
}

/// Rules for a host that no waypoint stands before are carried out by nobody.
fn without_waypoint(
    view: &View<'_>,
    object: &VirtualService,
    (at, host): (usize, &Arc<str>),
) -> Option<ConditionStatus> {
    let full = full_host(host, &object.meta.namespace, &view.settings.dns_domain);
    let frontends = frontends_of_host(view, &full);
    let is_bare = !frontends.is_empty() && frontends.iter().all(|it| it.waypoint.is_none());
    let outcome = (false, "MissingUseWaypointLabel");
    let message = format!("no waypoint stands before {full}, so nobody carries the rules out");
    is_bare.then(|| ConditionStatus {
        fields: vec![format!("spec.hosts[{at}]")],
        parent: Some(host.to_string()),
        ..ConditionStatus::new("ResolvedWaypoints", outcome, message)
    })
}

type Outcome = (bool, &'static str);

fn host_verdict(view: &View<'_>, object: &VirtualService, host: &Arc<str>) -> (Outcome, String) {
    let host = full_host(host, &object.meta.namespace, &view.settings.dns_domain);
    if host.starts_with('*') {
        let message = "counts for hosts below it that no other virtual service names";
        return ((true, "Accepted"), message.to_owned());
    }
    let frontends = frontends_of_host(view, &host);
    if frontends.is_empty() {
        let message = format!("no service or service entry has the host {host}");
        return ((false, "NoMatchingHost"), message);
    }
    for frontend in &frontends {
        let plan = attach::plan(view, frontend);
        let is_own = |it: &&VirtualService| it.meta == object.meta;
        if plan.without_room.iter().any(is_own) {
            let message = format!("the routes of {host} have more rules than a waypoint takes");
            return ((false, "UnsupportedValue"), message);
        }
        let Some(own) = plan.virtuals.iter().find(|it| is_own(&it.object)) else {
            continue;
        };
        let routes = plan.attached.iter().filter(|it| it.audience == own.audience);
        let taken: Vec<u16> = routes.flat_map(|it| it.ports.iter().copied()).collect();
        let taken = frontend.ports.iter().filter(|(_, port)| taken.contains(port)).count();
        return match taken {
            0 => ((true, "Accepted"), format!("the rules count for {host}")),
            _ if taken == frontend.ports.len() => {
                let message = format!("routes of the Gateway API count for {host} instead");
                ((false, "Conflicted"), message)
            }
            _ => {
                let message =
                    format!("on some ports of {host} routes of the Gateway API count instead");
                ((true, "PartiallyConflicted"), message)
            }
        };
    }
    let message = format!("exportTo or a virtual service with a nearer host keeps it from {host}");
    ((false, "NotApplied"), message)
}

fn resolved(view: &View<'_>, object: &VirtualService) -> ConditionStatus {
    const KIND: &str = "weft.io/ResolvedRefs";
    let mut fields = Vec::new();
    let mut first = None;
    for rule in &object.http {
        let place = rule.place;
        if let VirtualOutcome::Route(routes) = &rule.outcome {
            for (at, it) in routes.iter().enumerate() {
                if let Err(error) = destination::resolve(view, &object.meta, &it.to) {
                    fields.push(format!("spec.http[{place}].route[{at}].destination"));
                    first.get_or_insert((error.reason, error.message));
                }
            }
        }
        if let VirtualOutcome::Delegate { namespace, name } = &rule.outcome {
            let delegate = view.model.virtual_service(namespace, name);
            if !delegate.is_some_and(|it| it.hosts.is_empty()) {
                fields.push(format!("spec.http[{place}].delegate"));
                let message =
                    format!("there is no VirtualService {namespace}/{name} without hosts");
                first.get_or_insert(("DelegateNotFound", message));
            }
        }
        for (to, _) in &rule.mirrors {
            if let Err(error) = destination::resolve(view, &object.meta, to) {
                fields.push(format!("spec.http[{place}].mirrors"));
                first.get_or_insert((error.reason, error.message));
            }
        }
    }
    for (list, rules) in [("tls", &object.tls), ("tcp", &object.tcp)] {
        for rule in rules {
            for (at, it) in rule.routes.iter().enumerate() {
                if let Err(error) = destination::resolve(view, &object.meta, &it.to) {
                    let place = rule.place;
                    fields.push(format!("spec.{list}[{place}].route[{at}].destination"));
                    first.get_or_insert((error.reason, error.message));
                }
            }
        }
    }
    match first {
        None => {
            ConditionStatus::new(KIND, (true, "ResolvedRefs"), "every reference leads somewhere")
        }
        Some((reason, message)) => {
            ConditionStatus { fields, ..ConditionStatus::new(KIND, (false, reason), message) }
        }
    }
}

fn ignored(fields: &[String]) -> Option<ConditionStatus> {
    let message = "the rest of the object counts without them";
    ConditionStatus::not_honoured(fields.to_vec(), message)
}
