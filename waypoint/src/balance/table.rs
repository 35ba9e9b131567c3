//! Tables that find endpoints by hashes. They depend on names and weights alone, so that all replicas build the same.

use std::sync::Arc;

use xxhash_rust::xxh64::xxh64;

use crate::limits;

use super::settings::Algorithm;

/// Names and weights, by name. Places of tables are places in it.
pub(super) type Members = Box<[(Arc<str>, u32)]>;

/// A table for a group of endpoints.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) algorithm: Algorithm,
    pub(super) members: Members,
    shape: Shape,
}

#[derive(Debug)]
enum Shape {
    /// Where members stand, in order.
    Ring(Box<[(u64, u32)]>),
    Maglev(Box<[u32]>),
}

impl Table {
    pub(super) fn new(algorithm: Algorithm, members: Members) -> Self {
        let shape = match algorithm {
            Algorithm::Ring { size_min } => Shape::Ring(ring(&members, size_min)),
            Algorithm::Maglev { size } => Shape::Maglev(maglev(&members, size)),
        };
        Self { algorithm, members, shape }
    }

    /// Places of members, from that of the hash onwards: whoever stands in for it is always the same. They repeat, and
    /// end after one round.
    pub(super) fn from(&self, hash: u64) -> impl Iterator<Item = usize> {
        let (start, len) = match &self.shape {
            Shape::Ring(ring) => (ring.partition_point(|(at, _)| *at < hash), ring.len()),
            Shape::Maglev(table) => {
                let len = u64::try_from(table.len().max(1)).unwrap_or(u64::MAX);
                (usize::try_from(hash % len).unwrap_or(0), table.len())
            }
        };
        let places = (start..len).chain(0..start.min(len));
        let member = |at: usize| match &self.shape {
            Shape::Ring(ring) => ring.get(at).map(|(_, member)| *member),
            Shape::Maglev(table) => table.get(at).copied(),
        };
        places.filter_map(member).filter_map(|member| usize::try_from(member).ok())
    }
}

/// Each member stands at places in proportion to its weight, at least one. A member's first places don't depend on how many
/// others there are, so that few hashes move where somebody comes or goes.
fn ring(members: &[(Arc<str>, u32)], size_min: usize) -> Box<[(u64, u32)]> {
    let total: u64 = members.iter().map(|(_, weight)| u64::from(*weight)).sum();
    let size = size_min.clamp(members.len(), limits::RING_SIZE_MAX.max(members.len()));
    let size = u64::try_from(size).unwrap_or(u64::MAX);
    let mut ring = Vec::with_capacity(members.len().saturating_add(size_min));
    for (member, (name, weight)) in (0_u32..).zip(members) {
        let share = u128::from(size) * u128::from(*weight);
        let places = share.div_ceil(u128::from(total.max(1))).max(1);
        let places = u64::try_from(places).unwrap_or(1);
        ring.extend((0..places).map(|number| (xxh64(name.as_bytes(), number), member)));
    }
    // Of two at one place the same one must win everywhere: the first by name.
    ring.sort_unstable();
    ring.into()
}

const FREE: u32 = u32::MAX;

/// Eisenbud and others, "Maglev: A Fast and Reliable Software Network Load Balancer" (NSDI 2016), section 3.4: members take
/// turns in claiming the next free place of their own permutation; here as often as they weigh.
fn maglev(members: &[(Arc<str>, u32)], size: usize) -> Box<[u32]> {
    struct Claimant {
        next: u64,
        skip: u64,
        /// Sum of weights over the turns so far, of which the heaviest one's are whole turns.
        due: u64,
        weight: u64,
    }
    // Permutations need a prime; the bound is one.
    let size = prime_from(size.clamp(2, limits::MAGLEV_SIZE_MAX));
    let len = u64::try_from(size).unwrap_or(2);
    let heaviest = members.iter().map(|(_, weight)| u64::from(*weight)).max().unwrap_or(0);
    if heaviest == 0 {
        return Box::default();
    }
    let claimant = |(name, weight): &(Arc<str>, u32)| Claimant {
        next: xxh64(name.as_bytes(), 0) % len,
        skip: xxh64(name.as_bytes(), 1) % (len - 1) + 1,
        due: 0,
        weight: u64::from(*weight),
    };
    let mut claimants: Vec<Claimant> = members.iter().map(claimant).collect();
    let mut table = vec![FREE; size];
    let mut free = size;
    while free > 0 {
        for (member, it) in (0_u32..).zip(&mut claimants) {
            it.due += it.weight;
            if it.due < heaviest {
                continue;
            }
            it.due -= heaviest;
            // A step that is no divisor of the (prime) length comes by every place.
            for _ in 0..len {
                let place = usize::try_from(it.next).ok().and_then(|at| table.get_mut(at));
                it.next = (it.next + it.skip) % len;
                if let Some(place) = place.filter(|place| **place == FREE) {
                    *place = member;
                    free -= 1;
                    break;
                }
            }
            if free == 0 {
                break;
            }
        }
    }
    table.into()
}

/// The smallest prime from `number` on.
pub(super) fn prime_from(number: usize) -> usize {
    let is_prime =
        |it: usize| (2..).take_while(|by| by * by <= it).all(|by| !it.is_multiple_of(by));
    (number.max(2)..).find(|it| is_prime(*it)).unwrap_or(2)
}
