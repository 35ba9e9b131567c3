//! Wall time, read in one place so that a test can move it.
//!
//! Durations and deadlines use `tokio::time` instead, which a test can pause.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

static OFFSET_MILLIS: AtomicI64 = AtomicI64::new(0);

/// The present wall time.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn now() -> SystemTime {
    let offset = OFFSET_MILLIS.load(Ordering::Relaxed);
    let shift = Duration::from_millis(offset.unsigned_abs());
    let base = SystemTime::now();
    if offset >= 0 { base + shift } else { base - shift }
}

/// Seconds since 1970.
pub fn unix_seconds() -> u64 {
    now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Moves the clock of this process, for tests of expiry and skew.
pub fn shift_for_test(millis: i64) {
    OFFSET_MILLIS.fetch_add(millis, Ordering::Relaxed);
}
