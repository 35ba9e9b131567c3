//! The mesh at one moment.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::sync::Arc;

use super::few::Few;
use super::network::Network;
use super::{Endpoint, Endpoints, Map, Service, Workload, pod_uid};
use crate::policy::PolicyIndex;

/// The mesh at one moment. Immutable for readers; a copy shares everything with its origin.
///
/// Two snapshots are equal if they say the same about the mesh, whatever their versions.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub(super) version: u64,
    pub(super) local_node: Option<Arc<str>>,
    pub(super) workloads: Map<Arc<str>, Arc<Workload>>,
    pub(super) local: Map<Arc<str>, Arc<Workload>>,
    pub(super) networks: Map<Arc<str>, Arc<Network>>,
    pub(super) services: Map<Arc<str>, Arc<ServiceEntry>>,
    pub(super) hosts: Map<Arc<str>, Few<Arc<Service>>>,
    pub(super) policies: PolicyIndex,
}

/// What is known under a service's key: endpoints may arrive before their service, and outlive it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct ServiceEntry {
    pub(super) service: Option<Arc<Service>>,
    pub(super) endpoints: Endpoints,
}

/// Endpoints that wait for their service to arrive.
#[derive(Debug, Clone, Copy)]
pub struct StagedService<'a> {
    /// `<namespace>/<hostname>`.
    pub key: &'a Arc<str>,
    /// The workloads.
    pub endpoints: &'a Endpoints,
}

impl PartialEq for Snapshot {
    fn eq(&self, other: &Self) -> bool {
        self.workloads == other.workloads
            && self.local == other.local
            && self.networks == other.networks
            && self.services == other.services
            && self.hosts == other.hosts
            && self.policies == other.policies
    }
}

impl Snapshot {
    /// A mesh of which nothing is known.
    pub fn empty(root_namespace: &str, local_node: Option<&str>) -> Self {
        Self {
            version: 0,
            local_node: local_node.map(Arc::from),
            workloads: Map::default(),
            local: Map::default(),
            networks: Map::default(),
            services: Map::default(),
            hosts: Map::default(),
            policies: PolicyIndex::new(root_namespace),
        }
    }

    /// Rises with every publication of this process; means nothing to anybody else.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The workload with this uid.
    pub fn workload(&self, uid: &str) -> Option<&Arc<Workload>> {
        self.workloads.get(uid)
    }

    /// The workload of a pod.
    pub fn pod(&self, cluster_id: &str, namespace: &str, name: &str) -> Option<&Arc<Workload>> {
        self.workload(&pod_uid(cluster_id, namespace, name))
    }

    /// The workload at an address: a pod before anything else, then one that speaks HBONE.
    pub fn workload_at(&self, network: &str, ip: IpAddr) -> Option<&Arc<Workload>> {
        self.workloads_at(network, ip).first()
    }

    /// All workloads at an address, preferred ones first.
    pub fn workloads_at(&self, network: &str, ip: IpAddr) -> &[Arc<Workload>] {
        self.networks.get(network).map_or(&[], |it| it.workloads_at(ip.to_canonical()))
    }

    /// All workloads, in no particular order.
    pub fn workloads(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.workloads.values()
    }

    /// How many workloads there are.
    pub fn workload_count(&self) -> usize {
        self.workloads.len()
    }

    /// The workloads on this process's own node, in no particular order. None if the store was given no node.
    pub fn local_workloads(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.local.values()
    }

    /// The service that an address means to a client in `client_namespace`.
    ///
    /// A single address comes before a block. Among several services: those visible to the client, then its own
    /// namespace, then the canonical one; blocks by longest prefix after the namespace.
    pub fn service_at(
        &self,
        network: &str,
        ip: IpAddr,
        client_namespace: &str,
    ) -> Option<&Arc<Service>> {
        self.networks.get(network)?.service_at(ip.to_canonical(), client_namespace)
    }

    pub(super) fn any_service_at(&self, network: &str, ip: IpAddr) -> Option<&Arc<Service>> {
        self.networks.get(network)?.any_service_at(ip.to_canonical())
    }

    /// The service with this host name in this namespace.
    pub fn service(&self, namespace: &str, hostname: &str) -> Option<&Arc<Service>> {
        self.services_named(hostname).iter().find(|it| &*it.namespace == namespace)
    }

    /// The service with this key, `<namespace>/<hostname>`.
    pub fn service_with_key(&self, key: &str) -> Option<&Arc<Service>> {
        self.services.get(key)?.service.as_ref()
    }

    /// The services with this host name in all namespaces, in the order of these. See [`prefer_service`].
    pub fn services_named(&self, hostname: &str) -> &[Arc<Service>] {
        self.hosts.get(hostname).map_or(&[], Few::as_slice)
    }

    /// All services, in no particular order.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values().filter_map(|entry| entry.service.as_ref())
    }

    /// All endpoints whose service has not arrived, in no particular order.
    pub fn staged(&self) -> impl Iterator<Item = StagedService<'_>> {
        let staged = self.services.iter().filter(|(_, entry)| entry.service.is_none());
        staged.map(|(key, entry)| StagedService { key, endpoints: &entry.endpoints })
    }

    /// The endpoints that the service's health policy lets count, in uid order.
    pub fn endpoints<'a>(&'a self, service: &'a Service) -> impl Iterator<Item = Endpoint<'a>> {
        let endpoints = self.all_endpoints(service);
        let iter = endpoints.into_iter().flat_map(Endpoints::iter);
        iter.filter_map(|workload| Endpoint::of(service, workload))
    }

    /// All workloads of the service, whatever their health.
    pub fn all_endpoints(&self, service: &Service) -> Option<&Endpoints> {
        self.services.get(&*service.key).map(|entry| &entry.endpoints)
    }

    /// The policies.
    pub fn policies(&self) -> &PolicyIndex {
        &self.policies
    }
}

/// Chooses among services with one name, or at one address: those visible to the client, then its own namespace, then
/// `preferred_namespace`, then the canonical one, then the first.
pub fn prefer_service<'a>(
    services: &'a [Arc<Service>],
    client_namespace: &str,
    preferred_namespace: Option<&str>,
) -> Option<&'a Arc<Service>> {
    let visible = services.iter().filter(|service| service.is_visible_to(client_namespace));
    visible.min_by_key(|service| candidate_rank(service, client_namespace, preferred_namespace))
}

/// Smaller is better.
pub(super) fn candidate_rank(
    service: &Service,
    client_namespace: &str,
    preferred_namespace: Option<&str>,
) -> (bool, bool, bool) {
    (
        &*service.namespace != client_namespace,
        preferred_namespace != Some(&*service.namespace),
        !service.is_canonical,
    )
}

/// The order of services in a list, so that "the first" does not depend on who arrived first.
pub(super) fn in_key_order(a: &Arc<Service>, b: &Arc<Service>) -> Ordering {
    a.key.cmp(&b.key)
}
