//! What routes refer to, so that a change of either finds the other.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::objects::{
    BackendRef, DestinationRule, Kind, ObjectKey, ParentKind, Route, RouteFilter, VirtualOutcome,
    VirtualService,
};

/// What a route may refer to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Referent {
    /// By kind, namespace and name.
    Object(ParentKind, Arc<str>, Arc<str>),
    /// By host name, in full; or all below one, behind `*.`.
    Host(Arc<str>),
    /// A virtual service that others delegate to, by namespace and name.
    Virtual(Arc<str>, Arc<str>),
}

/// Routes by what they refer to.
#[derive(Debug, Default)]
pub struct References {
    attached: HashMap<Referent, BTreeSet<ObjectKey>>,
    used: HashMap<Referent, BTreeSet<ObjectKey>>,
    rules: HashMap<Referent, BTreeSet<ObjectKey>>,
}

impl References {
    /// Routes that have it for a parent, by key.
    pub fn attached(&self, to: &Referent) -> impl Iterator<Item = &ObjectKey> {
        self.attached.get(to).into_iter().flatten()
    }

    /// Routes that send requests or copies to it, by key.
    pub fn used(&self, by: &Referent) -> impl Iterator<Item = &ObjectKey> {
        self.used.get(by).into_iter().flatten()
    }

    /// Destination rules of a host, by key.
    pub fn rules(&self, host: Arc<str>) -> impl Iterator<Item = &ObjectKey> {
        self.rules.get(&Referent::Host(host)).into_iter().flatten()
    }

    pub(super) fn note_virtual(&mut self, it: &VirtualService, is_there: bool, dns_domain: &str) {
        let meta = &it.meta;
        let key = ObjectKey::new(Kind::VirtualService, meta.namespace.clone(), meta.name.clone());
        let host = |text: &Arc<str>| Referent::Host(full_host(text, &meta.namespace, dns_domain));
        for text in &it.hosts {
            list(&mut self.attached, host(text), &key, is_there);
        }
        for rule in &it.http {
            if let VirtualOutcome::Delegate { namespace, name } = &rule.outcome {
                let referent = Referent::Virtual(namespace.clone(), name.clone());
                list(&mut self.used, referent, &key, is_there);
            }
        }
        for to in it.destinations() {
            list(&mut self.used, host(&to.host), &key, is_there);
        }
    }

    pub(super) fn note_rule(&mut self, it: &DestinationRule, is_there: bool, dns_domain: &str) {
        let meta = &it.meta;
        let key = ObjectKey::new(Kind::DestinationRule, meta.namespace.clone(), meta.name.clone());
        let host = full_host(&it.host, &meta.namespace, dns_domain);
        list(&mut self.rules, Referent::Host(host), &key, is_there);
    }

    pub(super) fn note_route(&mut self, route: &Route, is_there: bool) {
        let meta = &route.meta;
        let key = ObjectKey::new(route.kind.kind(), meta.namespace.clone(), meta.name.clone());
        for parent in &route.parents {
            let parent =
                Referent::Object(parent.kind, parent.namespace.clone(), parent.name.clone());
            list(&mut self.attached, parent, &key, is_there);
        }
        for backend in backends(route) {
            list(&mut self.used, Referent::of_backend(backend), &key, is_there);
        }
    }
}

impl Referent {
    fn of_backend(backend: &BackendRef) -> Self {
        let kind = match backend.is_service() {
            true => ParentKind::Service,
            false if backend.is_hostname() => return Self::Host(backend.name.clone()),
            false => ParentKind::Other,
        };
        Self::Object(kind, backend.namespace.clone(), backend.name.clone())
    }
}

/// Istio's reading of a host in an object of `namespace`: a name without a dot is a service there.
pub fn full_host(host: &Arc<str>, namespace: &str, dns_domain: &str) -> Arc<str> {
    if host.contains('.') || &**host == "*" {
        return host.clone();
    }
    format!("{host}.{namespace}.svc.{dns_domain}").into()
}

/// Everything that a route sends requests or copies to.
fn backends(route: &Route) -> impl Iterator<Item = &BackendRef> {
    route.rules.iter().flat_map(|rule| {
        let own = rule.backends.iter().map(|backend| &backend.to);
        own.chain(rule.filters.iter().filter_map(mirrored))
    })
}

fn mirrored(filter: &RouteFilter) -> Option<&BackendRef> {
    match filter {
        RouteFilter::Mirror(mirror) => Some(&mirror.to),
        _ => None,
    }
}

fn list(
    index: &mut HashMap<Referent, BTreeSet<ObjectKey>>,
    referent: Referent,
    key: &ObjectKey,
    is_there: bool,
) {
    let keys = index.entry(referent.clone()).or_default();
    if is_there {
        keys.insert(key.clone());
    } else {
        keys.remove(key);
    }
    if keys.is_empty() {
        index.remove(&referent);
    }
}
