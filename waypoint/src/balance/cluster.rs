//! What all threads share about one service's port and subset.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::breaker::Counts;
use super::endpoint::{Endpoint, EndpointSpec, Place};
use super::layout::{Layout, layout};
use super::live::{Live, Slot};
use super::outlier::ejected;
use super::rate_limit::Bucket;
use super::settings::Settings;
use super::warmup::WHOLE;

/// Live state of one service's port and subset, shared by whoever has a clone.
#[derive(Debug, Clone)]
pub struct Cluster {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    home: Place,
    /// Times in atomics count from here.
    epoch: Instant,
    pub(super) live: ArcSwap<Live>,
    /// Held while the snapshot is replaced.
    pub(super) state: Mutex<State>,
    /// When somebody may come back, nanoseconds.
    pub(super) next_sweep: AtomicU64,
    /// Turns taken.
    pub(super) turn: AtomicU64,
    pub(super) counts: Counts,
    pub(super) bucket: Mutex<Bucket>,
}

/// What only those need who replace the snapshot.
#[derive(Debug, Default)]
pub(super) struct State {
    specs: Vec<EndpointSpec>,
    /// Endpoints that are ejected.
    pub(super) ejected: usize,
    /// Endpoints were there already: further ones are new.
    has_begun: bool,
}

/// Numbers of a cluster, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "at one time, or since the beginning")]
pub struct ClusterCounts {
    pub endpoints: usize,
    pub ejected: usize,
    pub is_panic: bool,
    pub requests: u32,
    pub pending: u32,
    pub connections: u32,
    pub retries: u32,
    pub ejections_total: u64,
    /// Would have been ejected, but that too many are.
    pub ejections_refused_total: u64,
    /// Requests, connections and retries that a bound refused.
    pub overflows_total: u64,
}

/// An endpoint, for who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointState {
    /// Which.
    pub id: Arc<str>,
    /// As it was told.
    pub weight: u32,
    /// As it was told.
    pub is_healthy: bool,
    /// Left out for its failures, until the first look after this time.
    pub ejected_until: Option<Instant>,
    /// Ejections in succession.
    pub ejections: u32,
    /// Requests that are on their way.
    pub active: u32,
    /// Share of its weight while it warms up, in millionths.
    pub warmth: u64,
}

impl Cluster {
    /// Without endpoints so far. `home` is where the proxy runs; times before `now` count as `now`.
    pub fn new(settings: Arc<Settings>, home: Place, now: Instant) -> Self {
        let layout = Arc::new(Layout::default());
        let bucket = Bucket::new(settings.rate_limit);
        let live = Live::new(settings, Arc::default(), layout, 0);
        Self {
            inner: Arc::new(Inner {
                home,
                epoch: now,
                live: ArcSwap::from_pointee(live),
                state: Mutex::default(),
                next_sweep: AtomicU64::new(0),
                turn: AtomicU64::new(0),
                counts: Counts::default(),
                bucket: Mutex::new(bucket),
            }),
        }
    }

    /// Replaces the endpoints. Those that stay keep their counts, ejections and age; those of the first list that has
    /// any need no warm-up. Returns the list's number, which `Picked::version` names.
    pub fn set_endpoints(&self, specs: Vec<EndpointSpec>, now: Instant) -> u64 {
        let inner = &*self.inner;
        let mut state = inner.state.lock();
        let old = inner.live.load_full();
        let known: HashMap<&str, &Slot> =
            old.endpoints.iter().map(|slot| (&*slot.endpoint.id, slot)).collect();
        let ready_since = if state.has_begun { inner.nanoseconds(now).max(1) } else { 0 };
        let mut made: HashMap<Arc<str>, Arc<Endpoint>> = HashMap::new();
        let slots = specs.iter().map(|spec| {
            let same = known.get(&*spec.id);
            if let Some(slot) = same.filter(|slot| !slot.is_healthy && spec.is_healthy) {
                slot.endpoint.set_ready_since(ready_since);
            }
            let endpoint = same.map(|slot| slot.endpoint.clone()).unwrap_or_else(|| {
                let make = || Arc::new(Endpoint::new(spec.id.clone(), ready_since));
                made.entry(spec.id.clone()).or_insert_with(make).clone()
            });
            Slot::new(endpoint, spec)
        });
        let slots: Arc<[Slot]> = slots.collect();
        state.has_begun |= !slots.is_empty();
        state.ejected = ejected(&slots);
        state.specs = specs;
        let layout = layout(&old.settings, &inner.home, &state.specs, &old.layout);
        let version = old.version + 1;
        inner.keep_bound(&mut state, &slots, &old.settings);
        inner.publish(&state, Live::new(old.settings.clone(), slots, Arc::new(layout), version));
        version
    }

    /// Replaces the settings. Counts stay; without outlier detection everybody comes back.
    pub fn set_settings(&self, settings: Arc<Settings>) {
        let inner = &*self.inner;
        let mut state = inner.state.lock();
        let old = inner.live.load_full();
        if old.settings.rate_limit != settings.rate_limit {
            *inner.bucket.lock() = Bucket::new(settings.rate_limit);
        }
        let layout = layout(&settings, &inner.home, &state.specs, &old.layout);
        inner.keep_bound(&mut state, &old.endpoints, &settings);
        let (slots, version) = (old.endpoints.clone(), old.version);
        inner.publish(&state, Live::new(settings, slots, Arc::new(layout), version));
    }

    /// The settings that hold.
    pub fn settings(&self) -> Arc<Settings> {
        self.inner.live.load().settings.clone()
    }

    /// Numbers, for metrics.
    pub fn counts(&self) -> ClusterCounts {
        let ejected = self.inner.state.lock().ejected;
        let live = self.inner.live.load();
        ClusterCounts {
            endpoints: live.endpoints.len(),
            ejected,
            is_panic: live.is_panic,
            ..self.inner.counts.read()
        }
    }

    /// Names of those that would take a request now.
    pub fn taking(&self) -> Vec<Arc<str>> {
        let live = self.inner.live.load();
        let places = live.open.iter().flat_map(|open| open.members.iter().copied());
        let slots = places.filter_map(|place| live.endpoints.get(place));
        slots.map(|slot| slot.endpoint.id.clone()).collect()
    }

    /// Its endpoints at `now`, in the order in which they were told.
    pub fn endpoints(&self, now: Instant) -> Vec<EndpointState> {
        // Held so that ejections stay what they are.
        let state = self.inner.state.lock();
        let live = self.inner.live.load();
        let now = self.inner.nanoseconds(now);
        let warmup = live.settings.warmup;
        let told = live.endpoints.iter().map(|slot| {
            let ejection = slot.endpoint.ejection.lock();
            EndpointState {
                id: slot.endpoint.id.clone(),
                weight: slot.weight,
                is_healthy: slot.is_healthy,
                ejected_until: ejection.until,
                ejections: ejection.times,
                active: slot.endpoint.active(),
                warmth: warmup
                    .map_or(WHOLE, |warmup| warmup.share_at(slot.endpoint.ready_since(), now)),
            }
        });
        let told = told.collect();
        drop(state);
        told
    }
}

impl Inner {
    /// Since the cluster's beginning.
    pub(super) fn nanoseconds(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.epoch);
        u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Replaces the snapshot by one with the same endpoints.
    pub(super) fn republish(&self, state: &MutexGuard<'_, State>) {
        let old = self.live.load_full();
        let (slots, layout) = (old.endpoints.clone(), old.layout.clone());
        self.publish(state, Live::new(old.settings.clone(), slots, layout, old.version));
    }

    fn publish(&self, _held: &MutexGuard<'_, State>, live: Live) {
        self.live.store(Arc::new(live));
    }

    pub(super) fn next_turn(&self) -> u64 {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }
}
