//! What became of an object, for its owner.

use serde::Serialize;

use crate::objects::{
    Action, AuthorizationPolicy, Meta, Object, ObjectKey, PeerAuthentication, Pod, PolicyBody,
    ServiceEntry,
};

use super::access::{authentication_status, body_limit_status, mesh_status, policy_status};
use super::authorization::authorization;
use super::enrolment::{NETNS, NotEnrolled, enrolment};
use super::outbound::namespace_status;
use super::peer;
use super::route::{route_status, rule_status, settings_statuses, tls_status, virtual_status};
use super::settings::EntryVisibility;
use super::telemetry::telemetry_status;
use super::view::View;
use super::waypoint::User;
use super::waypoint_status::{bound, class_status, gateway_status, unguarded, without_effect};

/// One statement about an object, with Istio's types and reasons where it has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConditionStatus {
    /// Such as `ZtunnelAccepted`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Whether it holds.
    pub status: bool,
    /// One word.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
    /// Paths of fields that it is about.
    pub fields: Vec<String>,
    /// The parent that a route's condition is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
}

impl ConditionStatus {
    pub(super) fn new(
        kind: &'static str,
        (status, reason): (bool, &'static str),
        message: impl Into<String>,
    ) -> Self {
        Self { kind, status, reason, message: message.into(), fields: Vec::new(), parent: None }
    }

    /// Names the fields that count for nothing, if there are any.
    pub(super) fn not_honoured(fields: Vec<String>, message: impl Into<String>) -> Option<Self> {
        (!fields.is_empty()).then(|| Self {
            fields,
            ..Self::new("weft.io/FieldsHonoured", (false, "NotHonoured"), message)
        })
    }
}

/// What became of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ObjectStatus {
    /// Which.
    pub object: ObjectKey,
    /// At least one.
    pub conditions: Vec<ConditionStatus>,
}

/// What became of an object; nothing if there is nothing to say.
pub fn object_status(view: &View<'_>, key: &ObjectKey) -> Option<ObjectStatus> {
    let object = view.model.object(key)?;
    let conditions = match &object {
        Object::Pod(pod) => {
            let waypoint = bound(view, User::Workload(&pod.meta));
            let waypoint = waypoint.into_iter().chain(without_effect(&pod.meta, false));
            enrolled(view, pod).into_iter().chain(waypoint).chain(unguarded(view, pod)).collect()
        }
        Object::Service(service) => {
            let limit = settings_statuses(view, &service.meta);
            let waypoint = bound(view, User::Service(&service.meta));
            let more = without_effect(&service.meta, true);
            let body = body_limit_status(&service.meta);
            waypoint.into_iter().chain(limit).chain(body).chain(more).collect()
        }
        Object::WorkloadEntry(entry) => {
            let waypoint = bound(view, User::Workload(&entry.meta));
            waypoint.into_iter().chain(without_effect(&entry.meta, false)).collect()
        }
        Object::ServiceEntry(entry) => service_entry(view, entry),
        Object::Gateway(gateway) => gateway_status(view, gateway),
        Object::GatewayClass(class) => class_status(view, class),
        Object::Route(route) => route_status(view, route),
        Object::VirtualService(object) => virtual_status(view, object),
        Object::DestinationRule(rule) => rule_status(view, rule),
        Object::BackendTlsPolicy(policy) => tls_status(view, policy),
        Object::AuthorizationPolicy(policy) if policy.has_targets() => policy_status(view, policy),
        Object::RequestAuthentication(object) => authentication_status(view, object),
        Object::MeshConfig(mesh) => mesh_status(view, mesh),
        Object::AuthorizationPolicy(policy) => vec![authorization_policy(view, policy)],
        Object::PeerAuthentication(peer) => vec![peer_authentication(view, peer)],
        Object::Telemetry(telemetry) => telemetry_status(view, telemetry),
        Object::Namespace(namespace) => {
            let more = without_effect(&namespace.meta, true);
            namespace_status(&namespace.meta).into_iter().chain(more).collect()
        }
        Object::Node(_)
        | Object::ServiceAccount(_)
        | Object::ReferenceGrant(_)
        | Object::CaBundle(_)
        | Object::Secret(_)
        | Object::EndpointSlice(_) => Vec::new(),
    };
    (!conditions.is_empty()).then(|| ObjectStatus { object: key.clone(), conditions })
}

/// A pod that nobody asked to join has nothing to report, and a waypoint's is none to ask.
fn enrolled(view: &View<'_>, pod: &Pod) -> Option<ConditionStatus> {
    const KIND: &str = "weft.io/Enrolled";
    match enrolment(view, pod) {
        Ok(()) if view.settings.is_standalone && pod.meta.annotations.get(NETNS).is_none() => {
            let message = format!(
                "the pod joins the mesh, but the annotation {NETNS} doesn't say in which network namespace it runs"
            );
            Some(ConditionStatus {
                fields: vec![format!("metadata.annotations.{NETNS}")],
                ..ConditionStatus::new(KIND, (false, "NoNetworkNamespace"), message)
            })
        }
        Ok(()) => {
            Some(ConditionStatus::new(KIND, (true, "Enrolled"), "the pod belongs to the mesh"))
        }
        Err(NotEnrolled::NotLabelled | NotEnrolled::Waypoint) => None,
        Err(reason) => Some(ConditionStatus::new(KIND, (false, "NotEnrolled"), reason.to_string())),
    }
}

fn service_entry(view: &View<'_>, entry: &ServiceEntry) -> Vec<ConditionStatus> {
    let user = User::ServiceEntry(&entry.meta);
    let limit = settings_statuses(view, &entry.meta);
    let more = without_effect(&entry.meta, true);
    let waypoint = bound(view, user).into_iter();
    let limit = limit.into_iter().chain(body_limit_status(&entry.meta));
    let mut conditions: Vec<_> = waypoint.chain(limit).chain(more).collect();
    let ignored = entry.ignored.iter().map(|it| (*it).to_owned()).collect();
    let message = "the rest of the entry counts without it";
    conditions.extend(ConditionStatus::not_honoured(ignored, message));
    if view.settings.entry_visibility == EntryVisibility::None {
        let message = "service entries are not published in this mesh";
        conditions.push(ConditionStatus::new(
            "istio.io/VisibilityApplied",
            (false, "NotPublished"),
            message,
        ));
        return conditions;
    }
    let won: Vec<_> = view.hosts_won(entry).collect();
    let lost: Vec<_> = entry.hosts.iter().filter(|host| !won.contains(host)).collect();
    if !lost.is_empty() {
        let hosts: Vec<&str> = lost.iter().map(|host| &***host).collect();
        let message = format!(
            "a service or an older entry of this namespace speaks for {}; this entry adds nothing to it",
            hosts.join(", ")
        );
        let path = |host: &&std::sync::Arc<str>| {
            let at = entry.hosts.iter().position(|own| own == *host).unwrap_or_default();
            format!("spec.hosts[{at}]")
        };
        conditions.push(ConditionStatus {
            fields: lost.iter().map(path).collect(),
            ..ConditionStatus::new("weft.io/HostsAccepted", (false, "HostConflict"), message)
        });
    }
    conditions
}

fn authorization_policy(view: &View<'_>, policy: &AuthorizationPolicy) -> ConditionStatus {
    const KIND: &str = "ZtunnelAccepted";
    const UNSUPPORTED: (bool, &str) = (false, "UnsupportedValue");
    let action = match &policy.body {
        PolicyBody::Unreadable => {
            let message = "the policy can't be read and no earlier version is known, so it denies all that it covers";
            return ConditionStatus::new(KIND, (false, "Unreadable"), message);
        }
        PolicyBody::Rules { action, .. } => *action,
    };
    let left_out = authorization(policy, view.settings).left_out;
    let fields: Vec<_> = left_out.iter().map(|(path, _)| path.clone()).collect();
    let mut names: Vec<_> = left_out.into_iter().map(|(_, name)| name).collect();
    names.sort();
    names.dedup();
    let names = names.join(", ");
    let (outcome, message) = match action {
        Action::Audit | Action::Custom => {
            let message = "node proxies carry out ALLOW and DENY only; this policy is not enforced";
            (UNSUPPORTED, message.to_owned())
        }
        _ if policy.is_dry_run && !view.settings.sends_dry_run => {
            let message = "dry-run policies are not sent to node proxies in this mesh";
            (UNSUPPORTED, message.to_owned())
        }
        _ if names.is_empty() => ((true, "Accepted"), "attached to ztunnel".to_owned()),
        Action::Allow => (
            UNSUPPORTED,
            format!(
                "only a waypoint can tell {names}; rules that ask for it are left out, so less is allowed than written"
            ),
        ),
        Action::Deny => (
            UNSUPPORTED,
            format!(
                "only a waypoint can tell {names}; that is left out of the rules, so more is denied than written"
            ),
        ),
    };
    ConditionStatus { fields, ..ConditionStatus::new(KIND, outcome, message) }
}

/// Istio reports nothing here; "does it apply?" is a common question all the same.
fn peer_authentication(view: &View<'_>, peer: &PeerAuthentication) -> ConditionStatus {
    const KIND: &str = "weft.io/ZtunnelAccepted";
    let Meta { namespace, name, .. } = &peer.meta;
    if peer.is_unreadable {
        let message = "it can't be read and no earlier version is known, so it counts as STRICT";
        return ConditionStatus::new(KIND, (false, "Unreadable"), message);
    }
    if peer.selector.is_some() && *namespace == view.settings.root_namespace {
        let message = "in the root namespace only one without a selector applies";
        return ConditionStatus {
            fields: vec!["spec.selector".to_owned()],
            ..ConditionStatus::new(KIND, (false, "NotApplied"), message)
        };
    }
    if peer.selector.is_none()
        && let Some(first) = peer::wide(view, namespace).filter(|first| first.meta.name != *name)
    {
        let message = format!("{} is older and speaks for the namespace", first.meta.name);
        return ConditionStatus::new(KIND, (false, "Conflict"), message);
    }
    ConditionStatus::new(KIND, (true, "Accepted"), "attached to ztunnel")
}
