//! What is in one namespace.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::objects::{
    AuthorizationPolicy, DestinationRule, EndpointSlice, Gateway, Kind, Labels, Namespace, Object,
    ObjectKey, PeerAuthentication, Pod, ReferenceGrant, Route, Service, ServiceAccount,
    ServiceEntry, Telemetry, VirtualService, WorkloadEntry,
};
use crate::objects::{BackendTlsPolicy, CaBundle, MeshConfig, RequestAuthentication, Secret};

type ByName<T> = BTreeMap<Arc<str>, Arc<T>>;

/// The objects of one namespace, each kind by name.
#[derive(Debug, Default)]
pub struct NamespaceObjects {
    /// The namespace itself, if it is declared.
    pub namespace: Option<Arc<Namespace>>,
    /// Service accounts.
    pub service_accounts: ByName<ServiceAccount>,
    /// Pods.
    pub pods: ByName<Pod>,
    /// Services.
    pub services: ByName<Service>,
    /// Endpoints.
    pub slices: ByName<EndpointSlice>,
    /// Outside workloads.
    pub workload_entries: ByName<WorkloadEntry>,
    /// Outside services.
    pub service_entries: ByName<ServiceEntry>,
    /// Gateways.
    pub gateways: ByName<Gateway>,
    /// HTTPRoutes.
    pub http_routes: ByName<Route>,
    /// GRPCRoutes.
    pub grpc_routes: ByName<Route>,
    /// TLSRoutes.
    pub tls_routes: ByName<Route>,
    /// TCPRoutes.
    pub tcp_routes: ByName<Route>,
    /// Permissions to refer to objects of this namespace.
    pub reference_grants: ByName<ReferenceGrant>,
    /// Istio's routes.
    pub virtual_services: ByName<VirtualService>,
    /// Subsets of services.
    pub destination_rules: ByName<DestinationRule>,
    /// TLS to services' endpoints.
    pub backend_tls_policies: ByName<BackendTlsPolicy>,
    /// Authorisation policies.
    pub authorization_policies: ByName<AuthorizationPolicy>,
    /// Peer authentications.
    pub peer_authentications: ByName<PeerAuthentication>,
    /// Issuers of tokens.
    pub request_authentications: ByName<RequestAuthentication>,
    /// ConfigMaps without certificates.
    pub mesh_configs: ByName<MeshConfig>,
    /// ConfigMaps with certificates.
    pub ca_bundles: ByName<CaBundle>,
    /// What waypoints prove themselves with.
    pub secrets: ByName<Secret>,
    /// What is told of requests.
    pub telemetries: ByName<Telemetry>,
    selectors: Selectors,
    slices_of_pod: SlicesOfPod,
}

/// Endpoint slices by the pods that they name.
#[derive(Debug, Default)]
struct SlicesOfPod(HashMap<Arc<str>, BTreeSet<Arc<str>>>);

/// Services by one pair of their selector, so that a pod looks at those few that share a label with it.
#[derive(Debug, Default)]
struct Selectors(HashMap<Pair, BTreeSet<Arc<str>>>);

/// Key and value of a label.
type Pair = (Arc<str>, Arc<str>);

impl NamespaceObjects {
    /// The namespace's label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.namespace.as_ref()?.meta.labels.get(key)
    }

    /// The namespace's annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.namespace.as_ref()?.meta.annotations.get(key)
    }

    /// Services whose selector selects `labels`, by name.
    pub fn selecting(&self, labels: &Labels) -> Vec<&Arc<Service>> {
        let names: BTreeSet<&Arc<str>> = labels
            .iter()
            .filter_map(|(key, value)| self.selectors.0.get(&(key.clone(), value.clone())))
            .flatten()
            .collect();
        let services = names.into_iter().filter_map(|name| self.services.get(name));
        services.filter(|service| service.selector.select(labels)).collect()
    }

    /// Services without a selector that list `pod` among their endpoints, by name.
    pub fn listing(&self, pod: &Pod) -> Vec<&Arc<Service>> {
        let slices = [&pod.meta.name, &pod.uid].map(|text| self.slices_of_pod.0.get(text));
        let lists = |slice: &&Arc<EndpointSlice>| slice.endpoints.iter().any(|it| it.is_of(pod));
        let names: BTreeSet<&Arc<str>> = slices
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|name| self.slices.get(name))
            .filter(lists)
            .filter_map(|slice| slice.service.as_ref())
            .collect();
        let services = names.into_iter().filter_map(|name| self.services.get(name));
        services.filter(|service| service.selector.is_empty()).collect()
    }

    /// Routes of the Gateway API, of every kind.
    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        let kinds = [&self.http_routes, &self.grpc_routes, &self.tls_routes, &self.tcp_routes];
        kinds.into_iter().flat_map(|routes| routes.values())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.namespace.is_none()
            && self.service_accounts.is_empty()
            && self.pods.is_empty()
            && self.services.is_empty()
            && self.slices.is_empty()
            && self.workload_entries.is_empty()
            && self.service_entries.is_empty()
            && self.gateways.is_empty()
            && self.http_routes.is_empty()
            && self.grpc_routes.is_empty()
            && self.tls_routes.is_empty()
            && self.tcp_routes.is_empty()
            && self.reference_grants.is_empty()
            && self.virtual_services.is_empty()
            && self.destination_rules.is_empty()
            && self.backend_tls_policies.is_empty()
            && self.authorization_policies.is_empty()
            && self.peer_authentications.is_empty()
            && self.request_authentications.is_empty()
            && self.mesh_configs.is_empty()
            && self.ca_bundles.is_empty()
            && self.secrets.is_empty()
            && self.telemetries.is_empty()
    }

    /// The keys of its objects, kind by kind.
    pub fn keys<'a>(&'a self, name: &'a Arc<str>) -> impl Iterator<Item = ObjectKey> + 'a {
        fn of<'a, T>(
            kind: Kind,
            home: &'a Arc<str>,
            objects: &'a ByName<T>,
        ) -> impl Iterator<Item = ObjectKey> + 'a {
            objects.keys().map(move |name| ObjectKey::new(kind, home.clone(), name.clone()))
        }
        let own = self.namespace.iter();
        own.map(|own| ObjectKey::new(Kind::Namespace, "", own.meta.name.clone()))
            .chain(of(Kind::ServiceAccount, name, &self.service_accounts))
            .chain(of(Kind::Pod, name, &self.pods))
            .chain(of(Kind::Service, name, &self.services))
            .chain(of(Kind::EndpointSlice, name, &self.slices))
            .chain(of(Kind::WorkloadEntry, name, &self.workload_entries))
            .chain(of(Kind::ServiceEntry, name, &self.service_entries))
            .chain(of(Kind::Gateway, name, &self.gateways))
            .chain(of(Kind::HTTPRoute, name, &self.http_routes))
            .chain(of(Kind::GRPCRoute, name, &self.grpc_routes))
            .chain(of(Kind::TLSRoute, name, &self.tls_routes))
            .chain(of(Kind::TCPRoute, name, &self.tcp_routes))
            .chain(of(Kind::ReferenceGrant, name, &self.reference_grants))
            .chain(of(Kind::VirtualService, name, &self.virtual_services))
            .chain(of(Kind::DestinationRule, name, &self.destination_rules))
            .chain(of(Kind::BackendTLSPolicy, name, &self.backend_tls_policies))
            .chain(of(Kind::AuthorizationPolicy, name, &self.authorization_policies))
            .chain(of(Kind::PeerAuthentication, name, &self.peer_authentications))
            .chain(of(Kind::RequestAuthentication, name, &self.request_authentications))
            .chain(of(Kind::ConfigMap, name, &self.mesh_configs))
            .chain(of(Kind::ConfigMap, name, &self.ca_bundles))
            .chain(of(Kind::Secret, name, &self.secrets))
            .chain(of(Kind::Telemetry, name, &self.telemetries))
    }

    pub(super) fn object(&self, key: &ObjectKey) -> Option<Object> {
        let name = &key.name;
        match key.kind {
            Kind::Namespace => self.namespace.clone().map(Object::Namespace),
            Kind::Node | Kind::GatewayClass => None,
            Kind::Gateway => self.gateways.get(name).cloned().map(Object::Gateway),
            Kind::ServiceAccount => {
                self.service_accounts.get(name).cloned().map(Object::ServiceAccount)
            }
            Kind::Pod => self.pods.get(name).cloned().map(Object::Pod),
            Kind::Service => self.services.get(name).cloned().map(Object::Service),
            Kind::EndpointSlice => self.slices.get(name).cloned().map(Object::EndpointSlice),
            Kind::WorkloadEntry => {
                self.workload_entries.get(name).cloned().map(Object::WorkloadEntry)
            }
            Kind::ServiceEntry => self.service_entries.get(name).cloned().map(Object::ServiceEntry),
            Kind::HTTPRoute => self.http_routes.get(name).cloned().map(Object::Route),
            Kind::GRPCRoute => self.grpc_routes.get(name).cloned().map(Object::Route),
            Kind::TLSRoute => self.tls_routes.get(name).cloned().map(Object::Route),
            Kind::TCPRoute => self.tcp_routes.get(name).cloned().map(Object::Route),
            Kind::ReferenceGrant => {
                self.reference_grants.get(name).cloned().map(Object::ReferenceGrant)
            }
            Kind::VirtualService => {
                self.virtual_services.get(name).cloned().map(Object::VirtualService)
            }
            Kind::DestinationRule => {
                self.destination_rules.get(name).cloned().map(Object::DestinationRule)
            }
            Kind::BackendTLSPolicy => {
                self.backend_tls_policies.get(name).cloned().map(Object::BackendTlsPolicy)
            }
            Kind::AuthorizationPolicy => {
                self.authorization_policies.get(name).cloned().map(Object::AuthorizationPolicy)
            }
            Kind::PeerAuthentication => {
                self.peer_authentications.get(name).cloned().map(Object::PeerAuthentication)
            }
            Kind::RequestAuthentication => {
                self.request_authentications.get(name).cloned().map(Object::RequestAuthentication)
            }
            Kind::ConfigMap => {
                let mesh = self.mesh_configs.get(name).cloned().map(Object::MeshConfig);
                mesh.or_else(|| self.ca_bundles.get(name).cloned().map(Object::CaBundle))
            }
            Kind::Secret => self.secrets.get(name).cloned().map(Object::Secret),
            Kind::Telemetry => self.telemetries.get(name).cloned().map(Object::Telemetry),
        }
    }

    pub(super) fn put(&mut self, key: &ObjectKey, object: Option<Object>) -> Option<Object> {
        macro_rules! put {
            ($field:ident, $variant:ident) => {{
                let old = match object {
                    Some(Object::$variant(new)) => self.$field.insert(key.name.clone(), new),
                    _ => self.$field.remove(&key.name),
                };
                old.map(Object::$variant)
            }};
        }
        match key.kind {
            Kind::Namespace => {
                let new = match object {
                    Some(Object::Namespace(new)) => Some(new),
                    _ => None,
                };
                std::mem::replace(&mut self.namespace, new).map(Object::Namespace)
            }
            // These live in no namespace.
            Kind::Node | Kind::GatewayClass => None,
            Kind::Gateway => put!(gateways, Gateway),
            Kind::ServiceAccount => put!(service_accounts, ServiceAccount),
            Kind::Pod => put!(pods, Pod),
            Kind::Service => {
                if let Some(old) = self.services.get(&key.name) {
                    self.selectors.remove(old);
                }
                if let Some(Object::Service(new)) = &object {
                    self.selectors.insert(new);
                }
                put!(services, Service)
            }
            Kind::EndpointSlice => {
                if let Some(old) = self.slices.get(&key.name) {
                    self.slices_of_pod.remove(old);
                }
                if let Some(Object::EndpointSlice(new)) = &object {
                    self.slices_of_pod.insert(new);
                }
                put!(slices, EndpointSlice)
            }
            Kind::WorkloadEntry => put!(workload_entries, WorkloadEntry),
            Kind::ServiceEntry => put!(service_entries, ServiceEntry),
            Kind::HTTPRoute => put!(http_routes, Route),
            Kind::GRPCRoute => put!(grpc_routes, Route),
            Kind::TLSRoute => put!(tls_routes, Route),
            Kind::TCPRoute => put!(tcp_routes, Route),
            Kind::ReferenceGrant => put!(reference_grants, ReferenceGrant),
            Kind::VirtualService => put!(virtual_services, VirtualService),
            Kind::DestinationRule => put!(destination_rules, DestinationRule),
            Kind::BackendTLSPolicy => put!(backend_tls_policies, BackendTlsPolicy),
            Kind::AuthorizationPolicy => put!(authorization_policies, AuthorizationPolicy),
            Kind::PeerAuthentication => put!(peer_authentications, PeerAuthentication),
            Kind::RequestAuthentication => put!(request_authentications, RequestAuthentication),
            Kind::ConfigMap => self.put_config_map(&key.name, object),
            Kind::Secret => put!(secrets, Secret),
            Kind::Telemetry => put!(telemetries, Telemetry),
        }
    }
}

impl NamespaceObjects {
    /// One may become the other.
    fn put_config_map(&mut self, name: &Arc<str>, object: Option<Object>) -> Option<Object> {
        let mesh = self.mesh_configs.remove(name).map(Object::MeshConfig);
        let old = mesh.or_else(|| self.ca_bundles.remove(name).map(Object::CaBundle));
        match object {
            Some(Object::MeshConfig(new)) => {
                self.mesh_configs.insert(name.clone(), new);
            }
            Some(Object::CaBundle(new)) => {
                self.ca_bundles.insert(name.clone(), new);
            }
            _ => {}
        }
        old
    }
}

impl Selectors {
    fn insert(&mut self, service: &Service) {
        if let Some((key, value)) = service.selector.iter().next() {
            let names = self.0.entry((key.clone(), value.clone())).or_default();
            names.insert(service.meta.name.clone());
        }
    }

    fn remove(&mut self, service: &Service) {
        if let Some((key, value)) = service.selector.iter().next() {
            let pair = (key.clone(), value.clone());
            if let Some(names) = self.0.get_mut(&pair) {
                names.remove(&service.meta.name);
                if names.is_empty() {
                    self.0.remove(&pair);
                }
            }
        }
    }
}

impl SlicesOfPod {
    fn insert(&mut self, slice: &EndpointSlice) {
        for reference in slice.endpoints.iter().filter_map(|endpoint| endpoint.pod.as_ref()) {
            let slices = self.0.entry(reference.index().clone()).or_default();
            slices.insert(slice.meta.name.clone());
        }
    }

    fn remove(&mut self, slice: &EndpointSlice) {
        for reference in slice.endpoints.iter().filter_map(|endpoint| endpoint.pod.as_ref()) {
            if let Some(slices) = self.0.get_mut(reference.index()) {
                slices.remove(&slice.meta.name);
                if slices.is_empty() {
                    self.0.remove(reference.index());
                }
            }
        }
    }
}
