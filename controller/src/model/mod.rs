//! Every object of the mesh, and the indexes that translation needs. One owner writes it, nobody else sees it change.

mod hosts;
mod named_labels;
mod namespace;
mod references;
mod targets;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

pub use hosts::HostClaim;
pub use named_labels::NamedLabels;
pub use namespace::NamespaceObjects;
pub use references::{References, Referent, full_host};
pub use targets::Targets;

use crate::objects::{
    BackendTlsPolicy, CaBundle, DestinationRule, Gateway, GatewayClass, Kind, Node, Object,
    ObjectChange, ObjectKey, Pod, Route, Secret, Service, ServiceEntry, TargetKind, VirtualService,
};

/// Namespace and name of a pod.
pub type PodName = (Arc<str>, Arc<str>);

/// All objects.
#[derive(Debug, Default)]
pub struct Model {
    namespaces: BTreeMap<Arc<str>, NamespaceObjects>,
    nodes: BTreeMap<Arc<str>, Arc<Node>>,
    gateway_classes: BTreeMap<Arc<str>, Arc<GatewayClass>>,
    pods_by_node: HashMap<Arc<str>, BTreeSet<PodName>>,
    pods_by_uid: HashMap<Arc<str>, BTreeSet<PodName>>,
    /// Who claims each host name.
    hosts: BTreeMap<Arc<str>, BTreeSet<HostClaim>>,
    references: References,
    targets: Targets,
    /// BackendTLSPolicies by what they are attached to.
    tls_targets: Targets,
    named_labels: NamedLabels,
}

impl Model {
    /// Takes in one change. Returns the object as it was before.
    pub fn apply(&mut self, change: ObjectChange, dns_domain: &str) -> Option<Object> {
        let ObjectChange { key, object } = change;
        let old = self.put(&key, object.clone());
        self.index(old.as_ref(), false, dns_domain);
        self.index(object.as_ref(), true, dns_domain);
        self.tidy(&key);
        old
    }

    /// What is in a namespace.
    pub fn namespace(&self, name: &str) -> Option<&NamespaceObjects> {
        self.namespaces.get(name)
    }

    /// All namespaces that hold something, in order.
    pub fn namespaces(&self) -> impl Iterator<Item = (&Arc<str>, &NamespaceObjects)> {
        self.namespaces.iter()
    }

    /// A node.
    pub fn node(&self, name: &str) -> Option<&Arc<Node>> {
        self.nodes.get(name)
    }

    /// Namespace and name of the pods of a node.
    pub fn pods_of_node(&self, node: &str) -> impl Iterator<Item = &PodName> {
        self.pods_by_node.get(node).into_iter().flatten()
    }

    /// Namespace and name of the pods that have a uid: one, unless somebody copied a manifest.
    pub fn pods_of_uid(&self, uid: &str) -> impl Iterator<Item = &PodName> {
        self.pods_by_uid.get(uid).into_iter().flatten()
    }

    /// Who claims a host name, the strongest claim first.
    pub fn claims(&self, host: &str) -> impl Iterator<Item = &HostClaim> {
        self.hosts.get(host).into_iter().flatten()
    }

    /// A class of gateways.
    pub fn gateway_class(&self, name: &str) -> Option<&Arc<GatewayClass>> {
        self.gateway_classes.get(name)
    }

    /// A gateway.
    pub fn gateway(&self, namespace: &str, name: &str) -> Option<&Arc<Gateway>> {
        self.namespaces.get(namespace)?.gateways.get(name)
    }

    /// What policies are attached to.
    pub fn targets(&self) -> &Targets {
        &self.targets
    }

    /// BackendTLSPolicies that are attached to a service or an entry, or to ports of it.
    pub fn backend_tls_policies(
        &self,
        kind: TargetKind,
        namespace: &Arc<str>,
        name: &Arc<str>,
    ) -> impl Iterator<Item = &Arc<BackendTlsPolicy>> {
        let keys = self.tls_targets.of(kind, namespace, name);
        keys.filter_map(|key| {
            self.namespaces.get(&key.namespace)?.backend_tls_policies.get(&key.name)
        })
    }

    /// A ConfigMap's certificates.
    pub fn ca_bundle(&self, namespace: &str, name: &str) -> Option<&Arc<CaBundle>> {
        self.namespaces.get(namespace)?.ca_bundles.get(name)
    }

    /// A Secret with certificates.
    pub fn secret(&self, namespace: &str, name: &str) -> Option<&Arc<Secret>> {
        self.namespaces.get(namespace)?.secrets.get(name)
    }

    /// Labels of workloads that subsets and matches of callers name.
    pub fn named_labels(&self) -> &NamedLabels {
        &self.named_labels
    }

    /// What routes refer to.
    pub fn references(&self) -> &References {
        &self.references
    }

    /// A route, by its key.
    pub fn route(&self, key: &ObjectKey) -> Option<&Arc<Route>> {
        let objects = self.namespaces.get(&key.namespace)?;
        match key.kind {
            Kind::HTTPRoute => objects.http_routes.get(&key.name),
            Kind::GRPCRoute => objects.grpc_routes.get(&key.name),
            Kind::TLSRoute => objects.tls_routes.get(&key.name),
            Kind::TCPRoute => objects.tcp_routes.get(&key.name),
            _ => None,
        }
    }

    /// Every host name that somebody claims, in order.
    pub fn hosts(&self) -> impl Iterator<Item = &Arc<str>> {
        self.hosts.keys()
    }

    /// A virtual service.
    pub fn virtual_service(&self, namespace: &str, name: &str) -> Option<&Arc<VirtualService>> {
        self.namespaces.get(namespace)?.virtual_services.get(name)
    }

    /// A destination rule.
    pub fn destination_rule(&self, key: &ObjectKey) -> Option<&Arc<DestinationRule>> {
        self.namespaces.get(&key.namespace)?.destination_rules.get(&key.name)
    }

    /// A pod.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<&Arc<Pod>> {
        self.namespaces.get(namespace)?.pods.get(name)
    }

    /// A service.
    pub fn service(&self, namespace: &str, name: &str) -> Option<&Arc<Service>> {
        self.namespaces.get(namespace)?.services.get(name)
    }

    /// A service entry.
    pub fn service_entry(&self, namespace: &str, name: &str) -> Option<&Arc<ServiceEntry>> {
        self.namespaces.get(namespace)?.service_entries.get(name)
    }

    /// Any object.
    pub fn object(&self, key: &ObjectKey) -> Option<Object> {
        match key.kind {
            Kind::Node => self.nodes.get(&key.name).cloned().map(Object::Node),
            Kind::GatewayClass => {
                self.gateway_classes.get(&key.name).cloned().map(Object::GatewayClass)
            }
            Kind::Namespace => self.namespaces.get(&key.name)?.object(key),
            _ => self.namespaces.get(&key.namespace)?.object(key),
        }
    }

    /// The keys of all objects, in order of namespaces.
    pub fn keys(&self) -> impl Iterator<Item = ObjectKey> + '_ {
        let nodes = self.nodes.keys().map(|name| ObjectKey::new(Kind::Node, "", name.clone()));
        let classes = self.gateway_classes.keys();
        let classes = classes.map(|name| ObjectKey::new(Kind::GatewayClass, "", name.clone()));
        nodes
            .chain(classes)
            .chain(self.namespaces.iter().flat_map(|(name, objects)| objects.keys(name)))
    }

    fn put(&mut self, key: &ObjectKey, object: Option<Object>) -> Option<Object> {
        if key.kind == Kind::Node {
            let old = match object {
                Some(Object::Node(node)) => self.nodes.insert(key.name.clone(), node),
                _ => self.nodes.remove(&key.name),
            };
            return old.map(Object::Node);
        }
        if key.kind == Kind::GatewayClass {
            let old = match object {
                Some(Object::GatewayClass(class)) => {
                    self.gateway_classes.insert(key.name.clone(), class)
                }
                _ => self.gateway_classes.remove(&key.name),
            };
            return old.map(Object::GatewayClass);
        }
        let home = if key.kind == Kind::Namespace { &key.name } else { &key.namespace };
        self.namespaces.entry(home.clone()).or_default().put(key, object)
    }

    fn index(&mut self, object: Option<&Object>, is_there: bool, dns_domain: &str) {
        match object {
            Some(Object::Pod(pod)) => {
                let name = || (pod.meta.namespace.clone(), pod.meta.name.clone());
                list(&mut self.pods_by_uid, &pod.uid, name(), is_there);
                if let Some(node) = &pod.node {
                    list(&mut self.pods_by_node, node, name(), is_there);
                }
            }
            Some(Object::Service(service)) => {
                self.claim(HostClaim::of_service(service, dns_domain), is_there);
            }
            Some(Object::ServiceEntry(entry)) => {
                for claim in HostClaim::of_entry(entry) {
                    self.claim(claim, is_there);
                }
            }
            Some(Object::Route(route)) => self.references.note_route(route, is_there),
            Some(Object::VirtualService(it)) => {
                self.references.note_virtual(it, is_there, dns_domain);
                self.named_labels.note_virtual(it, is_there);
            }
            Some(Object::DestinationRule(it)) => {
                self.references.note_rule(it, is_there, dns_domain);
                self.named_labels.note_rule(it, is_there);
            }
            Some(Object::AuthorizationPolicy(it)) => {
                self.targets.note((Kind::AuthorizationPolicy, &it.meta), &it.targets, is_there);
            }
            Some(Object::BackendTlsPolicy(it)) => {
                let targets: Vec<_> = it.targets.iter().map(|it| it.object.clone()).collect();
                self.tls_targets.note((Kind::BackendTLSPolicy, &it.meta), &targets, is_there);
            }
            Some(Object::RequestAuthentication(it)) => {
                self.targets.note((Kind::RequestAuthentication, &it.meta), &it.targets, is_there);
            }
            _ => {}
        }
    }

    fn claim(&mut self, (host, claim): (Arc<str>, HostClaim), is_there: bool) {
        let claims = self.hosts.entry(host.clone()).or_default();
        if is_there {
            claims.insert(claim);
        } else {
            claims.remove(&claim);
        }
        if claims.is_empty() {
            self.hosts.remove(&host);
        }
    }

    fn tidy(&mut self, key: &ObjectKey) {
        let home = if key.kind == Kind::Namespace { &key.name } else { &key.namespace };
        if self.namespaces.get(home).is_some_and(NamespaceObjects::is_empty) {
            self.namespaces.remove(home);
        }
    }
}

fn list(
    index: &mut HashMap<Arc<str>, BTreeSet<PodName>>,
    key: &Arc<str>,
    name: PodName,
    is_there: bool,
) {
    let names = index.entry(key.clone()).or_default();
    if is_there {
        names.insert(name);
    } else {
        names.remove(&name);
    }
    if names.is_empty() {
        index.remove(key);
    }
}
