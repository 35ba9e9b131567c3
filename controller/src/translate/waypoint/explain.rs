//! Step by step: why an object has the waypoint that it has, or none. In the order in which it is decided.

use serde::{Deserialize, Serialize};

use crate::objects::{Kind, Meta, ObjectKey};
use crate::translate::view::View;

use super::{
    Asked, Binding, GATEWAY_NAME, MANAGED, TRAFFIC, USE, Unbound, User, Verdict, full_name, resolve,
};

/// Why an object has the waypoint that it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// `<kind> <namespace>/<name>`.
    pub object: String,
    /// What was asked, in order. The last one decided.
    pub steps: Vec<Step>,
    /// `<namespace>/<name>` of the Gateway that calls go through; nothing: they go direct, or fail.
    pub waypoint: Option<String>,
    /// Whether calls that go round it are refused.
    pub is_enforced: bool,
    /// What becomes of a call.
    pub verdict: String,
}

/// One question and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Whether it speaks for the waypoint.
    pub holds: bool,
    /// A sentence.
    pub text: String,
}

/// Why a service, a service entry, a pod or a workload entry has the waypoint that it has. Nothing for other kinds, and
/// where there is no such object.
pub fn explain(view: &View<'_>, key: &ObjectKey) -> Option<Explanation> {
    let object = view.model.object(key)?;
    let user = User::of(&object)?;
    let binding = resolve(view, user);
    let mut steps = Vec::new();
    let verdict = match &binding {
        Binding::None(unbound) => not_asked(view, user.meta(), unbound, &mut steps),
        Binding::Asked(asked) => asked_for(view, user, asked, &mut steps),
    };
    let asked = binding.asked();
    let ready = asked.filter(|asked| asked.verdict == Verdict::Ready);
    Some(Explanation {
        object: key.to_string(),
        steps,
        waypoint: ready.map(|asked| full_name(&asked.gateway)),
        is_enforced: asked.is_some_and(|asked| asked.enforcement.is_enforced),
        verdict,
    })
}

fn not_asked(view: &View<'_>, meta: &Meta, unbound: &Unbound, steps: &mut Vec<Step>) -> String {
    let mut step = |holds, text: String| steps.push(Step { holds, text });
    match unbound {
        Unbound::Exempt => {
            step(
                false,
                format!(
                    "it is a waypoint's own (label {GATEWAY_NAME} or {MANAGED}, or the Gateway's name)"
                ),
            );
        }
        Unbound::OptedOut => {
            let own = meta.labels.get(USE).is_some();
            let whose = if own { "its" } else { "its namespace's" };
            step(false, format!("{whose} label {USE} is none"));
        }
        Unbound::NotAsked => {
            step(false, format!("it has no label {USE}"));
            let is_declared =
                view.namespace(&meta.namespace).is_some_and(|objects| objects.namespace.is_some());
            step(
                false,
                match is_declared {
                    true => format!("neither has its namespace {}", meta.namespace),
                    false => format!("its namespace {} isn't declared", meta.namespace),
                },
            );
        }
        Unbound::OtherTraffic(gateway) => {
            step(true, format!("the label {USE} of its namespace names {}", full_name(gateway)));
            let traffic = view.waypoints.get(&gateway.0, &gateway.1).map(|it| it.traffic.name());
            let traffic = traffic.unwrap_or_default();
            step(false, format!("that waypoint is for other traffic ({TRAFFIC}: {traffic})"));
        }
    }
    "no waypoint: calls go direct".to_owned()
}

fn asked_for(view: &View<'_>, user: User<'_>, asked: &Asked, steps: &mut Vec<Step>) -> String {
    let mut step = |holds, text: String| steps.push(Step { holds, text });
    let (name, meta) = (full_name(&asked.gateway), user.meta());
    match asked.is_own {
        true => step(true, format!("its label {USE} names {name}")),
        false => {
            step(
                true,
                format!(
                    "it has no label {USE}; that of its namespace {} names {name}",
                    meta.namespace
                ),
            );
        }
    }
    let (home, own) = &asked.gateway;
    let class = view.model.gateway(home, own).map(|gateway| gateway.class.clone());
    match (&class, &asked.verdict) {
        (None, _) => step(false, format!("there is no Gateway {name}")),
        (Some(class), Verdict::Missing) => {
            step(false, format!("Gateway {name} is of class {class}, which is no waypoint's"));
        }
        (Some(class), _) => step(true, format!("Gateway {name} is a waypoint (class {class})")),
    }
    match &asked.verdict {
        Verdict::Missing => {}
        Verdict::Refused { message, .. } => step(false, format!("it {message}")),
        Verdict::Ready | Verdict::NotReady(_) => {
            let traffic = view.waypoints.get(home, own).map_or("", |it| it.traffic.name());
            step(
                true,
                format!(
                    "it is for {} ({TRAFFIC}: {traffic}), and admits namespace {}",
                    user.noun(),
                    meta.namespace
                ),
            );
            let host = view.waypoints.get(home, own).map(|it| it.host.clone()).unwrap_or_default();
            match asked.verdict.fault() {
                None => step(true, format!("its Service {host} has a ready instance")),
                Some((_, message)) => step(false, format!("it {message}")),
            }
        }
    }
    if let Some(canary) = &asked.canary {
        match canary.refusal(asked) {
            Some((reason, message)) => step(false, format!("{message} ({reason})")),
            None => {
                let share = canary.weight.unwrap_or_default();
                step(
                    true,
                    format!("canary {} takes {share} % of connections", full_name(&canary.gateway)),
                );
            }
        }
    }
    let reason = asked.enforcement.reason();
    let what = if asked.enforcement.is_enforced { "enforced" } else { "permissive" };
    step(asked.enforcement.is_enforced, format!("{what}: {reason}"));
    let verdict = match (&asked.verdict, asked.enforcement.is_enforced) {
        (Verdict::Ready, true) => "calls go through {}; what goes round it is refused",
        (Verdict::Ready, false) => "calls go through {}; what goes round it is let in",
        (_, true) => "calls fail until {} can be had",
        (_, false) => "calls go direct until {} can be had",
    };
    verdict.replace("{}", &name)
}

/// A waypoint, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaypointStatus {
    /// Namespace of its Gateway.
    pub namespace: String,
    /// Name of its Gateway.
    pub name: String,
    /// Its class.
    pub class: String,
    /// `service`, `workload`, `all` or `none`.
    pub traffic: String,
    /// The host of its Service.
    pub host: String,
    /// Whether it can take connections.
    pub is_ready: bool,
    /// Why not; empty if it can.
    pub fault: String,
    /// Service accounts of its instances.
    pub accounts: Vec<String>,
    /// What it stands before.
    pub bound: Vec<BoundObject>,
}

/// What a waypoint stands before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundObject {
    /// `<kind> <namespace>/<name>`.
    pub object: String,
    /// Whether calls that go round the waypoint are refused.
    pub is_enforced: bool,
    /// It is the canary, not the waypoint itself.
    pub is_canary: bool,
}

/// All waypoints, by name, with what they stand before.
pub fn waypoint_statuses(view: &View<'_>) -> Vec<WaypointStatus> {
    let mut statuses: Vec<(super::GatewayName, WaypointStatus)> = view
        .waypoints
        .iter()
        .map(|(gateway, waypoint)| {
            let fault = match waypoint.readiness {
                super::Readiness::Ready => String::new(),
                other => Verdict::NotReady(other).fault().map(|it| it.1).unwrap_or_default(),
            };
            let status = WaypointStatus {
                namespace: gateway.0.to_string(),
                name: gateway.1.to_string(),
                class: waypoint.class.to_string(),
                traffic: waypoint.traffic.name().to_owned(),
                host: waypoint.host.to_string(),
                is_ready: waypoint.is_ready(),
                fault,
                accounts: waypoint.accounts.iter().map(ToString::to_string).collect(),
                bound: Vec::new(),
            };
            (gateway, status)
        })
        .collect();
    let kinds = [Kind::Service, Kind::ServiceEntry, Kind::Pod, Kind::WorkloadEntry];
    for key in view.model.keys().filter(|key| kinds.contains(&key.kind)) {
        for (gateway, bound) in bindings(view, &key) {
            if let Ok(at) = statuses.binary_search_by(|(name, _)| name.cmp(&gateway))
                && let Some((_, status)) = statuses.get_mut(at)
            {
                status.bound.push(bound);
            }
        }
    }
    statuses.into_iter().map(|(_, status)| status).collect()
}

/// The waypoints that take an object.
fn bindings(view: &View<'_>, key: &ObjectKey) -> Vec<(super::GatewayName, BoundObject)> {
    let object = view.model.object(key);
    let binding = object.as_ref().and_then(|it| Some(resolve(view, User::of(it)?)));
    let Some(asked) = binding.as_ref().and_then(Binding::asked) else {
        return Vec::new();
    };
    let bound = |gateway: super::GatewayName| {
        let object = BoundObject {
            object: key.to_string(),
            is_enforced: asked.enforcement.is_enforced,
            is_canary: gateway != asked.gateway,
        };
        (gateway, object)
    };
    asked.waypoints().into_iter().map(bound).collect()
}
