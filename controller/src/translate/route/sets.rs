//! Sets of a table: which routes hold on which ports for which callers.

use std::collections::{BTreeMap, BTreeSet};

use weft_proto::route as proto;

use crate::objects::Route;
use crate::translate::view::View;

use super::attach::{Attachment, Audience, Plan};
use super::frontend::Frontend;
use super::http;

/// The sets, the most particular first.
pub(super) fn build(
    view: &View<'_>,
    frontend: &Frontend<'_>,
    plan: &Plan<'_>,
) -> Vec<proto::RouteSet> {
    let audiences: BTreeSet<&Audience> = plan.attached.iter().map(|it| &it.audience).collect();
    let mut sets = Vec::new();
    for audience in audiences {
        for (places, ports) in by_routes(frontend, plan, audience) {
            let attached = places.iter().filter_map(|at| plan.attached.get(*at));
            let routes: Vec<&Route> = attached.map(|it| it.route).collect();
            let is_all = ports.len() == frontend.ports.len();
            sets.push(proto::RouteSet {
                ports: if is_all { Vec::new() } else { ports },
                source_namespaces: match audience {
                    Audience::Namespace(namespace) => vec![namespace.to_string()],
                    Audience::Everyone | Audience::Waypoint => Vec::new(),
                },
                http: Some(http::merged(view, &routes, *audience == Audience::Waypoint)),
                tls: None,
                tcp: None,
            });
        }
    }
    sets
}

/// Ports by the routes that count for them, so that ports with the same routes share a set. One route may be attached to
/// a port twice, by its number and as one of all; it counts once.
fn by_routes(
    frontend: &Frontend<'_>,
    plan: &Plan<'_>,
    audience: &Audience,
) -> BTreeMap<Vec<usize>, Vec<u32>> {
    let counts = |port: u16| {
        let mut places: Vec<(usize, &Attachment<'_>)> = Vec::new();
        for (at, attached) in plan.attached.iter().enumerate() {
            let is_new = !places.iter().any(|(_, other)| std::ptr::eq(other.route, attached.route));
            if attached.audience == *audience && attached.ports.contains(&port) && is_new {
                places.push((at, attached));
            }
        }
        places.into_iter().map(|(at, _)| at).collect::<Vec<_>>()
    };
    let mut grouped: BTreeMap<Vec<usize>, Vec<u32>> = BTreeMap::new();
    for (_, port) in &frontend.ports {
        let places = counts(*port);
        if !places.is_empty() {
            grouped.entry(places).or_default().push(u32::from(*port));
        }
    }
    grouped
}
