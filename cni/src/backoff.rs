//! Pauses between attempts: doubling, with a ceiling, spread by a fifth either way so that a cluster's agents don't
//! come back in step.

use std::time::Duration;

use rand::RngExt as _;

/// The pauses of one thing that fails.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// Pauses from `min` to `max`.
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, failures: 0 }
    }

    /// Counts a failure; how long to wait now.
    pub fn pause(&mut self) -> Duration {
        let doubled = self.min.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        self.failures = self.failures.saturating_add(1);
        doubled.min(self.max).mul_f64(rand::rng().random_range(0.8..1.2))
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Starts over after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_ceiling_and_stay_there() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(10));
        let pauses: Vec<_> = (0..100).map(|_| backoff.pause().as_secs_f64()).collect();
        for (pause, nominal) in pauses.iter().zip([1.0, 2.0, 4.0, 8.0, 10.0]) {
            assert!((nominal * 0.8..nominal * 1.2).contains(pause), "{pause} for {nominal}");
        }
        assert!(pauses[99] < 12.0 && backoff.failures() == 100);
        backoff.reset();
        assert!(backoff.pause().as_secs_f64() < 1.2);
    }
}
