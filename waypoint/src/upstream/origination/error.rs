//! Why a connection couldn't be secured.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Why a connection couldn't be secured. It is then not used at all.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum OriginationError {
    /// The controller says so.
    #[error("what is asked for can't be had: {0}")]
    Unavailable(Box<str>),
    /// Mutual TLS of the mesh is asked for, and the endpoint isn't reached over it.
    #[error("ISTIO_MUTUAL is asked for, and the endpoint isn't in the mesh")]
    NotOverMesh,
    /// The controller hasn't sent it.
    #[error("this waypoint hasn't got the Secret {0}; the DestinationRule's status says why")]
    Credential(Box<str>),
    /// Both sides have to prove who they are, and this one has nothing to prove it with.
    #[error("MUTUAL is asked for without a client certificate and its key")]
    NoCertificate,
    /// Something can't be read.
    #[error("{what} of {place} can't be read: {reason}")]
    Unreadable {
        /// What it should be.
        what: Secret,
        /// The file, or where else it comes from.
        place: Box<str>,
        /// Why.
        reason: String,
    },
    /// There is nobody whose certificate could be asked for.
    #[error("{0:?} is no name that a certificate can be for; set one as sni")]
    Name(Box<str>),
    /// A name that certificates can't be compared with.
    #[error("subjectAltNames: {0:?} is neither a host name nor an address nor a URI")]
    AltName(Box<str>),
    /// What was given doesn't work together.
    #[error("{0}")]
    Setup(String),
    /// The endpoint refused, or isn't who it should be.
    #[error("the handshake with {name} failed: {error}")]
    Handshake {
        /// Who was asked for.
        name: String,
        /// Why.
        error: Arc<std::io::Error>,
    },
    /// The endpoint says nothing.
    #[error("no handshake within {} ms", .0.as_millis())]
    Slow(Duration),
    /// HTTP/2 is asked for.
    #[error("{0} doesn't offer HTTP/2 over TLS")]
    NoHttp2(String),
}

/// What is read for TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secret {
    Roots,
    Certificate,
    Key,
    Revocations,
}

impl fmt::Display for Secret {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Roots => "the root certificates",
            Self::Certificate => "the client certificate",
            Self::Key => "the private key",
            Self::Revocations => "the list of revoked certificates",
        })
    }
}
