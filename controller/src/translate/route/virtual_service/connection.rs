//! Rules of virtual services for connections.

use std::sync::Arc;

use weft_proto::route as proto;
use weft_proto::route::connection_condition::Kind;

use crate::objects::{ConnectionMatch, VirtualConnection, VirtualService};
use crate::translate::view::View;

use super::http::{backend, origin, source};

pub(super) fn routes(
    view: &View<'_>,
    object: &VirtualService,
    rules: &[VirtualConnection],
) -> proto::ConnectionRoutes {
    let mut built = Vec::new();
    for rule in rules {
        let none = [ConnectionMatch::default()];
        let matches = if rule.matches.is_empty() { &none[..] } else { &rule.matches };
        built.extend(matches.iter().map(|it| proto::ConnectionRule {
            conditions: conditions(it),
            backends: rule.routes.iter().map(|it| backend(view, object, it)).collect(),
            origin: Some(origin(object, rule.place, None)),
        }));
    }
    proto::ConnectionRoutes { rules: built }
}

fn conditions(it: &ConnectionMatch) -> Vec<proto::ConnectionCondition> {
    let texts = |list: &[Arc<str>]| list.iter().map(ToString::to_string).collect();
    let names = (!it.server_names.is_empty())
        .then(|| Kind::ServerNames(proto::HostsCondition { hosts: texts(&it.server_names) }));
    let subnets = (!it.destinations.is_empty()).then(|| {
        let subnets = it.destinations.iter().map(ToString::to_string).collect();
        Kind::Destinations(proto::SubnetsCondition { subnets })
    });
    let ports =
        it.port.map(|port| Kind::Ports(proto::PortsCondition { ports: vec![u32::from(port)] }));
    let caller = source(&it.source_labels, it.source_namespace.as_ref()).map(Kind::Source);
    let kinds = [names, subnets, ports, caller].into_iter().flatten();
    kinds.map(|kind| proto::ConnectionCondition { kind: Some(kind) }).collect()
}
