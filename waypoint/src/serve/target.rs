//! What a tunnel is for: a pure function of the mesh. A waypoint serves what is bound to it, and nothing else.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::StatusCode;
use weft_core::hbone::Authority;
use weft_core::identity::SpiffeId;
use weft_core::mesh::{
    AppProtocol, GatewayAddress, GatewayDestination, Service, Snapshot, Workload, prefer_service,
};

/// Who this waypoint is.
#[derive(Debug, Clone)]
pub(crate) struct Own {
    /// By its certificate.
    pub identity: SpiffeId,
    /// Its address.
    pub address: IpAddr,
    /// The network in which the address means something.
    pub network: Arc<str>,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// A service.
    Service {
        /// The service.
        service: Arc<Service>,
        /// Its port, as clients see it.
        port: u16,
        /// The address that the client used.
        address: Option<SocketAddr>,
    },
    /// A workload by its own address: routes of services don't count.
    Workload {
        /// The workload.
        workload: Arc<Workload>,
        /// The address that the client used.
        address: SocketAddr,
    },
}

/// Why a tunnel leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// Nothing has that address or name.
    #[error("nothing in the mesh is at {0}")]
    Unknown(String),
    /// It has another waypoint or none.
    #[error("{0} isn't bound to this waypoint")]
    NotBound(Arc<str>),
    /// The service has no such port.
    #[error("{service} has no port {port}")]
    NoSuchPort {
        /// The service.
        service: Arc<str>,
        /// The port.
        port: u16,
    },
}

impl Refusal {
    /// What the caller's proxy is told.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Unknown(_) | Self::NoSuchPort { .. } => StatusCode::NOT_FOUND,
            Self::NotBound(_) => StatusCode::MISDIRECTED_REQUEST,
        }
    }
}

impl Target {
    /// What `authority` means, if it is this waypoint's to serve.
    pub(crate) fn find(
        snapshot: &Snapshot,
        own: &Own,
        caller: &SpiffeId,
        authority: &Authority,
    ) -> Result<Self, Refusal> {
        let unknown = || Refusal::Unknown(authority.to_string());
        let (service, address) = match authority {
            Authority::Address(asked) => {
                if let Some(workload) = snapshot.workload_at(&own.network, asked.ip()) {
                    return of_workload(snapshot, own, workload, *asked);
                }
                let service = snapshot.service_at(&own.network, asked.ip(), caller.namespace());
                let service = service.ok_or_else(unknown)?;
                (service, Some(*asked))
            }
            Authority::Name { host, .. } => {
                let candidates = snapshot.services_named(host.as_str());
                let bound = || candidates.iter().filter(|it| own.serves(snapshot, it));
                let namespace = own.identity.namespace();
                let service = bound().find(|it| &*it.namespace == namespace);
                let service = service.or_else(|| bound().next());
                let any = || prefer_service(candidates, namespace, None);
                (service.or_else(any).ok_or_else(unknown)?, None)
            }
        };
        if !own.serves(snapshot, service) {
            return Err(Refusal::NotBound(service.key.clone()));
        }
        let port = authority.port();
        if service.port(port).is_none() {
            return Err(Refusal::NoSuchPort { service: service.key.clone(), port });
        }
        Ok(Self::Service { service: service.clone(), port, address })
    }

    /// The port that was asked for.
    pub(crate) fn port(&self) -> u16 {
        match self {
            Self::Service { port, .. } => *port,
            Self::Workload { address, .. } => address.port(),
        }
    }

    /// The address that the client used, if it used one.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Service { address, .. } => *address,
            Self::Workload { address, .. } => Some(*address),
        }
    }

    /// What the port declares to speak.
    pub(crate) fn declared(&self) -> AppProtocol {
        match self {
            Self::Service { service, port, .. } => {
                service.port(*port).map_or(AppProtocol::Unknown, |port| port.app_protocol)
            }
            Self::Workload { .. } => AppProtocol::Unknown,
        }
    }

    /// For logs.
    pub(crate) fn name(&self) -> &Arc<str> {
        match self {
            Self::Service { service, .. } => &service.key,
            Self::Workload { workload, .. } => &workload.uid,
        }
    }
}

fn of_workload(
    snapshot: &Snapshot,
    own: &Own,
    workload: &Arc<Workload>,
    address: SocketAddr,
) -> Result<Target, Refusal> {
    match &workload.waypoint {
        Some(waypoint) if own.is(snapshot, waypoint) => {
            Ok(Target::Workload { workload: workload.clone(), address })
        }
        _ => Err(Refusal::NotBound(workload.uid.clone())),
    }
}

impl Own {
    /// Whether a service is bound to this waypoint, as its canary too.
    pub(crate) fn serves(&self, snapshot: &Snapshot, service: &Service) -> bool {
        let canaries = service.weighted_waypoints.iter().map(|it| &it.gateway);
        service.waypoint.as_deref().into_iter().chain(canaries).any(|it| self.is(snapshot, it))
    }

    fn is(&self, snapshot: &Snapshot, gateway: &GatewayAddress) -> bool {
        let Some(me) = snapshot.workload_at(&self.network, self.address) else { return false };
        let is_mine = |key: &str| me.ports_of(key).is_some();
        match &gateway.destination {
            GatewayDestination::Address { network, ip } => {
                (*ip == self.address && *network == self.network)
                    || me.services.iter().any(|(key, _)| {
                        let mine = snapshot.service_with_key(key);
                        mine.is_some_and(|it| it.vips.iter().any(|vip| vip.ip() == Some(*ip)))
                    })
            }
            GatewayDestination::Hostname { namespace, hostname } => {
                snapshot.service(namespace, hostname).is_some_and(|it| is_mine(&it.key))
            }
            GatewayDestination::Unknown => false,
        }
    }
}
