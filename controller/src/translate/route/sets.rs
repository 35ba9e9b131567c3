//! Sets of a table: which routes hold on which ports for which callers.

use std::collections::{BTreeMap, BTreeSet};

use weft_proto::route as proto;

use crate::objects::{Route, RouteKind};
use crate::translate::view::View;

use super::attach::{Attachment, Audience, Plan};
use super::frontend::Frontend;
use super::virtual_service::{self, Rules};
use super::{http, stream};

/// What counts on a port, by places in the plan: routes of the Gateway API, or else virtual services.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Routes(Vec<usize>),
    Virtuals(Vec<usize>),
}

/// The sets, the most particular first.
pub(super) fn build(
    view: &View<'_>,
    frontend: &Frontend<'_>,
    plan: &Plan<'_>,
) -> Vec<proto::RouteSet> {
    let attached = plan.attached.iter().map(|it| &it.audience);
    let audiences: BTreeSet<&Audience> =
        attached.chain(plan.virtuals.iter().map(|it| &it.audience)).collect();
    let mut sets = Vec::new();
    for audience in audiences {
        for (source, ports) in by_source(frontend, plan, audience) {
            let rules = match source {
                Source::Routes(places) => {
                    let attached = places.iter().filter_map(|at| plan.attached.get(*at));
                    let routes: Vec<&Route> = attached.map(|it| it.route).collect();
                    of_routes(view, &routes, *audience == Audience::Waypoint)
                }
                Source::Virtuals(places) => {
                    let attached = places.iter().filter_map(|at| plan.virtuals.get(*at));
                    virtual_service::merged(attached.map(|it| &it.rules))
                }
            };
            let is_all = ports.len() == frontend.ports.len();
            sets.push(proto::RouteSet {
                ports: if is_all { Vec::new() } else { ports },
                source_namespaces: match audience {
                    Audience::Namespace(namespace) => vec![namespace.to_string()],
                    Audience::Everyone | Audience::Waypoint => Vec::new(),
                },
                http: rules.http,
                tls: rules.tls,
                tcp: rules.tcp,
            });
        }
    }
    sets
}

fn of_routes(view: &View<'_>, routes: &[&Route], with_hosts: bool) -> Rules {
    let of = |kinds: &[RouteKind]| {
        let routes = routes.iter().copied().filter(|route| kinds.contains(&route.kind));
        Some(routes.collect::<Vec<&Route>>()).filter(|routes| !routes.is_empty())
    };
    Rules {
        http: of(&[RouteKind::Http, RouteKind::Grpc])
            .map(|routes| http::merged(view, &routes, with_hosts)),
        tls: of(&[RouteKind::Tls]).map(|routes| stream::merged(view, &routes)),
        tcp: of(&[RouteKind::Tcp]).map(|routes| stream::merged(view, &routes)),
    }
}

/// Ports by what counts for them, so that ports with the same routes share a set.
fn by_source(
    frontend: &Frontend<'_>,
    plan: &Plan<'_>,
    audience: &Audience,
) -> BTreeMap<Source, Vec<u32>> {
    let virtuals = plan.virtuals.iter().enumerate();
    let virtuals = virtuals.filter(|(_, it)| it.audience == *audience).map(|(at, _)| at);
    let virtuals: Vec<usize> = virtuals.collect();
    let mut grouped: BTreeMap<Source, Vec<u32>> = BTreeMap::new();
    for (_, port) in &frontend.ports {
        let routes = routes_of(plan, audience, *port);
        let source = match (routes.is_empty(), virtuals.is_empty()) {
            (false, _) => Source::Routes(routes),
            (true, false) => Source::Virtuals(virtuals.clone()),
            (true, true) => continue,
        };
        grouped.entry(source).or_default().push(u32::from(*port));
    }
    grouped
}

/// One route may be attached to a port twice, by its number and as one of all; it counts once.
fn routes_of(plan: &Plan<'_>, audience: &Audience, port: u16) -> Vec<usize> {
    let mut places: Vec<(usize, &Attachment<'_>)> = Vec::new();
    for (at, attached) in plan.attached.iter().enumerate() {
        let is_new = !places.iter().any(|(_, other)| std::ptr::eq(other.route, attached.route));
        if attached.audience == *audience && attached.ports.contains(&port) && is_new {
            places.push((at, attached));
        }
    }
    places.into_iter().map(|(at, _)| at).collect()
}
