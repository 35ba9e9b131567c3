//! Which endpoint of a service takes a connection.

use std::net::IpAddr;
use std::sync::Arc;

use rand::{Rng, RngExt};

use super::{
    Endpoint, Endpoints, IpFamilies, LoadBalancing, LoadBalancingMode, LoadBalancingScope, Service,
    Snapshot, TunnelProtocol, Workload,
};

/// What load balancing decided.
#[derive(Debug, Clone, PartialEq)]
pub enum Choice {
    /// Connect to this workload.
    Endpoint {
        /// Who.
        workload: Arc<Workload>,
        /// The port there.
        port: u16,
    },
    /// Connect to the client's own destination, without an identity: the service asks for it and has no endpoint.
    Passthrough,
}

/// Why no endpoint was chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BalanceError {
    /// The service does not offer the port.
    #[error("service {service} has no port {port}")]
    UnknownPort {
        /// Its key.
        service: Arc<str>,
        /// What was asked for.
        port: u16,
    },
    /// No endpoint qualifies.
    #[error("no healthy upstream for port {port} of service {service}")]
    NoHealthyUpstream {
        /// Its key.
        service: Arc<str>,
        /// What was asked for.
        port: u16,
    },
}

/// Chooses an endpoint for a connection from `source` to `port` of `service`, at random in proportion to capacity.
///
/// Nothing is allocated. Without locality preferences the expected cost does not depend on the number of endpoints.
pub fn load_balance(
    snapshot: &Snapshot,
    service: &Service,
    port: u16,
    source: &Workload,
    rng: &mut impl Rng,
) -> Result<Choice, BalanceError> {
    let is_passthrough = service.mode() == LoadBalancingMode::Passthrough;
    let chosen = match service.port(port) {
        Some(_) => Request { service, port, source, is_for_waypoint: false }.choose(snapshot, rng),
        None if is_passthrough => None,
        None => {
            return Err(BalanceError::UnknownPort { service: Arc::clone(&service.key), port });
        }
    };
    match chosen {
        Some((workload, port)) => Ok(Choice::Endpoint { workload: Arc::clone(workload), port }),
        None if is_passthrough => Ok(Choice::Passthrough),
        None => Err(BalanceError::NoHealthyUpstream { service: Arc::clone(&service.key), port }),
    }
}

/// Chooses an instance of a waypoint or gateway that is a service. Its HBONE port need not be among the service's ports
/// if the instance has an application tunnel: its own node proxy takes HBONE then.
pub(super) fn load_balance_gateway<'a>(
    snapshot: &'a Snapshot,
    service: &'a Service,
    port: u16,
    source: &Workload,
    rng: &mut impl Rng,
) -> Option<(&'a Arc<Workload>, u16)> {
    Request { service, port, source, is_for_waypoint: true }.choose(snapshot, rng)
}

/// Where a workload is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// At this address.
    Ip(IpAddr),
    /// At whatever address this name resolves to at the moment.
    Hostname(Arc<str>),
}

/// The address at which `workload` is connected to, for a client that asked for `asked`.
///
/// An address of the workload that the client itself used is kept. Else the first that `families` allows, of the
/// client's family if there is one. `None` if the workload has no usable address and no name.
pub fn target_address(workload: &Workload, families: IpFamilies, asked: IpAddr) -> Option<Target> {
    let asked = asked.to_canonical();
    let allowed = || workload.addresses.iter().copied().filter(|ip| families.allow(*ip));
    let ip = if workload.addresses.contains(&asked) {
        Some(asked)
    } else {
        allowed().find(|ip| ip.is_ipv4() == asked.is_ipv4()).or_else(|| allowed().next())
    };
    let hostname = || {
        (workload.addresses.is_empty() && !workload.hostname.is_empty())
            .then(|| Target::Hostname(Arc::clone(&workload.hostname)))
    };
    ip.map(Target::Ip).or_else(hostname)
}

/// From this many endpoints on, random probes come before a walk over all. Below, the walk is as cheap.
const PROBE_FROM: usize = 16;
/// With half of the endpoints eligible, one connection in 65,536 still needs the walk.
const PROBES: usize = 16;

struct Request<'s> {
    service: &'s Service,
    port: u16,
    source: &'s Workload,
    is_for_waypoint: bool,
}

impl Request<'_> {
    fn choose<'a>(
        &self,
        snapshot: &'a Snapshot,
        rng: &mut impl Rng,
    ) -> Option<(&'a Arc<Workload>, u16)> {
        let endpoints = snapshot.all_endpoints(self.service)?;
        match self.service.load_balancing.as_deref() {
            Some(preference) if preference.mode != LoadBalancingMode::Random => {
                self.walk(endpoints, Some(preference), rng)
            }
            _ => self.probe(endpoints, rng).or_else(|| self.walk(endpoints, None, rng)),
        }
    }

    /// Draws endpoints until one is eligible, which is uniform among these. Only where every drawn endpoint has the
    /// default capacity: with another one in sight the walk, which weighs, decides.
    fn probe<'a>(
        &self,
        endpoints: &'a Endpoints,
        rng: &mut impl Rng,
    ) -> Option<(&'a Arc<Workload>, u16)> {
        if endpoints.len() < PROBE_FROM || endpoints.has_weights() {
            return None;
        }
        (0..PROBES).find_map(|_| {
            let workload = endpoints.nth(rng.random_range(0..endpoints.len()))?;
            Some((workload, self.eligible_port(workload)?))
        })
    }

    /// One pass that keeps one candidate: each endpoint of the best rank replaces it with probability weight / sum so
    /// far, which leaves every one chosen in proportion to its weight.
    fn walk<'a>(
        &self,
        endpoints: &'a Endpoints,
        preference: Option<&LoadBalancing>,
        rng: &mut impl Rng,
    ) -> Option<(&'a Arc<Workload>, u16)> {
        let mut best_rank = 0;
        let mut total = 0_u64;
        let mut chosen = None;
        for workload in endpoints.iter().filter(|workload| workload.capacity > 0) {
            let Some(port) = self.eligible_port(workload) else {
                continue;
            };
            let Some(rank) = rank(preference, self.source, workload) else {
                continue;
            };
            if rank < best_rank {
                continue;
            }
            if rank > best_rank {
                (best_rank, total, chosen) = (rank, 0, None);
            }
            let weight = u64::from(workload.capacity);
            total = total.saturating_add(weight);
            if rng.random_range(0..total) < weight {
                chosen = Some((workload, port));
            }
        }
        chosen
    }

    /// The port to connect to, if the workload may take the connection at all.
    fn eligible_port(&self, workload: &Arc<Workload>) -> Option<u16> {
        let has_address = !workload.addresses.is_empty() || !workload.hostname.is_empty();
        // A workload's gateway is for other networks only.
        let is_behind_gateway =
            workload.network != self.source.network && workload.network_gateway.is_some();
        let is_reachable = (has_address || is_behind_gateway)
            && workload.tunnel_protocol != TunnelProtocol::Unreachable;
        if !is_reachable {
            return None;
        }
        let port = Endpoint::of(self.service, workload)?.target_port(self.service, self.port);
        if self.is_for_waypoint && workload.application_tunnel.is_some() {
            return port.or(Some(self.port));
        }
        port
    }
}

/// How much of the preference `workload` shares with `source`; `None` if too little.
///
/// Scopes count from the first until one differs. The network in first place is preferred but not required: sharing it
/// outranks everything else together, and not sharing it leaves the other scopes to decide.
fn rank(
    preference: Option<&LoadBalancing>,
    source: &Workload,
    workload: &Workload,
) -> Option<usize> {
    let Some(LoadBalancing { scopes, mode, .. }) = preference else {
        return Some(0);
    };
    let prefers_network = scopes.first() == Some(&LoadBalancingScope::Network);
    let shares_network = source.network == workload.network;
    let mut shared = 0;
    for scope in scopes {
        if shares(*scope, source, workload) {
            shared += 1;
        } else if !(prefers_network && *scope == LoadBalancingScope::Network) {
            break;
        }
    }
    if *mode == LoadBalancingMode::Strict && shared != scopes.len() {
        return None;
    }
    let bonus = if prefers_network && shares_network { scopes.len() - 1 } else { 0 };
    Some(shared + bonus)
}

fn shares(scope: LoadBalancingScope, source: &Workload, workload: &Workload) -> bool {
    let (ours, theirs) = (&source.locality, &workload.locality);
    match scope {
        LoadBalancingScope::Region => ours.region == theirs.region,
        LoadBalancingScope::Zone => ours.zone == theirs.zone,
        LoadBalancingScope::Subzone => ours.subzone == theirs.subzone,
        LoadBalancingScope::Node => source.node == workload.node,
        LoadBalancingScope::Cluster => source.cluster_id == workload.cluster_id,
        LoadBalancingScope::Network => source.network == workload.network,
        LoadBalancingScope::Unknown => false,
    }
}
