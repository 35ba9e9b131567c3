//! When which source is fetched, and what is known of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::{Rng, RngExt};
use tokio::time::Instant;

use super::{FetchError, Update, Wanted, limits};
use crate::objects::KeySource;
use crate::translate::FetchedKeys;

/// All sources in use.
#[derive(Debug, Default)]
pub(super) struct Schedule(BTreeMap<KeySource, Entry>);

#[derive(Debug)]
struct Entry {
    timeout: Duration,
    /// Nothing while it is being fetched.
    due: Option<Instant>,
    /// After the next failure.
    backoff: Duration,
    /// The last good keys, and since when.
    good: Option<(Arc<str>, Instant)>,
    /// What was passed on last.
    told: Option<FetchedKeys>,
}

impl Schedule {
    /// Takes in what is in use from now on.
    pub(super) fn set(&mut self, wanted: &Wanted, now: Instant) {
        self.0.retain(|source, _| wanted.contains_key(source));
        for (source, timeout) in wanted {
            let entry = self.0.entry(source.clone()).or_insert_with(|| Entry {
                timeout: *timeout,
                due: Some(now),
                backoff: limits::BACKOFF_MIN,
                good: None,
                told: None,
            });
            entry.timeout = *timeout;
        }
    }

    /// The one that has been due longest, with its time, so that failing ones hold up no others; it isn't due again until
    /// it has ended.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<(KeySource, Duration)> {
        let due = self.0.iter_mut().filter_map(|(source, entry)| Some((entry.due?, source, entry)));
        let (_, source, entry) =
            due.filter(|(due, ..)| *due <= now).min_by_key(|(due, ..)| *due)?;
        entry.due = None;
        Some((source.clone(), entry.timeout))
    }

    /// When the next one is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.0.values().filter_map(|entry| entry.due).min()
    }

    /// Takes in how a fetch ended. Returns what is news.
    pub(super) fn ended(
        &mut self,
        source: KeySource,
        outcome: Result<Arc<str>, FetchError>,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Option<Update> {
        let entry = self.0.get_mut(&source)?;
        let (wait, error) = match outcome {
            Ok(keys) => {
                entry.good = Some((keys, now));
                entry.backoff = limits::BACKOFF_MIN;
                (limits::REFRESH, None)
            }
            Err(error) => {
                let wait = entry.backoff;
                entry.backoff = wait.saturating_mul(2).min(limits::BACKOFF_MAX);
                (wait, Some(Arc::from(error.to_string())))
            }
        };
        entry.due = Some(now + wait.mul_f64(rng.random_range(0.5..=1.0)));
        entry.good = entry.good.take().filter(|(_, since)| now - *since <= limits::KEPT);
        let keys = entry.good.as_ref().map(|(keys, _)| keys.clone());
        let fetched = FetchedKeys { keys, error };
        if entry.told.as_ref() == Some(&fetched) {
            return None;
        }
        entry.told = Some(fetched.clone());
        Some((source, fetched))
    }
}
