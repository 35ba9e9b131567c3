//! Latencies and their percentiles.

use std::time::Duration;

use serde::Serialize;

/// Samples kept a connection; after that a new one replaces the oldest.
const SAMPLES_MAX: usize = 1 << 20;

/// Latencies as they are measured.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    nanoseconds: Vec<u64>,
    seen: usize,
}

/// Microseconds at some percentiles.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) p50_us: f64,
    pub(crate) p90_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
}

impl Latencies {
    /// Adds one.
    pub(crate) fn add(&mut self, latency: Duration) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        if self.nanoseconds.len() < SAMPLES_MAX {
            self.nanoseconds.push(nanoseconds);
        } else if let Some(place) = self.nanoseconds.get_mut(self.seen % SAMPLES_MAX) {
            *place = nanoseconds;
        }
        self.seen += 1;
    }

    /// Takes over those of another.
    pub(crate) fn merge(&mut self, other: Self) {
        self.seen += other.seen;
        self.nanoseconds.extend(other.nanoseconds);
    }

    /// How many were added.
    pub(crate) fn count(&self) -> usize {
        self.seen
    }

    /// The percentiles.
    pub(crate) fn percentiles(mut self) -> Percentiles {
        self.nanoseconds.sort_unstable();
        let at = |thousandths: usize| {
            let index = self.nanoseconds.len().saturating_sub(1) * thousandths / 1000;
            self.nanoseconds
                .get(index)
                .map_or(0.0, |ns| Duration::from_nanos(*ns).as_secs_f64() * 1e6)
        };
        Percentiles {
            p50_us: at(500),
            p90_us: at(900),
            p99_us: at(990),
            p999_us: at(999),
            max_us: at(1000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_samples() {
        let mut latencies = Latencies::default();
        for microseconds in (1..=1000).rev() {
            latencies.add(Duration::from_micros(microseconds));
        }
        let percentiles = latencies.percentiles();
        assert!((percentiles.p50_us - 500.0).abs() <= 1.0);
        assert!((percentiles.p99_us - 990.0).abs() <= 1.0);
        assert!((percentiles.max_us - 1000.0).abs() < 1e-6);
    }

    #[test]
    fn no_samples_give_zeros() {
        assert!(Latencies::default().percentiles().max_us.abs() < f64::EPSILON);
    }
}
