//! The one task that asks the CA.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::schedule::Priority;
use super::table::{Cell, Registry, Slot, Table};
use super::{Authority, CertError, CertMetrics, request};
use crate::limits;
use crate::tls::WorkloadCertificate;

type Outcome = Result<Arc<WorkloadCertificate>, CertError>;

pub(super) struct Worker {
    authority: Arc<dyn Authority>,
    registry: Arc<Registry>,
    signings: JoinSet<Outcome>,
    /// For whom each signing is. A cell, not an identity: one forgotten and wanted again is another.
    cells: HashMap<Id, Arc<Cell>>,
}

impl Worker {
    pub(super) fn new(authority: Arc<dyn Authority>, registry: Arc<Registry>) -> Self {
        Self { authority, registry, signings: JoinSet::new(), cells: HashMap::new() }
    }

    /// Never ends by itself; dropping it aborts all signings.
    pub(super) async fn run(mut self) {
        loop {
            let wake_at = self.start_due();
            tokio::select! {
                () = self.registry.changed() => {}
                () = sleep_until(wake_at) => {}
                Some(ended) = self.signings.join_next_with_id(), if !self.signings.is_empty() => {
                    self.finish(ended);
                }
            }
        }
    }

    /// Starts what is due as far as there is room, most urgent first, and says when to look again.
    ///
    /// It goes through the whole table. That is 4096 entries at most, some ten microseconds, a few times a second at
    /// worst; an ordered queue would have to follow every change of clock and priority.
    fn start_due(&mut self) -> Instant {
        let registry = Arc::clone(&self.registry);
        let (now, wall) = (Instant::now(), registry.wall());
        let mut wake_at = now + limits::CERT_CLOCK_CHECK;
        let mut ready = Vec::new();
        let mut table = registry.table();
        for slot in table.values().filter(|slot| slot.signing.is_none()) {
            let priority = slot.priority(wall);
            let due = slot.attempts.due(now, wall, priority);
            if due <= now {
                ready.push((priority, due, Arc::clone(&slot.cell)));
            } else {
                wake_at = wake_at.min(due);
            }
        }
        ready.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        for (priority, _, cell) in ready {
            let room = match priority {
                Priority::RealTime => limits::CERT_SIGNINGS_MAX,
                _ => limits::CERT_SIGNINGS_MAX - limits::CERT_SIGNINGS_WAITED_FOR,
            };
            // What finds no room is looked at again when a signing ends.
            if self.signings.len() >= room {
                break;
            }
            self.start(&mut table, &cell);
        }
        wake_at
    }

    fn start(&mut self, table: &mut Table, cell: &Arc<Cell>) {
        let Some(slot) = slot_of(table, cell) else {
            return;
        };
        let (authority, registry) = (Arc::clone(&self.authority), Arc::clone(&self.registry));
        let identity = cell.identity().clone();
        let signing = self.signings.spawn(async move {
            let ttl = registry.settings().ttl;
            request::obtain(authority.as_ref(), identity, ttl, || registry.wall()).await
        });
        self.cells.insert(signing.id(), Arc::clone(cell));
        slot.signing = Some(signing);
    }

    fn finish(&mut self, ended: Result<(Id, Outcome), JoinError>) {
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => {
                (error.id(), Err(CertError::Answer(format!("the signing task ended: {error}"))))
            }
        };
        let Some(cell) = self.cells.remove(&id) else {
            return;
        };
        let registry = Arc::clone(&self.registry);
        let mut table = registry.table();
        // Forgotten meanwhile: the certificate is dropped with its key.
        let Some(slot) = slot_of(&mut table, &cell) else {
            return;
        };
        slot.signing = None;
        let (now, wall) = (Instant::now(), registry.wall());
        let metrics = registry.metrics();
        match outcome {
            Ok(certificate) => {
                CertMetrics::count(&metrics.issued);
                if cell.certificate().is_some() {
                    CertMetrics::count(&metrics.renewals);
                }
                slot.attempts.succeeded(now, wall, certificate.not_after());
                tracing::debug!(
                    identity = %cell.identity(), serial = certificate.serial(), "certificate issued"
                );
                cell.hold(certificate);
            }
            Err(error) => {
                CertMetrics::count(&metrics.failed);
                let valid_until = slot.valid_until(wall);
                let retry_in = slot.attempts.failed(now, wall, valid_until);
                tracing::warn!(
                    identity = %cell.identity(), %error, ?retry_in,
                    is_still_valid = valid_until.is_some(), "no new certificate"
                );
                cell.report(error.to_string().into());
                if slot.is_abandoned(wall) {
                    registry.remove(&mut table, cell.identity());
                }
            }
        }
    }
}

/// The slot that `cell` belongs to, unless it was forgotten.
fn slot_of<'a>(table: &'a mut Table, cell: &Arc<Cell>) -> Option<&'a mut Slot> {
    table.get_mut(cell.identity()).filter(|slot| Arc::ptr_eq(&slot.cell, cell))
}
