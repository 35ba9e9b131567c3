//! Endpoints in groups by locality. What depends on health is decided elsewhere, so that it can change without this.

use std::sync::Arc;

use super::endpoint::{EndpointSpec, Place};
use super::settings::{Balancer, Distribute, Failover, Localities, Scope, Settings};
use super::table::Table;

/// All groups of a cluster.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) groups: Box<[Arc<Group>]>,
    /// How much each group gets.
    pub(super) split: Split,
}

/// How much each group gets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Split {
    /// The first, as far as it is healthy; then the next.
    #[default]
    InOrder,
    /// These shares.
    Shares(Box<[u32]>),
}

/// Endpoints among which requests are balanced.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Their places in the cluster's list. None weighs 0.
    pub(super) members: Box<[usize]>,
    /// By hash.
    pub(super) table: Option<HashTable>,
}

/// A table, and where its members are in the cluster's list.
#[derive(Debug)]
pub(super) struct HashTable {
    pub(super) table: Arc<Table>,
    pub(super) places: Box<[usize]>,
}

/// Groups endpoints for a proxy at `home`. Tables of `old` are used again where their members are the same.
pub(super) fn layout(
    settings: &Settings,
    home: &Place,
    endpoints: &[EndpointSpec],
    old: &Layout,
) -> Layout {
    let (grouped, split) = grouped(settings, home, endpoints);
    let group = |members: Vec<usize>| {
        let table = match &settings.balancer {
            Balancer::Hash(hash) => Some((hash.algorithm, &members)),
            _ => None,
        };
        let table = table.map(|(algorithm, members)| {
            let mut named: Vec<(Arc<str>, u32, usize)> = members
                .iter()
                .filter_map(|at| endpoints.get(*at).map(|it| (it.id.clone(), it.weight, *at)))
                .collect();
            named.sort_unstable();
            let places = named.iter().map(|(_, _, at)| *at).collect();
            let names: Box<[_]> = named.into_iter().map(|(id, weight, _)| (id, weight)).collect();
            let mut tables = old.groups.iter().filter_map(|group| group.table.as_ref());
            let same = tables
                .find(|it| it.table.algorithm == algorithm && it.table.members == names)
                .map(|it| it.table.clone());
            let table = same.unwrap_or_else(|| Arc::new(Table::new(algorithm, names)));
            HashTable { table, places }
        });
        Arc::new(Group { members: members.into(), table })
    };
    Layout { groups: grouped.into_iter().map(group).collect(), split }
}

fn grouped(
    settings: &Settings,
    home: &Place,
    endpoints: &[EndpointSpec],
) -> (Vec<Vec<usize>>, Split) {
    let weighing = endpoints.iter().enumerate().filter(|(_, it)| it.weight > 0);
    let everybody = || (vec![weighing.clone().map(|(at, _)| at).collect()], Split::InOrder);
    match &settings.localities {
        Localities::Ignored => everybody(),
        Localities::Required(scopes) => {
            let shares_all =
                |it: &EndpointSpec| scopes.iter().all(|scope| home.shares(*scope, &it.place));
            let sharing = weighing.filter(|(_, it)| shares_all(it));
            (vec![sharing.map(|(at, _)| at).collect()], Split::InOrder)
        }
        Localities::Distributed(lists) => match lists.iter().find(|list| list.from.covers(home)) {
            Some(list) => distributed(list, weighing),
            None => everybody(),
        },
        Localities::Nearest { needs_outlier: true, .. } if settings.outlier.is_none() => {
            everybody()
        }
        Localities::Nearest { scopes, failover, .. } => {
            let mut ranked: Vec<(usize, usize)> = weighing
                .map(|(at, it)| (distance(scopes, failover, home, &it.place), at))
                .collect();
            ranked.sort_unstable();
            let tiers = ranked.chunk_by(|one, other| one.0 == other.0);
            let places = |tier: &[(usize, usize)]| tier.iter().map(|(_, at)| *at).collect();
            (tiers.map(places).collect(), Split::InOrder)
        }
    }
}

/// 0 for the nearest. An endpoint in a region that isn't next is farther than all.
fn distance(scopes: &[Scope], failover: &[Failover], home: &Place, place: &Place) -> usize {
    let shared = scopes.iter().take_while(|scope| home.shares(**scope, place)).count();
    let is_next = |it: &&Failover| *it.from == *home.region && *it.to == *place.region;
    match shared {
        0 if failover.iter().find(is_next).is_none() => scopes.len() + 1,
        _ => scopes.len() - shared,
    }
}

/// An endpoint belongs to the pattern that says most about where it is.
fn distributed<'a>(
    list: &Distribute,
    endpoints: impl Iterator<Item = (usize, &'a EndpointSpec)>,
) -> (Vec<Vec<usize>>, Split) {
    let mut groups: Vec<Vec<usize>> = vec![Vec::new(); list.to.len()];
    for (at, endpoint) in endpoints {
        let covering = list.to.iter().zip(&mut groups);
        let covering = covering.filter(|((pattern, _), _)| pattern.covers(&endpoint.place));
        if let Some((_, group)) = covering.max_by_key(|((pattern, _), _)| pattern.depth()) {
            group.push(at);
        }
    }
    (groups, Split::Shares(list.to.iter().map(|(_, weight)| *weight).collect()))
}
