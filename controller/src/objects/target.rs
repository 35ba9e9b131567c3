//! What a policy is attached to (`targetRef`, `targetRefs`).

use std::sync::Arc;

use serde::Deserialize;

use super::Pool;
use super::fields::{self, FieldError, Given};
use super::meta::Meta;

/// What kind of object a policy is attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TargetKind {
    /// A Kubernetes service.
    Service,
    /// Istio's.
    ServiceEntry,
    /// A waypoint.
    Gateway,
    /// All waypoints of a class; only in the root namespace.
    GatewayClass,
}

/// An object that a policy is attached to. It is in the policy's own namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyTarget {
    /// Its kind.
    pub kind: TargetKind,
    /// Its name.
    pub name: Arc<str>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawTarget {
    group: Option<String>,
    kind: String,
    name: String,
    namespace: Option<String>,
}

/// Istio's bound of `targetRefs`.
const TARGETS_MAX: usize = 16;

/// The targets of a policy, each once. An explicit empty list is no target, as in Istio. A policy with a selector has
/// none.
pub(super) fn targets(
    single: Option<&RawTarget>,
    list: Option<&Vec<Given<RawTarget>>>,
    has_selector: bool,
    meta: &Meta,
    pool: &mut Pool,
) -> Result<Box<[PolicyTarget]>, FieldError> {
    let list = list.map_or(&[][..], Vec::as_slice);
    if single.is_some() && !list.is_empty() {
        return Err(FieldError::new("spec.targetRef", "can't be given together with targetRefs"));
    }
    if list.len() > TARGETS_MAX {
        let reason = format!("has {} entries; at most {TARGETS_MAX} are allowed", list.len());
        return Err(FieldError::new("spec.targetRefs", reason));
    }
    let single = single.map(|raw| ("spec.targetRef".to_owned(), raw));
    let list = list.iter().enumerate().map(|(at, raw)| (format!("spec.targetRefs[{at}]"), &raw.0));
    let mut built: Vec<PolicyTarget> = Vec::new();
    for (field, raw) in single.into_iter().chain(list) {
        let target = raw.build(&field, meta, pool)?;
        if !built.contains(&target) {
            built.push(target);
        }
    }
    if has_selector && !built.is_empty() {
        let reason = "can't be given together with spec.targetRefs";
        return Err(FieldError::new("spec.selector", reason));
    }
    Ok(built.into())
}

impl RawTarget {
    /// One of the policy's own namespace.
    pub(super) fn of(group: &str, kind: &str, name: &str) -> Self {
        Self { group: Some(group.into()), kind: kind.into(), name: name.into(), namespace: None }
    }

    pub(super) fn build(
        &self,
        field: &str,
        meta: &Meta,
        pool: &mut Pool,
    ) -> Result<PolicyTarget, FieldError> {
        if !fields::is_dns_subdomain(&self.name) {
            let reason = format!("{:?} is no object's name", self.name);
            return Err(FieldError::new(format!("{field}.name"), reason));
        }
        let namespace = self.namespace.as_deref().filter(|namespace| !namespace.is_empty());
        if namespace.is_some_and(|namespace| *namespace != *meta.namespace) {
            let reason = "a policy can't be attached to an object of another namespace";
            return Err(FieldError::new(format!("{field}.namespace"), reason));
        }
        let (kind, groups) = self.kind().ok_or_else(|| {
            let reason = format!(
                "{:?} is no kind that a policy can be attached to: Service, ServiceEntry, Gateway, GatewayClass",
                self.kind
            );
            FieldError::new(format!("{field}.kind"), reason)
        })?;
        let group = self.group.as_deref().unwrap_or_default();
        if !groups.contains(&group) {
            let wanted = groups.first().copied().unwrap_or_default();
            let reason = format!("the group of {} is {wanted:?}, not {group:?}", self.kind);
            return Err(FieldError::new(format!("{field}.group"), reason));
        }
        Ok(PolicyTarget { kind, name: pool.text(&self.name) })
    }

    /// The kind, and the ways to write its group.
    fn kind(&self) -> Option<(TargetKind, &'static [&'static str])> {
        Some(match self.kind.as_str() {
            "Service" => (TargetKind::Service, &["", "core"]),
            "ServiceEntry" => (TargetKind::ServiceEntry, &["networking.istio.io"]),
            "Gateway" => (TargetKind::Gateway, &["gateway.networking.k8s.io"]),
            "GatewayClass" => (TargetKind::GatewayClass, &["gateway.networking.k8s.io"]),
            _ => return None,
        })
    }

    /// Of a policy that can't be read as a whole: as much as can be told.
    pub(super) fn guess(&self, pool: &mut Pool) -> Option<PolicyTarget> {
        let (kind, _) = self.kind()?;
        Some(PolicyTarget { kind, name: pool.text(&self.name) })
    }
}
