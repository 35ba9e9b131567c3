//! Endpoints: what is told about them, and what is kept while they stay.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::settings::{LocalityPattern, Scope};

/// Where an endpoint or the proxy runs. Parts may be empty: then they are shared with nobody.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "Kubernetes' and Istio's topology")]
pub struct Place {
    pub region: Arc<str>,
    pub zone: Arc<str>,
    pub subzone: Arc<str>,
    pub node: Arc<str>,
    pub network: Arc<str>,
    pub cluster: Arc<str>,
}

impl Place {
    /// Whether both are in the same one, and it has a name.
    pub fn shares(&self, scope: Scope, other: &Self) -> bool {
        let own = self.part(scope);
        !own.is_empty() && own == other.part(scope)
    }

    fn part(&self, scope: Scope) -> &str {
        match scope {
            Scope::Region => &self.region,
            Scope::Zone => &self.zone,
            Scope::Subzone => &self.subzone,
            Scope::Node => &self.node,
            Scope::Network => &self.network,
            Scope::Cluster => &self.cluster,
            Scope::Unknown => "",
        }
    }
}

impl LocalityPattern {
    /// Whether a place is below it.
    pub(super) fn covers(&self, place: &Place) -> bool {
        let parts = [&place.region, &place.zone, &place.subzone];
        self.0.iter().zip(parts).all(|(own, part)| **own == *"*" || **own == **part)
    }

    /// How many parts it names.
    pub(super) fn depth(&self) -> usize {
        self.0.iter().filter(|part| ***part != *"*").count()
    }
}

/// What is told about an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSpec {
    /// By which it is known from one list to the next; unique in a list.
    pub id: Arc<str>,
    /// Its share beside the others'. 0: it takes no requests.
    pub weight: u32,
    /// Where it runs.
    pub place: Place,
    /// Whether it is ready. One that isn't counts among all, but takes requests in a panic only.
    pub is_healthy: bool,
}

/// What is kept about an endpoint while it stays.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) id: Arc<str>,
    /// When it became ready, nanoseconds since the cluster's beginning; 0: then, so that it needs no warm-up.
    ready_since: AtomicU64,
    active: AtomicU32,
    is_ejected: AtomicBool,
    pub(super) failures: Failures,
    /// Locked by whoever holds the cluster's lock, and by nobody else.
    pub(super) ejection: Mutex<Ejection>,
}

/// Failures in succession.
#[derive(Debug, Default)]
pub(super) struct Failures {
    pub(super) errors: AtomicU32,
    pub(super) gateway: AtomicU32,
    pub(super) local: AtomicU32,
}

#[derive(Debug, Default)]
pub(super) struct Ejection {
    pub(super) until: Option<Instant>,
    /// In succession: every interval without one takes one off.
    pub(super) times: u32,
}

impl Endpoint {
    pub(super) fn new(id: Arc<str>, ready_since: u64) -> Self {
        Self {
            id,
            ready_since: AtomicU64::new(ready_since),
            active: AtomicU32::new(0),
            is_ejected: AtomicBool::new(false),
            failures: Failures::default(),
            ejection: Mutex::default(),
        }
    }

    /// Requests that are on their way.
    pub(super) fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    pub(super) fn enter(&self) {
        self.active.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn leave(&self) {
        self.active.fetch_sub(1, Ordering::Relaxed);
    }

    /// Nanoseconds since the cluster's beginning.
    pub(super) fn ready_since(&self) -> u64 {
        self.ready_since.load(Ordering::Relaxed)
    }

    pub(super) fn set_ready_since(&self, nanoseconds: u64) {
        self.ready_since.store(nanoseconds, Ordering::Relaxed);
    }

    pub(super) fn is_ejected(&self) -> bool {
        self.is_ejected.load(Ordering::Relaxed)
    }

    pub(super) fn set_ejected(&self, is_ejected: bool) {
        self.is_ejected.store(is_ejected, Ordering::Relaxed);
    }
}
