//! Shares of requests.

/// A share of all requests, exact to the precision that it was written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fraction {
    pub(super) numerator: u32,
    /// Not 0.
    pub(super) denominator: u32,
}

impl Fraction {
    /// Every request.
    pub const ALL: Self = Self { numerator: 1, denominator: 1 };

    /// Whether a request that drew `random` (uniform over all values) belongs to the share.
    pub fn holds(self, random: u64) -> bool {
        below(random, u64::from(self.denominator)) < u64::from(self.numerator)
    }
}

/// A number below `bound`, each as likely as the others up to one part in 2⁶⁴; 0 where there is none.
pub(super) fn below(random: u64, bound: u64) -> u64 {
    let scaled = (u128::from(random) * u128::from(bound)) >> 64;
    u64::try_from(scaled).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_exact() {
        let half = Fraction { numerator: 1, denominator: 2 };
        assert!(half.holds(0) && half.holds(u64::MAX / 2) && !half.holds(u64::MAX / 2 + 1));
        let none = Fraction { numerator: 0, denominator: 100 };
        assert!(!none.holds(0) && Fraction::ALL.holds(u64::MAX));
        assert_eq!((below(u64::MAX, 7), below(0, 7), below(5, 0)), (6, 0, 0));
    }
}
