//! Endpoints that fail are left out for a while, as Envoy's outlier detection does it: failures in succession eject, an
//! interval's look brings back who has served its time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::MutexGuard;
use tokio::time::Instant;

use super::cluster::{Inner, State};
use super::endpoint::Endpoint;
use super::live::Slot;
use super::settings::{Outlier, Settings};

/// What came of a request at an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// An answer with this status (for gRPC: see [`Outcome::of_grpc`]).
    Status(u16),
    /// Something between here and the endpoint answered in its place, such as its node's proxy.
    GatewayError,
    /// No connection.
    ConnectFailed,
    /// Another failure on this side of the connection.
    LocalOrigin,
    /// No answer in time.
    Timeout,
    /// The connection or the stream ended without an answer.
    Reset,
}

/// What an outcome counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Verdict {
    is_error: bool,
    is_gateway: bool,
    /// Counts as a failure without an answer, and as nothing else.
    is_local: bool,
}

impl Outcome {
    /// As Envoy maps a status of gRPC to one of HTTP.
    pub fn of_grpc(status: u32) -> Self {
        Self::Status(match status {
            0 => 200,
            1 => 499,
            3 | 9 | 11 => 400,
            4 => 504,
            5 => 404,
            6 | 10 => 409,
            7 => 403,
            8 => 429,
            12 => 501,
            14 => 503,
            16 => 401,
            _ => 500,
        })
    }

    fn verdict(self, outlier: &Outlier) -> Verdict {
        match self {
            Self::Status(status) => Verdict {
                is_error: outlier.is_error(status),
                is_gateway: outlier.is_error(status) && matches!(status, 502..=504),
                is_local: false,
            },
            Self::GatewayError => Verdict { is_error: true, is_gateway: true, is_local: false },
            Self::ConnectFailed | Self::LocalOrigin | Self::Timeout | Self::Reset => Verdict {
                is_error: !outlier.splits_local_origin,
                is_gateway: !outlier.splits_local_origin,
                is_local: outlier.splits_local_origin,
            },
        }
    }
}

impl Outlier {
    fn is_error(&self, status: u16) -> bool {
        match &*self.error_statuses {
            [] => (500..600).contains(&status),
            ranges => ranges.iter().any(|range| range.contains(&status)),
        }
    }

    /// How many of so many endpoints may be ejected. One may always be, where any may.
    fn ejected_max(&self, endpoints: usize) -> usize {
        let percent = usize::try_from(self.ejected_percent_max.min(100)).unwrap_or(0);
        (endpoints * percent / 100).max(usize::from(percent > 0))
    }

    /// How long the `times`-th ejection in succession lasts.
    fn ejection(&self, times: u32) -> Duration {
        let longest = self.ejection_max.max(self.base_ejection);
        self.base_ejection.checked_mul(times).unwrap_or(longest).min(longest)
    }
}

/// Counts one more, or begins anew. True if `max` in succession are reached, and then it begins anew too: if the endpoint
/// can't be ejected now, it takes as many again until that is asked anew.
fn reaches(counter: &AtomicU32, is_failure: bool, max: u32) -> bool {
    if !is_failure {
        // Most requests succeed: reading leaves the line with all threads.
        if counter.load(Ordering::Relaxed) != 0 {
            counter.store(0, Ordering::Relaxed);
        }
        return false;
    }
    let count = counter.fetch_add(1, Ordering::Relaxed).saturating_add(1);
    let is_reached = max > 0 && count >= max;
    if is_reached {
        counter.store(0, Ordering::Relaxed);
    }
    is_reached
}

/// How many of them are.
pub(super) fn ejected(slots: &[Slot]) -> usize {
    slots.iter().filter(|slot| slot.endpoint.is_ejected()).count()
}

impl Inner {
    /// Counts an outcome, and ejects the endpoint if it is one too many.
    pub(super) fn report(&self, endpoint: &Arc<Endpoint>, outcome: Outcome, now: Instant) {
        let live = self.live.load();
        let Some(outlier) = &live.settings.outlier else {
            return;
        };
        let verdict = outcome.verdict(outlier);
        let failures = &endpoint.failures;
        let mut is_outlier = reaches(&failures.local, verdict.is_local, outlier.consecutive_local);
        // Without an answer there is nothing to say about answers.
        if !verdict.is_local {
            is_outlier |= reaches(&failures.errors, verdict.is_error, outlier.consecutive_5xx);
            is_outlier |=
                reaches(&failures.gateway, verdict.is_gateway, outlier.consecutive_gateway);
        }
        if is_outlier && !endpoint.is_ejected() {
            self.eject(endpoint, now);
        }
    }

    fn eject(&self, endpoint: &Arc<Endpoint>, now: Instant) {
        let mut state = self.state.lock();
        let live = self.live.load_full();
        let is_known = live.endpoints.iter().any(|slot| Arc::ptr_eq(&slot.endpoint, endpoint));
        let Some(outlier) = live.settings.outlier.as_ref().filter(|_| is_known) else {
            return;
        };
        if endpoint.is_ejected() {
            return;
        }
        if state.ejected >= outlier.ejected_max(live.endpoints.len()) {
            self.counts.note_ejection_refused();
            return;
        }
        let mut ejection = endpoint.ejection.lock();
        ejection.times = ejection.times.saturating_add(1);
        ejection.until = now.checked_add(outlier.ejection(ejection.times));
        drop(ejection);
        endpoint.set_ejected(true);
        state.ejected = ejected(&live.endpoints);
        self.counts.note_ejection();
        self.republish(&state);
    }

    /// Brings back who has served its time, once an interval. Cheap where it isn't due.
    pub(super) fn sweep_if_due(&self, now: Instant) {
        let nanoseconds = self.nanoseconds(now);
        let due = self.next_sweep.load(Ordering::Relaxed);
        if nanoseconds < due || self.live.load().settings.outlier.is_none() {
            return;
        }
        // Whoever holds the lock replaces the snapshot, or sweeps itself.
        let Some(state) = self.state.try_lock() else {
            return;
        };
        self.sweep(state, now, nanoseconds);
    }

    fn sweep(&self, mut state: MutexGuard<'_, State>, now: Instant, nanoseconds: u64) {
        let live = self.live.load_full();
        let Some(outlier) = &live.settings.outlier else {
            return;
        };
        let due = self.next_sweep.load(Ordering::Relaxed);
        if nanoseconds < due {
            return;
        }
        let interval = u64::try_from(outlier.interval.as_nanos()).unwrap_or(u64::MAX).max(1);
        // Several intervals may have passed without a request.
        let passed = (nanoseconds - due) / interval + 1;
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        self.next_sweep.store(nanoseconds.saturating_add(interval), Ordering::Relaxed);
        let mut has_returned = false;
        for slot in live.endpoints.iter() {
            let mut ejection = slot.endpoint.ejection.lock();
            match ejection.until {
                None => ejection.times = ejection.times.saturating_sub(passed),
                Some(until) if until <= now => {
                    ejection.until = None;
                    slot.endpoint.set_ejected(false);
                    has_returned = true;
                }
                Some(_) => {}
            }
        }
        if has_returned {
            state.ejected = ejected(&live.endpoints);
            self.republish(&state);
        }
    }

    /// Where endpoints left or settings changed, fewer may be ejected than are: who would come back first does so now.
    pub(super) fn keep_bound(
        &self,
        state: &mut MutexGuard<'_, State>,
        slots: &[Slot],
        settings: &Settings,
    ) {
        let max = settings.outlier.as_ref().map_or(0, |it| it.ejected_max(slots.len()));
        if state.ejected <= max {
            return;
        }
        let mut longest: Vec<&Slot> =
            slots.iter().filter(|slot| slot.endpoint.is_ejected()).collect();
        longest.sort_by_key(|slot| slot.endpoint.ejection.lock().until);
        let surplus = state.ejected - max;
        for slot in longest.into_iter().take(surplus) {
            slot.endpoint.ejection.lock().until = None;
            slot.endpoint.set_ejected(false);
        }
        state.ejected = ejected(slots);
    }
}
