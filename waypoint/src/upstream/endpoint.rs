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
    /// Its name, where it has no address of its own: then only the address's port means something.
    pub name: Option<Name>,
    /// How its proxy is reached; `None`: it has none, and is spoken to in plain.
    pub hop: Option<Hop>,
}

/// Under which an endpoint is looked for when it is connected to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Name {
    /// This one.
    Fixed(Arc<str>),
    /// A host that falls under this wildcard, such as `*.example.com`: the client says which.
    Below(Arc<str>),
    /// A host that a client said, and that falls under a wildcard.
    Asked(Arc<str>),
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
    /// Plaintext would be a downgrade.
    #[error("{0} is reached by a protocol that this proxy does not speak")]
    Unreachable(Arc<str>),
    /// The client's host is not one of those that the wildcard is for.
    #[error("{host:?} is no host below {wildcard}")]
    NotBelow {
        /// What the client asked for.
        host: Box<str>,
        /// What is served.
        wildcard: Arc<str>,
    },
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
        let nowhere = || EndpointError::NoAddress(workload.uid.clone());
        let (ip, name) = match target.ok_or_else(nowhere)? {
            Target::Ip(ip) => (ip, None),
            Target::Hostname(name) if name.starts_with("*.") => (any.ip(), Some(Name::Below(name))),
            Target::Hostname(name) => (any.ip(), Some(Name::Fixed(name))),
        };
        let hop = match workload.tunnel_protocol {
            TunnelProtocol::Plain => None,
            TunnelProtocol::Hbone if name.is_some() => return Err(nowhere()),
            TunnelProtocol::Hbone => Some(Hop {
                address: SocketAddr::new(ip, port::HBONE),
                expected: ExpectedPeers::one(workload.identity.clone()),
            }),
            TunnelProtocol::Unreachable => {
                return Err(EndpointError::Unreachable(workload.uid.clone()));
            }
        };
        Ok(Self { address: SocketAddr::new(ip, port), name, workload, hop })
    }

    /// The endpoint for the host that a client asks for, where it is one of many below a wildcard.
    pub(crate) fn for_host(mut self, host: &str) -> Result<Self, EndpointError> {
        let Some(Name::Below(wildcard)) = &self.name else { return Ok(self) };
        let host = host.to_ascii_lowercase();
        let suffix = wildcard.strip_prefix('*').unwrap_or(wildcard);
        let is_below = host.strip_suffix(suffix).is_some_and(|label| !label.is_empty());
        let is_name = host.len() <= 253
            && host.split('.').all(|label| {
                let is_letter =
                    |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
                (1..=63).contains(&label.len()) && label.bytes().all(is_letter)
            });
        if !is_below || !is_name {
            return Err(EndpointError::NotBelow { host: host.into(), wildcard: wildcard.clone() });
        }
        self.name = Some(Name::Asked(host.into()));
        Ok(self)
    }
}
