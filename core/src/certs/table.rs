//! What is wanted and what is held.
//!
//! Readers find a cell in an immutable map; whoever changes the map holds the one lock, for as long as an insertion
//! takes. The worker's own state of each identity is behind the same lock.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::schedule::{Attempts, Priority};
use super::{CertEntry, CertError, CertMetrics, CertSettings};
use crate::identity::SpiffeId;
use crate::tls::WorkloadCertificate;

/// What is held for one identity; readers see this alone.
pub(super) struct Cell {
    identity: SpiffeId,
    held: watch::Sender<Held>,
    waiting: AtomicUsize,
}

#[derive(Default)]
pub(super) struct Held {
    pub(super) certificate: Option<Arc<WorkloadCertificate>>,
    pub(super) last_error: Option<Arc<str>>,
    pub(super) is_forgotten: bool,
}

/// A connection that waits for a cell, counted until it is dropped.
pub(super) struct Waiting(Arc<Cell>);

impl Waiting {
    fn new(cell: &Arc<Cell>) -> Self {
        cell.waiting.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(cell))
    }

    pub(super) fn cell(&self) -> &Cell {
        &self.0
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Cell {
    fn new(identity: SpiffeId) -> Self {
        Self { identity, held: watch::Sender::new(Held::default()), waiting: AtomicUsize::new(0) }
    }

    pub(super) fn identity(&self) -> &SpiffeId {
        &self.identity
    }

    pub(super) fn certificate(&self) -> Option<Arc<WorkloadCertificate>> {
        self.held.borrow().certificate.clone()
    }

    pub(super) fn last_error(&self) -> Option<Arc<str>> {
        self.held.borrow().last_error.clone()
    }

    pub(super) fn changes(&self) -> watch::Receiver<Held> {
        self.held.subscribe()
    }

    pub(super) fn is_waited_for(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    pub(super) fn hold(&self, certificate: Arc<WorkloadCertificate>) {
        self.held.send_modify(|held| {
            held.certificate = Some(certificate);
            held.last_error = None;
        });
    }

    pub(super) fn report(&self, error: Arc<str>) {
        self.held.send_modify(|held| held.last_error = Some(error));
    }

    fn forget(&self) {
        self.held.send_modify(|held| held.is_forgotten = true);
    }
}

/// What the worker knows of one identity.
pub(super) struct Slot {
    pub(super) cell: Arc<Cell>,
    pub(super) attempts: Attempts,
    pub(super) signing: Option<AbortHandle>,
    /// Asked for by `prefetch`: kept until it is forgotten. Others are kept while they are of use.
    is_lasting: bool,
}

impl Slot {
    pub(super) fn priority(&self, wall: SystemTime) -> Priority {
        if self.cell.is_waited_for() {
            Priority::RealTime
        } else if self.valid_until(wall).is_none() {
            Priority::Warmup
        } else {
            Priority::Background
        }
    }

    /// Until when what is held is valid, if it is at `wall`.
    pub(super) fn valid_until(&self, wall: SystemTime) -> Option<SystemTime> {
        self.cell
            .certificate()
            .filter(|certificate| certificate.is_valid_at(wall))
            .map(|certificate| certificate.not_after())
    }

    /// A connection asked once, the CA refuses, nothing is held and nobody waits: to go on asking would be for ever.
    pub(super) fn is_abandoned(&self, wall: SystemTime) -> bool {
        !self.is_lasting && !self.cell.is_waited_for() && self.valid_until(wall).is_none()
    }
}

pub(super) type Table = HashMap<SpiffeId, Slot>;

pub(super) struct Registry {
    settings: CertSettings,
    cells: ArcSwap<imbl::HashMap<SpiffeId, Arc<Cell>>>,
    table: Mutex<Table>,
    changed: Notify,
    metrics: CertMetrics,
}

impl Registry {
    pub(super) fn new(settings: CertSettings) -> Self {
        Self {
            settings,
            cells: ArcSwap::default(),
            table: Mutex::default(),
            changed: Notify::new(),
            metrics: CertMetrics::default(),
        }
    }

    pub(super) fn settings(&self) -> &CertSettings {
        &self.settings
    }

    pub(super) fn wall(&self) -> SystemTime {
        (self.settings.wall)()
    }

    pub(super) fn metrics(&self) -> &CertMetrics {
        &self.metrics
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock()
    }

    fn wake(&self) {
        self.changed.notify_one();
    }

    /// Ends at the next [`Self::wake`], or at once if there was one since.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(super) fn cell(&self, identity: &SpiffeId) -> Option<Arc<Cell>> {
        self.cells.load().get(identity).cloned()
    }

    /// Wants `identity` for a connection. Counted under the lock, so that the worker does not meanwhile give the
    /// identity up as one that nobody waits for.
    pub(super) fn wait_for(&self, identity: &SpiffeId) -> Result<Waiting, CertError> {
        let mut table = self.table();
        let waiting = Waiting::new(&self.slot(&mut table, identity)?.cell);
        drop(table);
        self.wake();
        Ok(waiting)
    }

    /// Wants `identity` until it is forgotten.
    pub(super) fn prefetch(&self, identity: &SpiffeId) -> Result<(), CertError> {
        let mut table = self.table();
        self.slot(&mut table, identity)?.is_lasting = true;
        drop(table);
        self.wake();
        Ok(())
    }

    /// The slot of `identity`, made if it is not there.
    fn slot<'a>(
        &self,
        table: &'a mut Table,
        identity: &SpiffeId,
    ) -> Result<&'a mut Slot, CertError> {
        let is_full = table.len() >= self.settings.entries_max;
        match table.entry(identity.clone()) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(_) if is_full => {
                CertMetrics::count(&self.metrics.full);
                Err(CertError::Full { identity: identity.clone() })
            }
            Entry::Vacant(entry) => {
                let cell = Arc::new(Cell::new(identity.clone()));
                let cells = self.cells.load().update(identity.clone(), Arc::clone(&cell));
                self.cells.store(Arc::new(cells));
                Ok(entry.insert(Slot {
                    cell,
                    attempts: Attempts::none(Instant::now()),
                    signing: None,
                    is_lasting: false,
                }))
            }
        }
    }

    pub(super) fn forget(&self, identity: &SpiffeId) {
        self.remove(&mut self.table(), identity);
    }

    /// Takes the table, so that the worker can decide and remove under one lock.
    pub(super) fn remove(&self, table: &mut Table, identity: &SpiffeId) {
        let Some(slot) = table.remove(identity) else {
            return;
        };
        let cells = self.cells.load().without(identity);
        self.cells.store(Arc::new(cells));
        if let Some(signing) = slot.signing {
            signing.abort();
        }
        slot.cell.forget();
    }

    pub(super) fn entries(&self) -> Vec<CertEntry> {
        let cells = self.cells.load_full();
        let mut entries: Vec<CertEntry> = cells
            .values()
            .map(|cell| CertEntry {
                identity: cell.identity.clone(),
                certificate: cell.certificate(),
                last_error: cell.last_error(),
            })
            .collect();
        entries.sort_by(|a, b| a.identity.cmp(&b.identity));
        entries
    }
}
