//! Keys of token issuers, fetched and kept fresh beside the model.
//!
//! ```text
//!  owner ──Wanted──▶ run ──(Schedule: when)──▶ source::keys ──▶ Get (HTTP)
//!    ▲                │
//!    └──── Update ────┘   (the model takes it in as it takes objects in)
//! ```
//!
//! Invariants: no key comes from anywhere but its issuer's own source; a source that can't be fetched has no keys, or for a
//! bounded time its last good ones.

pub mod limits;
mod schedule;
mod source;
mod web;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::objects::KeySource;
use crate::translate::FetchedKeys;
use schedule::Schedule;

pub use source::FetchError;
pub use web::{Get, Web};

/// Sources that are in use, and the time that each may take.
pub type Wanted = BTreeMap<KeySource, Duration>;

/// What fetching a source gave.
pub type Update = (KeySource, FetchedKeys);

/// The fetcher's two ends.
#[derive(Debug)]
pub struct Keys {
    /// Takes what is in use.
    pub wanted: watch::Sender<Wanted>,
    /// Gives what changed.
    pub updates: mpsc::Receiver<Update>,
}

/// Starts fetching by `get`. It ends when either end of [`Keys`] goes.
pub fn spawn(get: impl Get) -> Keys {
    let (wanted, in_use) = watch::channel(Wanted::new());
    let (sender, updates) = mpsc::channel(limits::UPDATE_QUEUE);
    tokio::spawn(run(Arc::new(get), in_use, sender));
    Keys { wanted, updates }
}

async fn run(
    get: Arc<impl Get>,
    mut wanted: watch::Receiver<Wanted>,
    updates: mpsc::Sender<Update>,
) {
    let mut schedule = Schedule::default();
    let mut fetches = JoinSet::new();
    loop {
        let now = tokio::time::Instant::now();
        while fetches.len() < limits::FETCHES_MAX
            && let Some((source, timeout)) = schedule.take_due(now)
        {
            let get = get.clone();
            fetches.spawn(async move {
                let keys = source::keys(&*get, &source, timeout).await;
                (source, keys)
            });
        }
        let has_room = fetches.len() < limits::FETCHES_MAX;
        let due = schedule.next_due().filter(|_| has_room);
        let update = tokio::select! {
            changed = wanted.changed() => match changed {
                Ok(()) => {
                    schedule.set(&wanted.borrow_and_update(), tokio::time::Instant::now());
                    None
                }
                Err(_) => return,
            },
            // A fetch that panicked is fetched again as one that failed.
            Some(ended) = fetches.join_next() => match ended {
                Ok((source, outcome)) => {
                    let now = tokio::time::Instant::now();
                    schedule.ended(source, outcome, now, &mut rand::rng())
                }
                Err(_) => None,
            },
            () = sleep_until(due) => None,
        };
        if let Some(update) = update
            && updates.send(update).await.is_err()
        {
            return;
        }
    }
}

async fn sleep_until(due: Option<tokio::time::Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
