//! What all kinds of workloads have in common.

use std::sync::Arc;

use weft_proto::security::Authorization;
use weft_proto::workload::{Locality, TunnelProtocol, Workload, WorkloadType};

use crate::objects::Labels;

use super::authorization;
use super::guard;
use super::peer;
use super::view::View;
use super::waypoint;

/// A workload with what every kind of them has.
pub(super) fn base(view: &View<'_>, namespace: &str, name: &str, uid: String) -> Workload {
    Workload {
        uid,
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        cluster_id: view.settings.cluster_id.to_string(),
        network: view.network().to_owned(),
        trust_domain: view.trust_domain(),
        ..Workload::default()
    }
}

/// Sets what telemetry calls the workload. `fallback` is its owner's name, or its own.
pub(super) fn name_it(workload: &mut Workload, labels: &Labels, fallback: &str) {
    let first = |keys: &[&str]| keys.iter().find_map(|key| labels.get(key)).map(str::to_owned);
    let name = first(&["service.istio.io/workload-name"]).unwrap_or_else(|| fallback.to_owned());
    workload.canonical_name =
        first(&["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"])
            .unwrap_or_else(|| name.clone());
    workload.canonical_revision =
        first(&["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"])
            .unwrap_or_else(|| "latest".to_owned());
    workload.workload_name = name;
    workload.set_workload_type(WorkloadType::Pod);
}

/// The policies that select a workload, in order.
pub(super) fn policies(view: &View<'_>, namespace: &str, labels: &Labels) -> Vec<String> {
    let mut keys = authorization::selecting(view, namespace, labels);
    keys.extend(peer::selecting(view, namespace, labels));
    keys.sort();
    keys
}

/// Adds the policy that keeps out what came round a waypoint.
pub(super) fn add_guard(workload: &mut Workload, guard: Option<&Authorization>) {
    workload.authorization_policies.extend(guard.map(guard::name));
    workload.authorization_policies.sort();
}

/// Region, zone and subzone; nothing if none is known.
pub(super) fn locality(region: &str, zone: &str, subzone: &str) -> Option<Locality> {
    let is_known = !(region.is_empty() && zone.is_empty() && subzone.is_empty());
    is_known.then(|| Locality {
        region: region.to_owned(),
        zone: zone.to_owned(),
        subzone: subzone.to_owned(),
    })
}

/// Whether the workload says that it terminates HBONE itself, as waypoints and gateways do.
pub(super) fn set_native_tunnel(view: &View<'_>, workload: &mut Workload, labels: &Labels) -> bool {
    let is_native = labels.get("networking.istio.io/tunnel") == Some("http")
        || labels.get(waypoint::MANAGED) == Some("istio.io-mesh-controller")
        || waypoint::is_of_waypoint(view, &workload.namespace, labels);
    if is_native {
        workload.native_tunnel = true;
        workload.set_tunnel_protocol(TunnelProtocol::Hbone);
    }
    is_native
}

/// The service account as the wire has it.
pub(super) fn account(name: Option<&Arc<str>>) -> String {
    name.map_or_else(String::new, |name| name.to_string())
}
