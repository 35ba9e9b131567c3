//! Mutual TLS of workloads, as every [`Connect`](super::Connect) of theirs and every server needs it: by a certificate of
//! the store, over a TCP connection.

use std::sync::Arc;

use tokio::net::TcpStream;

use super::connect::{ConnectError, Established, PoolKey};
use crate::certs::{CertError, CertStore};
use crate::identity::{SpiffeId, TrustDomains};
use crate::tls::{self, ClientStream, ServerStream, TlsError, WorkloadCertificate};
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

/// Why there is nobody to serve.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The workload that was called has no certificate.
    #[error(transparent)]
    Certificate(#[from] CertError),
    /// TLS failed, or the caller is of none of the trusted domains.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Takes a connection of a workload of `domains` as `identity`.
pub async fn accept(
    certs: &CertStore,
    identity: &SpiffeId,
    domains: &TrustDomains,
    tcp: TcpStream,
) -> Result<(ServerStream<TcpStream>, PeerCertificate), AcceptError> {
    let certificate = certs.certificate(identity).await?;
    Ok(tls::accept(&certificate, domains, tcp).await?)
}
