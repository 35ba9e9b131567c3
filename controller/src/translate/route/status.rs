//! What became of a route, for its owner: conditions for each parent, with the Gateway API's types and reasons.

use crate::objects::{Kind, ObjectKey, ParentKind, ParentRef, Route, RouteFilter, RouteKind};
use crate::translate::status::ConditionStatus;
use crate::translate::view::View;
use crate::translate::waypoint::{self, User, is_admitted};

use super::attach;
use super::backend;
use super::frontend::Frontend;
use super::http;

/// Why a route doesn't count for a parent: reason and message.
type Refusal = (&'static str, String);

/// Conditions of every parent that is the mesh's affair.
pub(in crate::translate) fn route_status(view: &View<'_>, route: &Route) -> Vec<ConditionStatus> {
    let mut conditions = Vec::new();
    for (at, parent) in route.parents.iter().enumerate() {
        let Some(verdict) = verdict(view, route, at, parent) else {
            continue;
        };
        let name = parent_name(parent);
        let of_parent = |condition: ConditionStatus| ConditionStatus {
            parent: Some(name.clone()),
            ..condition
        };
        conditions.push(of_parent(accepted(route, verdict)));
        conditions.push(of_parent(resolved(view, route)));
        conditions.extend(partially_invalid(route).map(of_parent));
        conditions.extend(resolved_waypoint(view, parent).map(of_parent));
    }
    if !conditions.is_empty() {
        let message = "the rest of the route counts without them";
        conditions.extend(ConditionStatus::not_honoured(ignored(route), message));
    }
    conditions
}

/// A service's routes are for every host: it is known by then whom a client calls.
fn ignored(route: &Route) -> Vec<String> {
    let is_by_host = matches!(route.kind, RouteKind::Http | RouteKind::Grpc);
    let is_mesh =
        |it: &ParentRef| matches!(it.kind, ParentKind::Service | ParentKind::ServiceEntry);
    let has_hosts = !route.hostnames.is_empty() && route.parents.iter().any(is_mesh);
    let hosts = (is_by_host && has_hosts).then(|| "spec.hostnames".to_owned());
    route.ignored.iter().cloned().chain(hosts).collect()
}

/// Whether requests come to anybody who reads routes. Nothing for a route that is attached to a waypoint itself.
fn resolved_waypoint(view: &View<'_>, parent: &ParentRef) -> Option<ConditionStatus> {
    const KIND: &str = "ResolvedWaypoints";
    let kind = match parent.kind {
        ParentKind::Service => Kind::Service,
        ParentKind::ServiceEntry => Kind::ServiceEntry,
        ParentKind::Gateway | ParentKind::Other => return None,
    };
    let key = ObjectKey::new(kind, parent.namespace.clone(), parent.name.clone());
    let object = view.model.object(&key)?;
    let binding = waypoint::resolve(view, User::of(&object)?);
    let Some(asked) = binding.asked() else {
        let message = format!(
            "{key} has no waypoint, so nobody carries the route out; label it or its namespace {}",
            waypoint::USE
        );
        return Some(ConditionStatus::new(KIND, (false, "MissingUseWaypointLabel"), message));
    };
    let name = waypoint::full_name(&asked.gateway);
    Some(match asked.verdict.fault() {
        None => ConditionStatus::new(KIND, (true, KIND), format!("waypoint {name} carries it out")),
        Some((reason, message)) => {
            ConditionStatus::new(KIND, (false, reason), format!("waypoint {name} {message}"))
        }
    })
}

fn parent_name(parent: &ParentRef) -> String {
    let kind = match parent.kind {
        ParentKind::Service => "Service",
        ParentKind::ServiceEntry => "ServiceEntry",
        ParentKind::Gateway => "Gateway",
        ParentKind::Other => "unknown",
    };
    let port = parent.port.map(|port| format!(":{port}")).unwrap_or_default();
    let section = parent.section.as_ref().map(|it| format!("#{it}")).unwrap_or_default();
    format!("{kind} {}/{}{port}{section}", parent.namespace, parent.name)
}

/// `None` for a parent that is somebody else's.
fn verdict(
    view: &View<'_>,
    route: &Route,
    at: usize,
    parent: &ParentRef,
) -> Option<Result<(), Refusal>> {
    let missing = || {
        let message = format!("{} doesn't exist", parent_name(parent));
        Some(Err(("NoMatchingParent", message)))
    };
    let frontends = match parent.kind {
        ParentKind::Other => return None,
        ParentKind::Gateway => {
            let is_waypoint = view.waypoints.get(&parent.namespace, &parent.name).is_some();
            return is_waypoint.then(|| gateway_refusal(view, route, parent).map_or(Ok(()), Err));
        }
        ParentKind::Service => {
            let service = view.model.service(&parent.namespace, &parent.name);
            let Some(service) = service else {
                return missing();
            };
            Vec::from_iter(Frontend::of_service(view, service))
        }
        ParentKind::ServiceEntry => {
            let entry = view.model.service_entry(&parent.namespace, &parent.name);
            let Some(entry) = entry else {
                return missing();
            };
            view.hosts_won(entry).map(|host| Frontend::of_entry(view, entry, host)).collect()
        }
    };
    if frontends.is_empty() {
        let message = format!("{} has no host of its own", parent_name(parent));
        return Some(Err(("NoMatchingParent", message)));
    }
    // All hosts of an entry have the same ports, so the first one speaks for all.
    let plan = frontends.first().map(|frontend| attach::plan(view, frontend))?;
    let refused = plan.refused.into_iter().find(|refused| {
        refused.parent == at && refused.route.meta == route.meta && refused.route.kind == route.kind
    });
    Some(refused.map_or(Ok(()), |refused| Err((refused.reason, refused.message))))
}

/// Why a waypoint doesn't take a route.
pub(super) fn gateway_refusal(
    view: &View<'_>,
    route: &Route,
    parent: &ParentRef,
) -> Option<Refusal> {
    let waypoint = view.waypoints.get(&parent.namespace, &parent.name)?;
    let is_listener = parent.port.is_none_or(|port| port == weft_proto::contract::port::HBONE)
        && parent.section.as_ref().is_none_or(|section| *section == waypoint.listener);
    if !is_listener {
        let message = format!("a waypoint has one listener, {} on port 15008", waypoint.listener);
        return Some(("NoMatchingParent", message));
    }
    let kind = route.kind.kind().to_string();
    if !waypoint.kinds.is_empty() && waypoint.kinds.iter().all(|own| **own != *kind) {
        let message = format!("the waypoint admits no {kind}s");
        return Some(("NotAllowedByListeners", message));
    }
    let (home, own) = (&parent.namespace, &route.meta.namespace);
    (!is_admitted(view, &waypoint.admission, home, own)).then(|| {
        ("NotAllowedByListeners", format!("the waypoint admits no routes of namespace {own}"))
    })
}

/// Whether a route is attached to a waypoint.
pub(in crate::translate) fn is_attached(
    view: &View<'_>,
    route: &Route,
    namespace: &str,
    name: &str,
) -> bool {
    let is_it = |parent: &&ParentRef| {
        parent.kind == ParentKind::Gateway
            && *parent.namespace == *namespace
            && *parent.name == *name
    };
    let mut parents = route.parents.iter().filter(is_it);
    parents.any(|parent| gateway_refusal(view, route, parent).is_none())
}

fn accepted(route: &Route, verdict: Result<(), Refusal>) -> ConditionStatus {
    const KIND: &str = "Accepted";
    let unsupported = unsupported_rules(route);
    match verdict {
        Err((reason, message)) => ConditionStatus::new(KIND, (false, reason), message),
        Ok(()) if !route.rules.is_empty() && unsupported.len() == route.rules.len() => {
            let message = "every rule has a filter that isn't carried out, so all is answered 500";
            ConditionStatus {
                fields: unsupported,
                ..ConditionStatus::new(KIND, (false, "UnsupportedValue"), message)
            }
        }
        Ok(()) => ConditionStatus::new(KIND, (true, "Accepted"), "the route counts"),
    }
}

fn partially_invalid(route: &Route) -> Option<ConditionStatus> {
    let fields = unsupported_rules(route);
    (!fields.is_empty() && fields.len() < route.rules.len()).then(|| ConditionStatus {
        fields,
        ..ConditionStatus::new(
            "PartiallyInvalid",
            (true, "UnsupportedValue"),
            "what these rules match is answered 500",
        )
    })
}

/// One path for each rule that answers 500 because of a filter.
fn unsupported_rules(route: &Route) -> Vec<String> {
    let rules = route.rules.iter().enumerate().filter_map(|(at, rule)| {
        let is_unsupported = |filter: &RouteFilter| matches!(filter, RouteFilter::Unsupported(_));
        let place = rule.filters.iter().position(is_unsupported)?;
        Some(format!("spec.rules[{at}].filters[{place}]"))
    });
    rules.collect()
}

fn resolved(view: &View<'_>, route: &Route) -> ConditionStatus {
    const KIND: &str = "ResolvedRefs";
    let (mut fields, mut first) = (Vec::new(), None);
    let mut note = |field: String, unresolved: backend::Unresolved| {
        fields.push(field);
        first.get_or_insert(unresolved);
    };
    for (at, rule) in route.rules.iter().enumerate() {
        for (place, it) in rule.backends.iter().enumerate() {
            let field = format!("spec.rules[{at}].backendRefs[{place}]");
            if let Err(unresolved) = backend::resolve(view, route, &it.to) {
                note(field.clone(), unresolved);
            }
            let is_known = |filter: &&RouteFilter| {
                matches!(filter, RouteFilter::RequestHeaders(_) | RouteFilter::ResponseHeaders(_))
            };
            if let Some(filter) = it.filters.iter().find(|filter| !is_known(filter)) {
                let message = http::unsupported(http::name(filter));
                let reason = "UnsupportedValue";
                note(format!("{field}.filters"), backend::Unresolved { reason, message });
            }
        }
        for (place, filter) in rule.filters.iter().enumerate() {
            if let RouteFilter::Mirror(mirror) = filter
                && let Err(unresolved) = backend::resolve(view, route, &mirror.to)
            {
                note(format!("spec.rules[{at}].filters[{place}].requestMirror"), unresolved);
            }
        }
    }
    match first {
        None => {
            ConditionStatus::new(KIND, (true, "ResolvedRefs"), "every reference leads somewhere")
        }
        Some(first) => ConditionStatus {
            fields,
            ..ConditionStatus::new(KIND, (false, first.reason), first.message)
        },
    }
}
