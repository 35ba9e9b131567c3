//! From objects to the resources that proxies and agents read. Pure: the same model and settings give the same
//! bytes, in whatever order the objects came.
//!
//! ```text
//! Model ─┐
//! Settings ├─▶ View ─▶ pod, entries, service, route, authorization, peer, enrolment ─▶ encoded resources
//! Waypoints, Addresses ─┘
//!                 Translator: which of these a change touches, and which bytes are new
//! ```
//!
//! Names of resources are Istio's, to the byte: tools and logs show them.

mod access;
mod addresses;
mod audience;
mod authorization;
mod dirty;
mod enrolment;
mod entries;
mod extension;
mod guard;
mod names;
mod outbound;
mod peer;
mod pod;
mod ports;
mod residents;
mod route;
mod service;
mod settings;
mod status;
mod telemetry;
mod translator;
mod view;
mod waypoint;
mod waypoint_policies;
mod waypoint_status;
mod workload;

#[cfg(test)]
mod tests;

pub use access::{FetchedKeys, KeySets};
pub use addresses::Addresses;
pub use authorization::{Conversion, authorization};
pub use enrolment::{NotEnrolled, enrolled_pod, enrolment};
pub use entries::{service_entry_workloads, slice_workloads, workload_entry};
pub use names::{resource_name, service_host};
pub use peer::{STATIC_STRICT, peer_authorization, static_strict};
pub use pod::pod;
pub use residents::Residents;
pub use route::{service_entry_policies, service_entry_routes, service_policy, service_routes};
pub use service::{service, service_entry_services};
pub use settings::{DefaultMtls, EntryVisibility, Settings, WaypointEnforcement};
pub use status::{ConditionStatus, ObjectStatus, object_status};
pub use telemetry::{service_entry_telemetry, service_telemetry};
pub use translator::Translator;
pub use view::View;
pub use waypoint::resolve as resolve_waypoint;
pub use waypoint::{
    Asked, Binding, BoundObject, Canary, Cause, Enforcement, Explanation, GatewayName, Readiness,
    Step, Traffic, Unbound, User, Verdict, Waypoint, WaypointStatus, Waypoints, explain,
    waypoint_statuses,
};
