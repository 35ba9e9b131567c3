//! An endpoint of a service.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::balance::PickError;
use rand::Rng;
use weft_core::identity::ExpectedPeers;
use weft_core::mesh::{
    BalanceError, Choice, IpFamilies, Service, Snapshot, Target, TunnelProtocol, Workload,
    load_balance, target_address,
};
use weft_proto::contract::port;

/// Where a request goes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Endpoint {
    /// The workload.
    pub workload: Arc<Workload>,
    /// The application's address.
    pub address: SocketAddr,
    /// How its proxy is reached; `None`: it has none, and is spoken to in plain.
    pub hop: Option<Hop>,
}

/// The proxy in front of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hop {
    /// Where it takes HBONE.
    pub address: SocketAddr,
    /// Whom it must prove to be.
    pub expected: ExpectedPeers,
}

/// Why there is none.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum EndpointError {
    /// None can be chosen.
    #[error(transparent)]
    Balance(#[from] BalanceError),
    /// The mesh doesn't know this waypoint, so nothing can be near to it.
    #[error("the mesh doesn't know this waypoint (yet)")]
    Stranger,
    /// None may be chosen.
    #[error(transparent)]
    Pick(#[from] PickError),
    /// The chosen ones are gone by now.
    #[error("the endpoints change faster than one can be chosen")]
    Vanished,
    /// This one has no address that could be used.
    #[error("workload {0} has no usable address")]
    NoAddress(Arc<str>),
}

/// One endpoint of a service's port, as balancing of connections chooses.
pub(crate) fn endpoint(
    snapshot: &Snapshot,
    service: &Service,
    port: u16,
    own: Option<&Workload>,
    asked: Option<SocketAddr>,
    rng: &mut impl Rng,
) -> Result<Endpoint, EndpointError> {
    let own = own.ok_or(EndpointError::Stranger)?;
    match load_balance(snapshot, service, port, own, rng)? {
        Choice::Endpoint { workload, port } => {
            Endpoint::of(workload, port, service.ip_families, asked)
        }
        Choice::Passthrough => Err(EndpointError::NoAddress(service.key.clone())),
    }
}

impl Endpoint {
    /// The application at `port` of a workload.
    pub(crate) fn of(
        workload: Arc<Workload>,
        port: u16,
        families: IpFamilies,
        asked: Option<SocketAddr>,
    ) -> Result<Self, EndpointError> {
        let any = SocketAddr::from(([0, 0, 0, 0], 0));
        let target = target_address(&workload, families, asked.unwrap_or(any).ip());
        let Some(Target::Ip(ip)) = target else {
            return Err(EndpointError::NoAddress(workload.uid.clone()));
        };
        let hop = match workload.tunnel_protocol {
            TunnelProtocol::Hbone => Some(Hop {
                address: SocketAddr::new(ip, port::HBONE),
                expected: ExpectedPeers::one(workload.identity.clone()),
            }),
            _ => None,
        };
        Ok(Self { address: SocketAddr::new(ip, port), workload, hop })
    }
}
