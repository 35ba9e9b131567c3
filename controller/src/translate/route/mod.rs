//! From routes to the tables that waypoints read: merged, in order of precedence, with every reference resolved.
//!
//! ```text
//! Frontend (a service's host and ports) ─▶ plan: which routes count for which port and caller, and which are refused
//!                                              │
//!           rank, backend, filter ────────▶ rules and actions ─▶ sets ─▶ RouteTable
//! ```
//!
//! Routes in the service's own namespace (producers') count for every caller; those of another namespace (consumers')
//! count for callers of that namespace alone, and there instead of the producers'. Routes attached to the service's
//! waypoint count where none is attached to the service.

mod attach;
mod backend;
mod conditions;
mod filters;
mod frontend;
mod http;
mod policy;
mod rank;
mod session;
mod sets;
mod status;
mod stream;
mod virtual_service;

use std::sync::Arc;

use weft_proto::route::RouteTable;

use crate::objects::{Service, ServiceEntry};

use super::view::View;
use frontend::Frontend;

pub(super) use super::waypoint::USE as USE_WAYPOINT;
pub(super) use frontend::parents_of;
pub(super) use policy::{
    credentials, rule_status, secured_by, settings_statuses, tls_status, tls_targets, verified_by,
};
pub use policy::{service_entry_policies, service_policy};
pub(super) use status::is_attached;
pub(super) use status::route_status;
pub(super) use virtual_service::virtual_status;

/// The table of a service; nothing if no route counts for it and no waypoint takes it. By an empty one a waypoint learns
/// that it stands before the service.
pub fn service_routes(view: &View<'_>, service: &Service) -> Option<RouteTable> {
    table(view, &Frontend::of_service(view, service)?)
}

/// The tables of the hosts that an entry speaks for.
pub fn service_entry_routes(view: &View<'_>, entry: &ServiceEntry) -> Vec<RouteTable> {
    let hosts: Vec<&Arc<str>> = view.hosts_won(entry).collect();
    let tables = hosts.into_iter().map(|host| Frontend::of_entry(view, entry, host));
    tables.filter_map(|frontend| table(view, &frontend)).collect()
}

fn table(view: &View<'_>, frontend: &Frontend<'_>) -> Option<RouteTable> {
    let plan = attach::plan(view, frontend);
    let sets = sets::build(view, frontend, &plan);
    (!sets.is_empty() || frontend.waypoint.is_some()).then(|| RouteTable {
        namespace: frontend.meta.namespace.to_string(),
        hostname: frontend.host.to_string(),
        sets,
    })
}
