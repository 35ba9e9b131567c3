//! The live state of everything that requests go to, kept in step with the mesh and its policies.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use rand::Rng;
use tokio::sync::Notify;
use tokio::time::Instant;
use weft_core::mesh::{Service, Snapshot, Workload};

use super::endpoint::{Endpoint, EndpointError};
use crate::balance::{
    Cluster, ConnectionPermit, EndpointSpec, Overflow, PickContext, Picked, Place, Policy, Settings,
};
use crate::limits;
use crate::session::EndpointTag;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    service: Arc<str>,
    port: u16,
    subset: Option<Box<str>>,
}

impl Key {
    fn of(wanted: &Wanted<'_>) -> Self {
        Self {
            service: wanted.service.key.clone(),
            port: wanted.port,
            subset: wanted.subset.map(|subset| subset.name.clone()),
        }
    }
}

/// All that requests have gone to lately. One for a process: all threads count together.
#[derive(Debug, Default)]
pub(crate) struct Backends {
    all: RwLock<HashMap<Key, Arc<Backend>, foldhash::fast::RandomState>>,
}

/// A backend with what it is of.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    /// `namespace/hostname`
    pub service: Arc<str>,
    /// The service's port.
    pub port: u16,
    /// `None`: all endpoints.
    pub subset: Option<Box<str>>,
    /// Its live state.
    pub backend: Arc<Backend>,
}

/// One service's port, or a subset of its endpoints.
#[derive(Debug)]
pub(crate) struct Backend {
    /// Its service's key.
    service: Arc<str>,
    cluster: Cluster,
    /// Version of the mesh that the endpoints are from; 0: none yet.
    seen: AtomicU64,
    updating: Mutex<Updated>,
    endpoints: ArcSwap<List>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Updated {
    settings: Option<Arc<Settings>>,
}

#[derive(Debug, Default)]
struct List {
    endpoints: Vec<Endpoint>,
    /// Where which one is, by what sessions call it. Made when the first one asks.
    tags: OnceLock<HashMap<EndpointTag, usize>>,
}

/// A place among the connections of a backend. Whoever waits for one is told when it is free.
#[derive(Debug)]
pub(crate) struct Held {
    backend: Arc<Backend>,
    permit: Option<ConnectionPermit>,
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.permit.take());
        self.backend.freed.notify_one();
    }
}

/// Which endpoints are meant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// Of this service.
    pub service: &'a Service,
    /// At this port of it.
    pub port: u16,
    /// Of these only.
    pub subset: Option<&'a crate::route::Subset>,
}

impl Backends {
    /// The state of what is wanted, as of this snapshot and these policies.
    pub(crate) fn get(
        &self,
        wanted: &Wanted<'_>,
        snapshot: &Snapshot,
        policy: Option<&Policy>,
        home: &Workload,
    ) -> Arc<Backend> {
        let keep = |key, made| self.all.write().entry(key).or_insert(made).clone();
        self.updated(wanted, snapshot, policy, home, keep)
    }

    /// The same for who asks: what isn't there yet isn't kept.
    pub(crate) fn look(
        &self,
        wanted: &Wanted<'_>,
        snapshot: &Snapshot,
        policy: Option<&Policy>,
        home: &Workload,
    ) -> Arc<Backend> {
        self.updated(wanted, snapshot, policy, home, |_, made| made)
    }

    /// `keep`: what becomes of one that isn't there yet.
    fn updated(
        &self,
        wanted: &Wanted<'_>,
        snapshot: &Snapshot,
        policy: Option<&Policy>,
        home: &Workload,
        keep: impl FnOnce(Key, Arc<Backend>) -> Arc<Backend>,
    ) -> Arc<Backend> {
        let key = Key::of(wanted);
        let known = self.all.read().get(&key).cloned();
        let backend = known.unwrap_or_else(|| {
            keep(key, Arc::new(Backend::new(wanted.service.key.clone(), place(home))))
        });
        backend.update(wanted, snapshot, policy, home);
        backend
    }

    /// Forgets what is of services that aren't there any more.
    pub(crate) fn retain(&self, snapshot: &Snapshot) {
        let is_there = |key: &Key| snapshot.service_with_key(&key.service).is_some();
        self.all.write().retain(|key, _| is_there(key));
    }

    /// Everything, for who asks.
    pub(crate) fn list(&self) -> Vec<Listed> {
        let all = self.all.read();
        let entry = |(key, backend): (&Key, &Arc<Backend>)| Listed {
            service: key.service.clone(),
            port: key.port,
            subset: key.subset.clone(),
            backend: backend.clone(),
        };
        all.iter().map(entry).collect()
    }
}

impl Backend {
    fn new(service: Arc<str>, home: Place) -> Self {
        Self {
            service,
            cluster: Cluster::new(Arc::default(), home, Instant::now()),
            seen: AtomicU64::new(u64::MAX),
            updating: Mutex::default(),
            endpoints: ArcSwap::default(),
            freed: Notify::new(),
        }
    }

    /// A place for another connection, if its bound allows one.
    pub(crate) fn hold(self: &Arc<Self>) -> Result<Held, Overflow> {
        let permit = self.cluster.admit_connection()?;
        Ok(Held { backend: self.clone(), permit: Some(permit) })
    }

    /// Returns when a place may be free.
    pub(crate) async fn freed(&self) {
        self.freed.notified().await;
    }

    /// Whether requests wait for a place: connections aren't kept idle then.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.cluster.counts().pending > 0
    }

    /// Whether a workload is one of its endpoints.
    pub(crate) fn has(&self, uid: &str) -> bool {
        self.endpoints.load().endpoints.iter().any(|it| *it.workload.uid == *uid)
    }

    /// Its endpoints as they are.
    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        self.endpoints.load().endpoints.clone()
    }

    /// Its balancing, breaking and counting.
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// An endpoint for a request.
    pub(crate) fn pick(
        &self,
        context: &PickContext<'_>,
        rng: &mut impl Rng,
    ) -> Result<(Picked, Endpoint), EndpointError> {
        for _ in 0..limits::PICK_ROUNDS {
            let picked = self.cluster.pick(context, rng)?;
            let list = self.endpoints.load();
            let at = list.endpoints.get(picked.index());
            let found = at.filter(|it| it.workload.uid == *picked.id()).or_else(|| {
                list.endpoints.iter().find(|endpoint| endpoint.workload.uid == *picked.id())
            });
            // It is not there if the list was changed between the two.
            if let Some(endpoint) = found {
                return Ok((picked, endpoint.clone()));
            }
        }
        Err(EndpointError::Vanished)
    }

    /// What sessions call one of its endpoints.
    pub(crate) fn tag(&self, endpoint: &Endpoint) -> EndpointTag {
        EndpointTag::of(&self.service, &endpoint.workload.uid)
    }

    /// The endpoint that a session means, if it is there.
    pub(crate) fn find(&self, tag: EndpointTag) -> Option<(usize, Endpoint)> {
        let list = self.endpoints.load();
        let tags = list.tags.get_or_init(|| {
            let tagged = list.endpoints.iter().enumerate();
            tagged.map(|(at, endpoint)| (self.tag(endpoint), at)).collect()
        });
        let at = *tags.get(&tag)?;
        Some((at, list.endpoints.get(at)?.clone()))
    }

    /// The same for a request, if it takes any.
    pub(crate) fn pick_for_session(&self, tag: EndpointTag) -> Option<(Picked, Endpoint)> {
        let (at, endpoint) = self.find(tag)?;
        let picked = self.cluster.pick_named(&endpoint.workload.uid, at, Instant::now())?;
        Some((picked, endpoint))
    }

    fn update(
        &self,
        wanted: &Wanted<'_>,
        snapshot: &Snapshot,
        policy: Option<&Policy>,
        home: &Workload,
    ) {
        let is_current = self.seen.load(Ordering::Acquire) == snapshot.version();
        let subset = wanted.subset.map(|subset| &*subset.name);
        let settings = policy.map(|policy| policy.settings(wanted.port, subset));
        let mut updated = match is_current {
            // Others see to it; what is there meanwhile is as good as it was.
            true => match self.updating.try_lock() {
                Some(updated) => updated,
                None => return,
            },
            false => self.updating.lock(),
        };
        let is_same = match (&updated.settings, settings) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (None, None) => true,
            _ => false,
        };
        if !is_same || (self.seen.load(Ordering::Acquire) == u64::MAX) {
            let base = settings.cloned().unwrap_or_default();
            let preference = wanted.service.load_balancing.as_deref();
            self.cluster.set_settings(Settings::for_service(&base, preference));
            updated.settings = settings.cloned();
        }
        if is_current {
            return;
        }
        let endpoints = endpoints(wanted, snapshot, home);
        let specs = endpoints.iter().map(spec).collect();
        let is_new = endpoints != self.endpoints.load().endpoints;
        if is_new || self.seen.load(Ordering::Acquire) == u64::MAX {
            self.cluster.set_endpoints(specs, Instant::now());
            self.endpoints.store(Arc::new(List { endpoints, tags: OnceLock::new() }));
        }
        self.seen.store(snapshot.version(), Ordering::Release);
    }
}

fn endpoints(wanted: &Wanted<'_>, snapshot: &Snapshot, home: &Workload) -> Vec<Endpoint> {
    let Wanted { service, port, subset } = wanted;
    let is_reachable = |workload: &Workload| workload.network == home.network;
    let mut endpoints: Vec<_> = snapshot
        .endpoints(service)
        .filter(|endpoint| is_reachable(endpoint.workload))
        .filter(|endpoint| subset.is_none_or(|subset| is_in(subset, endpoint.workload)))
        .filter_map(|endpoint| {
            let target = endpoint.target_port(service, *port)?;
            Endpoint::of(endpoint.workload.clone(), target, service.ip_families, None).ok()
        })
        .collect();
    // Tables of hashes are equal on all replicas only if the order is.
    endpoints.sort_by(|a, b| a.workload.uid.cmp(&b.workload.uid));
    endpoints
}

/// Whether a workload has the labels of a subset.
fn is_in(subset: &crate::route::Subset, workload: &Workload) -> bool {
    let own = |key: &str| workload.own_labels.as_ref().and_then(|labels| labels.get(key));
    subset.labels.iter().all(|(key, value)| own(key).is_some_and(|own| **own == **value))
}

fn spec(endpoint: &Endpoint) -> EndpointSpec {
    let workload = &endpoint.workload;
    EndpointSpec {
        id: workload.uid.clone(),
        weight: workload.capacity.max(1),
        place: place(workload),
        is_healthy: true,
    }
}

fn place(workload: &Workload) -> Place {
    Place {
        region: workload.locality.region.clone(),
        zone: workload.locality.zone.clone(),
        subzone: workload.locality.subzone.clone(),
        node: workload.node.clone(),
        network: workload.network.clone(),
        cluster: workload.cluster_id.clone(),
    }
}
