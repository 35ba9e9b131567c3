//! Counters a pair of workloads.
//!
//! A connection looks its series up once and keeps a handle, so that nothing is hashed during the copy. Bytes are
//! not pushed into the series either: each connection counts its own (the access log needs that anyway), and a
//! scrape adds up the live ones. Nothing is lost when a connection ends at any moment, since its handle folds
//! them into the series when it is dropped.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use tokio::time::Instant;

use super::labels::{ResponseFlag, TrafficLabels};
use super::registry::Registry;
use crate::limits;

/// The byte counts of one connection, which its relay advances while it copies.
pub trait ByteTotals: Send + Sync {
    /// Bytes read from whoever opened the connection.
    fn received(&self) -> u64;
    /// Bytes written to whoever opened the connection.
    fn sent(&self) -> u64;
}

/// The traffic counters of a process.
#[derive(Debug, Clone)]
pub struct TrafficMetrics(Arc<Table>);

#[derive(Debug)]
struct Table {
    series: RwLock<HashMap<TrafficLabels, Arc<Series>>>,
    /// `series` is never longer than this, apart from the few of [`TrafficLabels::overflow`].
    series_max: usize,
    overflowed: AtomicU64,
    /// When the table was last searched for idle series because it was full.
    evicted_at: Mutex<Instant>,
}

#[derive(Debug)]
struct Series {
    opened: AtomicU64,
    closed: AtomicU64,
    failed: AtomicU64,
    bytes: Mutex<Bytes>,
}

struct Bytes {
    /// Of connections that have ended.
    received: u64,
    sent: u64,
    live: BTreeMap<u64, Arc<dyn ByteTotals>>,
    next_key: u64,
    touched_at: Instant,
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bytes").field("live", &self.live.len()).finish_non_exhaustive()
    }
}

/// One open connection. Dropping it counts the connection as closed.
#[derive(Debug)]
pub struct ConnectionMetrics {
    table: Arc<Table>,
    series: Arc<Series>,
    labels: TrafficLabels,
    key: u64,
}

impl TrafficMetrics {
    /// Adds the counters to `registry`.
    pub fn new(registry: &mut Registry) -> Self {
        Self::with_series_max(registry, limits::TRAFFIC_SERIES_MAX)
    }

    fn with_series_max(registry: &mut Registry, series_max: usize) -> Self {
        let table = Arc::new(Table {
            series: RwLock::default(),
            series_max,
            overflowed: AtomicU64::new(0),
            evicted_at: Mutex::new(Instant::now()),
        });
        registry.collector(TrafficCollector(Arc::clone(&table)));
        Self(table)
    }

    /// Counts a connection as opened. `bytes` is read at every scrape until the handle is dropped.
    pub fn open(&self, labels: TrafficLabels, bytes: Arc<dyn ByteTotals>) -> ConnectionMetrics {
        let (series, key) = self.0.with(&labels, |series| {
            series.opened.fetch_add(1, Ordering::Relaxed);
            (Arc::clone(series), series.bytes.lock().add(bytes))
        });
        ConnectionMetrics { table: Arc::clone(&self.0), series, labels, key }
    }

    /// Counts a connection that failed before it could be opened.
    pub fn failed(&self, labels: &TrafficLabels) {
        self.0.failed(labels);
    }

    /// Pairs that have a series at present.
    pub fn series(&self) -> usize {
        self.0.series.read().len()
    }
}

impl ConnectionMetrics {
    /// Counts the connection as failed, besides as closed. `flag` says why.
    pub fn failed(&self, flag: ResponseFlag) {
        self.table.failed(&self.labels.clone().flag(flag));
    }

    /// The labels.
    pub fn labels(&self) -> &TrafficLabels {
        &self.labels
    }
}

impl Drop for ConnectionMetrics {
    fn drop(&mut self) {
        self.series.bytes.lock().fold(self.key);
        self.series.closed.fetch_add(1, Ordering::Relaxed);
    }
}

impl Table {
    /// Runs `use_series` while the table is locked against eviction, so that no count lands in a series that has
    /// just left the table.
    fn with<R>(&self, labels: &TrafficLabels, use_series: impl FnOnce(&Arc<Series>) -> R) -> R {
        if let Some(series) = self.series.read().get(labels) {
            return use_series(series);
        }
        let mut table = self.series.write();
        let labels = if table.contains_key(labels) || self.has_room(&mut table) {
            labels.clone()
        } else {
            self.overflowed.fetch_add(1, Ordering::Relaxed);
            labels.overflow()
        };
        use_series(table.entry(labels).or_insert_with(|| Arc::new(Series::new())))
    }

    fn has_room(&self, table: &mut HashMap<TrafficLabels, Arc<Series>>) -> bool {
        if table.len() < self.series_max {
            return true;
        }
        let mut evicted_at = self.evicted_at.lock();
        if evicted_at.elapsed() >= limits::TRAFFIC_EVICTION_INTERVAL {
            *evicted_at = Instant::now();
            table.retain(|_, series| !series.is_idle(limits::TRAFFIC_SERIES_IDLE));
        }
        table.len() < self.series_max
    }

    fn failed(&self, labels: &TrafficLabels) {
        self.with(labels, |series| {
            series.failed.fetch_add(1, Ordering::Relaxed);
            series.bytes.lock().touched_at = Instant::now();
        });
    }
}

impl Series {
    fn new() -> Self {
        let bytes = Bytes {
            received: 0,
            sent: 0,
            live: BTreeMap::new(),
            next_key: 0,
            touched_at: Instant::now(),
        };
        Self {
            opened: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            bytes: Mutex::new(bytes),
        }
    }

    fn is_idle(&self, after: Duration) -> bool {
        let bytes = self.bytes.lock();
        bytes.live.is_empty() && bytes.touched_at.elapsed() >= after
    }

    fn values(&self) -> Values {
        let bytes = self.bytes.lock();
        let sum = |ended, of: fn(&dyn ByteTotals) -> u64| {
            bytes.live.values().map(|live| of(live.as_ref())).fold(ended, u64::saturating_add)
        };
        Values {
            opened: self.opened.load(Ordering::Relaxed),
            closed: self.closed.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            received: sum(bytes.received, |live| live.received()),
            sent: sum(bytes.sent, |live| live.sent()),
        }
    }
}

impl Bytes {
    fn add(&mut self, bytes: Arc<dyn ByteTotals>) -> u64 {
        let key = self.next_key;
        self.next_key = self.next_key.wrapping_add(1);
        self.live.insert(key, bytes);
        self.touched_at = Instant::now();
        key
    }

    fn fold(&mut self, key: u64) {
        if let Some(ended) = self.live.remove(&key) {
            self.received = self.received.saturating_add(ended.received());
            self.sent = self.sent.saturating_add(ended.sent());
        }
        self.touched_at = Instant::now();
    }
}

struct Values {
    opened: u64,
    closed: u64,
    failed: u64,
    received: u64,
    sent: u64,
}

/// Name, help, value, and whether a series that never had any is shown.
type Counter = (&'static str, &'static str, fn(&Values) -> u64, bool);

/// Istio's convention: both reporters say "received" of the bytes of the request, "sent" of those of the response.
const COUNTERS: [Counter; 5] = [
    ("istio_tcp_connections_opened", "Connections opened", |v| v.opened, true),
    ("istio_tcp_connections_closed", "Connections closed", |v| v.closed, true),
    ("istio_tcp_received_bytes", "Bytes received from the client", |v| v.received, true),
    ("istio_tcp_sent_bytes", "Bytes sent to the client", |v| v.sent, true),
    ("istio_tcp_connections_failed", "Connections that failed", |v| v.failed, false),
];

#[derive(Debug)]
struct TrafficCollector(Arc<Table>);

impl Collector for TrafficCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // The lock is not held while text is written: a scrape of a large table takes tens of milliseconds.
        let series: Vec<_> = {
            let table = self.0.series.read();
            table.iter().map(|(labels, series)| (labels.clone(), Arc::clone(series))).collect()
        };
        let values: Vec<_> = series.iter().map(|(labels, s)| (labels, s.values())).collect();
        for (name, help, value_of, show_zero) in COUNTERS {
            let kind = prometheus_client::metrics::MetricType::Counter;
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for (labels, values) in &values {
                let value = value_of(values);
                if show_zero && values.opened > 0 || value > 0 {
                    ConstCounter::new(value).encode(family.encode_family(*labels)?)?;
                }
            }
        }
        let overflowed = ConstCounter::new(self.0.overflowed.load(Ordering::Relaxed));
        let help = "Connections counted without their parties, since there were too many pairs";
        let name = "weft_traffic_series_overflowed";
        overflowed.encode(encoder.encode_descriptor(
            name,
            help,
            None,
            overflowed.metric_type(),
        )?)?;
        // Whoever reads this scrape has the last value of what leaves now.
        let mut table = self.0.series.write();
        table.retain(|_, series| !series.is_idle(limits::TRAFFIC_SERIES_IDLE));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
