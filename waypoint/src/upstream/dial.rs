//! A byte stream to an application: through its node's proxy, or straight where it has none.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use weft_core::certs::CertStore;
use weft_core::hbone::{
    Authority, Baggage, Connect, ConnectError, Established, HboneError, Pool, PoolKey,
    PoolSettings, TraceParent, TunnelRequest, TunnelStream,
};
use weft_core::identity::SpiffeId;
use weft_core::socket::{self, ConnectFailure, StreamSettings};
use weft_core::tls;
use weft_core::x509::PeerCertificate;

use super::endpoint::{Endpoint, Hop};

/// Why an application wasn't reached.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum DialError {
    /// Through its proxy.
    #[error(transparent)]
    Tunnel(#[from] HboneError),
    /// Straight.
    #[error(transparent)]
    Plain(Arc<ConnectFailure>),
    /// What was to be spoken on it wasn't.
    #[error("{0}")]
    Http(Arc<hyper::Error>),
}

/// A stream to an application.
#[derive(Debug)]
pub(crate) enum Io {
    /// Through a tunnel.
    Tunnel(TunnelStream),
    /// Straight.
    Plain(TcpStream),
}

/// Reaches applications, as the waypoint itself.
pub(crate) struct Dialer {
    identity: SpiffeId,
    address: IpAddr,
    pool: Pool<TlsDialer>,
}

impl Dialer {
    /// With this identity, from this address.
    pub(crate) fn new(identity: SpiffeId, address: IpAddr, certs: CertStore) -> Self {
        let pool = Pool::new(PoolSettings::default(), TlsDialer { certs });
        Self { identity, address, pool }
    }

    /// A new stream to the application.
    pub(crate) async fn dial(
        &self,
        to: &Endpoint,
        baggage: &Baggage,
        trace: TraceParent,
    ) -> Result<Io, DialError> {
        let Some(Hop { address, expected }) = &to.hop else {
            let straight = straight(to.address).await;
            return straight.map(Io::Plain).map_err(|error| DialError::Plain(Arc::new(error)));
        };
        let key = PoolKey {
            source: self.identity.clone(),
            source_ip: self.address,
            expected: expected.clone(),
            address: *address,
            uid: to.workload.uid.clone(),
        };
        let request = TunnelRequest {
            baggage: baggage.clone(),
            traceparent: trace,
            ..TunnelRequest::new(Authority::from(to.address))
        };
        Ok(Io::Tunnel(self.pool.open(&key, &request).await?.stream))
    }

    /// Takes the connections to a workload that is gone out of the pool.
    pub(crate) fn evict(&self, uid: &str) {
        self.pool.evict(uid);
    }
}

/// A stream without a tunnel.
pub(super) async fn straight(to: std::net::SocketAddr) -> Result<TcpStream, ConnectFailure> {
    let socket = socket::stream_socket(to, &StreamSettings::default())
        .map_err(|error| ConnectFailure::Io { to, error })?;
    socket::connect(socket, to).await
}

struct TlsDialer {
    certs: CertStore,
}

impl Connect for TlsDialer {
    type Io = tls::ClientStream<TcpStream>;
    type Peer = PeerCertificate;

    async fn connect(
        &self,
        key: &PoolKey,
    ) -> Result<Established<Self::Io, PeerCertificate>, ConnectError> {
        let certificate = self.certs.certificate(&key.source).await.map_err(|error| {
            ConnectError::Certificate { identity: key.source.clone(), error: Arc::new(error) }
        })?;
        let address = key.address;
        let tcp = straight(address).await.map_err(ConnectError::from)?;
        let (io, peer) = tls::connect(&certificate, &key.expected, tcp)
            .await
            .map_err(|error| ConnectError::Tls { address, error: Arc::new(error) })?;
        let valid_until = peer.not_after.min(certificate.not_after());
        Ok(Established { io, peer: Arc::new(peer), valid_until })
    }
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tunnel(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tunnel(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tunnel(stream) => Pin::new(stream).poll_flush(cx),
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tunnel(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
