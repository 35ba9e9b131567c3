//! Which pods belong to the mesh.

use weft_proto::node::EnrolledPod;

use crate::objects::Pod;

use super::view::View;
use super::waypoint;

/// Why a pod is not in the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotEnrolled {
    /// Neither it nor its namespace is labelled.
    #[error("neither the pod nor its namespace has the label istio.io/dataplane-mode=ambient")]
    NotLabelled,
    /// It is labelled to stay out.
    #[error("the pod's label istio.io/dataplane-mode says otherwise")]
    OptedOut,
    /// Its traffic is its node's.
    #[error("the pod shares its node's network (hostNetwork)")]
    HostNetwork,
    /// A sidecar takes its traffic already.
    #[error("the pod has a sidecar (annotation sidecar.istio.io/status)")]
    Sidecar,
    /// Its namespace never joins.
    #[error("the pod's namespace is excluded from the mesh")]
    ExcludedNamespace,
    /// It is a node proxy.
    #[error("the pod is a node proxy")]
    NodeProxy,
    /// It is a waypoint's, which terminates HBONE itself.
    #[error("the pod is a waypoint's")]
    Waypoint,
    /// Another pod is called by its uid.
    #[error("another pod has the same metadata.uid")]
    UidTaken,
    /// It has run its course.
    #[error("the pod has ended")]
    Ended,
    /// Nobody could redirect it.
    #[error("the pod has no node yet (spec.nodeName)")]
    NoNode,
    /// It can't be reached.
    #[error("the pod has no address yet (status.podIPs)")]
    NoAddress,
}

const MODE: &str = "istio.io/dataplane-mode";

/// Whether a pod belongs to the mesh.
pub fn enrolment(view: &View<'_>, pod: &Pod) -> Result<(), NotEnrolled> {
    let meta = &pod.meta;
    if waypoint::is_of_waypoint(view, &meta.namespace, &meta.labels) {
        return Err(NotEnrolled::Waypoint);
    }
    let of_namespace = view.namespace(&meta.namespace).and_then(|objects| objects.label(MODE));
    match (meta.labels.get(MODE), of_namespace) {
        (Some("ambient"), _) => {}
        (Some("none"), _) => return Err(NotEnrolled::OptedOut),
        (_, Some("ambient")) => {}
        _ => return Err(NotEnrolled::NotLabelled),
    }
    let is_root = meta.namespace == view.settings.root_namespace;
    if pod.is_host_network {
        Err(NotEnrolled::HostNetwork)
    } else if meta.annotations.get("sidecar.istio.io/status").is_some() {
        Err(NotEnrolled::Sidecar)
    } else if view.settings.excluded_namespaces.contains(&meta.namespace) {
        Err(NotEnrolled::ExcludedNamespace)
    } else if is_root && meta.labels.get("app") == Some("ztunnel") {
        Err(NotEnrolled::NodeProxy)
    } else if pod.has_ended() {
        Err(NotEnrolled::Ended)
    } else if is_uid_taken(view, pod) {
        Err(NotEnrolled::UidTaken)
    } else if pod.node.is_none() {
        Err(NotEnrolled::NoNode)
    } else if pod.addresses.is_empty() {
        Err(NotEnrolled::NoAddress)
    } else {
        Ok(())
    }
}

/// Agents and node proxies tell pods apart by uid, so of two pods with one uid only the first by name can join.
fn is_uid_taken(view: &View<'_>, pod: &Pod) -> bool {
    let (namespace, name) = (&pod.meta.namespace, &pod.meta.name);
    let first = view.model.pods_of_uid(&pod.uid).next();
    first.is_some_and(|first| (&first.0, &first.1) != (namespace, name))
}

/// What its node's agent has to know of a pod; nothing if it isn't in the mesh.
pub fn enrolled_pod(view: &View<'_>, pod: &Pod) -> Option<EnrolledPod> {
    enrolment(view, pod).ok()?;
    let annotation = |key| pod.meta.annotations.get(key);
    Some(EnrolledPod {
        uid: pod.uid.to_string(),
        namespace: pod.meta.namespace.to_string(),
        name: pod.meta.name.to_string(),
        service_account: pod.service_account.to_string(),
        node: pod.node.as_ref()?.to_string(),
        netns: annotation(NETNS).unwrap_or_default().to_owned(),
        addresses: pod.addresses.iter().map(ToString::to_string).collect(),
        bypass_inbound_capture: annotation("ambient.istio.io/bypass-inbound-capture")
            == Some("true"),
        bypass_dns_capture: annotation("ambient.istio.io/dns-capture") == Some("false"),
    })
}

/// Names the network namespace of a pod that no container runtime made.
pub(super) const NETNS: &str = "weft.io/netns";
