//! Connections that a pod opens: accept → identify → resolve → authorise → connect → relay → record.
//!
//! The phases before the relay are boxed: what they need is large, and would otherwise be kept for as long as the
//! connection lasts.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use weft_core::hbone::{Authority, Forwarded, OpenedTunnel, PoolKey, TraceParent, TunnelRequest};
use weft_core::mesh::Target;
use weft_core::relay::End as RelayEnd;
use weft_core::telemetry::{Direction, EarlyFailure, Reporter, Security};
use weft_core::x509::PeerCertificate;
use weft_core::{drain, socket};

use crate::authorise;
use crate::connections::{Carrier, OpenConnection};
use crate::describe;
use crate::double;
use crate::error::ConnectionError;
use crate::local;
use crate::pod::Pod;
use crate::record::{self, Record};
use crate::relaying;
use crate::resolve::{Hop, Path, Question, Route};
use crate::shared::Shared;

/// Serves one connection until it ends.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    pod: Arc<Pod>,
    tcp: TcpStream,
    from: SocketAddr,
    drain: drain::Watch,
) {
    let _open = shared.sockets.open(Reporter::Source);
    let early = |destination, error: &ConnectionError| {
        EarlyFailure { direction: Direction::Outbound, source: Some(from), destination }.log(error);
    };
    let destination = match socket::original_destination(&tcp) {
        Ok(destination) => destination,
        Err(error) => return early(None, &ConnectionError::OriginalDestination(Arc::new(error))),
    };
    let mut record = Record::new(Direction::Outbound, from, destination);
    let route = match Box::pin(route(&shared, &pod, &mut record, destination)).await {
        Ok(route) => route,
        Err(error) => return record.close(&shared.traffic, &Err(error)),
    };
    record.service = route.service.as_deref().map(record::service_labels);
    record.destination.workload = route.destination.clone();
    let outbound = Outbound { shared: &shared, pod: &pod, from, destination, drain };
    let outcome = outbound.connect_and_relay(tcp, route, &mut record).await;
    record.close(&shared.traffic, &outcome);
}

/// Identify and resolve.
async fn route(
    shared: &Shared,
    pod: &Pod,
    record: &mut Record,
    destination: SocketAddr,
) -> Result<Route, ConnectionError> {
    let (snapshot, source) = authorise::own_workload(&shared.mesh, pod).await?;
    record.source.workload = Some(source.clone());
    record.source.identity = Some(pod.identity.clone());
    let has_local_path = shared.config.local_path;
    let question = Question {
        snapshot: &snapshot,
        source: &source,
        destination,
        is_local: &|uid| has_local_path && shared.running.find(uid).is_some(),
    };
    question.resolve(&mut rand::rng())
}

/// What the rest of the phases share.
pub(crate) struct Outbound<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) pod: &'a Pod,
    pub(crate) from: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) drain: drain::Watch,
}

impl Outbound<'_> {
    async fn connect_and_relay(
        self,
        tcp: TcpStream,
        route: Route,
        record: &mut Record,
    ) -> Result<(), ConnectionError> {
        match route.path {
            Path::Local { target } => Box::pin(local::serve(self, tcp, target, record)).await,
            Path::Hbone(hop, authority) => {
                record.security = Security::MutualTls;
                record.destination.address = Some(hop.address);
                if let Authority::Address(target) = &authority {
                    record.tunnel_target = Some(*target);
                }
                let tunnel = Box::pin(self.tunnel(&hop, authority, record)).await?;
                record.destination.identity = Some(tunnel.peer.identity.clone());
                self.relay(tcp, tunnel.stream, Carrier::Hbone, record).await
            }
            Path::DoubleHbone { outer, inner, authority } => {
                record.security = Security::MutualTls;
                record.destination.address = Some(outer.address);
                let opening = double::open(&self, &outer, &inner, authority, record);
                let stream = Box::pin(opening).await?;
                self.relay(tcp, stream, Carrier::DoubleHbone, record).await
            }
            Path::Plain { target, port } => {
                let address = self.address_of(target, port).await?;
                record.destination.address = Some(address);
                let upstream = Box::pin(self.pod.sockets.connect(address)).await?;
                self.relay(tcp, upstream, Carrier::Plain, record).await
            }
        }
    }

    /// A tunnel from the pod's pool.
    pub(crate) async fn tunnel(
        &self,
        hop: &Hop,
        authority: Authority,
        record: &Record,
    ) -> Result<OpenedTunnel<PeerCertificate>, ConnectionError> {
        let key = PoolKey {
            source: self.pod.identity.clone(),
            source_ip: self.from.ip(),
            expected: hop.expected.clone(),
            address: hop.address,
            uid: hop.uid.clone(),
        };
        let request = self.request(authority, record);
        Ok(self.pod.pool.open(&key, &request).await?)
    }

    /// What the far side is told besides the target.
    pub(crate) fn request(&self, authority: Authority, record: &Record) -> TunnelRequest {
        let service = record.service.as_ref().and_then(|service| service.host.parse().ok());
        let own = record.source.workload.as_deref();
        TunnelRequest {
            authority,
            baggage: own.map(describe::baggage).unwrap_or_default(),
            forwarded: Some(Forwarded::new(self.from, service)),
            traceparent: TraceParent::random(),
            forwarded_network: None,
        }
    }

    async fn address_of(&self, target: Target, port: u16) -> Result<SocketAddr, ConnectionError> {
        match target {
            Target::Ip(ip) => Ok(SocketAddr::new(ip, port)),
            Target::Hostname(hostname) => {
                let prefers_v6 = self.destination.is_ipv6();
                let ip = self.pod.names.address_of(&hostname, prefers_v6).await;
                let ip = ip.map_err(|reason| ConnectionError::Hostname { hostname, reason })?;
                Ok(SocketAddr::new(ip, port))
            }
        }
    }

    async fn relay(
        &self,
        downstream: TcpStream,
        upstream: impl Into<RelayEnd>,
        carrier: Carrier,
        record: &mut Record,
    ) -> Result<(), ConnectionError> {
        let tracked = self.pod.connections.track(
            OpenConnection {
                direction: Direction::Outbound,
                source: self.from,
                source_identity: Some(self.pod.identity.clone()),
                original_destination: self.destination,
                destination: record.destination.address.unwrap_or(self.destination),
                carrier,
            },
            self.drain.forced_token(),
        );
        record.open(&self.shared.traffic);
        relaying::relay(downstream, upstream, &tracked, &record.counters).await
    }
}
