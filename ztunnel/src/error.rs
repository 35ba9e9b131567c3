//! Why a connection did not work out, and what its metrics and log say of it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use weft_core::certs::CertError;
use weft_core::hbone::{ConnectError, HboneError};
use weft_core::mesh::{BalanceError, ResolveError};
use weft_core::policy::Denial;
use weft_core::relay::RelayError;
use weft_core::socket::ConnectFailure;
use weft_core::telemetry::ResponseFlag;
use weft_core::tls::TlsError;

/// Why a connection ended otherwise than by its two ends.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ConnectionError {
    /// The controller has not described this pod.
    #[error(
        "the controller has not described this pod ({0}) yet; check `weft status` and the pod's manifest"
    )]
    UnknownWorkload(Arc<str>),
    /// A policy refused it.
    #[error("{0}")]
    Denied(Denial),
    /// A policy that arrived while it was open refuses it.
    #[error("connection closed due to policy change: {0}")]
    Cut(Denial),
    /// The destination is one of the proxy's own ports.
    #[error("attempted recursive call to ourselves: {0}")]
    Loop(SocketAddr),
    /// The mesh doesn't know the destination, and the pod may connect only to what it knows.
    #[error(
        "{0} is not in the mesh's registry, and the pod's outbound traffic policy is REGISTRY_ONLY; declare it by a ServiceEntry"
    )]
    NotInRegistry(SocketAddr),
    /// The destination's gateway or waypoint leads nowhere.
    #[error("{0}")]
    Resolve(ResolveError),
    /// No endpoint can take it.
    #[error("{0}")]
    Balance(BalanceError),
    /// The destination speaks a tunnel protocol that this proxy doesn't.
    #[error(
        "{0} is reached by a protocol that this proxy does not speak; plaintext would be a downgrade"
    )]
    Unreachable(Arc<str>),
    /// A workload has a name and no address, and its name can't be resolved.
    #[error("{hostname} has no address: {reason}")]
    Hostname {
        /// The name.
        hostname: Arc<str>,
        /// Why not.
        reason: Arc<str>,
    },
    /// Nobody can be authenticated at the other end.
    #[error("no identity is expected of {0}, so nobody can be authenticated there")]
    NobodyExpected(Arc<str>),
    /// No tunnel.
    #[error("{0}")]
    Tunnel(#[from] HboneError),
    /// The far end of a tunnel between networks is not whom it should be.
    #[error("TLS inside of the tunnel to the other network: {0}")]
    InnerTls(Arc<TlsError>),
    /// No connection.
    #[error("{0}")]
    Connect(Arc<ConnectFailure>),
    /// A certificate that this node needs is missing.
    #[error("{0}")]
    Certificate(Arc<CertError>),
    /// The bytes stopped flowing.
    #[error("{0}")]
    Relay(Arc<RelayError>),
    /// The client gave up before the destination was reached.
    #[error("the client gave up before the destination was reached")]
    Abandoned,
    /// A tunnel to another address than that of the pod.
    #[error("a tunnel to {asked} arrived at {local}; a pod's proxy leads to that pod only")]
    NotHere {
        /// What was asked for.
        asked: SocketAddr,
        /// Where it arrived.
        local: IpAddr,
    },
    /// A tunnel to a name that is none of the pod's services.
    #[error("{0} is no service and port of this pod")]
    NoSuchName(String),
    /// The pod left, or the proxy is ending.
    #[error("the proxy is shutting down")]
    Drained,
    /// The kernel does not say where the connection was going.
    #[error("the original destination is unknown: {0}")]
    OriginalDestination(Arc<io::Error>),
}

impl ConnectionError {
    /// What `response_flags` says.
    pub(crate) fn flag(&self) -> ResponseFlag {
        match self {
            Self::Denied(_) | Self::Cut(_) | Self::NotInRegistry(_) => ResponseFlag::Deny,
            Self::Certificate(_)
            | Self::NobodyExpected(_)
            | Self::Tunnel(HboneError::Connect(ConnectError::Certificate { .. })) => {
                ResponseFlag::IdentityError
            }
            Self::InnerTls(_) | Self::Tunnel(HboneError::Connect(ConnectError::Tls { .. })) => {
                ResponseFlag::TlsFailure
            }
            Self::Tunnel(HboneError::Connect(ConnectError::Timeout { .. })) => {
                ResponseFlag::NetworkPolicy
            }
            Self::Tunnel(HboneError::Handshake(_)) => ResponseFlag::H2HandshakeFailure,
            _ => ResponseFlag::Connect,
        }
    }

    /// The policy that decided, if one did.
    pub(crate) fn policy(&self) -> Option<&str> {
        match self {
            Self::Denied(denial) | Self::Cut(denial) => Some(denial.policy().as_str()),
            _ => None,
        }
    }
}

impl From<ConnectFailure> for ConnectionError {
    fn from(failure: ConnectFailure) -> Self {
        Self::Connect(failure.into())
    }
}

impl From<CertError> for ConnectionError {
    fn from(error: CertError) -> Self {
        Self::Certificate(error.into())
    }
}
