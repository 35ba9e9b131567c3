//! Which routes count for a frontend, for which ports and callers, and why the others don't.

use std::collections::HashMap;
use std::sync::Arc;

use weft_proto::contract::route as limits;

use crate::model::Referent;
use crate::objects::{
    ParentKind, Route, RouteFilter, RouteKind, RouteMatch, RoutePath, TextMatch, VirtualService,
};
use crate::translate::view::View;

use super::frontend::Frontend;
use super::virtual_service::{self, ROOM, Room, VirtualAttachment};

/// Whom a route counts for, the most particular first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Audience {
    /// Callers of a namespace that has routes of its own.
    Namespace(Arc<str>),
    /// Everybody.
    Everyone,
    /// Everybody, where no other route counts: it is attached to the waypoint.
    Waypoint,
}

/// A route that counts.
#[derive(Debug)]
pub(super) struct Attachment<'a> {
    pub(super) route: &'a Route,
    pub(super) audience: Audience,
    /// Of the frontend, those that it counts for.
    pub(super) ports: Vec<u16>,
}

/// A route that doesn't.
#[derive(Debug)]
pub(super) struct Refused<'a> {
    pub(super) route: &'a Route,
    /// Place among the route's parents.
    pub(super) parent: usize,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

#[derive(Debug, Default)]
pub(super) struct Plan<'a> {
    /// Rules so far, counted once for each port, as in the worst case each has a set of its own.
    rules: usize,
    patterns: usize,
    pub(super) attached: Vec<Attachment<'a>>,
    pub(super) refused: Vec<Refused<'a>>,
    pub(super) virtuals: Vec<VirtualAttachment<'a>>,
    /// Virtual services that the table has no room for.
    pub(super) without_room: Vec<&'a VirtualService>,
}

/// The kind that a port belongs to, by audience, port and what is spoken, and the route that it has that from.
type Owners = HashMap<(Audience, u16, Spoken), (RouteKind, String)>;

/// Kinds of routes that ask about different things don't meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Spoken {
    Http,
    Tls,
    Anything,
}

fn spoken(kind: RouteKind) -> Spoken {
    match kind {
        RouteKind::Http | RouteKind::Grpc => Spoken::Http,
        RouteKind::Tls => Spoken::Tls,
        RouteKind::Tcp => Spoken::Anything,
    }
}

/// Reason for a route whose kind isn't the one that the port belongs to.
const CONFLICT: &str = "Conflicted";

/// The specification forbids to merge HTTPRoutes with GRPCRoutes: on one port the oldest route's kind counts, and routes
/// of the other are refused there.
pub(super) fn plan<'a>(view: &View<'a>, frontend: &Frontend<'_>) -> Plan<'a> {
    let mut plan = gateway_plan(view, frontend);
    // Virtual services count for all ports, whose sets may come apart into one each.
    let sets = frontend.ports.len().max(1);
    let room = Room {
        rules: ROOM.rules.saturating_sub(plan.rules) / sets,
        patterns: ROOM.patterns.saturating_sub(plan.patterns) / sets,
    };
    (plan.virtuals, plan.without_room) = virtual_service::attached(view, frontend, room);
    plan
}

fn gateway_plan<'a>(view: &View<'a>, frontend: &Frontend<'_>) -> Plan<'a> {
    let mut plan = Plan::default();
    let mut kinds: Owners = HashMap::new();
    let own = candidates(view, &frontend.referent(), |parent| {
        frontend.kind == parent.kind
            && frontend.meta.name == parent.name
            && frontend.meta.namespace == parent.namespace
    });
    for (route, parent) in own {
        let audience = match route.meta.namespace == frontend.meta.namespace {
            true => Audience::Everyone,
            false => Audience::Namespace(route.meta.namespace.clone()),
        };
        let ports = route.parents.get(parent).map(|it| frontend.ports_of(it)).unwrap_or_default();
        if ports.is_empty() {
            let message = format!("{} has no such port", frontend.meta.name);
            let reason = "NoMatchingParent";
            plan.refused.push(Refused { route, parent, reason, message });
            continue;
        }
        attach(&mut plan, &mut kinds, (route, parent), audience, ports);
    }
    let Some((namespace, name)) = &frontend.waypoint else {
        return plan;
    };
    let referent = Referent::Object(ParentKind::Gateway, namespace.clone(), name.clone());
    let of_waypoint = candidates(view, &referent, |parent| {
        parent.kind == ParentKind::Gateway && parent.name == *name && parent.namespace == *namespace
    });
    for (route, parent) in of_waypoint {
        let reference = route.parents.get(parent);
        if reference.is_some_and(|it| super::status::gateway_refusal(view, route, it).is_some()) {
            continue;
        }
        let ports = frontend.ports.iter().map(|(_, port)| *port).collect();
        attach(&mut plan, &mut kinds, (route, parent), Audience::Waypoint, ports);
    }
    plan
}

fn attach<'a>(
    plan: &mut Plan<'a>,
    kinds: &mut Owners,
    (route, parent): (&'a Route, usize),
    audience: Audience,
    ports: Vec<u16>,
) {
    let taken = ports.iter().find_map(|port| {
        kinds
            .get(&(audience.clone(), *port, spoken(route.kind)))
            .filter(|(kind, _)| *kind != route.kind)
    });
    if let Some((kind, older)) = taken {
        let message = format!("{} {older} is older, and the kinds can't be merged", kind.kind());
        plan.refused.push(Refused { route, parent, reason: CONFLICT, message });
        return;
    }
    let is_by_host = audience == Audience::Waypoint || route.kind == RouteKind::Tls;
    let hosts = if is_by_host { route.hostnames.len().max(1) } else { 1 };
    let times = ports.len() * hosts;
    let (rules, patterns) = size(route);
    let rules = plan.rules + rules * times;
    let patterns = plan.patterns + patterns * times;
    if rules > limits::RULES_MAX || patterns > limits::PATTERNS_MAX {
        let message = format!(
            "the service's routes have more than {} rules or {} regular expressions; younger ones are left out",
            limits::RULES_MAX,
            limits::PATTERNS_MAX
        );
        plan.refused.push(Refused { route, parent, reason: "UnsupportedValue", message });
        return;
    }
    (plan.rules, plan.patterns) = (rules, patterns);
    for port in &ports {
        let name = || format!("{}/{}", route.meta.namespace, route.meta.name);
        let port = (audience.clone(), *port, spoken(route.kind));
        kinds.entry(port).or_insert_with(|| (route.kind, name()));
    }
    plan.attached.push(Attachment { route, audience, ports });
}

/// Rules and regular expressions of a route's part of a table.
fn size(route: &Route) -> (usize, usize) {
    let matches = || route.rules.iter().flat_map(|rule| &rule.matches);
    let is_pattern = |value: &TextMatch| usize::from(matches!(value, TextMatch::Regex(_)));
    let of_match = |it: &RouteMatch| {
        let path = match &it.path {
            RoutePath::Regex(_) => 1,
            RoutePath::Grpc { service, method } => {
                service.iter().chain(method).map(is_pattern).sum()
            }
            RoutePath::Exact(_) | RoutePath::Elements(_) => 0,
        };
        let named = it.headers.iter().chain(&it.query);
        path + named.map(|it| is_pattern(&it.value)).sum::<usize>()
    };
    let of_cors = |filter: &RouteFilter| match filter {
        RouteFilter::Cors(cors) => cors.origins.len(),
        _ => 0,
    };
    let filters = route.rules.iter().flat_map(|rule| &rule.filters).map(of_cors);
    let rules: usize = route.rules.iter().map(|rule| rule.matches.len().max(1)).sum();
    // One without rules has a set all the same: it answers 404.
    let rules = std::cmp::max(rules, 1);
    (rules, matches().map(of_match).sum::<usize>() + filters.sum::<usize>())
}

/// Routes with the places of their references to one parent, the oldest route first, then by name.
fn candidates<'a>(
    view: &View<'a>,
    referent: &Referent,
    is_meant: impl Fn(&crate::objects::ParentRef) -> bool,
) -> Vec<(&'a Route, usize)> {
    let keys = view.model.references().attached(referent);
    let mut routes: Vec<&Route> =
        keys.filter_map(|key| view.model.route(key)).map(|route| &**route).collect();
    routes.sort_by_key(|route| {
        (route.meta.created, &route.meta.namespace, &route.meta.name, route.kind)
    });
    let references = |route: &'a Route| {
        let parents = route.parents.iter().enumerate();
        parents.filter(|(_, parent)| is_meant(parent)).map(move |(at, _)| (route, at)).collect()
    };
    routes.into_iter().flat_map(|route| -> Vec<_> { references(route) }).collect()
}
