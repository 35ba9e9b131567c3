//! The certificates of this node's workloads: one per identity, always fresh, never an expired one.
//!
//! ```text
//!  certificate / prefetch / forget ──▶ Table (who is wanted) ──▶ worker ──▶ Authority (≤ 8 at a time)
//!  current ◀── Cell (what is held) ◀─────────────────────────────┘
//! ```
//!
//! Invariants:
//! * A private key is made here, used here and never leaves; the CA sees a CSR.
//! * What is wanted is a table, not a queue: nothing overflows, nothing is lost, and a forgotten identity is gone,
//!   even if its signing was under way.
//! * Every attempt is at least a back-off or [`limits::CERT_REFRESH_MIN`] after the one before, whatever any clock
//!   says; every wait has a deadline.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use rustls_pki_types::CertificateDer;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::identity::SpiffeId;
use crate::tls::{ChainError, WorkloadCertificate};
use crate::{clock, limits};

mod request;
mod schedule;
mod table;
mod worker;

use table::{Cell, Registry};

/// Who signs.
pub trait Authority: Send + Sync + 'static {
    /// Asks for a certificate of `identity` for the key in `csr_pem`, valid for `ttl` from now.
    fn sign(
        &self,
        identity: &SpiffeId,
        csr_pem: String,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<SignedChain, CertError>>;
}

/// What an authority answers.
#[derive(Debug, Clone)]
pub struct SignedChain {
    /// The leaf, then its intermediates.
    pub chain: Vec<CertificateDer<'static>>,
    /// The roots to verify peers against.
    pub roots: Vec<CertificateDer<'static>>,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    /// The CA answered no.
    #[error("CA refused: {0}")]
    Refused(String),
    /// The CA was not even asked: the token or a header is unusable.
    #[error("the CA could not be asked: {0}")]
    Credentials(String),
    /// The CA gave no answer.
    #[error("CA gave no answer: {0}")]
    Unreachable(String),
    /// The CA's answer is of no use.
    #[error("CA's answer is unusable: {0}")]
    Answer(String),
    /// The certificate is no good.
    #[error("CA's certificate is unusable: {0}")]
    Chain(#[from] ChainError),
    /// The certificate is not valid by this node's clock.
    #[error("CA's certificate is not valid by this node's clock; check its time synchronisation")]
    Clock,
    /// No key or request could be made.
    #[error("key or request could not be made: {0}")]
    Key(#[from] rcgen::Error),
    /// None came while a connection waited.
    #[error("no certificate of {identity} within {:?}: {last}", limits::CERT_WAIT_DEADLINE)]
    Waited {
        /// Whose.
        identity: SpiffeId,
        /// What the last attempt said.
        last: Arc<str>,
    },
    /// It was forgotten meanwhile: its last workload left the node.
    #[error("{0} is no longer wanted on this node")]
    Forgotten(SpiffeId),
    /// There are too many identities.
    #[error("no room for a certificate of {identity}: this node has {max} identities already", max = limits::CERT_ENTRIES_MAX)]
    Full {
        /// Whose.
        identity: SpiffeId,
    },
    /// The store ended.
    #[error("the certificate store has stopped")]
    Stopped,
}

/// Counters of a store, for metrics.
#[derive(Debug, Default)]
pub struct CertMetrics {
    /// Certificates obtained.
    pub issued: AtomicU64,
    /// Of those, successors of a certificate that was still held.
    pub renewals: AtomicU64,
    /// Attempts that failed.
    pub failed: AtomicU64,
    /// Identities turned away because the store was full.
    pub full: AtomicU64,
}

impl CertMetrics {
    fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// How a store behaves.
#[derive(Clone)]
pub struct CertSettings {
    /// Lifetime to ask for.
    pub ttl: Duration,
    /// Most identities.
    pub entries_max: usize,
    wall: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

impl CertSettings {
    /// Asks for certificates of `ttl`; the rest as [`limits`] has it.
    pub fn new(ttl: Duration) -> Self {
        Self { ttl, entries_max: limits::CERT_ENTRIES_MAX, wall: Arc::new(clock::now) }
    }

    /// Reads the wall clock elsewhere, so that a test can tie it to tokio's paused clock.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn with_wall_clock(
        mut self,
        wall: impl Fn() -> SystemTime + Send + Sync + 'static,
    ) -> Self {
        self.wall = Arc::new(wall);
        self
    }
}

/// One line of a dump. It has no key.
#[derive(Debug, Clone)]
pub struct CertEntry {
    /// Whose.
    pub identity: SpiffeId,
    /// What is held, valid or not.
    pub certificate: Option<Arc<WorkloadCertificate>>,
    /// What the last attempt said, if it failed.
    pub last_error: Option<Arc<str>>,
}

/// The store; clones share it. It ends when the last clone is dropped.
#[derive(Clone)]
pub struct CertStore {
    registry: Arc<Registry>,
    stopped: CancellationToken,
    _running: Arc<DropGuard>,
}

impl CertStore {
    /// Starts a store on the current runtime.
    pub fn spawn(authority: Arc<dyn Authority>, settings: CertSettings) -> Self {
        let registry = Arc::new(Registry::new(settings));
        let (running, stopped) = (CancellationToken::new(), CancellationToken::new());
        let worker = worker::Worker::new(authority, Arc::clone(&registry));
        let ended = stopped.clone().drop_guard();
        let stop = running.clone();
        tokio::spawn(async move {
            // Held here, so that a panic of the worker is seen by its waiters too.
            let _ended = ended;
            stop.run_until_cancelled(worker.run()).await;
        });
        Self { registry, stopped, _running: Arc::new(running.drop_guard()) }
    }

    /// The valid certificate of `identity`, if there is one now. Takes no lock that a signing holds.
    pub fn current(&self, identity: &SpiffeId) -> Option<Arc<WorkloadCertificate>> {
        let cell = self.registry.cell(identity)?;
        cell.certificate().filter(|certificate| certificate.is_valid_at(self.registry.wall()))
    }

    /// The valid certificate of `identity`; a connection waits for it, at most [`limits::CERT_WAIT_DEADLINE`] and
    /// before anything that nobody waits for. Cancelling it is harmless.
    pub async fn certificate(
        &self,
        identity: &SpiffeId,
    ) -> Result<Arc<WorkloadCertificate>, CertError> {
        if let Some(certificate) = self.current(identity) {
            return Ok(certificate);
        }
        let waiting = self.registry.wait_for(identity)?;
        let cell = waiting.cell();
        tokio::select! {
            outcome = tokio::time::timeout(limits::CERT_WAIT_DEADLINE, self.valid(cell)) => {
                outcome.unwrap_or_else(|_| Err(CertError::Waited {
                    identity: identity.clone(),
                    last: cell.last_error().unwrap_or_else(|| "the CA has not answered yet".into()),
                }))
            }
            () = self.stopped.cancelled() => Err(CertError::Stopped),
        }
    }

    /// Obtains and renews a certificate of `identity` from now on, until [`Self::forget`].
    pub fn prefetch(&self, identity: &SpiffeId) {
        if let Err(error) = self.registry.prefetch(identity) {
            tracing::warn!(%identity, %error, "certificate not prefetched");
        }
    }

    /// Stops renewing `identity` and drops what is held; connections that use it keep their own reference.
    pub fn forget(&self, identity: &SpiffeId) {
        self.registry.forget(identity);
    }

    /// Everything that is held, in order of identity.
    pub fn entries(&self) -> Vec<CertEntry> {
        self.registry.entries()
    }

    /// Counters.
    pub fn metrics(&self) -> &CertMetrics {
        self.registry.metrics()
    }

    /// Ends when the store does, which before the last clone is dropped means that its worker failed: what it holds
    /// will expire, and whoever supervises should end the process.
    pub async fn stopped(&self) {
        self.stopped.cancelled().await;
    }

    async fn valid(&self, cell: &Cell) -> Result<Arc<WorkloadCertificate>, CertError> {
        let mut changes = cell.changes();
        loop {
            {
                let held = changes.borrow_and_update();
                if held.is_forgotten {
                    return Err(CertError::Forgotten(cell.identity().clone()));
                }
                let now = self.registry.wall();
                if let Some(certificate) = held.certificate.as_ref()
                    && certificate.is_valid_at(now)
                {
                    return Ok(Arc::clone(certificate));
                }
            }
            changes.changed().await.map_err(|_| CertError::Stopped)?;
        }
    }
}

impl std::fmt::Debug for CertStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertStore").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
