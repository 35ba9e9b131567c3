//! What waypoints tell of requests: Telemetry objects from the widest to the narrowest, over what the mesh's
//! configuration says.
//!
//! ```text
//! MeshConfig ◀ root namespace ◀ the waypoint's namespace ◀ its Gateway ◀ the Service or ServiceEntry
//! ```
//!
//! As in Istio: of several objects for the same the oldest counts; a narrower one changes only what it names; a provider of
//! logs that it names replaces those that were in force.

mod merge;
mod status;
mod wire;

use std::sync::Arc;

use weft_proto::route::TelemetryPolicy;

use crate::objects::{
    MeshTelemetry, Meta, PolicyTarget, Service, ServiceEntry, TargetKind, Telemetry, TelemetryScope,
};

use super::access::mesh_config;
use super::names;
use super::view::View;
use super::waypoint::{self, GatewayName, User};
use merge::Merged;
pub(super) use status::telemetry_status;

/// The policy of a service; nothing if it has no waypoint, or all is as usual.
pub fn service_telemetry(view: &View<'_>, service: &Service) -> Option<TelemetryPolicy> {
    if service.is_external_name {
        return None;
    }
    let waypoint = bound(view, User::Service(&service.meta))?;
    let merged = merged(view, &waypoint, &service.meta, TargetKind::Service);
    let host = names::service_host(service, view.settings);
    wire::policy(&mesh(view), &merged, &service.meta.namespace, &host)
}

/// The policies of the hosts that an entry speaks for.
pub fn service_entry_telemetry(view: &View<'_>, entry: &ServiceEntry) -> Vec<TelemetryPolicy> {
    let Some(waypoint) = bound(view, User::ServiceEntry(&entry.meta)) else {
        return Vec::new();
    };
    let merged = merged(view, &waypoint, &entry.meta, TargetKind::ServiceEntry);
    let hosts = view.hosts_won(entry);
    let mesh = mesh(view);
    let policies =
        hosts.filter_map(|host| wire::policy(&mesh, &merged, &entry.meta.namespace, host));
    policies.collect()
}

/// What the mesh's configuration says.
fn mesh(view: &View<'_>) -> Arc<MeshTelemetry> {
    mesh_config(view).map_or_else(MeshTelemetry::usual, |it| it.telemetry.clone())
}

/// Namespace and name of the waypoint's Gateway.
fn bound(view: &View<'_>, user: User<'_>) -> Option<GatewayName> {
    // One that is starting up too. A canary's service is told of as the waypoint's own.
    waypoint::resolve(view, user).asked()?.waypoints().into_iter().next()
}

fn merged(
    view: &View<'_>,
    (home, gateway): &(Arc<str>, Arc<str>),
    meta: &Meta,
    kind: TargetKind,
) -> Merged {
    let root = &view.settings.root_namespace;
    let target = |kind, name: &Arc<str>| Some(PolicyTarget { kind, name: name.clone() });
    let layers = [
        speaking(view, root, None),
        speaking(view, home, None).filter(|_| home != root),
        speaking(view, home, target(TargetKind::Gateway, gateway).as_ref()),
        speaking(view, &meta.namespace, target(kind, &meta.name).as_ref()),
    ];
    let mut merged = Merged::new(&mesh(view));
    layers.into_iter().flatten().for_each(|layer| merged.apply(layer));
    merged
}

/// The object that speaks for a whole namespace, or for a target in it: of several the oldest, without a date the first by
/// name.
fn speaking<'a>(
    view: &View<'a>,
    namespace: &str,
    target: Option<&PolicyTarget>,
) -> Option<&'a Arc<Telemetry>> {
    let is_meant = |it: &&Arc<Telemetry>| match (&it.scope, target) {
        (TelemetryScope::Namespace, None) => true,
        (TelemetryScope::Targets(targets), Some(target)) => targets.contains(target),
        _ => false,
    };
    let objects = view.namespace(namespace)?.telemetries.values().filter(is_meant);
    objects.min_by(|a, b| (a.meta.created, &a.meta.name).cmp(&(b.meta.created, &b.meta.name)))
}
