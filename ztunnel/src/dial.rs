//! How a pod's pool reaches other proxies: a socket in the pod's namespace, the pod's certificate, mutual TLS.

use std::sync::Arc;

use tokio::net::TcpStream;
use weft_core::certs::CertStore;
use weft_core::hbone::{self, Connect, ConnectError, Established, PoolKey};
use weft_core::tls;
use weft_core::x509::PeerCertificate;

use crate::netns::PodSockets;

/// Makes authenticated connections from within one pod.
pub(crate) struct PodConnector {
    sockets: Arc<PodSockets>,
    certs: CertStore,
}

impl PodConnector {
    /// Sockets of one pod, and the certificates of this node.
    pub(crate) fn new(sockets: Arc<PodSockets>, certs: CertStore) -> Self {
        Self { sockets, certs }
    }
}

impl Connect for PodConnector {
    type Io = tls::ClientStream<TcpStream>;
    type Peer = PeerCertificate;

    async fn connect(
        &self,
        key: &PoolKey,
    ) -> Result<Established<Self::Io, PeerCertificate>, ConnectError> {
        let certificate = hbone::certificate(&self.certs, key).await?;
        let tcp = self.sockets.connect(key.address).await.map_err(ConnectError::from)?;
        hbone::secure(&certificate, key, tcp).await
    }
}
