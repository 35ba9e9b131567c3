//! Secrets that destination rules name: what waypoints get of them, and why they get nothing.
//!
//! Whose Secrets count is Istio's rule: those of the proxy's own namespace, so here of the waypoint that stands before the
//! service. What can't be had fails connections.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weft_proto::contract::backend::CREDENTIALS_MAX;
use weft_proto::route as proto;

use crate::model::{Model, full_host};
use crate::objects::{DestinationRule, Secret, TrafficPolicy};
use crate::translate::route::frontend::Frontend;
use crate::translate::status::ConditionStatus;
use crate::translate::view::View;

/// A condition's reason, and what is wrong.
type Fault = (&'static str, String);

/// How Istio's configuration may write a Secret's name.
const SCHEME: &str = "kubernetes://";
/// The end of the name of a Secret that holds nothing but whom another's users trust, as Istio looks for it.
const AUTHORITIES: &str = "-cacert";

const TOO_MANY: &str = "there are too many Secrets for one service";

/// Namespace and name of what a rule names; `home` is where it lies if the rule doesn't say.
fn place<'a>(home: &'a str, credential: &'a str) -> (&'a str, &'a str) {
    let name = credential.strip_prefix(SCHEME).unwrap_or(credential);
    name.split_once('/').unwrap_or((home, name))
}

/// What TLS can be spoken with.
struct Found<'a> {
    /// The one that is named.
    secret: &'a Secret,
    /// The one that says whom to trust, which may be the same. Nothing if nobody is verified.
    trusted: Option<&'a Secret>,
}

fn find<'a>(
    view: &View<'a>,
    (namespace, name): (&str, &str),
    tls: &proto::UpstreamTls,
) -> Result<Found<'a>, Fault> {
    let secret = view.model.secret(namespace, name).map(|it| &**it);
    let beside = view.model.secret(namespace, &format!("{name}{AUTHORITIES}")).map(|it| &**it);
    let lacks = |what: &str| ("InvalidSecret", format!("Secret {namespace}/{name} has no {what}"));
    let Some(first) = secret.or(beside) else {
        let message =
            format!("there is no Secret {namespace}/{name} with certificates that can be read");
        return Err(("SecretNotFound", message));
    };
    let has_pair = secret.is_some_and(|it| it.pair.is_some());
    if tls.mode() == proto::TlsMode::Mutual && !has_pair {
        return Err(lacks("tls.crt and tls.key, or cert and key"));
    }
    if tls.is_unverified {
        return Ok(Found { secret: first, trusted: None });
    }
    let trusted = beside.unwrap_or(first);
    match trusted.authorities {
        Some(_) => Ok(Found { secret: first, trusted: Some(trusted) }),
        None => Err(lacks("ca.crt or cacert, by which endpoints could be verified")),
    }
}

/// Why connections to a service can't have what a rule names.
fn fault(view: &View<'_>, frontend: &Frontend<'_>, tls: &proto::UpstreamTls) -> Option<Fault> {
    let Some((home, _)) = &frontend.waypoint else {
        let message = format!(
            "no waypoint stands before {}, and Secrets are given to nobody else",
            frontend.host
        );
        return Some(("NoWaypoint", message));
    };
    let (namespace, name) = place(home, &tls.credential);
    if namespace != &**home {
        let message = format!(
            "{:?} names a Secret of another namespace than the waypoint's, which is {home}",
            tls.credential
        );
        return Some(("RefNotPermitted", message));
    }
    find(view, (namespace, name), tls).err()
}

/// Gives Secrets their names in full, and says where one can't be had.
pub(super) fn resolve(
    view: &View<'_>,
    frontend: &Frontend<'_>,
    home: &str,
    policy: &mut proto::BackendPolicy,
) {
    let mut names = BTreeSet::new();
    for tls in each(policy) {
        if let Some((_, message)) = fault(view, frontend, tls) {
            tls.unavailable = message;
        }
        let (namespace, name) = place(home, &tls.credential);
        tls.credential = format!("{namespace}/{name}");
        if tls.unavailable.is_empty() {
            names.insert(tls.credential.clone());
        }
    }
    let beyond: BTreeSet<_> = names.into_iter().skip(CREDENTIALS_MAX).collect();
    for tls in each(policy).filter(|tls| beyond.contains(&tls.credential)) {
        tls.unavailable = TOO_MANY.to_owned();
    }
}

/// All TLS settings that name a Secret.
fn each(policy: &mut proto::BackendPolicy) -> impl Iterator<Item = &mut proto::UpstreamTls> {
    let proto::BackendPolicy { settings, ports, subsets, .. } = policy;
    let own = settings.iter_mut().chain(ports.values_mut());
    let of_subsets = subsets
        .values_mut()
        .flat_map(|subset| subset.settings.iter_mut().chain(subset.ports.values_mut()));
    let tls = own.chain(of_subsets).filter_map(|settings| settings.tls.as_mut());
    tls.filter(|tls| !tls.credential.is_empty())
}

/// The same, to be read.
fn every(policy: &proto::BackendPolicy) -> impl Iterator<Item = &proto::UpstreamTls> {
    let own = policy.settings.iter().chain(policy.ports.values());
    let subsets = policy.subsets.values();
    let of_subsets = subsets.flat_map(|it| it.settings.iter().chain(it.ports.values()));
    let tls = own.chain(of_subsets).filter_map(|settings| settings.tls.as_ref());
    tls.filter(|tls| !tls.credential.is_empty())
}

/// What the waypoints before a service need for a policy; nothing if that names no Secret that can be had.
pub(in crate::translate) fn credentials(
    view: &View<'_>,
    policy: &proto::BackendPolicy,
) -> Option<proto::ServiceCredentials> {
    let mut secrets: BTreeMap<String, proto::Credential> = BTreeMap::new();
    for tls in every(policy).filter(|tls| tls.unavailable.is_empty()) {
        let Ok(found) = find(view, place("", &tls.credential), tls) else { continue };
        let credential = secrets.entry(tls.credential.clone()).or_default();
        let pair = found.secret.pair.as_ref();
        // A key goes nowhere where it isn't needed.
        if let Some(pair) = pair.filter(|_| tls.mode() == proto::TlsMode::Mutual) {
            credential.chain_pem = pair.chain.to_string();
            credential.key_pem = pair.key.pem().to_owned();
        }
        if let Some(trusted) = found.trusted {
            let text = |text: &Option<Arc<str>>| text.as_deref().unwrap_or_default().to_owned();
            credential.ca_pem = text(&trusted.authorities);
            credential.revoked_pem = text(&trusted.revoked);
        }
    }
    (!secrets.is_empty()).then_some(proto::ServiceCredentials {
        namespace: policy.namespace.clone(),
        hostname: policy.hostname.clone(),
        secrets,
    })
}

/// TLS settings of a rule that name a Secret, each with the path of its field.
fn named(rule: &DestinationRule) -> Vec<(String, &proto::UpstreamTls)> {
    let own = rule.policy.iter().map(|policy| ("spec".to_owned(), policy));
    let subsets = rule.subsets.iter().enumerate();
    let subsets =
        subsets.filter_map(|(at, it)| Some((format!("spec.subsets[{at}]"), it.policy.as_ref()?)));
    let mut found = Vec::new();
    for (at, TrafficPolicy { parts, ports }) in own.chain(subsets) {
        let all = format!("{at}.trafficPolicy.tls.credentialName");
        let of_port = |port: u16| {
            format!("{at}.trafficPolicy.portLevelSettings[port={port}].tls.credentialName")
        };
        let of_ports = ports.iter().map(|(port, parts)| (of_port(*port), parts));
        let tls = std::iter::once((all, parts)).chain(of_ports);
        let tls = tls.filter_map(|(field, parts)| Some((field, parts.tls.as_ref()?)));
        found.extend(tls.filter(|(_, tls)| !tls.credential.is_empty()));
    }
    found
}

/// What became of the Secrets that a rule names, at the services for which it counts.
pub(super) fn status(
    view: &View<'_>,
    rule: &DestinationRule,
    frontends: &[Frontend<'_>],
) -> Option<ConditionStatus> {
    const KIND: &str = "weft.io/ResolvedRefs";
    let named = named(rule);
    if named.is_empty() || frontends.is_empty() {
        return None;
    }
    let mut faults: Vec<(String, Fault)> = Vec::new();
    for frontend in frontends {
        let is_beyond = too_many(view, frontend);
        for (field, tls) in &named {
            let beyond = || is_beyond.then(|| ("TooManySecrets", TOO_MANY.to_owned()));
            if let Some(fault) = fault(view, frontend, tls).or_else(beyond) {
                faults.push((field.clone(), fault));
            }
        }
    }
    let Some((_, (reason, message))) = faults.first().cloned() else {
        let message = "the waypoints have what they need of the Secrets";
        return Some(ConditionStatus::new(KIND, (true, "ResolvedRefs"), message));
    };
    let message = format!("{message}; connections fail rather than go without TLS");
    let fields: BTreeSet<_> = faults.into_iter().map(|(field, _)| field).collect();
    Some(ConditionStatus {
        fields: fields.into_iter().collect(),
        ..ConditionStatus::new(KIND, (false, reason), message)
    })
}

fn too_many(view: &View<'_>, frontend: &Frontend<'_>) -> bool {
    let policy = super::policy(view, frontend, &[]);
    policy.is_some_and(|policy| every(&policy).any(|tls| tls.unavailable == TOO_MANY))
}

/// Hosts of rules that may name a Secret.
pub(in crate::translate) fn secured_by(
    model: &Model,
    secret: &str,
    dns_domain: &str,
) -> Vec<Arc<str>> {
    let names = |rule: &DestinationRule| {
        named(rule).iter().any(|(_, tls)| {
            let (_, name) = place("", &tls.credential);
            name == secret || secret.strip_suffix(AUTHORITIES) == Some(name)
        })
    };
    let rules = model.namespaces().flat_map(|(_, objects)| objects.destination_rules.values());
    let rules = rules.filter(|rule| names(rule));
    rules.map(|rule| full_host(&rule.host, &rule.meta.namespace, dns_domain)).collect()
}
