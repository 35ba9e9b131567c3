//! The relay phase, and how its end is told.

use std::pin::pin;
use std::sync::Arc;

use weft_core::relay::{self, Counters, End, RelayError, RelaySettings};

use crate::connections::Tracked;
use crate::error::ConnectionError;

/// Relays until both directions ended, or the connection is cut.
pub(crate) async fn relay(
    downstream: impl Into<End>,
    upstream: impl Into<End>,
    tracked: &Tracked,
    counters: &Counters,
) -> Result<(), ConnectionError> {
    let settings = RelaySettings { abort: tracked.cut().clone(), ..RelaySettings::default() };
    let outcome = Box::pin(relay::join(downstream, upstream, counters, &settings)).await;
    outcome.map(|_| ()).map_err(|error| told(error, tracked))
}

/// Relays within the node: the connection is in two pods' tables, and either may cut it.
pub(crate) async fn relay_local(
    downstream: impl Into<End>,
    upstream: impl Into<End>,
    (source, destination): (&Tracked, &Tracked),
    counters: &Counters,
) -> Result<(), ConnectionError> {
    let mut relaying = pin!(relay(downstream, upstream, source, counters));
    let outcome = tokio::select! {
        outcome = &mut relaying => outcome,
        () = destination.cut().cancelled() => {
            source.cut().cancel();
            relaying.await
        }
    };
    match (outcome, destination.cut_reason()) {
        (Err(_), Some(denial)) => Err(ConnectionError::Cut(denial.clone())),
        (outcome, _) => outcome,
    }
}

fn told(error: RelayError, tracked: &Tracked) -> ConnectionError {
    match (error, tracked.cut_reason()) {
        (RelayError::Aborted, Some(denial)) => ConnectionError::Cut(denial.clone()),
        (RelayError::Aborted, None) => ConnectionError::Drained,
        (error, _) => ConnectionError::Relay(Arc::new(error)),
    }
}
