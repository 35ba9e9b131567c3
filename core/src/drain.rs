//! Ending well: those who work are asked to finish, and after a deadline told to stop.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// A drain: one who announces it, and any number who heed it.
pub fn pair() -> (Signal, Watch) {
    let (graceful, forced, alive) = Default::default();
    let watch = Watch { graceful, forced, _alive: TaskTracker::token(&alive) };
    let signal = Signal { graceful: watch.graceful.clone(), forced: watch.forced.clone(), alive };
    (signal, watch)
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All finished by themselves.
    Graceful,
    /// The deadline passed while some were at work; they were told to stop.
    Forced,
}

/// Announces the drain.
#[derive(Debug)]
pub struct Signal {
    graceful: CancellationToken,
    forced: CancellationToken,
    alive: TaskTracker,
}

impl Signal {
    /// Asks everybody to finish, without waiting for it.
    pub fn start(&self) {
        self.graceful.cancel();
    }

    /// Tells everybody to stop now.
    pub fn force(&self) {
        self.graceful.cancel();
        self.forced.cancel();
    }

    /// Asks everybody to finish, and returns when all have, or when they were told to stop after `deadline`.
    pub async fn drain(&self, deadline: Duration) -> Outcome {
        self.start();
        self.alive.close();
        match tokio::time::timeout(deadline, self.alive.wait()).await {
            Ok(()) => Outcome::Graceful,
            Err(_) => {
                self.forced.cancel();
                Outcome::Forced
            }
        }
    }

    /// Returns when every [`Watch`] is gone.
    pub async fn finished(&self) {
        self.alive.close();
        self.alive.wait().await;
    }
}

/// Heeds the drain. Whoever holds one is waited for, so it is held exactly as long as there is work.
#[derive(Debug, Clone)]
pub struct Watch {
    graceful: CancellationToken,
    forced: CancellationToken,
    _alive: TaskTrackerToken,
}

impl Watch {
    /// Whether the drain was announced.
    pub fn is_draining(&self) -> bool {
        self.graceful.is_cancelled()
    }

    /// Returns when the drain is announced.
    pub async fn graceful(&self) {
        self.graceful.cancelled().await;
    }

    /// Returns when it is time to stop.
    pub async fn forced(&self) {
        self.forced.cancelled().await;
    }

    /// Cancelled when it is time to stop; its children can also be cancelled one by one.
    pub fn forced_token(&self) -> &CancellationToken {
        &self.forced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn drain_ends_when_the_last_watch_is_gone() {
        let (signal, watch) = pair();
        let worker = tokio::spawn(async move {
            watch.graceful().await;
            tokio::time::sleep(Duration::from_secs(3)).await;
            assert!(!watch.forced_token().is_cancelled());
        });
        assert_eq!(signal.drain(Duration::from_secs(10)).await, Outcome::Graceful);
        worker.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_finish_is_told_to_stop() {
        let (signal, watch) = pair();
        let worker = tokio::spawn(async move { watch.forced().await });
        assert_eq!(signal.drain(Duration::from_secs(10)).await, Outcome::Forced);
        signal.finished().await;
        worker.await.unwrap();
    }
}
