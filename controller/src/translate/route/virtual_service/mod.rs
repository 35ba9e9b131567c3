//! Virtual services: which count for a frontend, and what becomes of their rules.
//!
//! Their rules keep their order, the oldest object's first. Where a route of the Gateway API counts for a port, virtual
//! services don't: mixing the two has no meaning that anybody wrote down.

mod connection;
mod destination;
mod http;
mod status;

use std::collections::HashSet;
use std::sync::Arc;

use weft_proto::contract::route as limits;
use weft_proto::route as proto;
use weft_proto::route::condition::Kind;
use weft_proto::route::path_condition::Kind as Path;
use weft_proto::route::text_match::Kind as Text;

use crate::model::Referent;
use crate::objects::{Kind as ObjectKind, VirtualService};
use crate::translate::view::View;

use super::attach::Audience;
use super::frontend::Frontend;

pub(in crate::translate) use status::virtual_status;

/// A virtual service that counts for a frontend, with its rules.
#[derive(Debug)]
pub(super) struct VirtualAttachment<'a> {
    pub(super) object: &'a VirtualService,
    pub(super) audience: Audience,
    pub(super) rules: Rules,
}

/// Rules of one virtual service.
#[derive(Debug, Default, Clone)]
pub(super) struct Rules {
    /// Nothing where it has no HTTP rules at all.
    pub(super) http: Option<proto::HttpRoutes>,
    pub(super) tls: Option<proto::ConnectionRoutes>,
    pub(super) tcp: Option<proto::ConnectionRoutes>,
}

/// What there is room for in a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) rules: usize,
    pub(super) patterns: usize,
}

/// Those that count, the oldest first, and those that a table has no room for.
pub(super) fn attached<'a>(
    view: &View<'a>,
    frontend: &Frontend<'_>,
    mut room: Room,
) -> (Vec<VirtualAttachment<'a>>, Vec<&'a VirtualService>) {
    let (mut attached, mut refused) = (Vec::new(), Vec::new());
    // The most particular host counts: audiences that a nearer one has spoken to aren't spoken to again.
    let mut served: HashSet<Audience> = HashSet::new();
    for host in hosts(&frontend.host) {
        let mut now = HashSet::new();
        for object in candidates(view, host) {
            for audience in audiences(frontend, object) {
                if served.contains(&audience) {
                    continue;
                }
                let rules = compile(view, object);
                let size = size(&rules);
                if size.rules > room.rules || size.patterns > room.patterns {
                    refused.push(object);
                    continue;
                }
                room.rules -= size.rules;
                room.patterns -= size.patterns;
                now.insert(audience.clone());
                attached.push(VirtualAttachment { object, audience, rules });
            }
        }
        served.extend(now);
    }
    (attached, refused)
}

/// A host, then what stands for all below its parents, then for all.
pub(super) fn hosts(host: &Arc<str>) -> Vec<Arc<str>> {
    let mut hosts = vec![host.clone()];
    let mut rest: &str = host;
    while let Some((_, behind)) = rest.split_once('.') {
        hosts.push(format!("*.{behind}").into());
        rest = behind;
    }
    hosts.push("*".into());
    hosts
}

fn candidates<'a>(view: &View<'a>, host: Arc<str>) -> Vec<&'a VirtualService> {
    let referent = Referent::Host(host);
    let keys = view.model.references().attached(&referent);
    let keys = keys.filter(|key| key.kind == ObjectKind::VirtualService);
    let objects = keys.filter_map(|key| view.model.virtual_service(&key.namespace, &key.name));
    let mut objects: Vec<&VirtualService> =
        objects.map(|it| &**it).filter(|it| it.is_for_mesh).collect();
    objects.sort_by_key(|it| (it.meta.created, &it.meta.namespace, &it.meta.name));
    objects
}

/// Whom a virtual service speaks to: everybody from the service's own namespace, whoever comes through the waypoint from
/// the waypoint's, and from any other the callers of that namespace.
fn audiences(frontend: &Frontend<'_>, object: &VirtualService) -> Vec<Audience> {
    let (own, home) = (&object.meta.namespace, &frontend.meta.namespace);
    let exports = |to: &str| object.export_to.iter().any(|it| **it == *to);
    let is_public = object.export_to.is_empty() || exports("*");
    if own == home {
        if is_public {
            return vec![Audience::Everyone];
        }
        let named = object.export_to.iter().filter(|it| &***it != "~").map(|it| match &**it {
            "." => own.clone(),
            _ => it.clone(),
        });
        let mut named: Vec<_> = named.map(Audience::Namespace).collect();
        named.sort();
        named.dedup();
        return named;
    }
    let of_waypoint = frontend.waypoint.as_ref().is_some_and(|(namespace, _)| namespace == own);
    if of_waypoint && (is_public || exports(home)) {
        return vec![Audience::Waypoint];
    }
    match is_public || exports(".") || exports(own) {
        true => vec![Audience::Namespace(own.clone())],
        false => Vec::new(),
    }
}

fn compile(view: &View<'_>, object: &VirtualService) -> Rules {
    Rules {
        http: (!object.http.is_empty()).then(|| http::routes(view, object)),
        tls: (!object.tls.is_empty()).then(|| connection::routes(view, object, &object.tls)),
        tcp: (!object.tcp.is_empty()).then(|| connection::routes(view, object, &object.tcp)),
    }
}

/// One list after the other.
pub(super) fn merged<'a>(attached: impl Iterator<Item = &'a Rules>) -> Rules {
    let mut built = Rules::default();
    for rules in attached {
        if let Some(more) = &rules.http {
            let http = built.http.get_or_insert_default();
            let offset = u32::try_from(http.actions.len()).unwrap_or(u32::MAX);
            http.rules.extend(more.rules.iter().cloned().map(|mut rule| {
                rule.action = rule.action.saturating_add(offset);
                rule
            }));
            http.actions.extend(more.actions.iter().cloned());
        }
        for (into, more) in [(&mut built.tls, &rules.tls), (&mut built.tcp, &rules.tcp)] {
            if let Some(more) = more {
                into.get_or_insert_default().rules.extend(more.rules.iter().cloned());
            }
        }
    }
    built
}

fn size(rules: &Rules) -> Room {
    let connections = [&rules.tls, &rules.tcp].into_iter().flatten().map(|it| it.rules.len());
    let http = rules.http.iter();
    let conditions = http.clone().flat_map(|http| &http.rules).flat_map(|rule| &rule.conditions);
    let filters = http.clone().flat_map(|http| &http.actions).flat_map(|action| &action.filters);
    Room {
        rules: http.map(|http| http.rules.len()).sum::<usize>() + connections.sum::<usize>(),
        patterns: conditions.filter(|it| asks_pattern(it)).count()
            + filters.map(filter_patterns).sum::<usize>(),
    }
}

fn asks_pattern(condition: &proto::Condition) -> bool {
    let is_pattern = |value: &Option<proto::TextMatch>| {
        value.as_ref().is_some_and(|it| matches!(it.kind, Some(Text::Regex(_))))
    };
    match &condition.kind {
        Some(Kind::Path(path)) => matches!(path.kind, Some(Path::Regex(_))),
        Some(Kind::Method(it) | Kind::Scheme(it) | Kind::Authority(it)) => {
            matches!(it.kind, Some(Text::Regex(_)))
        }
        Some(Kind::Header(it)) => is_pattern(&it.value),
        Some(Kind::Query(it)) => is_pattern(&it.value),
        Some(Kind::Claim(it)) => is_pattern(&it.value),
        _ => false,
    }
}

fn filter_patterns(filter: &proto::Filter) -> usize {
    use proto::filter::Kind;
    match &filter.kind {
        Some(Kind::Cors(cors)) => cors.allow_origins.len(),
        Some(Kind::Rewrite(rewrite)) => usize::from(rewrite.path.is_some()),
        _ => 0,
    }
}

/// What a table without any route has room for.
pub(super) const ROOM: Room = Room { rules: limits::RULES_MAX, patterns: limits::PATTERNS_MAX };
