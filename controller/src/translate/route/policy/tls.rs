//! What BackendTLSPolicies ask for on connections to a service.
//!
//! Of several for one target and section the oldest speaks, then the first by name; one that names a port speaks for it
//! before those that name none. What the one that speaks can't have isn't had from another: connections fail.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_proto::contract::backend::BACKEND_SETTINGS_MAX;
use weft_proto::route as proto;

use crate::model::Model;
use crate::objects::limits::{TRUST_BYTES_MAX, TRUST_COPIES_BYTES_MAX};
use crate::objects::{
    BackendTlsPolicy, CA_KEY, CaRef, DestinationRule, Kind, Meta, ObjectKey, ParentKind,
    PolicyTarget, TargetKind, TlsTrust,
};
use crate::translate::route::frontend::Frontend;
use crate::translate::view::View;

/// TLS that is asked for where no destination rule of the same host says anything about it.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// On ports that aren't among `ports`.
    all: Option<proto::UpstreamTls>,
    pub(super) ports: BTreeMap<u16, proto::UpstreamTls>,
    /// The rules' host is one behind `*.`: a policy is nearer.
    is_nearer: bool,
    /// The policies that speak.
    pub(super) origins: Vec<proto::PolicyOrigin>,
}

impl Asked {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_none() && self.ports.is_empty()
    }

    /// What holds, if `own` is what a rule says. `port`: nothing for those that aren't listed.
    pub(super) fn beside(
        &self,
        own: Option<proto::UpstreamTls>,
        port: Option<u16>,
    ) -> Option<proto::UpstreamTls> {
        let asked = port.and_then(|port| self.ports.get(&port)).or(self.all.as_ref()).cloned();
        if self.is_nearer { asked.or(own) } else { own.or(asked) }
    }
}

/// What is asked for on connections to a frontend. `rules` are the destination rules that speak for it.
pub(super) fn asked(view: &View<'_>, frontend: &Frontend<'_>, rules: &[&DestinationRule]) -> Asked {
    let Some(target) = target_of(frontend) else {
        return Asked::default();
    };
    let policies = policies(view, &frontend.meta.namespace, &target);
    let mut asked = Asked { is_nearer: !speak_for_host(rules), ..Asked::default() };
    if policies.is_empty() {
        return asked;
    }
    let copies = copies(frontend, rules);
    let mut tls = |policy: &Arc<BackendTlsPolicy>| {
        let origin = origin(policy);
        if !asked.origins.contains(&origin) {
            asked.origins.push(origin);
        }
        upstream(view, policy, copies)
    };
    let all = speaker(&policies, &target, None).map(&mut tls);
    let ports = frontend
        .ports
        .iter()
        .filter_map(|(name, port)| Some((*port, tls(speaker(&policies, &target, Some(name))?))));
    let ports = ports.collect();
    Asked { all, ports, ..asked }
}

/// Whether rules are for that host, not for all below another. Rules that speak have one host.
pub(super) fn speak_for_host(rules: &[&DestinationRule]) -> bool {
    rules.iter().all(|rule| !rule.host.starts_with('*'))
}

/// How policies name a frontend.
pub(super) fn target_of(frontend: &Frontend<'_>) -> Option<PolicyTarget> {
    let kind = match frontend.kind {
        ParentKind::Service => TargetKind::Service,
        ParentKind::ServiceEntry => TargetKind::ServiceEntry,
        ParentKind::Gateway | ParentKind::Other => return None,
    };
    Some(PolicyTarget { kind, name: frontend.meta.name.clone() })
}

/// Policies for an object or parts of it, the one that counts most first.
pub(super) fn policies<'a>(
    view: &View<'a>,
    namespace: &Arc<str>,
    target: &PolicyTarget,
) -> Vec<&'a Arc<BackendTlsPolicy>> {
    let found = view.model.backend_tls_policies(target.kind, namespace, &target.name);
    let mut found: Vec<_> = found.collect();
    found.sort_by_key(|policy| (policy.meta.created, &policy.meta.name));
    found
}

/// The policy that speaks for a section of an object, among all of that object.
pub(super) fn speaker<'a>(
    policies: &[&'a Arc<BackendTlsPolicy>],
    target: &PolicyTarget,
    section: Option<&str>,
) -> Option<&'a Arc<BackendTlsPolicy>> {
    let is_meant = |policy: &&&Arc<BackendTlsPolicy>| {
        let mut targets = policy.targets.iter();
        targets.any(|it| it.object == *target && it.section.as_deref() == section)
    };
    policies.iter().find(is_meant).copied()
}

fn origin(policy: &BackendTlsPolicy) -> proto::PolicyOrigin {
    proto::PolicyOrigin {
        kind: Kind::BackendTLSPolicy.to_string(),
        namespace: policy.meta.namespace.to_string(),
        name: policy.meta.name.to_string(),
    }
}

/// How often certificates may be repeated in what a waypoint is told about a service, at most.
pub(super) fn copies(frontend: &Frontend<'_>, rules: &[&DestinationRule]) -> usize {
    let subsets = rules.iter().flat_map(|rule| &rule.subsets);
    let subsets = subsets.filter_map(|subset| subset.policy.as_ref());
    let of_rules = rules.iter().filter_map(|rule| rule.policy.as_ref()).chain(subsets.clone());
    let ports: usize = of_rules.map(|policy| policy.ports.len()).sum();
    let all = (1 + subsets.count()).saturating_mul(1 + frontend.ports.len() + ports);
    all.min(BACKEND_SETTINGS_MAX)
}

fn upstream(view: &View<'_>, policy: &BackendTlsPolicy, copies: usize) -> proto::UpstreamTls {
    let mut tls = proto::UpstreamTls::default();
    tls.set_mode(proto::TlsMode::Simple);
    let Meta { namespace, name, .. } = &policy.meta;
    let unavailable = |reason: &str| format!("BackendTLSPolicy {namespace}/{name}: {reason}");
    let Some(validation) = &policy.validation else {
        tls.unavailable = unavailable("it can't be read");
        return tls;
    };
    tls.server_name = validation.hostname.to_string();
    tls.subject_alt_names = validation.alt_names.iter().map(ToString::to_string).collect();
    match trusted(view, policy, copies).certificates {
        Ok(pem) => tls.ca_pem = pem,
        Err(reason) => tls.unavailable = unavailable(&reason),
    }
    tls
}

/// Whose certificates count for a policy.
pub(super) struct Trusted {
    /// PEM, empty for the system's; or why there are none.
    pub(super) certificates: Result<String, String>,
    /// References that lead nowhere: the field, and the Gateway API's reason with what is wrong.
    pub(super) faults: Vec<(String, &'static str, String)>,
}

/// References that lead nowhere are left out, which trusts fewer; if all do, nothing is trusted.
pub(super) fn trusted(view: &View<'_>, policy: &BackendTlsPolicy, copies: usize) -> Trusted {
    let mut found = Trusted { certificates: Ok(String::new()), faults: Vec::new() };
    let Some(TlsTrust::Refs(refs)) = policy.validation.as_ref().map(|it| &it.trust) else {
        return found;
    };
    let mut pem = String::new();
    for (at, reference) in refs.iter().enumerate() {
        match bundle(view, &policy.meta.namespace, reference) {
            Ok(text) if pem.len() + text.len() <= TRUST_BYTES_MAX => pem.push_str(&text),
            Ok(_) => {
                let message = format!(
                    "with ConfigMap {} there are more than {TRUST_BYTES_MAX} bytes",
                    reference.name
                );
                found.faults.push((field(at), "InvalidCACertificateRef", message));
            }
            Err((reason, message)) => found.faults.push((field(at), reason, message)),
        }
    }
    found.certificates = match &found.faults[..] {
        [(_, _, first), ..] if pem.is_empty() => Err(first.clone()),
        _ if pem.len().saturating_mul(copies) > TRUST_COPIES_BYTES_MAX => Err(format!(
            "{} bytes of certificates for {copies} settings of ports and subsets are too many; name fewer of either",
            pem.len()
        )),
        _ => Ok(pem),
    };
    found
}

fn field(at: usize) -> String {
    format!("spec.validation.caCertificateRefs[{at}]")
}

fn bundle(
    view: &View<'_>,
    namespace: &str,
    reference: &CaRef,
) -> Result<Arc<str>, (&'static str, String)> {
    let name = &reference.name;
    if let Some(kind) = &reference.foreign {
        let message =
            format!("{kind} {name} is no ConfigMap, and certificates aren't read of others");
        return Err(("InvalidKind", message));
    }
    let invalid = |message| ("InvalidCACertificateRef", message);
    let Some(bundle) = view.model.ca_bundle(namespace, name) else {
        let message = format!("there is no ConfigMap {name} in {namespace} with the key {CA_KEY}");
        return Err(invalid(message));
    };
    let certificates = bundle.certificates.clone();
    certificates.map_err(|reason| invalid(format!("ConfigMap {name}: {reason}")))
}

/// Keys of what a policy is attached to.
pub(in crate::translate) fn targets(
    policy: &BackendTlsPolicy,
) -> impl Iterator<Item = ObjectKey> + '_ {
    policy.targets.iter().map(|target| {
        let kind = match target.object.kind {
            TargetKind::ServiceEntry => Kind::ServiceEntry,
            _ => Kind::Service,
        };
        ObjectKey::new(kind, policy.meta.namespace.clone(), target.object.name.clone())
    })
}

/// Keys of services and entries whose endpoints are verified by a ConfigMap's certificates.
pub(in crate::translate) fn verified_by(
    model: &Model,
    namespace: &str,
    name: &str,
) -> Vec<ObjectKey> {
    let names = |policy: &&Arc<BackendTlsPolicy>| {
        let trust = policy.validation.as_ref().map(|it| &it.trust);
        matches!(trust, Some(TlsTrust::Refs(refs)) if refs.iter().any(|it| *it.name == *name))
    };
    let objects = model.namespace(namespace).into_iter();
    let policies = objects.flat_map(|objects| objects.backend_tls_policies.values());
    policies.filter(names).flat_map(|policy| targets(policy)).collect()
}
