//! To another network: a tunnel to its gateway, and inside it another one, end to end.
//!
//! The gateway carries bytes that it can't read: the inner TLS is between this pod and the far service.

use weft_core::hbone::{Authority, Connection, KeepaliveSettings, TunnelRequest, TunnelStream};
use weft_core::identity::ExpectedPeers;
use weft_core::tls;

use crate::error::ConnectionError;
use crate::outbound::Outbound;
use crate::record::Record;
use crate::resolve::Hop;

/// Opens both tunnels; the inner one belongs to this connection alone.
pub(crate) async fn open(
    outbound: &Outbound<'_>,
    outer: &Hop,
    inner: &ExpectedPeers,
    authority: Authority,
    record: &mut Record,
) -> Result<TunnelStream, ConnectionError> {
    let gateway = Box::pin(outbound.tunnel(outer, authority.clone(), record)).await?;
    let certificate = outbound.shared.certs.certificate(&outbound.pod.identity).await?;
    let address = outer.address.ip();
    let (io, peer) = tls::connect_to(&certificate, inner, address, gateway.stream)
        .await
        .map_err(|error| ConnectionError::InnerTls(error.into()))?;
    record.destination.identity = Some(peer.identity);
    let starting = Connection::start(io, KeepaliveSettings::default());
    let connection = Box::pin(starting).await?;
    let network = record.source.workload.as_ref().map(|workload| workload.network.to_string());
    let request = TunnelRequest {
        forwarded_network: network.filter(|network| !network.is_empty()),
        ..outbound.request(authority, record)
    };
    let (stream, _response) = connection.open(&request).await?;
    Ok(stream)
}
