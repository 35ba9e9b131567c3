//! How everybody but the store sees the mesh.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::Snapshot;

pub(super) type Versions = watch::Receiver<u64>;

/// A look at whatever snapshot is current. Cheap to clone; each clone remembers what it has seen.
#[derive(Debug, Clone)]
pub struct SnapshotReader {
    current: Arc<ArcSwap<Snapshot>>,
    versions: Versions,
}

/// What was waited for did not come in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not in the mesh's state in time; check the connection to the control plane")]
pub struct DeadlinePassed;

impl SnapshotReader {
    pub(super) fn new(snapshot: Snapshot, versions: Versions) -> Self {
        Self { current: Arc::new(ArcSwap::from_pointee(snapshot)), versions }
    }

    pub(super) fn publish(&self, snapshot: Snapshot) {
        self.current.store(Arc::new(snapshot));
    }

    /// The current snapshot. Take it once for a decision and decide on that one alone.
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Waits for a snapshot that this reader has not been woken for, and returns the current one. `None` once the
    /// store is gone, after which nothing changes any more.
    pub async fn changed(&mut self) -> Option<Arc<Snapshot>> {
        self.versions.changed().await.ok()?;
        Some(self.load())
    }

    /// Waits until `find` finds something, the current snapshot first, for at most `patience`.
    pub async fn wait_for<T>(
        &self,
        patience: Duration,
        mut find: impl FnMut(&Arc<Snapshot>) -> Option<T>,
    ) -> Result<T, DeadlinePassed> {
        let mut versions = self.versions.clone();
        let search = async {
            loop {
                // Marked as seen before looking: whatever is published while looking wakes us again.
                versions.mark_unchanged();
                if let Some(found) = find(&self.load()) {
                    return found;
                }
                if versions.changed().await.is_err() {
                    // The store is gone, so only the deadline is left to wait for.
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::time::timeout(patience, search).await.map_err(|_| DeadlinePassed)
    }
}
