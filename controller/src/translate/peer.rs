//! Peer authentications. Node proxies know only authorisation policies, so "no plaintext" is written as one that
//! denies whoever has no identity.

use std::sync::Arc;

use weft_proto::security::{Action, Authorization, Clause, Match, Rule, Scope};

use crate::objects::{Labels, MtlsMode, PeerAuthentication};

use super::authorization::presence;
use super::names;
use super::settings::DefaultMtls;
use super::view::View;

/// Name, in the root namespace, of the policy that denies whoever has no identity. No object can be called so.
pub const STATIC_STRICT: &str = "istio_converted_static_strict";

/// Denies whoever has no identity. Sent as soon as any peer authentication exists, so that it is there before the
/// first workload names it.
pub fn static_strict(view: &View<'_>) -> Option<Authorization> {
    let mut objects = view.model.namespaces().map(|(_, objects)| objects);
    let is_needed = view.settings.default_mtls == DefaultMtls::Strict
        || objects.any(|objects| !objects.peer_authentications.is_empty());
    let rule = || Rule { clauses: vec![clause(no_identity())] };
    is_needed.then(|| deny(&view.settings.root_namespace, STATIC_STRICT, vec![rule()]))
}

/// A peer authentication with exceptions for single ports, as node proxies enforce it. Nothing if it has none: the
/// static policy does then.
pub fn peer_authorization(view: &View<'_>, peer: &PeerAuthentication) -> Option<Authorization> {
    let namespace = &peer.meta.namespace;
    if peer.selector.is_none() || *namespace == view.settings.root_namespace {
        return None;
    }
    let is_strict = is_strict(peer.mode, is_strict_by_default(view, namespace));
    let exceptions = exceptions(peer, is_strict);
    if exceptions.is_empty() {
        return None;
    }
    let rules = if is_strict {
        let elsewhere = Match { not_destination_ports: exceptions, ..Match::default() };
        vec![Rule { clauses: vec![clause(elsewhere), clause(no_identity())] }]
    } else {
        let of_port = |port| Match { destination_ports: vec![port], ..no_identity() };
        exceptions.into_iter().map(|port| Rule { clauses: vec![clause(of_port(port))] }).collect()
    };
    Some(deny(namespace, &converted_name(peer), rules))
}

/// The policies by which a workload with `labels` refuses plaintext: none, or one.
pub(super) fn selecting(view: &View<'_>, namespace: &str, labels: &Labels) -> Option<String> {
    let by_default = is_strict_by_default(view, namespace);
    let root = &*view.settings.root_namespace;
    let own = view.namespace(namespace).filter(|_| namespace != root).and_then(|objects| {
        let selects = |peer: &&Arc<PeerAuthentication>| {
            peer.selector.as_ref().is_some_and(|selector| selector.select(labels))
        };
        oldest(objects.peer_authentications.values().filter(selects))
    });
    let is_strict = own.map_or(by_default, |own| is_strict(own.mode, by_default));
    if let Some(own) = own.filter(|own| !exceptions(own, is_strict).is_empty()) {
        return Some(names::resource_name(namespace, &converted_name(own)));
    }
    is_strict.then(|| names::resource_name(root, STATIC_STRICT))
}

/// Whether workloads of a namespace that no selector singles out refuse plaintext: by the namespace's own word, else
/// the root namespace's, else the mesh's default.
pub(super) fn is_strict_by_default(view: &View<'_>, namespace: &str) -> bool {
    let root = &*view.settings.root_namespace;
    let mesh = wide_mode(view, root);
    let default = view.settings.default_mtls == DefaultMtls::Strict;
    let by_mesh = is_strict(mesh, default);
    if namespace == root { by_mesh } else { is_strict(wide_mode(view, namespace), by_mesh) }
}

/// The peer authentication that speaks for a whole namespace.
pub(super) fn wide<'a>(view: &View<'a>, namespace: &str) -> Option<&'a Arc<PeerAuthentication>> {
    let objects = view.namespace(namespace)?;
    oldest(objects.peer_authentications.values().filter(|peer| peer.selector.is_none()))
}

fn wide_mode(view: &View<'_>, namespace: &str) -> MtlsMode {
    wide(view, namespace).map(|peer| peer.mode).unwrap_or_default()
}

/// Of several the oldest counts; without a date, the first by name.
fn oldest<'a>(
    peers: impl Iterator<Item = &'a Arc<PeerAuthentication>>,
) -> Option<&'a Arc<PeerAuthentication>> {
    peers.min_by(|a, b| (a.meta.created, &a.meta.name).cmp(&(b.meta.created, &b.meta.name)))
}

fn is_strict(mode: MtlsMode, otherwise: bool) -> bool {
    match mode {
        MtlsMode::Unset => otherwise,
        MtlsMode::Strict => true,
        MtlsMode::Permissive | MtlsMode::Disable => false,
    }
}

/// Ports where the answer is another than on the rest.
fn exceptions(peer: &PeerAuthentication, is_strict_elsewhere: bool) -> Vec<u32> {
    let differs = |mode| is_strict(mode, is_strict_elsewhere) != is_strict_elsewhere;
    let ports = peer.ports.iter().filter(|(_, mode)| differs(*mode));
    ports.map(|(port, _)| u32::from(*port)).collect()
}

fn converted_name(peer: &PeerAuthentication) -> String {
    format!("converted_peer_authentication_{}", peer.meta.name)
}

fn no_identity() -> Match {
    Match { not_principals: vec![presence()], ..Match::default() }
}

fn clause(only: Match) -> Clause {
    Clause { matches: vec![only] }
}

fn deny(namespace: &str, name: &str, rules: Vec<Rule>) -> Authorization {
    let mut built = Authorization {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        rules,
        ..Authorization::default()
    };
    built.set_scope(Scope::WorkloadSelector);
    built.set_action(Action::Deny);
    built
}
