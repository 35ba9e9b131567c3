//! Summaries of samples.

/// The middle sample, or the mean of the two in the middle; 0 of none.
#[must_use]
pub(crate) fn median(samples: &[f64]) -> f64 {
    let sorted = sorted(samples);
    let middle = sorted.len() / 2;
    let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
    if sorted.len() % 2 == 1 {
        at(middle)
    } else {
        (at(middle.saturating_sub(1)) + at(middle)) / 2.0
    }
}

/// The smallest sample that at least `percent` in a hundred do not exceed (nearest rank); 0 of
/// none.
#[must_use]
pub(crate) fn percentile(samples: &[f64], percent: usize) -> f64 {
    let sorted = sorted(samples);
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

/// The median of each round's share of the same round's base.
///
/// Rounds are compared one by one because what disturbs a round mostly disturbs all its sides.
/// `None` unless there are as many of both, and none of the base is 0.
#[must_use]
pub(crate) fn median_ratio(samples: &[f64], base: &[f64]) -> Option<f64> {
    if samples.is_empty() || samples.len() != base.len() || base.contains(&0.0) {
        return None;
    }
    let ratios: Vec<f64> = samples.iter().zip(base).map(|(sample, base)| sample / base).collect();
    Some(median(&ratios))
}

fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn median_is_the_middle_of_the_sorted_samples() {
        for (samples, expected) in [
            (&[][..], 0.0),
            (&[7.0], 7.0),
            (&[9.0, 1.0], 5.0),
            (&[3.0, 100.0, 1.0], 3.0),
            (&[4.0, 1.0, 3.0, 2.0], 2.5),
        ] {
            assert!(same(median(samples), expected), "{samples:?}");
        }
    }

    #[test]
    fn percentiles_are_samples_that_occurred() {
        let samples: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        for (percent, expected) in [(1, 1.0), (50, 50.0), (99, 99.0), (100, 100.0), (0, 1.0)] {
            assert!(same(percentile(&samples, percent), expected), "{percent}");
        }
        assert!(same(percentile(&[5.0, 1.0], 99), 5.0));
        assert!(same(percentile(&[], 99), 0.0));
    }

    #[test]
    fn a_disturbed_round_does_not_bend_the_ratio() {
        // In the second round the machine had half its speed for both sides.
        let ratio = median_ratio(&[40.0, 20.0, 41.0], &[80.0, 40.0, 82.0]);
        assert!(ratio.is_some_and(|ratio| same(ratio, 0.5)));
    }

    #[test]
    fn rounds_without_a_partner_have_no_ratio() {
        assert_eq!(median_ratio(&[1.0], &[1.0, 2.0]), None);
        assert_eq!(median_ratio(&[1.0], &[0.0]), None);
        assert_eq!(median_ratio(&[], &[]), None);
    }
}
