//! What became of Gateways and their classes, and of what asks for a waypoint.

use std::sync::Arc;

use crate::model::Referent;
use crate::objects::{Gateway, GatewayClass, Labels, Listener, Meta, ObjectKey, ParentKind, Pod};

use super::access::body_limit_status;
use super::guard;
use super::pod;
use super::ports::Target;
use super::status::ConditionStatus;
use super::view::View;
use super::waypoint::{
    self, Asked, CANARY, ENFORCEMENT, TRAFFIC, Traffic, User, Waypoint, full_name, said,
};

/// Whether an object that asks for a waypoint has it; nothing if it asks for none. The message says whether calls may go
/// round it.
pub(super) fn bound(view: &View<'_>, user: User<'_>) -> Option<ConditionStatus> {
    const KIND: &str = "istio.io/WaypointBound";
    let binding = waypoint::resolve(view, user);
    let asked = binding.asked()?;
    let name = full_name(&asked.gateway);
    let (outcome, what) = match (asked.verdict.fault(), &asked.canary) {
        (Some((reason, message)), _) => ((false, reason), format!("waypoint {name} {message}")),
        (None, Some(canary)) => match canary.refusal(asked) {
            Some((reason, message)) => {
                let message = format!("{message}; waypoint {name} takes all connections");
                ((false, reason), message)
            }
            None => {
                let (share, canary_name) = (canary.weight.unwrap_or(0), full_name(&canary.gateway));
                let message = format!(
                    "Successfully attached to waypoint {name}, and {share} % of connections to canary {canary_name}"
                );
                ((true, "WaypointAccepted"), message)
            }
        },
        (None, None) => {
            ((true, "WaypointAccepted"), format!("Successfully attached to waypoint {name}"))
        }
    };
    let is_outside = matches!(user, User::ServiceEntry(_));
    let message = format!("{what}. {}", round(asked, is_outside));
    Some(ConditionStatus::new(KIND, outcome, message))
}

/// Labels and annotations about waypoints that say nothing where they stand: another value of the enforcement, and a
/// canary of what is no service.
pub(super) fn without_effect(meta: &Meta, takes_canary: bool) -> Option<ConditionStatus> {
    let places = [("labels", &meta.labels), ("annotations", &meta.annotations)];
    let unknown = |(_, own): &(_, &Arc<Labels>)| {
        own.get(ENFORCEMENT).is_some_and(|text| said(text).is_none())
    };
    let unknown = places.into_iter().filter(unknown);
    let mut fields: Vec<String> =
        unknown.map(|(place, _)| format!("metadata.{place}.{ENFORCEMENT}")).collect();
    if !takes_canary && meta.labels.get(CANARY).is_some() {
        fields.push(format!("metadata.labels.{CANARY}"));
    }
    honoured(fields)
}

/// A pod that ought to refuse what went round a waypoint, and has no node proxy that would.
pub(super) fn unguarded(view: &View<'_>, pod: &Pod) -> Option<ConditionStatus> {
    let is_reachable = !pod.has_ended() && !pod.addresses.is_empty();
    if !is_reachable || pod::is_redirected(view, pod) {
        return None;
    }
    guard::guard(view, &pod.meta, Target::Pod(pod))?;
    let message = "calls may not go round its waypoint, but it isn't in the mesh, so whoever knows its address reaches it";
    let outcome = (false, "NotEnrolled");
    Some(ConditionStatus::new("weft.io/WaypointEnforced", outcome, message))
}

/// A sentence: what happens to calls that don't come through the waypoint.
fn round(asked: &Asked, is_outside: bool) -> String {
    let reason = asked.enforcement.reason();
    match (asked.enforcement.is_enforced, asked.verdict.fault().is_none()) {
        (true, true) if is_outside => format!(
            "Enforced: calls to its hosts go through it; what lies outside of the mesh can't refuse others ({reason})"
        ),
        (true, true) => format!("Enforced: calls that go round it are refused ({reason})"),
        (true, false) => format!("Enforced: all calls fail until it can be had ({reason})"),
        (false, true) => format!("Permissive: calls that go round it are let in ({reason})"),
        (false, false) => format!("Permissive: traffic goes without it ({reason})"),
    }
}

/// Nothing for a Gateway that isn't the mesh's affair.
pub(super) fn gateway_status(view: &View<'_>, gateway: &Gateway) -> Vec<ConditionStatus> {
    let meta = &gateway.meta;
    let Some(waypoint) = view.waypoints.get(&meta.namespace, &meta.name) else {
        return Vec::new();
    };
    let mut conditions = vec![accepted(gateway), programmed(waypoint)];
    for listener in &gateway.listeners {
        conditions.extend(of_listener(view, gateway, listener));
    }
    let mut ignored = gateway.ignored.to_vec();
    let traffic = meta.labels.get(TRAFFIC);
    if traffic.is_some_and(|text| Traffic::of(text).is_none()) {
        ignored.push(format!("metadata.labels.{TRAFFIC}"));
    }
    const BINDING: &str = "ambient.istio.io/waypoint-inbound-binding";
    if meta.annotations.get(BINDING).is_some() {
        ignored.push(format!("metadata.annotations.{BINDING}"));
    }
    conditions.extend(honoured(ignored));
    conditions.extend(body_limit_status(meta));
    conditions
}

fn honoured(ignored: Vec<String>) -> Option<ConditionStatus> {
    ConditionStatus::not_honoured(ignored, "the rest counts without them")
}

fn accepted(gateway: &Gateway) -> ConditionStatus {
    const KIND: &str = "Accepted";
    let listeners = gateway.listeners.iter().enumerate();
    let foreign: Vec<String> = listeners
        .filter(|(_, it)| !waypoint::is_mesh_listener(it))
        .map(|(at, _)| format!("spec.listeners[{at}]"))
        .collect();
    if foreign.is_empty() {
        let message = "it is a waypoint of this mesh";
        return ConditionStatus::new(KIND, (true, "Accepted"), message);
    }
    let is_none = foreign.len() == gateway.listeners.len();
    let message = match is_none {
        true => {
            "a waypoint's listener is HBONE on port 15008; none is, so it takes its own namespace's objects"
        }
        false => "a waypoint's listener is HBONE on port 15008; the others aren't served",
    };
    ConditionStatus {
        fields: foreign,
        ..ConditionStatus::new(KIND, (!is_none, "ListenersNotValid"), message)
    }
}

fn programmed(waypoint: &Waypoint) -> ConditionStatus {
    const KIND: &str = "Programmed";
    let host = &waypoint.host;
    match waypoint.readiness {
        waypoint::Readiness::Ready => {
            ConditionStatus::new(KIND, (true, "Programmed"), format!("it is reached at {host}"))
        }
        waypoint::Readiness::NoService => {
            let message = format!(
                "it has no Service: one of its name, or one with the label {}",
                waypoint::GATEWAY_NAME
            );
            ConditionStatus::new(KIND, (false, "AddressNotAssigned"), message)
        }
        waypoint::Readiness::NoInstance => {
            let message = format!("no pod that the Service of {host} selects is ready");
            ConditionStatus::new(KIND, (false, "Pending"), message)
        }
    }
}

fn of_listener(view: &View<'_>, gateway: &Gateway, listener: &Listener) -> [ConditionStatus; 2] {
    let parent = format!("listener {}", listener.name);
    let is_mesh = waypoint::is_mesh_listener(listener);
    let accepted = match is_mesh {
        true => {
            let count = attached_routes(view, (&gateway.meta.namespace, &gateway.meta.name));
            let message = format!("routes that are attached to it: {count}");
            ConditionStatus::new("Accepted", (true, "Accepted"), message)
        }
        false => {
            let message = "a waypoint serves HBONE on port 15008 alone";
            ConditionStatus::new("Accepted", (false, "UnsupportedProtocol"), message)
        }
    };
    let routes = ["HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute"];
    let unknown = listener.kinds.iter().find(|kind| !routes.contains(&&***kind));
    let resolved = match unknown {
        None => ConditionStatus::new(
            "ResolvedRefs",
            (true, "ResolvedRefs"),
            "every kind of route that it allows is known",
        ),
        Some(kind) => ConditionStatus::new(
            "ResolvedRefs",
            (false, "InvalidRouteKinds"),
            format!("{kind} is no kind of route that is known"),
        ),
    };
    [accepted, resolved]
        .map(|condition| ConditionStatus { parent: Some(parent.clone()), ..condition })
}

fn attached_routes(view: &View<'_>, (namespace, name): (&Arc<str>, &Arc<str>)) -> usize {
    let referent = Referent::Object(ParentKind::Gateway, namespace.clone(), name.clone());
    let routes = view.model.references().attached(&referent);
    let is_accepted = |key: &&ObjectKey| {
        view.model
            .route(key)
            .is_some_and(|route| super::route::is_attached(view, route, namespace, name))
    };
    routes.filter(is_accepted).count()
}

/// Nothing for a class of somebody else's.
pub(super) fn class_status(view: &View<'_>, class: &GatewayClass) -> Vec<ConditionStatus> {
    if !waypoint::is_waypoint_class(view.model, &class.meta.name) {
        return Vec::new();
    }
    let message = "its Gateways are waypoints of this mesh";
    let mut conditions = vec![ConditionStatus::new("Accepted", (true, "Accepted"), message)];
    let mut ignored = class.ignored.to_vec();
    if class.meta.labels.get(TRAFFIC).is_some_and(|text| Traffic::of(text).is_none()) {
        ignored.push(format!("metadata.labels.{TRAFFIC}"));
    }
    conditions.extend(honoured(ignored));
    conditions
}
