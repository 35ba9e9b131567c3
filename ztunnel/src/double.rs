//! To another network: a tunnel to its gateway, and inside it another one, end to end.
//!
//! The gateway carries bytes that it can't read: the inner TLS is between this pod and the far service. Both requests
//! name that service and its port, so that the gateway can choose one of its workloads, and that one its own port.
//!
//! The outer connection is the pool's. The inner one belongs to its only tunnel: whoever took it from a pool would always
//! get the workload that the gateway chose first, however many there are.

use std::sync::Arc;

use weft_core::certs::CertStore;
use weft_core::hbone::{
    Connect, Connection, KeepaliveSettings, Pool, PoolKey, TunnelRequest, TunnelStream,
};
use weft_core::identity::ExpectedPeers;
use weft_core::telemetry::Security;
use weft_core::{mesh, tls};

use crate::error::ConnectionError;
use crate::record::Record;

/// Opens both tunnels: the one that `outer` and `request` say, and in it one to any of `inner`. `record` learns who is at
/// the far end; the address stays the gateway's.
pub(crate) async fn open<C: Connect>(
    pool: &Pool<C>,
    certs: &CertStore,
    outer: &PoolKey,
    inner: &ExpectedPeers,
    request: TunnelRequest,
    record: &mut Record,
) -> Result<TunnelStream, ConnectionError> {
    record.security = Security::MutualTls;
    record.destination.address = Some(outer.address);
    record.tunnel_target = Some(request.authority.clone());
    let gateway = Box::pin(pool.open(outer, &request)).await?;
    let certificate = certs.certificate(&outer.source).await?;
    let (io, peer) = tls::connect_to(&certificate, inner, outer.address.ip(), gateway.stream)
        .await
        .map_err(|error| ConnectionError::InnerTls(error.into()))?;
    record.destination.identity = Some(peer.identity.clone());
    let connection = Box::pin(Connection::start(io, KeepaliveSettings::default())).await?;
    let network = record.source.workload.as_ref().map(|workload| workload.network.to_string());
    let forwarded_network = network.filter(|network| !network.is_empty());
    let (stream, answer) = connection.open(&TunnelRequest { forwarded_network, ..request }).await?;
    if let Some(known) = &mut record.destination.workload {
        *known = Arc::new(mesh::answered_by(known, &peer.identity, &answer.baggage));
    }
    Ok(stream)
}

#[cfg(test)]
mod tests;
