//! Which objects a change may give other resources.
//!
//! Erring to the wide side costs time only: what comes out with the same bytes isn't sent.

mod labels;
mod waypoints;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use crate::model::{Model, NamespaceObjects, Referent, full_host};
use crate::objects::{
    AuthorizationPolicy, EndpointSlice, Kind, Labels, MESH_CONFIG, Object, ObjectKey, ParentKind,
    Route, Service, TargetKind, Telemetry, TelemetryScope, VirtualService,
};

use super::names;
use super::route;
use super::settings::Settings;
use super::waypoint;

/// More selectors of one namespace than these aren't compared one by one: all its workloads are looked at anew.
const SELECTORS_MAX: usize = 16;

/// What has to be looked at anew.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    objects: HashSet<ObjectKey>,
    /// Namespaces whose workloads, services and entries are all concerned.
    namespaces: BTreeSet<Arc<str>>,
    /// Workloads that these select are concerned.
    selectors: BTreeMap<Arc<str>, Vec<Arc<Labels>>>,
    /// The same in every namespace.
    wide_selectors: Vec<Arc<Labels>>,
    hosts: BTreeSet<Arc<str>>,
    nodes: BTreeSet<Arc<str>>,
    /// Pods that are called by these uids.
    uids: BTreeSet<Arc<str>>,
    /// Namespace and name of services whose listed endpoints are concerned.
    services: BTreeSet<(Arc<str>, Arc<str>)>,
    /// Namespace and name of ConfigMaps with certificates: who is verified by them is concerned.
    ca_bundles: BTreeSet<(Arc<str>, Arc<str>)>,
    /// Names of Secrets: who is secured by them is concerned.
    secrets: BTreeSet<Arc<str>>,
    /// Routes of these namespaces are concerned.
    routes_of: BTreeSet<Arc<str>>,
    /// Routes that send something there are concerned.
    backends: BTreeSet<Referent>,
    /// Behind `*.`: whoever answers to a host below is concerned.
    wide_hosts: BTreeSet<Arc<str>>,
    /// Names of gateways whose routes changed: whoever asks for them as waypoints is concerned.
    gateways: BTreeSet<Arc<str>>,
    /// Names of gateways that changed otherwise: so are their users' workloads.
    waypoints: BTreeSet<Arc<str>>,
    /// Policies of these classes changed.
    classes: BTreeSet<Arc<str>>,
    /// Gateways of these namespaces changed, or Services that may be theirs.
    gateway_namespaces: BTreeSet<Arc<str>>,
    /// Namespace and labels of workloads that may be instances of waypoints.
    instances: Vec<(Arc<str>, Arc<Labels>)>,
    /// Workloads with one of these labels are concerned.
    labelled: Vec<Arc<str>>,
    /// Services and entries whose workloads are concerned with them.
    guarded: Vec<ObjectKey>,
    /// Every waypoint has to be looked at.
    is_every_waypoint: bool,
    is_everything: bool,
    /// All services and entries, and nothing that follows from them.
    concerns_services: bool,
    /// Addresses may have to be given out anew.
    pub(super) concerns_addresses: bool,
    /// Peer authentications came or went.
    pub(super) concerns_strict: bool,
}

impl Dirty {
    /// Everything there is.
    pub(super) fn everything(&mut self) {
        self.is_everything = true;
        self.concerns_addresses = true;
        self.concerns_strict = true;
        self.is_every_waypoint = true;
    }

    /// Whoever answers to `host`.
    pub(super) fn host(&mut self, host: Arc<str>) {
        self.hosts.insert(host);
    }

    /// Workloads that have a label by one of these keys.
    pub(super) fn labelled(&mut self, keys: Vec<Arc<str>>) {
        self.labelled = keys;
    }

    /// Whoever answers to a destination rule's host.
    fn rule_host(&mut self, host: Arc<str>) {
        let is_wide = host.starts_with('*');
        let hosts = if is_wide { &mut self.wide_hosts } else { &mut self.hosts };
        hosts.insert(host);
    }

    /// Takes in one change: the object as it was or is.
    pub(super) fn note(&mut self, key: &ObjectKey, object: &Object, settings: &Settings) {
        self.objects.insert(key.clone());
        let is_of_root = key.namespace == settings.root_namespace;
        match object {
            Object::Namespace(_) if key.name == settings.root_namespace => self.everything(),
            Object::Namespace(_) => {
                self.namespaces.insert(key.name.clone());
            }
            Object::Node(_) => {
                self.nodes.insert(key.name.clone());
            }
            Object::Service(service) => self.service(key, service, settings),
            Object::ServiceEntry(entry) => {
                self.concerns_addresses = true;
                if let Some(selector) = &entry.selector {
                    self.selector(&key.namespace, selector);
                }
                self.hosts.extend(entry.hosts.iter().cloned());
            }
            Object::EndpointSlice(slice) => self.pods_of(&key.namespace, slice),
            Object::Gateway(_) => {
                self.gateway_namespaces.insert(key.namespace.clone());
                self.waypoint(key.name.clone());
            }
            Object::GatewayClass(_) => self.is_every_waypoint = true,
            Object::AuthorizationPolicy(policy) => self.policy(key, policy, settings),
            Object::PeerAuthentication(_) => {
                self.concerns_strict = true;
                if is_of_root {
                    self.everything();
                } else {
                    self.namespaces.insert(key.namespace.clone());
                }
            }
            Object::Pod(pod) => {
                self.uids.insert(pod.uid.clone());
                self.instances.push((key.namespace.clone(), pod.meta.labels.clone()));
            }
            Object::Route(route) => self.route(route),
            Object::VirtualService(it) => {
                self.virtual_service(it, &settings.dns_domain);
                let (namespace, name) = (key.namespace.clone(), key.name.clone());
                self.backends.insert(Referent::Virtual(namespace, name));
            }
            Object::DestinationRule(rule) => {
                let host = full_host(&rule.host, &key.namespace, &settings.dns_domain);
                self.backends.insert(Referent::Host(host.clone()));
                self.rule_host(host);
            }
            Object::BackendTlsPolicy(policy) => {
                self.objects.extend(route::tls_targets(policy));
            }
            Object::CaBundle(_) => {
                self.ca_bundles.insert((key.namespace.clone(), key.name.clone()));
            }
            Object::ReferenceGrant(grant) => {
                self.routes_of.extend(grant.from.iter().map(|from| from.namespace.clone()));
            }
            Object::WorkloadEntry(entry) => {
                self.instances.push((key.namespace.clone(), entry.spec.labels.clone()));
            }
            Object::RequestAuthentication(it) => self.targets(&key.namespace, &it.targets),
            Object::MeshConfig(_) if is_of_root && *key.name == *MESH_CONFIG.0 => self.everything(),
            Object::Secret(_) => {
                self.secrets.insert(key.name.clone());
            }
            Object::MeshConfig(_) | Object::ServiceAccount(_) => {}
            Object::Telemetry(telemetry) => self.telemetry(telemetry),
        }
    }

    /// Services that a Telemetry object may be for. One for a namespace counts for all that its waypoints stand before,
    /// wherever that is; there are few such objects and they seldom change.
    fn telemetry(&mut self, changed: &Telemetry) {
        let TelemetryScope::Targets(targets) = &changed.scope else {
            self.concerns_services |= changed.scope == TelemetryScope::Namespace;
            return;
        };
        for target in targets {
            let kind = match target.kind {
                TargetKind::Service => Kind::Service,
                TargetKind::ServiceEntry => Kind::ServiceEntry,
                TargetKind::Gateway => {
                    self.gateways.insert(target.name.clone());
                    continue;
                }
                TargetKind::GatewayClass => continue,
            };
            let (namespace, name) = (changed.meta.namespace.clone(), target.name.clone());
            self.objects.insert(ObjectKey::new(kind, namespace, name));
        }
    }

    /// The objects, in order.
    pub(super) fn expand(mut self, model: &Model, dns_domain: &str) -> BTreeSet<ObjectKey> {
        if self.is_everything {
            let known = self.objects.into_iter().chain(model.keys());
            return known.collect();
        }
        for secret in std::mem::take(&mut self.secrets) {
            let hosts = route::secured_by(model, &secret, dns_domain);
            hosts.into_iter().for_each(|host| self.rule_host(host));
        }
        self.routes(model, dns_domain);
        self.waypoints(model);
        if self.concerns_services {
            let is_one = |key: &ObjectKey| matches!(key.kind, Kind::Service | Kind::ServiceEntry);
            self.objects.extend(model.keys().filter(is_one));
        }
        for (namespace, name) in &self.ca_bundles {
            self.objects.extend(route::verified_by(model, namespace, name));
        }
        for host in std::mem::take(&mut self.hosts) {
            self.claimants(&host, model);
        }
        if !self.labelled.is_empty() {
            self.objects.extend(labels::labelled(&self.labelled, model));
        }
        for (namespace, service) in std::mem::take(&mut self.services) {
            self.slices_of(&namespace, &service, model);
        }
        let of_nodes = self.nodes.iter().flat_map(|node| model.pods_of_node(node));
        let of_uids = self.uids.iter().flat_map(|uid| model.pods_of_uid(uid));
        let pods = of_nodes.chain(of_uids);
        self.objects
            .extend(pods.map(|(home, name)| ObjectKey::new(Kind::Pod, home.clone(), name.clone())));
        for name in &self.namespaces {
            let Some(objects) = model.namespace(name) else {
                continue;
            };
            self.objects.extend(objects.keys(name));
        }
        for (name, objects) in model.namespaces() {
            let own = self.selectors.get(name).map_or(&[][..], Vec::as_slice);
            if !own.is_empty() || !self.wide_selectors.is_empty() {
                select(name, objects, own, &self.wide_selectors, &mut self.objects);
            }
        }
        self.objects.into_iter().collect()
    }

    /// A route's parents, which have its rules.
    fn route(&mut self, changed: &Route) {
        self.objects.extend(route::parents_of(changed));
        let gateways = changed.parents.iter().filter(|parent| parent.kind == ParentKind::Gateway);
        self.gateways.extend(gateways.map(|parent| parent.name.clone()));
    }

    /// The hosts of a virtual service: whoever answers to them has its rules.
    fn virtual_service(&mut self, changed: &VirtualService, dns_domain: &str) {
        let namespace = &changed.meta.namespace;
        let hosts = changed.hosts.iter().map(|host| full_host(host, namespace, dns_domain));
        let (wide, plain): (Vec<_>, Vec<_>) = hosts.partition(|host| host.starts_with('*'));
        self.hosts.extend(plain);
        self.wide_hosts.extend(wide);
    }

    /// Parents of routes whose references may lead elsewhere now.
    fn routes(&mut self, model: &Model, dns_domain: &str) {
        let namespaces = self.routes_of.iter().chain(&self.namespaces);
        let objects: Vec<_> = namespaces.filter_map(|name| model.namespace(name)).collect();
        for objects in objects {
            objects.routes().for_each(|route| self.route(route));
        }
        let backends = std::mem::take(&mut self.backends).into_iter();
        let backends = backends.chain(self.hosts.iter().cloned().map(Referent::Host));
        let users: Vec<_> = backends.flat_map(|it| users(model, &it)).collect();
        for key in &users {
            if let Some(route) = model.route(key) {
                self.route(route);
            } else if let Some(it) = model.virtual_service(&key.namespace, &key.name) {
                self.virtual_service(it, dns_domain);
            }
        }
        let is_below = |host: &Arc<str>| {
            let mut wide = self.wide_hosts.iter();
            wide.any(|it| it.strip_prefix('*').is_some_and(|suffix| host.ends_with(suffix)))
        };
        if !self.wide_hosts.is_empty() {
            let below: Vec<_> = model.hosts().filter(|host| is_below(host)).cloned().collect();
            self.hosts.extend(below);
        }
        if self.gateways.is_empty() {
            return;
        }
        for (name, objects) in model.namespaces() {
            let of_namespace = objects.label(route::USE_WAYPOINT);
            let asks = |labels: &Labels| {
                let gateway = labels.get(route::USE_WAYPOINT).or(of_namespace);
                gateway.is_some_and(|gateway| self.gateways.contains(gateway))
            };
            let services = objects.services.values().filter(|it| asks(&it.meta.labels));
            let services = services.map(|it| (Kind::Service, it.meta.name.clone()));
            let entries = objects.service_entries.values().filter(|it| asks(&it.meta.labels));
            let entries = entries.map(|it| (Kind::ServiceEntry, it.meta.name.clone()));
            let keys = services.chain(entries);
            self.objects.extend(keys.map(|(kind, own)| ObjectKey::new(kind, name.clone(), own)));
        }
    }

    fn service(&mut self, key: &ObjectKey, service: &Service, settings: &Settings) {
        self.concerns_addresses = true;
        self.selector(&key.namespace, &service.selector);
        self.hosts.insert(names::service_host(service, settings).into());
        let (namespace, name) = (key.namespace.clone(), key.name.clone());
        let kind = ParentKind::Service;
        self.backends.insert(Referent::Object(kind, namespace.clone(), name.clone()));
        self.services.insert((namespace, name));
        if service.meta.labels.get(waypoint::GATEWAY_NAME).is_some() {
            self.gateway_namespaces.insert(key.namespace.clone());
        }
    }

    fn policy(&mut self, key: &ObjectKey, policy: &AuthorizationPolicy, settings: &Settings) {
        self.targets(&key.namespace, &policy.targets);
        if let Some(selector) = &policy.selector {
            if key.namespace == settings.root_namespace {
                self.wide_selectors.push(selector.clone());
            } else {
                self.selector(&key.namespace, selector);
            }
        }
    }

    fn selector(&mut self, namespace: &Arc<str>, selector: &Arc<Labels>) {
        if !selector.is_empty() {
            self.selectors.entry(namespace.clone()).or_default().push(selector.clone());
        }
    }

    /// Services and entries of a name decide among themselves which of them speaks; what an entry selects follows.
    fn claimants(&mut self, host: &str, model: &Model) {
        for claim in model.claims(host) {
            let kind = if claim.is_entry { Kind::ServiceEntry } else { Kind::Service };
            let (namespace, name) = (&claim.namespace, &claim.name);
            self.objects.insert(ObjectKey::new(kind, namespace.clone(), name.clone()));
            let entry = model.service_entry(namespace, name).filter(|_| claim.is_entry);
            if let Some(selector) = entry.and_then(|entry| entry.selector.as_ref()) {
                self.selector(namespace, selector);
            }
        }
    }

    /// Listed endpoints join their ports with the service's, and its pods may be listed rather than selected.
    fn slices_of(&mut self, namespace: &Arc<str>, service: &Arc<str>, model: &Model) {
        let Some(objects) = model.namespace(namespace) else {
            return;
        };
        for slice in objects.slices.values().filter(|it| it.service.as_ref() == Some(service)) {
            self.objects.insert(ObjectKey::new(
                Kind::EndpointSlice,
                namespace.clone(),
                slice.meta.name.clone(),
            ));
            self.pods_of(namespace, slice);
        }
    }

    fn pods_of(&mut self, namespace: &Arc<str>, slice: &EndpointSlice) {
        for pod in slice.endpoints.iter().filter_map(|endpoint| endpoint.pod.as_ref()) {
            if pod.name.is_empty() {
                self.uids.insert(pod.uid.clone());
            } else {
                let name = pod.name.clone();
                self.objects.insert(ObjectKey::new(Kind::Pod, namespace.clone(), name));
            }
        }
    }
}

/// Routes that send something there, and those that delegate to these.
fn users(model: &Model, referent: &Referent) -> Vec<ObjectKey> {
    let direct: Vec<ObjectKey> = model.references().used(referent).cloned().collect();
    let delegating = |key: &ObjectKey| {
        let referent = Referent::Virtual(key.namespace.clone(), key.name.clone());
        model.references().used(&referent).cloned().collect::<Vec<_>>()
    };
    let virtuals = direct.iter().filter(|key| key.kind == Kind::VirtualService);
    let delegating: Vec<_> = virtuals.flat_map(delegating).collect();
    direct.into_iter().chain(delegating).collect()
}

fn select(
    name: &Arc<str>,
    objects: &NamespaceObjects,
    own: &[Arc<Labels>],
    wide: &[Arc<Labels>],
    found: &mut HashSet<ObjectKey>,
) {
    let is_many = own.len() + wide.len() > SELECTORS_MAX;
    let is_selected =
        |labels: &Labels| is_many || own.iter().chain(wide).any(|selector| selector.select(labels));
    for pod in objects.pods.values().filter(|pod| is_selected(&pod.meta.labels)) {
        found.insert(ObjectKey::new(Kind::Pod, name.clone(), pod.meta.name.clone()));
    }
    for entry in objects.workload_entries.values().filter(|entry| is_selected(&entry.spec.labels)) {
        found.insert(ObjectKey::new(Kind::WorkloadEntry, name.clone(), entry.meta.name.clone()));
    }
    // Listed endpoints are few, and their labels are merged with their entry's.
    for entry in objects.service_entries.values().filter(|entry| !entry.endpoints.is_empty()) {
        found.insert(ObjectKey::new(Kind::ServiceEntry, name.clone(), entry.meta.name.clone()));
    }
}
