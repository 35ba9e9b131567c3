//! A byte stream to an application: through its node's proxy, or straight where it has none.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use weft_core::certs::CertStore;
use weft_core::hbone::{
    self, Authority, Baggage, Connect, ConnectError, Established, HboneError, Pool, PoolKey,
    PoolSettings, TraceParent, TunnelRequest, TunnelStream,
};
use weft_core::identity::SpiffeId;
use weft_core::socket::{self, ConnectFailure, StreamSettings};
use weft_core::tls;
use weft_core::x509::PeerCertificate;

use super::endpoint::{Endpoint, Hop, Name};
use super::names::{NameError, Names};
use super::origination::{Origin, Origination, OriginationError};
use super::shelf::Spoken;

/// Why an application wasn't reached.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum DialError {
    /// Through its proxy.
    #[error(transparent)]
    Tunnel(#[from] HboneError),
    /// Straight.
    #[error(transparent)]
    Plain(Arc<ConnectFailure>),
    /// By its name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// What was to be spoken on it wasn't.
    #[error("{0}")]
    Http(Arc<hyper::Error>),
    /// TLS that was asked for.
    #[error("TLS to {to}: {error}")]
    Origination {
        /// The endpoint.
        to: Arc<str>,
        /// Why not.
        error: OriginationError,
    },
}

/// A stream to an application.
#[derive(Debug)]
pub(crate) enum Io {
    /// Through a tunnel.
    Tunnel(TunnelStream),
    /// Straight.
    Plain(TcpStream),
    /// Inside of TLS that an object asks for.
    Tls(Box<TlsStream<Io>>),
}

impl Io {
    /// What is dropped from now on is reset: its peer must not take a cut for an end. A tunnel sees to that itself.
    pub(crate) fn cut(&self) {
        match self {
            Self::Tunnel(_) => {}
            Self::Plain(stream) => socket::reset_on_close(stream),
            Self::Tls(stream) => stream.get_ref().0.cut(),
        }
    }
}

/// Reaches applications, as the waypoint itself.
pub(crate) struct Dialer {
    identity: SpiffeId,
    address: IpAddr,
    pool: Pool<TlsDialer>,
    origination: Origination,
    names: Arc<Names>,
}

impl Dialer {
    /// With this identity, from this address.
    pub(crate) fn new(
        identity: SpiffeId,
        address: IpAddr,
        certs: CertStore,
        names: Arc<Names>,
    ) -> Self {
        let pool = Pool::new(PoolSettings::default(), TlsDialer { certs });
        Self { identity, address, pool, origination: Origination::default(), names }
    }

    /// A new stream to the application.
    pub(crate) async fn dial(
        &self,
        to: &Endpoint,
        baggage: &Baggage,
        trace: TraceParent,
    ) -> Result<Io, DialError> {
        let Some(Hop { address, expected }) = &to.hop else {
            if let Some(name) = &to.name {
                return self.by_name(name, to.address.port()).await.map(Io::Plain);
            }
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

    /// A new stream, inside of TLS if that is asked for: then never without. `spoken`: what goes over it, if it is HTTP.
    pub(crate) async fn dial_secured(
        &self,
        to: &Endpoint,
        (baggage, trace): (&Baggage, TraceParent),
        origin: Option<&Origin>,
        spoken: Option<Spoken>,
    ) -> Result<Io, DialError> {
        let failed = |error| DialError::Origination { to: to.workload.uid.clone(), error };
        let Some(origin) = origin else { return self.dial(to, baggage, trace).await };
        let needs_handshake = Origination::check(origin, to.hop.is_some()).map_err(failed)?;
        let io = self.dial(to, baggage, trace).await?;
        if !needs_handshake {
            return Ok(io);
        }
        Box::pin(self.origination.secure(origin, spoken, io)).await.map_err(failed)
    }

    /// To the first address of a name that can be had.
    async fn by_name(&self, name: &Name, port: u16) -> Result<TcpStream, DialError> {
        let (name, is_clients_choice) = match name {
            Name::Fixed(name) => (name, false),
            // Below a wildcard somebody has to have said which.
            Name::Asked(name) | Name::Below(name) => (name, true),
        };
        let mut last = None;
        for ip in self.names.addresses(name, is_clients_choice).await? {
            match straight((ip, port).into()).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            }
        }
        let reason = "it has no address".into();
        let none = NameError::Unresolved { name: name.clone(), reason };
        Err(last.map_or(DialError::Name(none), |error| DialError::Plain(Arc::new(error))))
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
        let certificate = hbone::certificate(&self.certs, key).await?;
        let tcp = straight(key.address).await.map_err(ConnectError::from)?;
        hbone::secure(&certificate, key, tcp).await
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
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, into),
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
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tunnel(stream) => Pin::new(stream).poll_flush(cx),
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tunnel(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
