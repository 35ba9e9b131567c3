//! What is known of a connection, for its metrics and its line in the log.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::Instant;
use weft_core::hbone::Authority;
use weft_core::identity::SpiffeId;
use weft_core::mesh::{self, Workload};
use weft_core::relay::Counters;
use weft_core::socket;
use weft_core::telemetry::{
    AccessLog, ConnectionMetrics, Direction, EarlyFailure, Endpoint, Reporter, Security,
    ServiceLabels, SharedParty, TrafficLabels, TrafficMetrics,
};

use crate::error::ConnectionError;

/// One end of a connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct End {
    /// Its address.
    pub address: Option<SocketAddr>,
    /// What the mesh knows under that address.
    pub workload: Option<Arc<Workload>>,
    /// Who it proved to be.
    pub identity: Option<SpiffeId>,
}

impl End {
    fn party(&self) -> SharedParty {
        mesh::party(self.workload.as_deref(), self.identity.as_ref())
    }
}

/// A connection's record: opened once what it is is known, closed with how it ended.
#[derive(Debug)]
pub(crate) struct Record {
    direction: Direction,
    started: Instant,
    /// The client.
    pub source: End,
    /// The server.
    pub destination: End,
    /// The service that the client addressed.
    pub service: Option<Arc<ServiceLabels>>,
    /// Where the tunnel leads, behind the destination's address.
    pub tunnel_target: Option<Authority>,
    /// How the bytes are protected.
    pub security: Security,
    /// Bytes so far; the relay advances them.
    pub counters: Arc<Counters>,
    open: Option<ConnectionMetrics>,
}

impl Record {
    /// Of a connection from `source` that just arrived.
    pub(crate) fn new(direction: Direction, source: SocketAddr, destination: SocketAddr) -> Self {
        let end = |address| End { address: Some(address), ..End::default() };
        Self {
            direction,
            started: Instant::now(),
            source: end(source),
            destination: end(destination),
            service: None,
            tunnel_target: None,
            security: Security::None,
            counters: Arc::default(),
            open: None,
        }
    }

    /// Counts it as opened.
    pub(crate) fn open(&mut self, metrics: &TrafficMetrics) {
        self.open = Some(metrics.open(self.labels(), self.counters.clone()));
        self.log().opened();
    }

    /// Writes how it ended.
    pub(crate) fn close(self, metrics: &TrafficMetrics, outcome: &Result<(), ConnectionError>) {
        let duration = self.started.elapsed();
        let Err(error) = outcome else {
            return self.log().completed(&*self.counters, duration);
        };
        match &self.open {
            Some(open) => open.failed(error.flag()),
            None => metrics.failed(&self.labels().flag(error.flag())),
        }
        self.log().failed(&*self.counters, duration, error, error.policy());
    }

    fn labels(&self) -> TrafficLabels {
        let reporter = match self.direction {
            Direction::Inbound => Reporter::Destination,
            Direction::Outbound => Reporter::Source,
        };
        TrafficLabels::new(reporter, self.source.party(), self.destination.party())
            .service(self.service.clone())
            .security(self.security)
    }

    /// As the log says it.
    pub(crate) fn log(&self) -> AccessLog<'_> {
        AccessLog {
            direction: self.direction,
            source: endpoint(&self.source),
            destination: endpoint(&self.destination),
            hbone_address: self.tunnel_target.as_ref(),
            service: self.service.as_ref().map(|service| &*service.host),
        }
    }
}

/// Where a redirected connection was going. If that can't be told it has no record, only a line in the log.
pub(crate) fn original_destination(
    tcp: &TcpStream,
    direction: Direction,
    from: SocketAddr,
) -> Option<SocketAddr> {
    let destination = socket::original_destination(tcp).map_err(Arc::new);
    let early = EarlyFailure { direction, source: Some(from), destination: None };
    destination.map_err(|error| early.log(&ConnectionError::OriginalDestination(error))).ok()
}

fn endpoint(end: &End) -> Endpoint<'_> {
    let workload = end.workload.as_deref();
    Endpoint {
        address: end.address,
        workload: workload.map(|it| &*it.name),
        namespace: workload.map(|it| &*it.namespace),
        identity: end.identity.as_ref().map(SpiffeId::as_str),
        cluster: workload.map(|it| &*it.cluster_id),
    }
}
