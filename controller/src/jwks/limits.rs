//! Bounds of fetching keys, each with its derivation.

use std::time::Duration;

/// An answer, bytes. Sets with certificates have some 20 KiB.
pub const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Time for one source, where its object sets none: Istio's.
pub const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time for one source, whatever its object says: eight slow ones at once must not hold up all others.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(30);
/// Time until keys are fetched again: Istio's. Issuers publish a new key hours before they use it.
pub const REFRESH: Duration = Duration::from_secs(20 * 60);
/// First wait after a failure; doubled up to the next constant.
pub const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// Longest wait after a failure.
pub const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// How long the last good keys stay in use while none can be fetched: a day, so that a night's outage of an issuer is none
/// of ours, and a key that was withdrawn is out of use the day after.
pub const KEPT: Duration = Duration::from_secs(24 * 3_600);
/// How long a starting controller waits for keys before it serves: a fetch takes a fifth of a second, and one that fails is
/// waited for no longer. Waypoints would lose the keys that they have from before otherwise.
pub const FIRST: Duration = Duration::from_secs(3);
/// Fetches at once.
pub const FETCHES_MAX: usize = 8;
/// Updates on their way to the model: each is a few KiB.
pub const UPDATE_QUEUE: usize = 16;
/// Addresses of one host that are tried.
pub const ADDRESSES_MAX: usize = 8;
