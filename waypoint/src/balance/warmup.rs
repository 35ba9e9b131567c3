//! New endpoints get less, and more as they age.

use std::time::Duration;

use super::settings::Warmup;

/// Shares are in millionths.
pub(super) const WHOLE: u64 = 1_000_000;

impl Warmup {
    /// An endpoint's share of its weight at `age`.
    pub(super) fn share(&self, age: Duration) -> u64 {
        if age >= self.duration {
            return WHOLE;
        }
        let passed = age.as_secs_f64() / self.duration.as_secs_f64();
        let share = passed.powf(1.0 / self.aggression).max(self.share_min).min(1.0);
        // Between 0 and a million, which both types hold exactly.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
        let share = (share * 1e6) as u64;
        share.max(1)
    }

    /// The share at `now` of one that is ready since then, both nanoseconds since the cluster's beginning.
    pub(super) fn share_at(&self, ready_since: u64, now: u64) -> u64 {
        match ready_since {
            0 => WHOLE,
            since => self.share(Duration::from_nanos(now.saturating_sub(since))),
        }
    }
}
