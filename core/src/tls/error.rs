//! Why a handshake failed, at which end, and what to look at.

use std::io;

use rustls::{AlertDescription, CertificateError as RustlsCertificateError, Error};

use crate::identity::{ExpectedPeers, SpiffeId, TrustDomain};
use crate::limits;
use crate::x509::CertificateError;

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// This end's: its certificate or its set-up. Another peer would not help.
    Local,
    /// The peer's, or the network's on the way to it.
    Peer,
}

/// What is wrong with a peer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PeerFault {
    /// It showed no certificate.
    #[error("peer showed no certificate; is it in the mesh?")]
    NoCertificate,
    /// Its certificate is no mesh certificate.
    #[error("{0}")]
    Certificate(#[from] CertificateError),
    /// It is somebody else.
    #[error(
        "peer is {presented}, expected {}; check the service account of the pod behind that address",
        List(expected)
    )]
    Unexpected {
        /// Who it is.
        presented: SpiffeId,
        /// Who it should have been.
        expected: ExpectedPeers,
    },
    /// It belongs to another mesh.
    #[error(
        "peer {presented} is not of trust domain {own}; check trustDomain and trustDomainAliases"
    )]
    ForeignTrustDomain {
        /// Who it is.
        presented: SpiffeId,
        /// This mesh's trust domain.
        own: TrustDomain,
    },
    /// Its certificate was valid once.
    #[error("the certificate of {0} has expired; check its node's path to the CA")]
    Expired(SpiffeId),
    /// Its chain does not lead to this mesh's roots, or is out of its validity.
    #[error(
        "peer's certificate is not trusted ({0}); compare root certificates and clocks of both ends"
    )]
    Untrusted(RustlsCertificateError),
    /// It did not agree to HTTP/2.
    #[error("peer did not agree to ALPN h2; is it a mesh proxy?")]
    NotHttp2,
}

impl PeerFault {
    /// The fault that a verifier found, in the words of rustls or in ours.
    fn of(error: &RustlsCertificateError) -> Self {
        match error {
            RustlsCertificateError::Other(other) => match other.0.downcast_ref::<Self>() {
                Some(fault) => fault.clone(),
                None => Self::Untrusted(error.clone()),
            },
            error => Self::Untrusted(error.clone()),
        }
    }
}

/// Why there is no TLS connection.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The own certificate is not valid now, so no handshake was tried.
    #[error("own certificate of {0} is not valid now; check the CA, and this node's clock")]
    OwnCertificate(SpiffeId),
    /// No configuration could be made of the own certificate.
    #[error("TLS could not be set up: {0}")]
    Setup(#[source] Error),
    /// The peer is not acceptable.
    #[error("{0}")]
    Peer(#[from] PeerFault),
    /// The peer says that we are not acceptable, or that it does not speak our version.
    #[error(
        "peer refused with alert {0:?}; compare root certificates, trust domains and clocks of both ends"
    )]
    RefusedByPeer(AlertDescription),
    /// The peer does not keep to the protocol, or shares no version or cipher with us.
    #[error("TLS handshake failed: {0}; the mesh speaks TLS 1.3 only")]
    Protocol(#[source] Error),
    /// The connection broke.
    #[error("connection broke in the TLS handshake: {0}; the peer's log may say why")]
    Io(#[source] io::Error),
    /// The peer did not finish in time.
    #[error(
        "TLS handshake took over {:?}; check that no network policy drops port 15008",
        limits::TLS_DEADLINE
    )]
    Deadline,
}

impl TlsError {
    /// Whose fault it is.
    pub fn side(&self) -> Side {
        match self {
            Self::OwnCertificate(_) | Self::Setup(_) => Side::Local,
            Self::Peer(_)
            | Self::RefusedByPeer(_)
            | Self::Protocol(_)
            | Self::Io(_)
            | Self::Deadline => Side::Peer,
        }
    }

    /// What an error of a TLS stream means. rustls reports through `io::Error`, in the handshake and, where a server
    /// refuses a client's certificate, only at the client's first read after it.
    pub fn of_stream(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(Error::InvalidCertificate(fault)) => Self::Peer(PeerFault::of(fault)),
            Some(Error::NoCertificatesPresented) => Self::Peer(PeerFault::NoCertificate),
            Some(Error::NoApplicationProtocol) => Self::Peer(PeerFault::NotHttp2),
            Some(Error::AlertReceived(alert)) => Self::RefusedByPeer(*alert),
            Some(other) => Self::Protocol(other.clone()),
            None => Self::Io(error),
        }
    }
}

/// An error of reading from a TLS stream, in words for a log: where a peer just closed, rustls writes of `close_notify`
/// and refers to its own manual.
///
/// An end that the peer didn't announce is no end of its data (RFC 8446, section 6.1), so it stays an error.
pub(crate) fn in_plain_words(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        io::Error::new(error.kind(), "the peer closed the connection without ending TLS")
    } else {
        error
    }
}

struct List<'a>(&'a ExpectedPeers);

/// A service can have thousands of workloads of different accounts; the message names a few.
const LISTED_MAX: usize = 4;

impl std::fmt::Display for List<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (position, identity) in self.0.iter().take(LISTED_MAX).enumerate() {
            let separator = if position == 0 { "" } else { " or " };
            write!(f, "{separator}{identity}")?;
        }
        match self.0.iter().count().saturating_sub(LISTED_MAX) {
            0 => Ok(()),
            more => write!(f, " or {more} more"),
        }
    }
}
