//! How much may be under way at one time: requests, waiting requests, connections, retries.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::cluster::{Cluster, ClusterCounts, Inner};
use super::settings::RetryBudget;

/// What a bound refused. The answer is 503 with the flag UO; a retry that is refused isn't made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Overflow {
    /// `http2MaxRequests`.
    #[error("{0} requests are active, which is the most")]
    Requests(u32),
    /// `http1MaxPendingRequests`.
    #[error("{0} requests wait for a connection, which is the most")]
    Pending(u32),
    /// `maxConnections`.
    #[error("{0} connections are open, which is the most")]
    Connections(u32),
    /// `maxRetries`, or the budget.
    #[error("{0} retries are active, which is the most")]
    Retries(u32),
}

/// What is under way, and what was.
#[derive(Debug, Default)]
pub(super) struct Counts {
    requests: AtomicU32,
    pending: AtomicU32,
    connections: AtomicU32,
    retries: AtomicU32,
    ejections: AtomicU64,
    ejections_refused: AtomicU64,
    overflows: AtomicU64,
}

impl Counts {
    pub(super) fn note_ejection(&self) {
        self.ejections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_ejection_refused(&self) {
        self.ejections_refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> ClusterCounts {
        ClusterCounts {
            requests: self.requests.load(Ordering::Relaxed),
            pending: self.pending.load(Ordering::Relaxed),
            connections: self.connections.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
            ejections_total: self.ejections.load(Ordering::Relaxed),
            ejections_refused_total: self.ejections_refused.load(Ordering::Relaxed),
            overflows_total: self.overflows.load(Ordering::Relaxed),
            ..ClusterCounts::default()
        }
    }

    /// Counts one more, unless there are `max` already.
    fn admit(&self, counter: &AtomicU32, max: Option<u32>) -> Result<(), u32> {
        let max = max.unwrap_or(u32::MAX);
        let more = |count: u32| (count < max).then(|| count.saturating_add(1));
        let counted = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        counted.map(|_| ()).map_err(|_| {
            self.overflows.fetch_add(1, Ordering::Relaxed);
            max
        })
    }
}

macro_rules! permit {
    ($(#[$doc:meta])* $name:ident, $counter:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name(Arc<Inner>);

        impl Drop for $name {
            fn drop(&mut self) {
                self.0.counts.$counter.fetch_sub(1, Ordering::Relaxed);
            }
        }
    };
}

permit!(
    /// A request counts as active as long as this lives.
    RequestPermit,
    requests
);
permit!(
    /// A request counts as waiting for a connection as long as this lives.
    PendingPermit,
    pending
);
permit!(
    /// A connection counts as open as long as this lives.
    ConnectionPermit,
    connections
);
permit!(
    /// A retry counts as active as long as this lives.
    RetryPermit,
    retries
);

impl Cluster {
    /// Asks to send a request. Retries of it need no further one, but [`Cluster::admit_retry`].
    pub fn admit_request(&self) -> Result<RequestPermit, Overflow> {
        let max = self.inner.live.load().settings.pool.requests_max;
        let counts = &self.inner.counts;
        counts.admit(&counts.requests, max).map_err(Overflow::Requests)?;
        Ok(RequestPermit(self.inner.clone()))
    }

    /// Asks to wait for a connection.
    pub fn admit_pending(&self) -> Result<PendingPermit, Overflow> {
        let max = self.inner.live.load().settings.pool.pending_max;
        let counts = &self.inner.counts;
        counts.admit(&counts.pending, max).map_err(Overflow::Pending)?;
        Ok(PendingPermit(self.inner.clone()))
    }

    /// Asks to open a connection.
    pub fn admit_connection(&self) -> Result<ConnectionPermit, Overflow> {
        let max = self.inner.live.load().settings.pool.connections_max;
        let counts = &self.inner.counts;
        counts.admit(&counts.connections, max).map_err(Overflow::Connections)?;
        Ok(ConnectionPermit(self.inner.clone()))
    }

    /// Asks to try a request again. Not for one that no endpoint has seen anything of: that costs nobody anything.
    pub fn admit_retry(&self) -> Result<RetryPermit, Overflow> {
        let live = self.inner.live.load();
        let counts = &self.inner.counts;
        let budget = live.settings.budget.retries(counts.requests.load(Ordering::Relaxed));
        let max = live.settings.pool.retries_max.map_or(budget, |max| max.min(budget));
        counts.admit(&counts.retries, Some(max)).map_err(Overflow::Retries)?;
        Ok(RetryPermit(self.inner.clone()))
    }
}

impl RetryBudget {
    /// How many retries so many active requests may have at one time.
    fn retries(&self, requests: u32) -> u32 {
        let share = u64::from(requests) * u64::from(self.percent_thousandths) / 100_000;
        u32::try_from(share).unwrap_or(u32::MAX).max(self.retries_min)
    }
}
