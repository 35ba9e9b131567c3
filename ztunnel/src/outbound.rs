//! Connections that a pod opens: accept → identify → resolve → authorise → connect (here) → relay → record.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use weft_core::drain;
use weft_core::hbone::{
    Authority, Forwarded, HboneError, Pool, PoolKey, TraceParent, TunnelRequest, TunnelStream,
};
use weft_core::mesh::{self, Target};
use weft_core::telemetry::{Direction, Reporter, Security};

use crate::authorise;
use crate::connections::{Carrier, OpenConnection, Tracked};
use crate::dial::PodConnector;
use crate::double;
use crate::error::ConnectionError;
use crate::limits;
use crate::local;
use crate::pod::{Lane, Pod};
use crate::record::{self, Record};
use crate::relaying::{self, Joined, Keep, Ready};
use crate::resolve::{Hop, Path, Question, Route};
use crate::shared::Shared;

/// Serves one connection until it ends.
pub(crate) fn serve(
    shared: Arc<Shared>,
    lane: Arc<Lane>,
    tcp: TcpStream,
    from: SocketAddr,
    drain: drain::Watch,
) -> impl Future<Output = ()> + Send {
    let socket = Some(shared.sockets.open(Reporter::Source));
    let forced = drain.forced_token().clone();
    let preparing = Box::pin(prepare(shared.clone(), lane, tcp, from, forced));
    relaying::serve(Keep::new(shared, drain, socket), preparing)
}

async fn prepare(
    shared: Arc<Shared>,
    lane: Arc<Lane>,
    tcp: TcpStream,
    from: SocketAddr,
    forced: CancellationToken,
) -> Option<Ready> {
    let destination = record::original_destination(&tcp, Direction::Outbound, from)?;
    let mut record = Record::new(Direction::Outbound, from, destination);
    let Lane { pod, pool } = &*lane;
    let outbound = Outbound { shared: &shared, pod, pool, from, destination, forced: &forced };
    let outcome = outbound.connect(tcp, &mut record).await;
    Ready::open(outcome, record, &shared)
}

/// Identify and resolve.
async fn route(
    shared: &Shared,
    pod: &Pod,
    record: &mut Record,
    destination: SocketAddr,
    unreached: &[Arc<str>],
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
        unreached,
    };
    question.resolve(&mut rand::rng())
}

/// Whether the proxy itself wasn't reached, so that nobody has seen anything of the connection. An answer, 503 included, is
/// one of somebody who has.
fn is_unreached(error: &HboneError) -> bool {
    error.is_retryable() && !matches!(error, HboneError::Status(_) | HboneError::ReplyTimeout)
}

/// What the rest of the phases share.
pub(crate) struct Outbound<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) pod: &'a Pod,
    pub(crate) pool: &'a Pool<PodConnector>,
    pub(crate) from: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) forced: &'a CancellationToken,
}

impl Outbound<'_> {
    async fn connect(
        self,
        downstream: TcpStream,
        record: &mut Record,
    ) -> Result<Joined, ConnectionError> {
        let mut unreached = Vec::new();
        let (upstream, carrier) = loop {
            let route = route(self.shared, self.pod, record, self.destination, &unreached).await?;
            record.service = route.service.as_deref().map(mesh::service_labels);
            record.destination.workload = route.destination.clone();
            break match route.path {
                Path::Local { target } => {
                    return local::connect(&self, downstream, target, record).await;
                }
                Path::Hbone(hop, authority) => match self.hbone(&hop, authority, record).await {
                    Ok(stream) => (stream.into(), Carrier::Hbone),
                    Err(error)
                        if hop.is_waypoint
                            && unreached.len() < limits::WAYPOINT_RETRIES
                            && is_unreached(&error) =>
                    {
                        let (waypoint, at) = (&hop.uid, hop.address);
                        tracing::debug!(%waypoint, %at, %error, "another instance is tried");
                        unreached.push(hop.uid);
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                },
                Path::DoubleHbone { outer, inner, authority } => {
                    let (key, request) = (self.key(&outer), self.request(authority, record));
                    let (pool, certs) = (self.pool, &self.shared.certs);
                    let opening = double::open(pool, certs, &key, &inner, request, record);
                    (Box::pin(opening).await?.into(), Carrier::DoubleHbone)
                }
                Path::Plain { target, port } => {
                    let address = Box::pin(self.address_of(target, port)).await?;
                    record.destination.address = Some(address);
                    (self.pod.sockets.connect(address).await?.into(), Carrier::Plain)
                }
            };
        };
        let tracked = self.track(carrier, record);
        Ok(Joined { downstream: downstream.into(), upstream, tracked, other_pod: None })
    }

    /// A tunnel to the next proxy.
    async fn hbone(
        &self,
        hop: &Hop,
        authority: Authority,
        record: &mut Record,
    ) -> Result<TunnelStream, HboneError> {
        record.security = Security::MutualTls;
        record.destination.address = Some(hop.address);
        record.tunnel_target = Some(authority.clone());
        let (key, request) = (self.key(hop), self.request(authority, record));
        let tunnel = self.pool.open(&key, &request).await?;
        record.destination.identity = Some(tunnel.peer.identity.clone());
        Ok(tunnel.stream)
    }

    /// The connections of the pod's pool that may carry its tunnels.
    fn key(&self, hop: &Hop) -> PoolKey {
        PoolKey {
            source: self.pod.identity.clone(),
            source_ip: self.from.ip(),
            expected: hop.expected.clone(),
            address: hop.address,
            uid: hop.uid.clone(),
        }
    }

    /// What the far side is told besides the target.
    fn request(&self, authority: Authority, record: &Record) -> TunnelRequest {
        let service = record.service.as_ref().and_then(|service| service.host.parse().ok());
        let own = record.source.workload.as_deref();
        TunnelRequest {
            authority,
            baggage: own.map(mesh::baggage).unwrap_or_default(),
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

    /// Enters it in the pod's table.
    pub(crate) fn track(&self, carrier: Carrier, record: &Record) -> Tracked {
        self.pod.connections.track(
            OpenConnection {
                direction: Direction::Outbound,
                source: self.from,
                source_identity: Some(self.pod.identity.clone()),
                original_destination: self.destination,
                destination: record.destination.address.unwrap_or(self.destination),
                carrier,
            },
            self.forced,
        )
    }
}
