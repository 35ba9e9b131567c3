//! Which way an outbound connection goes: a pure function of the snapshot.
//!
//! The order of the questions is Istio ambient's: a pod's own address before a service's, a service's waypoint
//! before its endpoints, a workload's waypoint only for traffic addressed to the workload.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rand::Rng;
use weft_core::hbone::Authority;
use weft_core::identity::ExpectedPeers;
use weft_core::mesh::{
    Choice, IpFamilies, ResolveError, Service, Snapshot, Target, TunnelProtocol, Upstream,
    Workload, load_balance, network_gateway_of, target_address, waypoint_of_service,
    waypoint_of_workload,
};
use weft_proto::contract::port;

use crate::error::ConnectionError;
use crate::limits;

/// What the decision is about.
pub(crate) struct Question<'a> {
    /// The mesh.
    pub snapshot: &'a Snapshot,
    /// The pod that opened the connection.
    pub source: &'a Workload,
    /// Where it wanted to go.
    pub destination: SocketAddr,
    /// Whether this proxy serves the pod with that uid and may reach it without leaving the node.
    pub is_local: &'a dyn Fn(&str) -> bool,
    /// Instances of a waypoint that this connection has tried in vain.
    pub unreached: &'a [Arc<str>],
}

/// The decision.
#[derive(Debug)]
pub(crate) struct Route {
    /// Which way.
    pub path: Path,
    /// The workload that takes the connection, where that is known. With a waypoint on the way: the waypoint.
    pub destination: Option<Arc<Workload>>,
    /// The service that was addressed.
    pub service: Option<Arc<Service>>,
}

/// The four ways.
#[derive(Debug)]
pub(crate) enum Path {
    /// To a pod of this node.
    Local {
        /// The pod's address and port.
        target: SocketAddr,
    },
    /// Through a tunnel to the proxy in front of the destination.
    Hbone(Hop, Authority),
    /// Through a tunnel to another network's gateway, and in it another one to the destination's proxy.
    DoubleHbone {
        /// To the gateway.
        outer: Hop,
        /// Whom the far end may prove to be.
        inner: ExpectedPeers,
        /// The far target, by name: addresses mean nothing there.
        authority: Authority,
    },
    /// As it is.
    Plain {
        /// Where to: an address, or a name to be resolved now.
        target: Target,
        /// The port there.
        port: u16,
    },
}

/// The next proxy.
#[derive(Debug)]
pub(crate) struct Hop {
    /// Where it takes HBONE.
    pub address: SocketAddr,
    /// The workload there.
    pub uid: Arc<str>,
    /// Whom it may prove to be.
    pub expected: ExpectedPeers,
    /// Whether it is one of a waypoint's instances, of which any would do.
    pub is_waypoint: bool,
}

/// The proxy's own ports: a connection that ends there would come back to us.
pub(crate) fn is_own_port(port: u16) -> bool {
    matches!(port, port::OUTBOUND | port::INBOUND_PLAINTEXT | port::HBONE)
}

impl Question<'_> {
    /// Decides.
    pub(crate) fn resolve(&self, rng: &mut impl Rng) -> Result<Route, ConnectionError> {
        let destination = self.destination;
        if destination.ip().is_loopback() && is_own_port(destination.port()) {
            return Err(ConnectionError::Loop(destination));
        }
        let (network, ip) = (&*self.source.network, destination.ip());
        if let Some(workload) = self.snapshot.workload_at(network, ip) {
            return self.to_workload(workload, rng);
        }
        match self.snapshot.service_at(network, ip, &self.source.namespace) {
            Some(service) => self.to_service(service, rng),
            None if is_outside_forbidden(self.source, ip) => {
                Err(ConnectionError::NotInRegistry(destination))
            }
            None => Ok(Route { path: self.passthrough(), destination: None, service: None }),
        }
    }

    fn to_service(
        &self,
        service: &Arc<Service>,
        rng: &mut impl Rng,
    ) -> Result<Route, ConnectionError> {
        let waypoint =
            self.untried(|| waypoint_of_service(self.snapshot, service, self.source, rng))?;
        if let Some(waypoint) = waypoint {
            return self.to_waypoint(waypoint, Some(service), rng);
        }
        let port = self.destination.port();
        let choice = load_balance(self.snapshot, service, port, self.source, rng)
            .map_err(ConnectionError::Balance)?;
        match choice {
            Choice::Passthrough => {
                let service = Some(service.clone());
                Ok(Route { path: self.passthrough(), destination: None, service })
            }
            Choice::Endpoint { workload, port } => {
                let path = if workload.network == self.source.network {
                    self.endpoint(&workload, Some(service), port)?
                } else {
                    self.other_network(&workload, service, Some(service), rng)?
                };
                Ok(Route { path, destination: Some(workload), service: Some(service.clone()) })
            }
        }
    }

    fn to_workload(
        &self,
        workload: &Arc<Workload>,
        rng: &mut impl Rng,
    ) -> Result<Route, ConnectionError> {
        let waypoint =
            self.untried(|| waypoint_of_workload(self.snapshot, workload, self.source, rng))?;
        if let Some(waypoint) = waypoint
            // The waypoint's own instances reach the workloads behind it directly.
            && waypoint.workload.identity != self.source.identity
        {
            return self.to_waypoint(waypoint, None, rng);
        }
        let path = self.endpoint(workload, None, self.destination.port())?;
        Ok(Route { path, destination: Some(workload.clone()), service: None })
    }

    /// Draws until an instance comes that wasn't tried. Where none does, the last: it may be there again.
    fn untried(
        &self,
        mut draw: impl FnMut() -> Result<Option<Upstream>, ResolveError>,
    ) -> Result<Option<Upstream>, ConnectionError> {
        let mut drawn = draw().map_err(ConnectionError::Resolve)?;
        for _ in 0..limits::WAYPOINT_DRAWS {
            match &drawn {
                Some(waypoint) if self.unreached.contains(&waypoint.workload.uid) => {}
                _ => break,
            }
            drawn = draw().map_err(ConnectionError::Resolve)?;
        }
        Ok(drawn)
    }

    fn to_waypoint(
        &self,
        waypoint: Upstream,
        service: Option<&Arc<Service>>,
        rng: &mut impl Rng,
    ) -> Result<Route, ConnectionError> {
        let path = if waypoint.workload.network == self.source.network {
            Path::Hbone(Hop { is_waypoint: true, ..self.hop(&waypoint)? }, self.authority())
        } else {
            // Only a name means anything in the other network. Its waypoint ends the inner tunnel, not the service.
            let service = service.ok_or_else(|| unreachable(&waypoint.workload))?;
            let there = waypoint.service.as_deref();
            self.other_network(&waypoint.workload, service, there, rng)?
        };
        Ok(Route { path, destination: Some(waypoint.workload), service: service.cloned() })
    }

    /// A chosen endpoint in our own network.
    fn endpoint(
        &self,
        workload: &Workload,
        service: Option<&Arc<Service>>,
        port: u16,
    ) -> Result<Path, ConnectionError> {
        let families = service.map_or(IpFamilies::Automatic, |service| service.ip_families);
        let target = target_address(workload, families, self.destination.ip())
            .ok_or_else(|| unreachable(workload))?;
        match (workload.tunnel_protocol, target) {
            (TunnelProtocol::Plain, target) => Ok(Path::Plain { target, port }),
            (TunnelProtocol::Hbone, Target::Ip(ip)) => {
                let target = SocketAddr::new(ip, port);
                // A pod behind an application tunnel is reached at the tunnel's port, which its inbound side knows.
                if workload.application_tunnel.is_none() && (self.is_local)(&workload.uid) {
                    return Ok(Path::Local { target });
                }
                let hop = Hop {
                    address: SocketAddr::new(ip, port::HBONE),
                    uid: workload.uid.clone(),
                    expected: expected_peers(workload, service),
                    is_waypoint: false,
                };
                Ok(Path::Hbone(hop, Authority::Address(target)))
            }
            (TunnelProtocol::Hbone, Target::Hostname(_)) | (TunnelProtocol::Unreachable, _) => {
                Err(unreachable(workload))
            }
        }
    }

    /// An endpoint in another network, which is reached by its gateway and under the service's name. It is an instance
    /// of `there`, whose alternative names are all that is known of who ends the inner tunnel.
    fn other_network(
        &self,
        workload: &Workload,
        service: &Service,
        there: Option<&Service>,
        rng: &mut impl Rng,
    ) -> Result<Path, ConnectionError> {
        let gateway = network_gateway_of(self.snapshot, workload, self.source, rng)
            .map_err(ConnectionError::Resolve)?
            .ok_or_else(|| unreachable(workload))?;
        let inner = there
            .and_then(|there| ExpectedPeers::new(there.subject_alt_names.iter().cloned()))
            .ok_or_else(|| nobody_expected(there.map_or(&workload.uid, |there| &there.key)))?;
        let authority = format!("{}:{}", service.hostname, self.destination.port());
        let authority = authority.parse().map_err(|_| unreachable(workload))?;
        Ok(Path::DoubleHbone { outer: self.hop(&gateway)?, inner, authority })
    }

    fn hop(&self, upstream: &Upstream) -> Result<Hop, ConnectionError> {
        let workload = &upstream.workload;
        let families = upstream.service.as_ref().map_or(IpFamilies::Automatic, |it| it.ip_families);
        match target_address(workload, families, self.destination.ip()) {
            Some(Target::Ip(ip)) => Ok(Hop {
                address: SocketAddr::new(ip, upstream.port),
                uid: workload.uid.clone(),
                expected: upstream.expected_peers(),
                is_waypoint: false,
            }),
            _ => Err(unreachable(workload)),
        }
    }

    fn authority(&self) -> Authority {
        Authority::Address(self.destination)
    }

    fn passthrough(&self) -> Path {
        let port = self.destination.port();
        Path::Plain { target: Target::Ip(self.destination.ip()), port }
    }
}

/// Whether a pod may not connect to this address if the mesh doesn't know it. Loopback is the pod's own.
fn is_outside_forbidden(source: &Workload, ip: IpAddr) -> bool {
    source.is_registry_only && !ip.to_canonical().is_loopback()
}

/// Whether a pod may (no longer) have a connection to this address, as far as it matters what the mesh knows.
pub(crate) fn is_refused(snapshot: &Snapshot, source: &Workload, ip: IpAddr) -> bool {
    let network = &*source.network;
    is_outside_forbidden(source, ip)
        && snapshot.workload_at(network, ip).is_none()
        && snapshot.service_at(network, ip, &source.namespace).is_none()
}

fn expected_peers(workload: &Workload, service: Option<&Arc<Service>>) -> ExpectedPeers {
    let sans = service.iter().flat_map(|service| service.subject_alt_names.iter().cloned());
    ExpectedPeers::new(sans.chain([workload.identity.clone()]))
        .unwrap_or_else(|| ExpectedPeers::one(workload.identity.clone()))
}

fn nobody_expected(at: &Arc<str>) -> ConnectionError {
    ConnectionError::NobodyExpected(at.clone())
}

fn unreachable(workload: &Workload) -> ConnectionError {
    ConnectionError::Unreachable(workload.uid.clone())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use prost::Message;
    use weft_core::mesh::{Store, StoreSettings, Update};
    use weft_proto::contract::extension;
    use weft_proto::{route, workload as proto};

    use super::*;

    /// A pod of `shop` at 10.0.0.1 and another workload at 10.0.0.2.
    fn mesh(mode: route::outbound_policy::Mode) -> Arc<Snapshot> {
        let policy = route::OutboundPolicy { mode: mode.into() }.encode_to_vec();
        let config = prost_types::Any { type_url: extension::OUTBOUND.into(), value: policy };
        let outbound = proto::Extension { name: extension::OUTBOUND.into(), config: Some(config) };
        let mut store = Store::new(&StoreSettings::default());
        for (name, last, extensions) in [("a", 1, vec![outbound]), ("b", 2, Vec::new())] {
            let workload = proto::Workload {
                uid: name.to_owned(),
                namespace: "shop".to_owned(),
                addresses: vec![vec![10, 0, 0, last]],
                extensions,
                ..Default::default()
            };
            let address = proto::Address { r#type: Some(proto::address::Type::Workload(workload)) };
            let resource = Some(Bytes::from(address.encode_to_vec()));
            assert_eq!(store.apply(vec![Update::Address { name: name.into(), resource }]), []);
        }
        store.reader().load()
    }

    fn ask(snapshot: &Snapshot, to: &str) -> Result<Route, ConnectionError> {
        let source = snapshot.workload("a").unwrap();
        let destination = to.parse().unwrap();
        let question =
            Question { snapshot, source, destination, is_local: &|_| false, unreached: &[] };
        question.resolve(&mut rand::rng())
    }

    #[test]
    fn what_the_mesh_does_not_know_is_refused_only_where_that_is_asked() {
        let open = mesh(route::outbound_policy::Mode::AllowAny);
        assert!(matches!(ask(&open, "192.0.2.1:443").unwrap().path, Path::Plain { .. }));
        let strict = mesh(route::outbound_policy::Mode::RegistryOnly);
        for outside in ["192.0.2.1:443", "169.254.169.254:80", "[2001:db8::1]:443"] {
            let refused = ask(&strict, outside);
            assert!(matches!(refused, Err(ConnectionError::NotInRegistry(_))), "{refused:?}");
            let ip = outside.parse::<SocketAddr>().unwrap().ip();
            assert!(is_refused(&strict, strict.workload("a").unwrap(), ip));
            // Only the pod that it is set for.
            assert!(!is_refused(&strict, strict.workload("b").unwrap(), ip));
        }
        for known in ["10.0.0.2:80", "127.0.0.1:80"] {
            assert!(ask(&strict, known).is_ok(), "{known}");
            let ip = known.parse::<SocketAddr>().unwrap().ip();
            assert!(!is_refused(&strict, strict.workload("a").unwrap(), ip));
        }
    }
}
