//! What became of security policies that are attached to waypoints, for their owners: a condition for each target, with
//! Istio's type and reasons.

use crate::objects::{
    AuthorizationPolicy, L7When, MESH_CONFIG, MeshConfig, Meta, PolicyBody, PolicyTarget,
    RequestAuthentication, TargetKind, WhenKey,
};
use crate::translate::status::ConditionStatus;
use crate::translate::view::View;
use crate::translate::waypoint::{self, User};

const ACCEPTED: &str = "WaypointAccepted";

/// A reason, a message, and the fields that it is about.
type Fault = (&'static str, String, Vec<String>);

/// Conditions of a policy that is attached to something.
pub(in crate::translate) fn policy_status(
    view: &View<'_>,
    policy: &AuthorizationPolicy,
) -> Vec<ConditionStatus> {
    let fault = policy_fault(view, policy);
    conditions(view, &policy.meta, &policy.targets, fault.as_ref())
}

/// Conditions of issuers of tokens.
pub(in crate::translate) fn authentication_status(
    view: &View<'_>,
    object: &RequestAuthentication,
) -> Vec<ConditionStatus> {
    if object.targets.is_empty() {
        let message = "node proxies can't verify tokens; attach it to a waypoint, or to a service that has one, by targetRefs";
        let fields = object.selector.iter().map(|_| "spec.selector".to_owned()).collect();
        return vec![ConditionStatus {
            fields,
            ..ConditionStatus::new("ZtunnelAccepted", (false, "UnsupportedValue"), message)
        }];
    }
    let fault = object.is_unreadable.then(|| unreadable(Vec::new()));
    let mut conditions = conditions(view, &object.meta, &object.targets, fault.as_ref());
    let faults = object.rules.iter().enumerate().filter_map(|(at, rule)| {
        let fault = view.keys.fault(&rule.keys)?;
        Some((format!("spec.jwtRules[{at}].jwksUri"), fault))
    });
    let (fields, faults): (Vec<_>, Vec<_>) = faults.unzip();
    let kind = "weft.io/KeysResolved";
    conditions.push(match faults.is_empty() {
        true => ConditionStatus::new(kind, (true, "Resolved"), "every issuer has its keys"),
        false => ConditionStatus {
            fields,
            ..ConditionStatus::new(kind, (false, "FetchFailed"), faults.join("; "))
        },
    });
    conditions
}

/// Conditions of the mesh's configuration; none for other ConfigMaps.
pub(in crate::translate) fn mesh_status(
    view: &View<'_>,
    mesh: &MeshConfig,
) -> Vec<ConditionStatus> {
    let is_meant =
        mesh.meta.namespace == view.settings.root_namespace && *mesh.meta.name == *MESH_CONFIG.0;
    if !is_meant {
        return Vec::new();
    }
    let kind = "weft.io/Accepted";
    if mesh.is_unreadable {
        let message = "it can't be read and no earlier version is known: CUSTOM policies deny, paths are normalised as far as possible, and pods reach only what the mesh knows";
        return vec![ConditionStatus::new(kind, (false, "Unreadable"), message)];
    }
    let checkers = mesh.checkers.iter().filter_map(|(name, it)| Some((name, it.as_ref().err()?)));
    let limiters = mesh.limiters.iter().filter_map(|(name, it)| Some((name, it.as_ref().err()?)));
    let bad = checkers.chain(limiters);
    let bad: Vec<String> = bad.map(|(name, reason)| format!("{name}: {reason}")).collect();
    let mut conditions = vec![match bad.is_empty() {
        true => ConditionStatus::new(kind, (true, "Accepted"), "in use"),
        false => ConditionStatus {
            fields: vec!["data.mesh.extensionProviders".to_owned()],
            ..ConditionStatus::new(kind, (false, "PartiallyInvalid"), bad.join("; "))
        },
    }];
    let of_checkers = mesh.checkers.iter().filter_map(|(name, it)| Some((name, it.as_ref().ok()?)));
    let of_checkers = of_checkers.flat_map(|(name, checker)| {
        checker.ignored.iter().map(move |field| format!("extensionProviders[{name}].{field}"))
    });
    let ignored: Vec<String> = mesh.ignored.iter().cloned().chain(of_checkers).collect();
    let message = "waypoints' security doesn't read these; the rest counts without them";
    let fields = ignored.into_iter().map(|field| format!("data.mesh.{field}")).collect();
    conditions.extend(ConditionStatus::not_honoured(fields, message));
    conditions
}

fn conditions(
    view: &View<'_>,
    meta: &Meta,
    targets: &[PolicyTarget],
    fault: Option<&Fault>,
) -> Vec<ConditionStatus> {
    let condition = |(at, target): (usize, &PolicyTarget)| {
        let (outcome, message, fields) = match (target_fault(view, meta, target), fault) {
            (Some((reason, message)), _) => {
                ((false, reason), message, vec![format!("spec.targetRefs[{at}]")])
            }
            (None, Some((reason, message, fields))) => {
                ((false, *reason), message.clone(), fields.clone())
            }
            (None, None) => ((true, "Accepted"), "bound to the waypoint".to_owned(), Vec::new()),
        };
        ConditionStatus {
            fields,
            parent: Some(target_name(meta, target)),
            ..ConditionStatus::new(ACCEPTED, outcome, message)
        }
    };
    targets.iter().enumerate().map(condition).collect()
}

fn target_name(meta: &Meta, target: &PolicyTarget) -> String {
    let (kind, namespace, name) = (target.kind, &meta.namespace, &target.name);
    match kind {
        TargetKind::GatewayClass => format!("GatewayClass {name}"),
        kind => format!("{kind:?} {namespace}/{name}"),
    }
}

/// Why nobody enforces what is attached to a target.
fn target_fault(
    view: &View<'_>,
    meta: &Meta,
    target: &PolicyTarget,
) -> Option<(&'static str, String)> {
    let (namespace, name) = (&meta.namespace, &target.name);
    let named = target_name(meta, target);
    let missing = || Some(("TargetNotFound", format!("{named} doesn't exist")));
    let unless_bound = |user| {
        let binding = waypoint::resolve(view, user);
        let message = || format!("{named} is bound to no waypoint, so nobody enforces the policy");
        binding.audience().is_empty().then(|| ("AncestorNotBound", message()))
    };
    match target.kind {
        TargetKind::Service => match view.model.service(namespace, name) {
            Some(service) => unless_bound(User::Service(&service.meta)),
            None => missing(),
        },
        TargetKind::ServiceEntry => match view.model.service_entry(namespace, name) {
            Some(entry) => unless_bound(User::ServiceEntry(&entry.meta)),
            None => missing(),
        },
        TargetKind::Gateway if view.model.gateway(namespace, name).is_none() => missing(),
        TargetKind::Gateway => {
            let message = || format!("{named} is no waypoint, so nobody enforces the policy");
            let is_waypoint = view.waypoints.get(namespace, name).is_some();
            (!is_waypoint).then(|| ("AncestorNotBound", message()))
        }
        TargetKind::GatewayClass if *namespace != view.settings.root_namespace => {
            let root = &view.settings.root_namespace;
            Some(("Invalid", format!("a policy for a GatewayClass has to be in namespace {root}")))
        }
        TargetKind::GatewayClass => {
            let is_known = waypoint::is_waypoint_class(view.model, name);
            let message = || format!("{named} is no class of waypoints");
            (!is_known).then(|| ("TargetNotFound", message()))
        }
    }
}

fn unreadable(fields: Vec<String>) -> Fault {
    let message =
        "it can't be read and no earlier version is known, so waypoints deny all that it covers";
    ("Invalid", message.to_owned(), fields)
}

/// What of a policy isn't carried out as written.
fn policy_fault(view: &View<'_>, policy: &AuthorizationPolicy) -> Option<Fault> {
    let PolicyBody::Rules { provider, rules, .. } = &policy.body else {
        return Some(unreadable(Vec::new()));
    };
    if provider.is_some()
        && let Err(reason) = super::checker(super::mesh_config(view).as_deref(), policy)
    {
        let message = format!("{reason}, so what the policy matches is denied");
        return Some(("Invalid", message, vec!["spec.provider.name".to_owned()]));
    }
    let mut fields = Vec::new();
    let mut bad_rules = 0;
    for (at, rule) in rules.iter().enumerate() {
        let is_bad = |key: &WhenKey| matches!(key, WhenKey::L7(_, L7When::Unsupported));
        let places = rule.when.iter().enumerate().filter(|(_, it)| is_bad(&it.key));
        let before = fields.len();
        fields.extend(places.map(|(place, _)| format!("spec.rules[{at}].when[{place}].key")));
        bad_rules += usize::from(fields.len() > before);
    }
    if bad_rules == 0 {
        return None;
    }
    let reason = if bad_rules == rules.len() { "Invalid" } else { "PartiallyInvalid" };
    let message = "attributes of Envoy's filters aren't known here: such a rule lets nothing in, and keeps everything out";
    Some((reason, message.to_owned(), fields))
}
