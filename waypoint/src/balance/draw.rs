//! Draws, uniform and by weight.

use rand::Rng;

/// A number below `bound`, each as likely as the others up to one part in 2⁶⁴; 0 where there is none.
pub(super) fn below(rng: &mut impl Rng, bound: u64) -> u64 {
    scaled(rng.next_u64(), bound)
}

/// The number below `bound` that stands where `random` stands among all values.
pub(super) fn scaled(random: u64, bound: u64) -> u64 {
    let scaled = (u128::from(random) * u128::from(bound)) >> 64;
    u64::try_from(scaled).unwrap_or(0)
}

/// As [`below`], for places of a list.
pub(super) fn place(rng: &mut impl Rng, len: usize) -> usize {
    let bound = u64::try_from(len).unwrap_or(u64::MAX);
    usize::try_from(below(rng, bound)).unwrap_or(0)
}

/// Places by weight.
#[derive(Debug, Default)]
pub(super) struct Wheel {
    len: usize,
    /// Where each one's share ends; nothing where all weigh the same.
    ends: Option<Box<[u64]>>,
}

impl Wheel {
    /// Weights must be above 0.
    pub(super) fn new(weights: &[u64]) -> Self {
        let is_even = weights.windows(2).all(|pair| pair.first() == pair.last());
        let mut end = 0_u64;
        let ends = || {
            let ends = weights.iter().map(|weight| {
                end = end.saturating_add(*weight);
                end
            });
            ends.collect()
        };
        Self { len: weights.len(), ends: (!is_even).then(ends) }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn draw(&self, rng: &mut impl Rng) -> usize {
        match &self.ends {
            None => place(rng, self.len),
            Some(ends) => self.at(ends, below(rng, ends.last().copied().unwrap_or(0))),
        }
    }

    /// A place besides `first`, if there is one. Where weights differ, `first` may come again if it weighs most of all.
    pub(super) fn draw_other(&self, first: usize, rng: &mut impl Rng) -> usize {
        const TRIES: usize = 4;
        match (&self.ends, self.len) {
            (_, 0 | 1) => first,
            (None, len) => (first + 1 + place(rng, len - 1)) % len,
            (Some(_), _) => {
                let mut draws = (0..TRIES).map(|_| self.draw(rng));
                draws.find(|place| *place != first).unwrap_or(first)
            }
        }
    }

    /// Turn `turn` of a round in which everybody comes as often as it weighs, and spread out. By multiples of the golden
    /// ratio, which fall evenly into any division of a circle.
    pub(super) fn turn(&self, turn: u64) -> usize {
        const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
        match &self.ends {
            None => {
                let len = u64::try_from(self.len.max(1)).unwrap_or(u64::MAX);
                usize::try_from(turn % len).unwrap_or(0)
            }
            Some(ends) => {
                let total = ends.last().copied().unwrap_or(0);
                self.at(ends, scaled(turn.wrapping_mul(GOLDEN), total))
            }
        }
    }

    fn at(&self, ends: &[u64], drawn: u64) -> usize {
        ends.partition_point(|end| *end <= drawn).min(self.len.saturating_sub(1))
    }
}
