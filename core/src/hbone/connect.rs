//! What the pool needs of the world: an authenticated byte stream for a key.

use std::error::Error;
use std::hash::{Hash, Hasher};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncRead, AsyncWrite};

use super::error::Side;
use crate::identity::{ExpectedPeers, SpiffeId};
use crate::socket::ConnectFailure;

/// Who connects, to whom, and how that one must identify itself: tunnels share a connection only if all of it is
/// equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolKey {
    /// The workload on whose behalf the connection is made.
    pub source: SpiffeId,
    /// Its address: policies of the destination may name it.
    pub source_ip: IpAddr,
    /// Identities of which the peer must present one.
    pub expected: ExpectedPeers,
    /// Where to connect to.
    pub address: SocketAddr,
    /// The workload behind that address, so that an address given to another pod can't hit a stale connection.
    pub uid: Arc<str>,
}

/// Two fields tell nearly all keys apart; equality compares them all.
impl Hash for PoolKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.address.hash(state);
        self.uid.hash(state);
    }
}

/// Makes connections. It owns sockets, namespaces, certificates and TLS, and puts a deadline on each step.
pub trait Connect: Send + Sync + 'static {
    /// The byte stream.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// What is known of the peer from its certificate.
    type Peer: Send + Sync + 'static;

    /// An established stream to the key's address, whose peer was authenticated as one of the key's expected.
    fn connect(
        &self,
        key: &PoolKey,
    ) -> impl Future<Output = Result<Established<Self::Io, Self::Peer>, ConnectError>> + Send;
}

/// What [`Connect`] makes.
#[derive(Debug)]
pub struct Established<Io, Peer> {
    /// The byte stream; HTTP/2 was negotiated.
    pub io: Io,
    /// The peer.
    pub peer: Arc<Peer>,
    /// When the first of the two certificates expires. No tunnel is opened on the connection after that.
    pub valid_until: SystemTime,
}

/// Why there is no authenticated connection. It is cloned for all who wait for the same one.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConnectError {
    /// TCP failed.
    #[error("connecting to {address}: {error}")]
    Tcp {
        /// Where to.
        address: SocketAddr,
        /// Why.
        error: Arc<io::Error>,
    },
    /// Nobody answered.
    #[error(
        "no answer from {address} within {} s; a NetworkPolicy may be blocking port {}",
        waited.as_secs(),
        address.port()
    )]
    Timeout {
        /// Where to.
        address: SocketAddr,
        /// For how long.
        waited: Duration,
    },
    /// TLS failed, or the peer is somebody else.
    #[error("TLS with {address}: {error}")]
    Tls {
        /// Where to.
        address: SocketAddr,
        /// Why.
        error: Arc<dyn Error + Send + Sync>,
    },
    /// The source has no certificate.
    #[error("no certificate for {identity}: {error}")]
    Certificate {
        /// The source.
        identity: SpiffeId,
        /// Why.
        error: Arc<dyn Error + Send + Sync>,
    },
}

impl ConnectError {
    /// Whose doing it is.
    pub fn side(&self) -> Side {
        match self {
            Self::Tcp { .. } | Self::Timeout { .. } | Self::Tls { .. } => Side::Upstream,
            Self::Certificate { .. } => Side::Local,
        }
    }
}

impl From<ConnectFailure> for ConnectError {
    fn from(failure: ConnectFailure) -> Self {
        match failure {
            ConnectFailure::Io { to, error } => Self::Tcp { address: to, error: Arc::new(error) },
            ConnectFailure::Timeout { to, waited } => Self::Timeout { address: to, waited },
        }
    }
}
