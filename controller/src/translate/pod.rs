//! Pods.

use weft_proto::security::Authorization;
use weft_proto::workload::{NetworkMode, TunnelProtocol, Workload, WorkloadStatus};

use crate::objects::{Meta, Pod};

use super::enrolment::enrolment;
use super::extension;
use super::names;
use super::ports::{self, Target};
use super::view::View;
use super::waypoint::{self, User};
use super::workload;

/// A pod as a workload, with the policy that keeps out what came round its waypoint. Nothing if it has ended or has no address. One that isn't ready is a workload too: its node
/// proxy must know it.
pub fn pod(view: &View<'_>, pod: &Pod, guard: Option<&Authorization>) -> Option<Workload> {
    if pod.has_ended() || pod.addresses.is_empty() {
        return None;
    }
    let meta = &pod.meta;
    let (namespace, labels) = (&*meta.namespace, &*meta.labels);
    let uid = names::pod_uid(meta, view.settings);
    let mut built = workload::base(view, namespace, &meta.name, uid);
    workload::name_it(&mut built, labels, &owner_name(meta));
    built.addresses = pod.addresses.iter().map(|address| names::address_bytes(*address)).collect();
    built.service_account = pod.service_account.to_string();
    built.node = workload::account(pod.node.as_ref());
    built.locality = pod.node.as_ref().and_then(|node| {
        let labels = &view.model.node(node)?.meta.labels;
        let label = |key| labels.get(key).unwrap_or_default();
        workload::locality(
            label("topology.kubernetes.io/region"),
            label("topology.kubernetes.io/zone"),
            label("topology.istio.io/subzone"),
        )
    });
    built.services = ports::selected(view, namespace, labels, Target::Pod(pod));
    built.authorization_policies = workload::policies(view, namespace, labels);
    workload::add_guard(&mut built, guard);
    built.extensions = extension::extensions(view, namespace, labels);
    built.waypoint = waypoint::resolve(view, User::Workload(meta)).address(view);
    let is_ready = pod.is_ready.unwrap_or(view.settings.is_standalone);
    if !is_ready || meta.is_terminating {
        built.set_status(WorkloadStatus::Unhealthy);
    }
    if pod.is_host_network {
        built.set_network_mode(NetworkMode::HostNetwork);
    } else if !workload::set_native_tunnel(view, &mut built, labels) && is_redirected(view, pod) {
        built.set_tunnel_protocol(TunnelProtocol::Hbone);
    }
    Some(built)
}

/// Whether the pod's node proxy takes its traffic. In Kubernetes the node agent says so when it is done; elsewhere
/// the same objects decide both, so that it is known beforehand.
pub(super) fn is_redirected(view: &View<'_>, pod: &Pod) -> bool {
    if view.settings.is_standalone {
        return enrolment(view, pod).is_ok();
    }
    pod.meta.annotations.get("ambient.istio.io/redirection") == Some("enabled")
}

/// The deployment behind a replica set, the cron job behind a job, another owner, or the pod itself.
fn owner_name(meta: &Meta) -> String {
    let Some(owner) = &meta.owner else {
        return meta.name.to_string();
    };
    let name = match &*owner.kind {
        "ReplicaSet" => {
            let hash = meta.labels.get("pod-template-hash").unwrap_or_default();
            let deployment = owner.name.strip_suffix(hash).and_then(|it| it.strip_suffix('-'));
            deployment.filter(|_| !hash.is_empty())
        }
        // A cron job appends the scheduled minute since 1970 (8 digits now), formerly the second (10).
        "Job" => owner.name.rsplit_once('-').and_then(|(name, scheduled)| {
            let is_time = (8..=10).contains(&scheduled.len())
                && scheduled.bytes().all(|byte| byte.is_ascii_digit());
            is_time.then_some(name)
        }),
        _ => None,
    };
    name.filter(|name| !name.is_empty()).unwrap_or(&owner.name).to_owned()
}
