//! The choice of one endpoint for one request.

use std::sync::Arc;

use rand::Rng;
use tokio::time::Instant;

use super::cluster::{Cluster, Inner};
use super::draw;
use super::endpoint::Endpoint;
use super::live::{Live, Open, Slot};
use super::outlier::Outcome;
use super::settings::{Balancer, Warmup};
use super::warmup::WHOLE;

/// What is known of a request.
#[derive(Debug, Clone, Copy)]
pub struct PickContext<'a> {
    /// Of what the settings say; nothing if the request hasn't got it.
    pub hash: Option<u64>,
    /// Endpoints to avoid as long as there is another one: earlier attempts of the request.
    pub tried: &'a [Arc<str>],
    /// Endpoints of any locality will do: a retry that may go anywhere.
    pub is_anywhere: bool,
    /// The time.
    pub now: Instant,
}

/// Why there is no endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PickError {
    /// There is none that this proxy may use.
    #[error("the service has no endpoints")]
    NoEndpoints,
    /// None of those that are there is ready, and no panic is set.
    #[error("all endpoints of the service are unready or ejected for their failures")]
    AllEjected,
}

/// An endpoint for a request, which counts as active as long as this lives.
#[derive(Debug)]
pub struct Picked {
    inner: Arc<Inner>,
    endpoint: Arc<Endpoint>,
    index: usize,
    version: u64,
}

impl Picked {
    /// The endpoint's name.
    pub fn id(&self) -> &Arc<str> {
        &self.endpoint.id
    }

    /// Its place in the list with number `version`.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Which list `index` is about: what [`Cluster::set_endpoints`] returned.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What came of the request.
    pub fn report(&self, outcome: Outcome, now: Instant) {
        self.inner.report(&self.endpoint, outcome, now);
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        self.endpoint.leave();
    }
}

impl Cluster {
    /// Brings back endpoints that have served their time. Choices do so by themselves; a service without requests needs it
    /// only for who looks at its endpoints.
    pub fn tick(&self, now: Instant) {
        self.inner.sweep_if_due(now);
    }

    /// Chooses an endpoint for a request.
    pub fn pick(&self, context: &PickContext<'_>, rng: &mut impl Rng) -> Result<Picked, PickError> {
        self.inner.sweep_if_due(context.now);
        let live = self.inner.live.load();
        let chooser = Chooser { inner: &self.inner, live: &live, context };
        let index = chooser.choose(rng)?;
        let slot = live.endpoints.get(index).ok_or(PickError::NoEndpoints)?;
        slot.endpoint.enter();
        Ok(Picked {
            inner: Arc::clone(&self.inner),
            endpoint: Arc::clone(&slot.endpoint),
            index,
            version: live.version,
        })
    }
}

impl Cluster {
    /// The endpoint of this name for a request of its session, whatever the balancer, weights and distances: if it takes
    /// requests, and the proxy may use it at all. `index`: its place, as far as that is known.
    pub fn pick_named(&self, id: &str, index: usize, now: Instant) -> Option<Picked> {
        self.inner.sweep_if_due(now);
        let live = self.inner.live.load();
        let is_it =
            |index: &usize| live.endpoints.get(*index).is_some_and(|slot| *slot.endpoint.id == *id);
        let index = Some(index).filter(is_it);
        let index = index.or_else(|| (0..live.endpoints.len()).find(is_it))?;
        let slot = live.endpoints.get(index).filter(|slot| live.takes(slot))?;
        if !live.layout.groups.iter().any(|group| group.members.contains(&index)) {
            return None;
        }
        slot.endpoint.enter();
        Some(Picked {
            inner: Arc::clone(&self.inner),
            endpoint: Arc::clone(&slot.endpoint),
            index,
            version: live.version,
        })
    }
}

/// Draws before all endpoints are looked at for one that wasn't tried.
const TRIES: usize = 4;
/// Draws for a warm endpoint. With all of them at the least share of 10 % some three in a hundred requests find none
/// within that, and then take any, which is as fair.
const WARM_TRIES: usize = 32;

struct Chooser<'a> {
    inner: &'a Inner,
    live: &'a Live,
    context: &'a PickContext<'a>,
}

impl Chooser<'_> {
    /// The place of an endpoint.
    fn choose(&self, rng: &mut impl Rng) -> Result<usize, PickError> {
        let hash = match &self.live.settings.balancer {
            Balancer::Hash(_) => self.context.hash,
            _ => None,
        };
        let open = self.group(hash, rng).ok_or_else(|| self.nobody())?;
        if let Some(place) = hash.and_then(|hash| self.hashed(open, hash)) {
            return Ok(place);
        }
        let mut place = self.drawn(open, rng);
        for _ in 0..TRIES {
            if place.is_some_and(|place| !self.is_tried(place)) {
                return place.ok_or(PickError::NoEndpoints);
            }
            place = self.drawn(open, rng);
        }
        self.untried(open, rng).or(place).ok_or(PickError::NoEndpoints)
    }

    fn nobody(&self) -> PickError {
        match self.live.layout.groups.iter().any(|group| !group.members.is_empty()) {
            true => PickError::AllEjected,
            false => PickError::NoEndpoints,
        }
    }

    fn group(&self, hash: Option<u64>, rng: &mut impl Rng) -> Option<&Open> {
        let live = self.live;
        if let Some(anywhere) = live.anywhere.as_ref().filter(|_| self.context.is_anywhere) {
            return Some(anywhere).filter(|open| !open.members.is_empty());
        }
        let total = match &*live.open {
            [] => return None,
            [only] => return Some(only),
            [.., last] => last.share_end,
        };
        // The same hash has to lead into the same group.
        let drawn = match hash {
            Some(hash) => draw::scaled(super::hash_of(&hash.to_le_bytes()), total),
            None => draw::below(rng, total),
        };
        live.open.get(live.open.partition_point(|open| open.share_end <= drawn))
    }

    /// The first endpoint from the hash's place onwards that takes requests and wasn't tried.
    fn hashed(&self, open: &Open, hash: u64) -> Option<usize> {
        let table = self.live.layout.groups.get(open.group)?.table.as_ref()?;
        let places = table.table.from(hash).filter_map(|member| table.places.get(member).copied());
        let takes = |place: &usize| self.slot(*place).is_some_and(|slot| self.live.takes(slot));
        let mut taking = places.filter(takes);
        let first = taking.next()?;
        if !self.is_tried(first) {
            return Some(first);
        }
        Some(taking.find(|place| !self.is_tried(*place)).unwrap_or(first))
    }

    fn drawn(&self, open: &Open, rng: &mut impl Rng) -> Option<usize> {
        let member = match &self.live.settings.balancer {
            Balancer::LeastRequest { choices } => self.least(open, *choices, rng),
            Balancer::RoundRobin => {
                self.warm(open, rng, |_| open.wheel.turn(self.inner.next_turn()))
            }
            Balancer::Random | Balancer::Passthrough | Balancer::Hash(_) => {
                self.warm(open, rng, |rng| open.wheel.draw(rng))
            }
        };
        open.members.get(member).copied()
    }

    /// Of several that are drawn by weight, the one with the fewest active requests by weight; the first of equals, so that
    /// without load each has what its weight says.
    fn least(&self, open: &Open, choices: usize, rng: &mut impl Rng) -> usize {
        let first = self.warm(open, rng, |rng| open.wheel.draw(rng));
        if open.wheel.len() == 1 {
            return first;
        }
        let (mut best, mut best_load) = (first, self.load(open, first));
        for _ in 1..choices {
            let other = self.warm(open, rng, |rng| open.wheel.draw_other(first, rng));
            let load = self.load(open, other);
            if load.0 * best_load.1 < best_load.0 * load.1 {
                (best, best_load) = (other, load);
            }
        }
        best
    }

    /// Active requests, and weight.
    fn load(&self, open: &Open, member: usize) -> (u128, u128) {
        let slot = open.members.get(member).and_then(|place| self.slot(*place));
        slot.map_or((0, 1), |slot| {
            let share = self
                .warmup()
                .map_or(WHOLE, |(warmup, now)| warmup.share_at(slot.endpoint.ready_since(), now));
            (u128::from(slot.endpoint.active()), u128::from(slot.weight) * u128::from(share))
        })
    }

    /// Draws until one is taken, each with the probability that its warmth says.
    fn warm<R: Rng>(
        &self,
        open: &Open,
        rng: &mut R,
        mut draw: impl FnMut(&mut R) -> usize,
    ) -> usize {
        let mut member = draw(rng);
        let Some((warmup, now)) = self.warmup() else {
            return member;
        };
        for _ in 0..WARM_TRIES {
            let slot = open.members.get(member).and_then(|place| self.slot(*place));
            let since = slot.map_or(0, |slot| slot.endpoint.ready_since());
            if draw::below(rng, WHOLE) < warmup.share_at(since, now) {
                break;
            }
            member = draw(rng);
        }
        member
    }

    /// While somebody isn't warm.
    fn warmup(&self) -> Option<(Warmup, u64)> {
        let warmup = self.live.settings.warmup?;
        let now = self.inner.nanoseconds(self.context.now);
        (now < self.live.cold_until).then_some((warmup, now))
    }

    /// From a random place on the first that wasn't tried: of the group, or else of all.
    fn untried(&self, open: &Open, rng: &mut impl Rng) -> Option<usize> {
        let start = draw::place(rng, open.members.len());
        let (before, from) = open.members.split_at_checked(start)?;
        let everywhere = self.live.anywhere.iter().flat_map(|open| &open.members);
        let mut places = from.iter().chain(before).chain(everywhere);
        places.find(|place| !self.is_tried(**place)).copied()
    }

    fn is_tried(&self, place: usize) -> bool {
        let id = |slot: &Slot| self.context.tried.contains(&slot.endpoint.id);
        !self.context.tried.is_empty() && self.slot(place).is_some_and(id)
    }

    fn slot(&self, place: usize) -> Option<&Slot> {
        self.live.endpoints.get(place)
    }
}
