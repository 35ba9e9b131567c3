//! A histogram that is added to without a lock.

use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bounds in thousandths. They are Envoy's defaults, which Istio keeps for times (milliseconds) and sizes (bytes)
/// alike; one more bucket is without bound.
const BOUNDS: [u64; 19] = [
    500,
    1_000,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    600_000_000,
    1_800_000_000,
    3_600_000_000,
];

/// Counts of values, a bucket each.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    counts: [AtomicU64; BOUNDS.len()],
    beyond: AtomicU64,
    sum: AtomicU64,
}

impl Histogram {
    /// Adds a value, in thousandths.
    pub(super) fn add(&self, thousandths: u64) {
        let nth = BOUNDS.partition_point(|bound| *bound < thousandths);
        self.counts.get(nth).unwrap_or(&self.beyond).fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(thousandths, Ordering::Relaxed);
    }

    /// What was added so far. The count is that of the buckets, so that the two never disagree.
    pub(super) fn read(&self) -> Values {
        let bounded = BOUNDS.iter().zip(&self.counts);
        let buckets: Vec<_> = bounded
            .map(|(bound, count)| (thousandth(*bound), count.load(Ordering::Relaxed)))
            .chain([(f64::INFINITY, self.beyond.load(Ordering::Relaxed))])
            .collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        Values { sum: thousandth(self.sum.load(Ordering::Relaxed)), count, buckets }
    }
}

/// A reading.
#[derive(Debug, Default)]
pub(super) struct Values {
    pub(super) sum: f64,
    pub(super) count: u64,
    /// Upper bounds and how many values are in each bucket alone.
    pub(super) buckets: Vec<(f64, u64)>,
}

#[expect(clippy::cast_precision_loss, reason = "a sum of 2^53 thousandths is read as one near it")]
fn thousandth(value: u64) -> f64 {
    value as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_falls_into_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for value in [0, 500, 501, 3_600_000_000, 3_600_000_001] {
            histogram.add(value);
        }
        let values = histogram.read();
        let filled: Vec<_> = values.buckets.iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [&(0.5, 2), &(1.0, 1), &(3_600_000.0, 1), &(f64::INFINITY, 1)]);
        assert_eq!(values.count, 5);
        assert!((values.sum - 7_200_001.002).abs() < 1e-6, "{}", values.sum);
    }
}
