//! Plaintext connections to a pod: from outside of the mesh, or from a peer that can't do better.
//!
//! Nobody vouches for who is calling, so a policy that asks for an identity refuses (that is what STRICT is).

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use weft_core::policy::Connection;
use weft_core::telemetry::{Direction, EarlyFailure, Reporter};
use weft_core::{drain, socket};

use crate::authorise;
use crate::connections::{Carrier, OpenConnection};
use crate::describe;
use crate::error::ConnectionError;
use crate::pod::Pod;
use crate::record::{self, Record};
use crate::relaying;
use crate::resolve::is_own_port;
use crate::shared::Shared;

/// Serves one connection until it ends.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    pod: Arc<Pod>,
    tcp: TcpStream,
    from: SocketAddr,
    drain: drain::Watch,
) {
    let _open = shared.sockets.open(Reporter::Destination);
    let target = match socket::original_destination(&tcp) {
        Ok(target) => target,
        Err(error) => {
            let error = ConnectionError::OriginalDestination(Arc::new(error));
            let early = EarlyFailure {
                direction: Direction::Inbound,
                source: Some(from),
                destination: None,
            };
            return early.log(&error);
        }
    };
    let mut record = Record::new(Direction::Inbound, from, target);
    let outcome = admit_and_relay(&shared, &pod, tcp, (from, target), &drain, &mut record).await;
    record.close(&shared.traffic, &outcome);
}

async fn admit_and_relay(
    shared: &Shared,
    pod: &Arc<Pod>,
    downstream: TcpStream,
    (from, target): (SocketAddr, SocketAddr),
    drain: &drain::Watch,
    record: &mut Record,
) -> Result<(), ConnectionError> {
    if is_own_port(target.port()) {
        return Err(ConnectionError::Loop(target));
    }
    let tracked = pod.connections.track(
        OpenConnection {
            direction: Direction::Inbound,
            source: from,
            source_identity: None,
            original_destination: target,
            destination: target,
            carrier: Carrier::Plain,
        },
        drain.forced_token(),
    );
    let (snapshot, workload) = Box::pin(authorise::own_workload(&shared.mesh, pod)).await?;
    record.destination.workload = Some(workload.clone());
    record.source.workload = snapshot.workload_at(&workload.network, from.ip()).cloned();
    record.service = describe::own_service(&snapshot, &workload, None).map(record::service_labels);
    let connection =
        Connection { source_identity: None, source_ip: from.ip(), destination: target };
    Box::pin(authorise::authorise(&shared.mesh, pod, &connection)).await?;
    let source = pod.spoofed_source(from.ip(), target);
    let upstream = Box::pin(pod.sockets.connect_to_application(target, source)).await?;
    record.open(&shared.traffic);
    relaying::relay(downstream, upstream, &tracked, &record.counters).await
}
