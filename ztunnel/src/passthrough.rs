//! Plaintext connections to a pod: from outside of the mesh, or from a peer that can't do better.
//!
//! Nobody vouches for who is calling, so a policy that asks for an identity refuses (that is what STRICT is).

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use weft_core::policy::Connection;
use weft_core::telemetry::{Direction, Reporter};
use weft_core::{drain, mesh};

use crate::authorise;
use crate::connections::{Carrier, OpenConnection};
use crate::describe;
use crate::error::ConnectionError;
use crate::pod::Pod;
use crate::record::{self, Record};
use crate::relaying::{self, Joined, Keep, Ready};
use crate::resolve::is_own_port;
use crate::shared::Shared;

/// Serves one connection until it ends.
pub(crate) fn serve(
    shared: Arc<Shared>,
    pod: Arc<Pod>,
    tcp: TcpStream,
    from: SocketAddr,
    drain: drain::Watch,
) -> impl Future<Output = ()> + Send {
    let socket = Some(shared.sockets.open(Reporter::Destination));
    let forced = drain.forced_token().clone();
    let preparing = Box::pin(prepare(shared.clone(), pod, tcp, from, forced));
    relaying::serve(Keep::new(shared, drain, socket), preparing)
}

async fn prepare(
    shared: Arc<Shared>,
    pod: Arc<Pod>,
    tcp: TcpStream,
    from: SocketAddr,
    forced: CancellationToken,
) -> Option<Ready> {
    let target = record::original_destination(&tcp, Direction::Inbound, from)?;
    let mut record = Record::new(Direction::Inbound, from, target);
    let outcome = admit(&shared, &pod, tcp, (from, target), &forced, &mut record).await;
    Ready::open(outcome, record, &shared)
}

async fn admit(
    shared: &Shared,
    pod: &Arc<Pod>,
    downstream: TcpStream,
    (from, target): (SocketAddr, SocketAddr),
    forced: &CancellationToken,
    record: &mut Record,
) -> Result<Joined, ConnectionError> {
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
        forced,
    );
    let (snapshot, workload) = authorise::own_workload(&shared.mesh, pod).await?;
    record.destination.workload = Some(workload.clone());
    record.source.workload = snapshot.workload_at(&workload.network, from.ip()).cloned();
    record.service = describe::own_service(&snapshot, &workload, None).map(mesh::service_labels);
    let connection =
        Connection { source_identity: None, source_ip: from.ip(), destination: target };
    authorise::authorise(&shared.mesh, pod, &connection).await?;
    let source = pod.spoofed_source(from.ip(), target);
    let upstream = pod.sockets.connect_to_application(target, source).await?;
    let (downstream, upstream) = (downstream.into(), upstream.into());
    Ok(Joined { downstream, upstream, tracked, other_pod: None })
}
