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
use crate::connections::{Carrier, OpenConnection, Tracked};
use crate::error::ConnectionError;
use crate::outbound::Outbound;
use crate::pod::Pod;
use crate::record::Record;
use crate::relaying::{Joined, OtherPod};

/// Reaches the other pod, with a record for each of the two.
pub(crate) async fn connect(
    outbound: &Outbound<'_>,
    downstream: TcpStream,
    target: SocketAddr,
    record: &mut Record,
) -> Result<Joined, ConnectionError> {
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
    let reached = reach(outbound, &destination, target, &mut inbound).await;
    let (upstream, tracked) = match reached {
        Ok(reached) => reached,
        Err(error) => {
            inbound.close(&outbound.shared.traffic, &Err(error.clone()));
            return Err(error);
        }
    };
    inbound.open(&outbound.shared.traffic);
    let other_pod = Some(Box::new(OtherPod { record: inbound, tracked }));
    let tracked = outbound.track(Carrier::Local, record);
    Ok(Joined { downstream: downstream.into(), upstream: upstream.into(), tracked, other_pod })
}

/// As the destination's own proxy would: verdict, then connection to the application.
async fn reach(
    outbound: &Outbound<'_>,
    destination: &Arc<Pod>,
    target: SocketAddr,
    inbound: &mut Record,
) -> Result<(TcpStream, Tracked), ConnectionError> {
    let shared = outbound.shared;
    let source_identity = &outbound.pod.identity;
    // Without a certificate neither could have met the other on another node.
    shared.certs.certificate(source_identity).await?;
    shared.certs.certificate(&destination.identity).await?;
    let tracked = destination.connections.track(
        OpenConnection {
            direction: Direction::Inbound,
            source: outbound.from,
            source_identity: Some(source_identity.clone()),
            original_destination: outbound.destination,
            destination: target,
            carrier: Carrier::Local,
        },
        &destination.forced,
    );
    let connection = Connection {
        source_identity: Some(source_identity),
        source_ip: outbound.from.ip(),
        destination: target,
    };
    let workload = authorise::authorise(&shared.mesh, destination, &connection).await?;
    inbound.destination.workload = Some(workload);
    let source = destination.spoofed_source(outbound.from.ip(), target);
    let upstream = destination.sockets.connect_to_application(target, source).await?;
    Ok((upstream, tracked))
}
