//! Rules of TCPRoutes and TLSRoutes, merged into one list.

use std::cmp::Reverse;
use std::sync::Arc;

use weft_proto::route as proto;
use weft_proto::route::connection_condition::Kind;

use crate::objects::{Route, Timestamp};
use crate::translate::view::View;

use super::http;
use super::rank::host_rank;

/// Where a rule stands: the nearest name first, then the oldest route.
type Rank = (Reverse<(u8, usize)>, Timestamp, Arc<str>, Arc<str>, usize);

/// The rules of several routes of one kind.
pub(super) fn merged(view: &View<'_>, routes: &[&Route]) -> proto::ConnectionRoutes {
    let mut ranked: Vec<(Rank, proto::ConnectionRule)> = Vec::new();
    for route in routes {
        let hosts: Vec<Option<&str>> = match route.hostnames.is_empty() {
            true => vec![None],
            false => route.hostnames.iter().map(|host| Some(&**host)).collect(),
        };
        for (at, rule) in route.rules.iter().enumerate() {
            let backends: Vec<_> =
                rule.backends.iter().map(|it| http::weighted(view, route, it)).collect();
            for host in &hosts {
                let names = host.map(|host| proto::HostsCondition { hosts: vec![host.to_owned()] });
                let built = proto::ConnectionRule {
                    conditions: names
                        .map(|names| proto::ConnectionCondition {
                            kind: Some(Kind::ServerNames(names)),
                        })
                        .into_iter()
                        .collect(),
                    backends: backends.clone(),
                    origin: Some(http::origin(route, (at, rule))),
                };
                let meta = &route.meta;
                let (namespace, name) = (meta.namespace.clone(), meta.name.clone());
                let host = Reverse(host_rank(*host));
                ranked.push(((host, meta.created, namespace, name, at), built));
            }
        }
    }
    ranked.sort_by(|(one, _), (other, _)| one.cmp(other));
    proto::ConnectionRoutes { rules: ranked.into_iter().map(|(_, rule)| rule).collect() }
}
