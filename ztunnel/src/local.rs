//! Both pods are on this node: no TLS, everything else as between nodes.
//!
//! Bytes between two pods of one node never leave its kernel, and TLS from a process to itself protects nothing.
//! What a tunnel would have proved is checked here instead: both pods hold a valid certificate, and the
//! destination's whole policy is asked with the source's identity, which the kernel vouches for: the socket is in
//! the source pod's namespace.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use weft_core::policy::Connection;
use weft_core::telemetry::{Direction, Security};

use crate::authorise;
use crate::connections::{Carrier, OpenConnection};
use crate::error::ConnectionError;
use crate::outbound::Outbound;
use crate::pod::Pod;
use crate::record::Record;
use crate::relaying;

/// Serves the connection, with a record for each of the two pods.
pub(crate) async fn serve(
    outbound: Outbound<'_>,
    downstream: TcpStream,
    target: SocketAddr,
    record: &mut Record,
) -> Result<(), ConnectionError> {
    let uid = record.destination.workload.as_ref().map(|workload| workload.uid.clone());
    let destination =
        uid.and_then(|uid| outbound.shared.running.find(&uid)).ok_or(ConnectionError::Drained)?;
    record.security = Security::Local;
    record.destination.address = Some(target);
    record.destination.identity = Some(destination.identity.clone());
    let mut inbound = Record::new(Direction::Inbound, outbound.from, target);
    inbound.source = record.source.clone();
    inbound.service = record.service.clone();
    inbound.security = Security::Local;
    inbound.destination.identity = Some(destination.identity.clone());
    inbound.counters = record.counters.clone();
    let outcome = join(&outbound, &destination, downstream, (record, &mut inbound), target).await;
    inbound.close(&outbound.shared.traffic, &outcome);
    outcome
}

async fn join(
    outbound: &Outbound<'_>,
    destination: &Arc<Pod>,
    downstream: TcpStream,
    (record, inbound): (&mut Record, &mut Record),
    target: SocketAddr,
) -> Result<(), ConnectionError> {
    let shared = outbound.shared;
    let source_identity = &outbound.pod.identity;
    // Without a certificate neither could have met the other on another node.
    Box::pin(shared.certs.certificate(source_identity)).await?;
    Box::pin(shared.certs.certificate(&destination.identity)).await?;
    let open = |direction| OpenConnection {
        direction,
        source: outbound.from,
        source_identity: Some(source_identity.clone()),
        original_destination: outbound.destination,
        destination: target,
        carrier: Carrier::Local,
    };
    let at_destination =
        destination.connections.track(open(Direction::Inbound), &destination.forced);
    let connection = Connection {
        source_identity: Some(source_identity),
        source_ip: outbound.from.ip(),
        destination: target,
    };
    let workload = Box::pin(authorise::authorise(&shared.mesh, destination, &connection)).await?;
    inbound.destination.workload = Some(workload);
    let source = destination.spoofed_source(outbound.from.ip(), target);
    let upstream = Box::pin(destination.sockets.connect_to_application(target, source)).await?;
    let at_source =
        outbound.pod.connections.track(open(Direction::Outbound), outbound.drain.forced_token());
    record.open(&shared.traffic);
    inbound.open(&shared.traffic);
    let ends = (&at_source, &at_destination);
    relaying::relay_local(downstream, upstream, ends, &record.counters).await
}
