//! Who may do what with a service: all security policies that apply at its waypoint, gathered into one resource.
//!
//! ```text
//! Frontend (a service's host, its waypoints) ─▶ applying: policies of the service, its waypoint and that one's class
//!        rules, keys, checkers ─────────────▶ AccessPolicy, sealed
//! ```
//!
//! A service that is bound to a waypoint always has one, if only an empty one: so a waypoint can tell a service without
//! policies from one whose policies haven't come.

mod applying;
mod body_limit;
mod checkers;
mod keys;
mod rules;
mod status;

use std::sync::Arc;

use prost::Message;
use weft_core::seal;
use weft_proto::contract::access as limits;
use weft_proto::route as proto;

use crate::objects::{
    Action, AuthorizationPolicy, Gateway, MESH_CONFIG, MeshConfig, Normalisation, PolicyBody,
    Service, ServiceEntry,
};

use super::names;
use super::view::View;
use super::waypoint::{self, GatewayName, Traffic, User};
use applying::Applying;
use rules::Domains;

pub(super) use body_limit::body_limit_status;
pub use keys::{FetchedKeys, KeySets};
pub(super) use status::{authentication_status, mesh_status, policy_status};

/// Resource name and sealed encoding of an access policy.
pub(super) type Sealed = (String, Vec<u8>);

/// The policy of a service; nothing if no waypoint stands before it.
pub(super) fn service_access(view: &View<'_>, service: &Service) -> Option<Sealed> {
    let user = User::Service(&service.meta);
    let gateways = Some(waypoints(view, user)).filter(|it| !it.is_empty())?;
    let host = names::service_host(service, view.settings);
    let applying = applying::applying(view, Some(user), &gateways);
    let limit = body_limit::of(view, Some(&service.meta), &gateways);
    (!service.is_external_name)
        .then(|| sealed(view, (&service.meta.namespace, &host), &applying, (&gateways, limit)))
}

/// The policies of the hosts that an entry speaks for.
pub(super) fn service_entry_access(view: &View<'_>, entry: &ServiceEntry) -> Vec<Sealed> {
    let user = User::ServiceEntry(&entry.meta);
    let gateways = waypoints(view, user);
    if gateways.is_empty() {
        return Vec::new();
    }
    let applying = applying::applying(view, Some(user), &gateways);
    let hosts = view.hosts_won(entry);
    let limit = body_limit::of(view, Some(&entry.meta), &gateways);
    let bounds = (&*gateways, limit);
    hosts.map(|host| sealed(view, (&entry.meta.namespace, host), &applying, bounds)).collect()
}

/// The policy of workloads that are called by their own addresses, named `namespace/~gateway`; nothing for a waypoint that
/// stands before none.
pub(super) fn gateway_access(view: &View<'_>, gateway: &Gateway) -> Option<Sealed> {
    let (namespace, name) = (&gateway.meta.namespace, &gateway.meta.name);
    let waypoint = view.waypoints.get(namespace, name)?;
    let takes_workloads = matches!(waypoint.traffic, Traffic::Workload | Traffic::All);
    let gateways = [(namespace.clone(), name.clone())];
    let applying = applying::applying(view, None, &gateways);
    let limit = body_limit::of(view, None, &gateways);
    let host = format!("~{name}");
    takes_workloads.then(|| sealed(view, (namespace, &host), &applying, (&gateways, limit)))
}

/// Ready or not: one that is starting up needs its policies first.
fn waypoints(view: &View<'_>, user: User<'_>) -> Vec<GatewayName> {
    waypoint::resolve(view, user).audience()
}

fn sealed(
    view: &View<'_>,
    (namespace, host): (&str, &str),
    applying: &Applying,
    (gateways, body_limit): (&[GatewayName], u64),
) -> Sealed {
    let mut message = access_policy(view, applying);
    message.namespace = namespace.to_owned();
    message.hostname = host.to_owned();
    message.request_body_bytes_max = body_limit;
    message.forward_client_identity = gateways.iter().any(|name| forwards_identity(view, name));
    (names::resource_name(namespace, host), seal::seal(message.encode_to_vec()))
}

fn access_policy(view: &View<'_>, applying: &Applying) -> proto::AccessPolicy {
    let mesh = mesh_config(view);
    let aliases = mesh.as_ref().map_or(&[][..], |mesh| &mesh.trust_domain_aliases);
    let domains = Domains { own: &view.settings.trust_domain, aliases };
    let mut built = proto::AccessPolicy::default();
    built.set_normalisation(normalisation(mesh.as_deref()));
    for policy in &applying.policies {
        let converted = rules::policy(policy, domains);
        match &policy.body {
            PolicyBody::Unreadable => built.deny.push(converted),
            PolicyBody::Rules { action: Action::Deny, .. } => built.deny.push(converted),
            PolicyBody::Rules { action: Action::Allow, .. } => built.allow.push(converted),
            PolicyBody::Rules { action: Action::Audit, .. } => built.audit.push(converted),
            PolicyBody::Rules { action: Action::Custom, .. } => {
                let checker = checker(mesh.as_deref(), policy).ok();
                built.custom.push(proto::CustomPolicy { policy: Some(converted), checker });
            }
        }
    }
    for object in &applying.authentications {
        if object.is_unreadable {
            let (namespace, name) = (&object.meta.namespace, &object.meta.name);
            built.unusable = format!("RequestAuthentication {namespace}/{name} can't be read");
        }
        built.providers.extend(keys::providers(object, view.keys));
    }
    match excess(&built) {
        Some(excess) => proto::AccessPolicy {
            unusable: excess,
            normalisation: built.normalisation,
            ..proto::AccessPolicy::default()
        },
        None => built,
    }
}

/// The mesh's configuration, if there is one.
pub(super) fn mesh_config(view: &View<'_>) -> Option<Arc<MeshConfig>> {
    let objects = view.namespace(&view.settings.root_namespace)?;
    objects.mesh_configs.get(MESH_CONFIG.0).cloned()
}

/// One that can't be read may have asked for any level, so the furthest holds.
fn normalisation(mesh: Option<&MeshConfig>) -> proto::PathNormalisation {
    use proto::PathNormalisation as Wire;
    let Some(mesh) = mesh else { return Wire::Base };
    if mesh.is_unreadable {
        return Wire::DecodeAndMergeSlashes;
    }
    match mesh.normalisation {
        Normalisation::Default | Normalisation::Base => Wire::Base,
        Normalisation::None => Wire::None,
        Normalisation::MergeSlashes => Wire::MergeSlashes,
        Normalisation::DecodeAndMergeSlashes => Wire::DecodeAndMergeSlashes,
    }
}

/// Whom a CUSTOM policy asks, or why that can't be told.
fn checker(
    mesh: Option<&MeshConfig>,
    policy: &AuthorizationPolicy,
) -> Result<proto::Checker, String> {
    let PolicyBody::Rules { provider: Some(name), .. } = &policy.body else {
        return Err("names no provider".to_owned());
    };
    let known = mesh.and_then(|mesh| mesh.checkers.get(name));
    match known {
        None => Err(format!("the mesh's configuration has no provider {name} that can be asked")),
        Some(Err(reason)) => Err(format!("provider {name} can't be used: {reason}")),
        Some(Ok(checker)) => Ok(checkers::checker(name, checker)),
    }
}

fn forwards_identity(view: &View<'_>, (namespace, name): &GatewayName) -> bool {
    const ANNOTATION: &str = "ambient.istio.io/xfcc-include-client-identity";
    let gateway = view.model.gateway(namespace, name);
    gateway.is_some_and(|it| it.meta.annotations.get(ANNOTATION) == Some("true"))
}

/// What there is more of than a waypoint takes.
fn excess(built: &proto::AccessPolicy) -> Option<String> {
    let custom = built.custom.iter().filter_map(|it| it.policy.as_ref());
    let policies = || {
        let plain = built.deny.iter().chain(&built.allow).chain(&built.audit);
        plain.chain(custom.clone())
    };
    let rules = || policies().flat_map(|policy| &policy.rules);
    let matchers = rules().flat_map(|rule| {
        let terms = rule.from.iter().chain(&rule.to).flat_map(|term| &term.all);
        terms.chain(&rule.when)
    });
    let counts = [
        ("policies", policies().count(), limits::POLICIES_MAX),
        ("rules", rules().count(), limits::RULES_MAX),
        ("values", matchers.map(values).sum(), limits::VALUES_MAX),
        ("issuers of tokens", built.providers.len(), limits::PROVIDERS_MAX),
    ];
    let beyond = counts.into_iter().find(|(_, count, max)| count > max);
    beyond.map(|(what, count, max)| format!("{count} {what} apply; at most {max} are taken"))
}

fn values(matcher: &proto::AccessMatcher) -> usize {
    use proto::access_matcher::Kind;
    match matcher.kind.as_ref() {
        None => 0,
        Some(
            Kind::SourcePrincipal(it)
            | Kind::SourceNamespace(it)
            | Kind::SourceTrustDomain(it)
            | Kind::Host(it)
            | Kind::Method(it)
            | Kind::RequestPrincipal(it)
            | Kind::Audience(it)
            | Kind::Presenter(it)
            | Kind::ServerName(it),
        ) => it.values.len(),
        Some(Kind::SourceIp(it) | Kind::RemoteIp(it) | Kind::DestinationIp(it)) => it.values.len(),
        Some(Kind::SourceAccount(it)) => it.values.len(),
        Some(Kind::DestinationPort(it)) => it.values.len(),
        Some(Kind::Path(it)) => it.values.len(),
        Some(Kind::Header(it)) => it.values.len(),
        Some(Kind::Claim(it)) => it.values.len(),
    }
}
