//! Which workload a reference to a waypoint or network gateway means.

use std::sync::Arc;

use rand::{Rng, RngExt};

use super::balance::load_balance_gateway;
use super::{GatewayAddress, GatewayDestination, Service, Snapshot, Workload};
use crate::identity::ExpectedPeers;

/// Why a reference leads nowhere. The connection fails: going around a waypoint would skip its policies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// Nothing with that address or name is known.
    #[error("{subject} refers to waypoint {waypoint}, which is unknown")]
    UnknownWaypoint {
        /// What refers to it.
        subject: Arc<str>,
        /// The reference.
        waypoint: String,
    },
    /// It is known and has no instance that takes traffic.
    #[error("{subject} refers to waypoint {waypoint}, which has no healthy instance")]
    NoHealthyWaypoint {
        /// What refers to it.
        subject: Arc<str>,
        /// The reference.
        waypoint: String,
    },
}

/// An instance of a waypoint or gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// Who it is. If its network is another one, it is reached through its own network gateway.
    pub workload: Arc<Workload>,
    /// The service by which it was found.
    pub service: Option<Arc<Service>>,
    /// Where it takes HBONE.
    pub port: u16,
}

impl Upstream {
    /// Whom the instance may prove to be.
    pub fn expected_peers(&self) -> ExpectedPeers {
        let own = ExpectedPeers::one(self.workload.identity.clone());
        match &self.service {
            Some(service) if !service.subject_alt_names.is_empty() => {
                let sans = service.subject_alt_names.iter().cloned();
                ExpectedPeers::new(sans.chain([self.workload.identity.clone()])).unwrap_or(own)
            }
            _ => own,
        }
    }
}

/// The waypoint for traffic from `source` addressed to `service`. `Ok(None)` if it has none.
pub fn waypoint_of_service(
    snapshot: &Snapshot,
    service: &Service,
    source: &Workload,
    rng: &mut impl Rng,
) -> Result<Option<Upstream>, ResolveError> {
    let gateway = weighted_waypoint(service, rng).or(service.waypoint.as_deref());
    resolve_if_any(snapshot, gateway, &service.key, source, rng)
}

/// The waypoint for traffic from `source` addressed to `workload` itself. `Ok(None)` if it has none.
pub fn waypoint_of_workload(
    snapshot: &Snapshot,
    workload: &Workload,
    source: &Workload,
    rng: &mut impl Rng,
) -> Result<Option<Upstream>, ResolveError> {
    resolve_if_any(snapshot, workload.waypoint.as_deref(), &workload.uid, source, rng)
}

/// The gateway by which `source` reaches `workload` in another network. `Ok(None)` if it has none.
pub fn network_gateway_of(
    snapshot: &Snapshot,
    workload: &Workload,
    source: &Workload,
    rng: &mut impl Rng,
) -> Result<Option<Upstream>, ResolveError> {
    resolve_if_any(snapshot, workload.network_gateway.as_deref(), &workload.uid, source, rng)
}

fn resolve_if_any(
    snapshot: &Snapshot,
    gateway: Option<&GatewayAddress>,
    subject: &Arc<str>,
    source: &Workload,
    rng: &mut impl Rng,
) -> Result<Option<Upstream>, ResolveError> {
    gateway.map(|gateway| resolve_gateway(snapshot, gateway, subject, source, rng)).transpose()
}

/// An instance of the waypoint or gateway that `subject` refers to.
pub fn resolve_gateway(
    snapshot: &Snapshot,
    gateway: &GatewayAddress,
    subject: &Arc<str>,
    source: &Workload,
    rng: &mut impl Rng,
) -> Result<Upstream, ResolveError> {
    let unknown = || ResolveError::UnknownWaypoint {
        subject: Arc::clone(subject),
        waypoint: gateway.to_string(),
    };
    let service = match &gateway.destination {
        GatewayDestination::Address { network, ip } => {
            if let Some(workload) = snapshot.workload_at(network, *ip) {
                let workload = Arc::clone(workload);
                return Ok(Upstream { workload, service: None, port: gateway.hbone_port });
            }
            // A reference is the control plane's own: visibility to some client's namespace is not asked.
            snapshot.any_service_at(network, *ip)
        }
        GatewayDestination::Hostname { namespace, hostname } => {
            snapshot.service(namespace, hostname)
        }
        GatewayDestination::Unknown => None,
    };
    let service = service.ok_or_else(unknown)?;
    let chosen = load_balance_gateway(snapshot, service, gateway.hbone_port, source, rng);
    let (workload, port) = chosen.ok_or_else(|| ResolveError::NoHealthyWaypoint {
        subject: Arc::clone(subject),
        waypoint: gateway.to_string(),
    })?;
    Ok(Upstream { workload: Arc::clone(workload), service: Some(Arc::clone(service)), port })
}

/// One of the weighted waypoints, in proportion to weight; `None` if none has any.
fn weighted_waypoint<'a>(service: &'a Service, rng: &mut impl Rng) -> Option<&'a GatewayAddress> {
    let total: u64 = service.weighted_waypoints.iter().map(|it| u64::from(it.weight)).sum();
    if total == 0 {
        return None;
    }
    let mut draw = rng.random_range(0..total);
    let chosen = service.weighted_waypoints.iter().find(|it| {
        let weight = u64::from(it.weight);
        let is_chosen = draw < weight;
        draw = draw.saturating_sub(weight);
        is_chosen
    });
    chosen.map(|it| &it.gateway)
}
