//! What requests read: one immutable snapshot of endpoints, groups and who of them may take requests.

use std::sync::Arc;

use super::draw::Wheel;
use super::endpoint::{Endpoint, EndpointSpec};
use super::layout::{Layout, Split};
use super::settings::Settings;

/// A healthy part of 5/7 of a group is enough for all of its requests, as Envoy has it: 140 %, in percent.
const OVERPROVISIONING: u64 = 140;

#[derive(Debug)]
pub(super) struct Live {
    pub(super) settings: Arc<Settings>,
    /// As they were given last.
    pub(super) endpoints: Arc<[Slot]>,
    pub(super) layout: Arc<Layout>,
    /// Those groups that take requests, each with the end of its share.
    pub(super) open: Box<[Open]>,
    /// So few are healthy that all are used.
    pub(super) is_panic: bool,
    /// All groups together, where there are several: for who may go anywhere.
    pub(super) anywhere: Option<Open>,
    /// Until then some endpoint isn't warm; nanoseconds since the cluster's beginning.
    pub(super) cold_until: u64,
    /// Counts calls of `set_endpoints`.
    pub(super) version: u64,
}

/// An endpoint, and what was told about it last.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) weight: u32,
    pub(super) is_healthy: bool,
}

/// A group that takes requests.
#[derive(Debug)]
pub(super) struct Open {
    /// Its place among the layout's groups.
    pub(super) group: usize,
    /// Endpoints that take requests: places in the cluster's list.
    pub(super) members: Box<[usize]>,
    pub(super) wheel: Wheel,
    /// Where its share ends.
    pub(super) share_end: u64,
}

impl Live {
    pub(super) fn new(
        settings: Arc<Settings>,
        endpoints: Arc<[Slot]>,
        layout: Arc<Layout>,
        version: u64,
    ) -> Self {
        let usable = endpoints.iter().filter(|slot| slot.weight > 0);
        let healthy = usable.clone().filter(|slot| slot.is_open()).count();
        let min = settings.outlier.as_ref().map_or(0, |outlier| outlier.healthy_percent_min);
        let is_panic = healthy * 100 < usize::try_from(min).unwrap_or(0) * usable.count();
        let cold_until = settings.warmup.map_or(0, |warmup| {
            let since = endpoints.iter().map(|slot| slot.endpoint.ready_since()).max();
            let duration = u64::try_from(warmup.duration.as_nanos()).unwrap_or(u64::MAX);
            since.filter(|since| *since > 0).map_or(0, |since| since.saturating_add(duration))
        });
        let mut live = Self {
            settings,
            endpoints,
            layout,
            open: Box::default(),
            anywhere: None,
            is_panic,
            cold_until,
            version,
        };
        live.open = live.opened();
        live.anywhere = (live.layout.groups.len() > 1).then(|| live.together());
        live
    }

    /// Whether an endpoint takes requests.
    pub(super) fn takes(&self, slot: &Slot) -> bool {
        self.is_panic || slot.is_open()
    }

    /// The groups that take requests, with their shares.
    fn opened(&self) -> Box<[Open]> {
        let mut rest = 100;
        let mut share_end = 0;
        let mut open = Vec::new();
        for (at, group) in self.layout.groups.iter().enumerate() {
            let taking = self.taking(&group.members);
            if taking.is_empty() {
                continue;
            }
            let health = health(taking.len(), group.members.len());
            let share = match &self.layout.split {
                Split::InOrder => health.min(rest),
                Split::Shares(shares) => shares.get(at).map_or(0, |it| u64::from(*it) * health),
            };
            if share == 0 {
                continue;
            }
            rest = rest.saturating_sub(share);
            share_end += share;
            open.push(Open::new(at, taking, share_end));
        }
        open.into()
    }

    fn together(&self) -> Open {
        let members = self.layout.groups.iter().flat_map(|group| self.taking(&group.members));
        Open::new(0, members.collect(), 0)
    }

    fn taking(&self, members: &[usize]) -> Vec<(usize, u64)> {
        let slots = members.iter().filter_map(|at| Some((*at, self.endpoints.get(*at)?)));
        let taking = slots.filter(|(_, slot)| self.takes(slot));
        taking.map(|(at, slot)| (at, u64::from(slot.weight))).collect()
    }
}

impl Open {
    fn new(group: usize, weighted: Vec<(usize, u64)>, share_end: u64) -> Self {
        let (members, weights): (Vec<usize>, Vec<u64>) = weighted.into_iter().unzip();
        Self { group, members: members.into(), wheel: Wheel::new(&weights), share_end }
    }
}

impl Slot {
    pub(super) fn new(endpoint: Arc<Endpoint>, spec: &EndpointSpec) -> Self {
        Self { endpoint, weight: spec.weight, is_healthy: spec.is_healthy }
    }

    fn is_open(&self) -> bool {
        self.is_healthy && !self.endpoint.is_ejected()
    }
}

/// How much of a group's requests it can take, in percent, at least 1.
fn health(healthy: usize, all: usize) -> u64 {
    let of = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    (of(healthy).saturating_mul(OVERPROVISIONING) / of(all).max(1)).clamp(1, 100)
}
