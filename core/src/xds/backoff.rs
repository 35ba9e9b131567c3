//! How long to wait before the next attempt.

use std::time::Duration;

use rand::{Rng, RngExt};

/// Doubles from a minimum to a maximum. Each wait is drawn from the upper half, so that a herd of clients spreads.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min }
    }

    pub(super) fn reset(&mut self) {
        self.next = self.min;
    }

    /// The wait before the next attempt.
    pub(super) fn wait(&mut self, rng: &mut impl Rng) -> Duration {
        let wait = self.next;
        self.next = wait.saturating_mul(2).min(self.max);
        wait.mul_f64(rng.random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_maximum_and_spread() {
        let (min, max) = (Duration::from_millis(10), Duration::from_secs(15));
        let mut backoff = Backoff::new(min, max);
        let mut rng = rand::rng();
        let mut upper = min;
        for _ in 0..20 {
            let wait = backoff.wait(&mut rng);
            assert!(wait >= upper / 2 && wait <= upper, "{wait:?} of {upper:?}");
            upper = (upper * 2).min(max);
        }
        assert_eq!(upper, max);
        backoff.reset();
        assert!(backoff.wait(&mut rng) <= min);
    }
}
