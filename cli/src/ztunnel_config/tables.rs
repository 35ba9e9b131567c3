//! Workloads, services, policies.

use weft_core::admin::dump::{Endpoint, Service};

use super::view::View;
use crate::table::{Cell, table};

pub(super) fn workloads(view: &View<'_>) -> String {
    let row = |it: &weft_core::admin::dump::Workload| -> Vec<Cell> {
        // A workload that is only a host name is resolved when it is called.
        let address = it.workload_ips.first().unwrap_or(&it.hostname);
        vec![
            it.namespace.as_str().into(),
            it.name.as_str().into(),
            address.as_str().into(),
            it.node.as_str().into(),
            view.waypoint(it.waypoint.as_ref()).into(),
            it.protocol.as_str().into(),
        ]
    };
    let rows: Vec<_> = view.workloads().into_iter().map(row).collect();
    table(&["NAMESPACE", "POD NAME", "ADDRESS", "NODE", "WAYPOINT", "PROTOCOL"], &rows, 1, false)
}

pub(super) fn services(view: &View<'_>) -> String {
    let row = |it: &Service| -> Vec<Cell> {
        let vip = it.vips.first().map_or("", |vip| vip.split_once('/').map_or(vip, |(_, ip)| ip));
        vec![
            it.namespace.as_str().into(),
            it.name.as_str().into(),
            vip.into(),
            view.waypoint(it.waypoint.as_ref()).into(),
            endpoints(view, it).into(),
        ]
    };
    let rows: Vec<_> = view.services().into_iter().map(row).collect();
    table(&["NAMESPACE", "SERVICE NAME", "SERVICE VIP", "WAYPOINT", "ENDPOINTS"], &rows, 1, false)
}

/// Healthy ones of all.
fn endpoints(view: &View<'_>, service: &Service) -> String {
    let is_healthy = |endpoint: &&Endpoint| match &endpoint.status {
        Some(status) => status == "Healthy",
        None => view.is_healthy(&endpoint.workload_uid),
    };
    format!("{}/{}", service.endpoints.values().filter(is_healthy).count(), service.endpoints.len())
}

pub(super) fn policies(view: &View<'_>) -> String {
    let row = |it: &weft_core::admin::dump::Policy| -> Vec<Cell> {
        vec![
            it.namespace.as_str().into(),
            it.name.as_str().into(),
            it.action.as_str().into(),
            it.scope.as_str().into(),
        ]
    };
    let rows: Vec<_> = view.policies().into_iter().map(row).collect();
    table(&["NAMESPACE", "POLICY NAME", "ACTION", "SCOPE"], &rows, 1, false)
}
