//! Shares of requests, for sampling.

/// A share of all requests, in millionths: Telemetry objects have percentages with up to two digits, and a mesh may want
/// less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share(u32);

const WHOLE: u32 = 1_000_000;

impl Share {
    /// Every request.
    pub const ALL: Self = Self(WHOLE);
    /// No request.
    pub const NONE: Self = Self(0);

    /// Of millionths; more than all of them are all.
    pub fn of_millionths(millionths: u32) -> Self {
        Self(millionths.min(WHOLE))
    }

    /// In percent, as people write it.
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }

    /// Whether a request that drew `random` (uniform over all values) belongs to it.
    pub fn holds(self, random: u64) -> bool {
        let drawn = (u128::from(random) * u128::from(WHOLE)) >> 64;
        drawn < u128::from(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_is_exact() {
        let one_percent = Share::of_millionths(10_000);
        let held = (0..1000).filter(|n| one_percent.holds(n * (u64::MAX / 1000))).count();
        assert_eq!(held, 11, "0 and the ten thousandths at or below a hundredth");
        assert!(Share::ALL.holds(u64::MAX) && !Share::NONE.holds(0));
        assert_eq!(Share::of_millionths(u32::MAX), Share::ALL);
    }
}
