//! What became of a Telemetry object, for its owner.

use std::sync::Arc;

use crate::objects::{PolicyTarget, Provider, TargetKind, Telemetry, TelemetryScope};
use crate::translate::status::ConditionStatus;
use crate::translate::view::View;
use crate::translate::waypoint::User;

use super::{bound, mesh, speaking};

/// Istio's type for what is attached to waypoints.
const ACCEPTED: &str = "istio.io/WaypointAccepted";

/// Whether it counts, and which of its fields don't.
pub(in crate::translate) fn telemetry_status(
    view: &View<'_>,
    telemetry: &Telemetry,
) -> Vec<ConditionStatus> {
    let mut conditions = Vec::new();
    match &telemetry.scope {
        TelemetryScope::Selector => {
            let message =
                "waypoints are chosen by spec.targetRefs; node proxies have no such telemetry";
            conditions.push(ConditionStatus {
                fields: vec!["spec.selector".to_owned()],
                ..ConditionStatus::new(ACCEPTED, (false, "NotApplied"), message)
            });
        }
        TelemetryScope::Namespace => {
            let of = if telemetry.meta.namespace == view.settings.root_namespace {
                "the mesh".to_owned()
            } else {
                format!("waypoints of namespace {}", telemetry.meta.namespace)
            };
            conditions.push(counts(view, telemetry, None, &of));
        }
        TelemetryScope::Targets(targets) => {
            for (at, target) in targets.iter().enumerate() {
                let name =
                    format!("{:?} {}/{}", target.kind, telemetry.meta.namespace, target.name);
                let condition = match missing(view, telemetry, target, &name) {
                    Some((reason, message)) => ConditionStatus {
                        fields: vec![format!("spec.targetRefs[{at}]")],
                        ..ConditionStatus::new(ACCEPTED, (false, reason), message)
                    },
                    None => counts(view, telemetry, Some(target), &name),
                };
                conditions.push(ConditionStatus { parent: Some(name), ..condition });
            }
        }
    }
    conditions.extend(not_honoured(view, telemetry));
    conditions
}

fn counts(
    view: &View<'_>,
    telemetry: &Telemetry,
    target: Option<&PolicyTarget>,
    of: &str,
) -> ConditionStatus {
    let first = speaking(view, &telemetry.meta.namespace, target);
    match first.filter(|first| first.meta.name != telemetry.meta.name) {
        Some(first) => {
            let message = format!("{} is older and speaks for {of}", first.meta.name);
            ConditionStatus::new(ACCEPTED, (false, "Conflict"), message)
        }
        None => {
            let message = format!("counts for {of}");
            ConditionStatus::new(ACCEPTED, (true, "Accepted"), message)
        }
    }
}

/// Why a target has nothing of it.
fn missing(
    view: &View<'_>,
    telemetry: &Telemetry,
    target: &PolicyTarget,
    name: &str,
) -> Option<(&'static str, String)> {
    let namespace = &telemetry.meta.namespace;
    let absent = || Some(("TargetNotFound", format!("{name} doesn't exist")));
    let waypoint = match target.kind {
        TargetKind::GatewayClass => {
            let message = "a target is a Service, a ServiceEntry or a waypoint's Gateway";
            return Some(("TargetNotFound", message.to_owned()));
        }
        TargetKind::Gateway => {
            let key = (namespace.clone(), target.name.clone());
            return match view.waypoints.get(&key.0, &key.1) {
                Some(_) => None,
                None => Some(("TargetNotFound", format!("{name} is no waypoint that is ready"))),
            };
        }
        TargetKind::Service => match view.model.service(namespace, &target.name) {
            Some(service) => bound(view, User::Service(&service.meta)),
            None => return absent(),
        },
        TargetKind::ServiceEntry => match view.model.service_entry(namespace, &target.name) {
            Some(entry) => bound(view, User::ServiceEntry(&entry.meta)),
            None => return absent(),
        },
    };
    let message = || format!("{name} has no waypoint, and nobody else carries it out");
    waypoint.is_none().then(|| ("AncestorNotBound", message()))
}

/// Fields that have no effect, each with its reason.
fn not_honoured(view: &View<'_>, telemetry: &Telemetry) -> Option<ConditionStatus> {
    let own = telemetry.ignored.iter().map(|it| (it.field.clone(), it.reason.to_owned()));
    let mut found: Vec<(String, String)> = own.collect();
    for change in &telemetry.logs {
        for (at, name) in change.providers.iter().enumerate() {
            let field = format!("spec.accessLogging[{}].providers[{at}]", change.place);
            found.extend(unusable(view, name, Use::Log).map(|reason| (field, reason)));
        }
    }
    if let Some(change) = &telemetry.tracing
        && let Some(name) = &change.provider
    {
        let field = format!("spec.tracing[{}].providers[0]", change.place);
        found.extend(unusable(view, name, Use::Tracing).map(|reason| (field, reason)));
    }
    if found.is_empty() {
        return None;
    }
    let mut reasons: Vec<&str> = found.iter().map(|(_, reason)| reason.as_str()).collect();
    reasons.sort_unstable();
    reasons.dedup();
    let message = reasons.join("; ");
    let fields = found.iter().map(|(field, _)| field.clone()).collect();
    ConditionStatus::not_honoured(fields, message)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Log,
    Tracing,
}

/// Why a provider gives nothing.
fn unusable(view: &View<'_>, name: &Arc<str>, is_for: Use) -> Option<String> {
    match mesh(view).providers.get(name) {
        None => Some(format!("the mesh's configuration has no provider {name}")),
        Some(Provider::Unsupported(reason)) => Some(format!("provider {name}: {reason}")),
        Some(Provider::TextLog(_) | Provider::JsonLog(_)) if is_for == Use::Log => None,
        Some(Provider::Otlp(_)) if is_for == Use::Tracing => None,
        Some(_) => Some(format!("provider {name} is for something else")),
    }
}
