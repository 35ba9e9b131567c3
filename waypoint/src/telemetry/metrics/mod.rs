//! Counters and histograms of requests, under Istio's names with `reporter="waypoint"`.
//!
//! ```text
//!  record ──Key (borrowed)──▶ shard ──▶ Series ──▶ Cell (requests_total)      ◀── scrape
//!                                              ├─▶ Cell (duration)            ◀──
//!                                              └─▶ …, one a metric            ◀──
//! ```
//!
//! A request finds its series by what tells requests apart and adds to that series' cells; only the first request of a
//! series takes memory. Cells are found by the labels as they are shown, so that several series may share one where a
//! Telemetry object removes the label in which they differ: no counter ever goes back while its cell lives.
//!
//! Connections that aren't HTTP are counted by core's `TrafficMetrics`, see [`connection_labels`].

mod cells;
mod expose;
mod histogram;
mod key;
#[cfg(test)]
mod tests;
mod view;

use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hashbrown::HashTable;
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;
use weft_core::telemetry::{Registry, Reporter, ResponseFlag, SharedParty, TrafficLabels};

use self::cells::{Cells, SeriesCells};
use self::key::{Key, OwnedKey};
pub use self::view::{Attribute, Change, Metric, Tag, View};
use super::flags::ResponseFlags;
use super::record::{ConnectionRecord, RequestRecord};
use crate::limits;

/// The request metrics of a process. Clones share them.
#[derive(Debug, Clone)]
pub struct RequestMetrics(Arc<Table>);

#[derive(Debug)]
struct Table {
    /// By the hash's low bits, so that two threads seldom meet on one lock.
    shards: [RwLock<HashTable<Series>>; limits::METRIC_SHARDS],
    /// A shard is never longer than this, apart from the few of [`Key::overflow`].
    shard_max: usize,
    hasher: std::hash::RandomState,
    cells: Cells,
    overflowed: AtomicU64,
    started: Instant,
    /// When a full table was last searched for idle series.
    evicted_at: Mutex<Instant>,
}

#[derive(Debug)]
struct Series {
    key: OwnedKey,
    cells: SeriesCells,
    /// Milliseconds since the table's start.
    touched_at: AtomicU64,
}

impl RequestMetrics {
    /// Adds the metrics to `registry`.
    pub fn new(registry: &mut Registry) -> Self {
        Self::with_series_max(registry, limits::REQUEST_SERIES_MAX)
    }

    fn with_series_max(registry: &mut Registry, series_max: usize) -> Self {
        let now = Instant::now();
        let table = Arc::new(Table {
            shards: Default::default(),
            shard_max: series_max / limits::METRIC_SHARDS,
            hasher: std::hash::RandomState::new(),
            cells: Cells::default(),
            overflowed: AtomicU64::new(0),
            started: now,
            evicted_at: Mutex::new(now),
        });
        registry.collector(expose::RequestCollector(Arc::clone(&table)));
        Self(table)
    }

    /// Counts a request that has ended. `view` is what a Telemetry object changes; the same one has to come as the same
    /// pointer.
    pub fn record(&self, record: &RequestRecord<'_>, view: Option<&Arc<View>>) {
        self.0.with(Key::of(record, view), |series| series.cells.add(record));
    }

    /// Series at present.
    pub fn series(&self) -> usize {
        self.0.shards.iter().map(|shard| shard.read().len()).sum()
    }
}

/// The labels of a connection that isn't HTTP, for core's metrics. What went wrong isn't among them.
pub(super) fn connection_labels(record: &ConnectionRecord<'_>) -> TrafficLabels {
    let parties = record.stream.parties;
    let (source, destination) = (parties.source.clone(), parties.destination.clone());
    TrafficLabels::new(Reporter::Waypoint, source, destination)
        .security(parties.security)
        .service(parties.service.cloned())
}

/// What went wrong with it. Envoy has no flag for what policies refuse on a connection: it is ztunnel's.
pub(super) fn connection_flag(record: &ConnectionRecord<'_>) -> ResponseFlag {
    match record.stream.flags {
        _ if record.is_denied => ResponseFlag::Deny,
        ResponseFlags::NONE => ResponseFlag::None,
        flags => ResponseFlag::Envoy(flags.first()),
    }
}

impl Table {
    /// Runs `use_series` while its shard is locked against eviction, so that no count lands in a series that has just
    /// left.
    fn with(&self, key: Key<'_>, use_series: impl FnOnce(&Series)) {
        let now = self.millis();
        let hash = self.hasher.hash_one(key);
        let Some(shard) = self.shard(hash) else {
            return;
        };
        if let Some(series) = shard.read().find(hash, |series| series.key.borrowed() == key) {
            series.touched_at.store(now, Ordering::Relaxed);
            return use_series(series);
        }
        let mut table = shard.write();
        if table.find(hash, |series| series.key.borrowed() == key).is_some()
            || self.has_room(&mut table)
        {
            return use_series(self.series_of(&mut table, hash, key, now));
        }
        self.overflowed.fetch_add(1, Ordering::Relaxed);
        let nobody = SharedParty::default();
        let key = key.overflow(&nobody);
        use_series(self.series_of(&mut table, self.hasher.hash_one(key), key, now));
    }

    fn series_of<'t>(
        &self,
        table: &'t mut HashTable<Series>,
        hash: u64,
        key: Key<'_>,
        now: u64,
    ) -> &'t Series {
        let hash_of = |series: &Series| self.hasher.hash_one(series.key.borrowed());
        let entry = table.entry(hash, |series| series.key.borrowed() == key, hash_of);
        entry
            .or_insert_with(|| Series {
                key: key.to_owned_key(),
                cells: self.cells.of(&key),
                touched_at: AtomicU64::new(now),
            })
            .into_mut()
    }

    fn shard(&self, hash: u64) -> Option<&RwLock<HashTable<Series>>> {
        // Not the top seven bits and not the lowest, which place the series within its shard.
        let nth = usize::try_from(hash >> 32 & 0xffff).unwrap_or_default();
        self.shards.get(nth % limits::METRIC_SHARDS)
    }

    fn has_room(&self, table: &mut HashTable<Series>) -> bool {
        if table.len() < self.shard_max {
            return true;
        }
        let mut evicted_at = self.evicted_at.lock();
        if evicted_at.elapsed() >= limits::METRIC_EVICTION_INTERVAL {
            *evicted_at = Instant::now();
            let now = self.millis();
            table.retain(|series| !series.is_idle(now));
        }
        table.len() < self.shard_max
    }

    /// Lets go of what nothing happened to for a while.
    fn evict(&self) {
        let now = self.millis();
        for shard in &self.shards {
            shard.write().retain(|series| !series.is_idle(now));
        }
        self.cells.prune();
    }

    fn millis(&self) -> u64 {
        millis(self.started.elapsed())
    }
}

impl Series {
    fn is_idle(&self, now: u64) -> bool {
        now.saturating_sub(self.touched_at.load(Ordering::Relaxed))
            >= millis(limits::REQUEST_SERIES_IDLE)
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
