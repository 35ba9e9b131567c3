//! What every [`Connect`](super::Connect) of workloads does alike: the source's certificate before its socket, and mutual
//! TLS over it.

use std::sync::Arc;

use tokio::net::TcpStream;

use super::connect::{ConnectError, Established, PoolKey};
use crate::certs::CertStore;
use crate::tls::{self, ClientStream, WorkloadCertificate};
use crate::x509::PeerCertificate;

/// The source's certificate. It is asked for before a socket is made: without it that would be for nothing.
pub async fn certificate(
    certs: &CertStore,
    key: &PoolKey,
) -> Result<Arc<WorkloadCertificate>, ConnectError> {
    certs.certificate(&key.source).await.map_err(|error| ConnectError::Certificate {
        identity: key.source.clone(),
        error: Arc::new(error),
    })
}

/// Mutual TLS as the owner of `certificate`, over a socket that is connected to the key's address, with one of the key's
/// expected.
pub async fn secure(
    certificate: &Arc<WorkloadCertificate>,
    key: &PoolKey,
    tcp: TcpStream,
) -> Result<Established<ClientStream<TcpStream>, PeerCertificate>, ConnectError> {
    let (io, peer) = tls::connect(certificate, &key.expected, tcp)
        .await
        .map_err(|error| ConnectError::Tls { address: key.address, error: Arc::new(error) })?;
    let valid_until = peer.not_after.min(certificate.not_after());
    Ok(Established { io, peer: Arc::new(peer), valid_until })
}
