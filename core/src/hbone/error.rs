//! What can go wrong with a tunnel, by what the caller does next.

use http::StatusCode;

use super::connect::ConnectError;

/// Whose doing an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one who connected to us.
    Downstream,
    /// The one whom we connected to.
    Upstream,
    /// This process.
    Local,
}

/// Why there is no tunnel.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HboneError {
    /// No authenticated connection could be made.
    #[error("{0}")]
    Connect(#[from] ConnectError),
    /// The HTTP/2 handshake failed or took too long.
    #[error("HTTP/2 handshake: {0}")]
    Handshake(String),
    /// The peer takes no more tunnels now; nothing of this one was acted upon.
    #[error("the peer refused the stream; it is overloaded or going away")]
    Refused,
    /// The connection ended before the answer.
    #[error("the connection ended before the tunnel was answered: {0}")]
    Lost(String),
    /// The peer answered, with something other than 200.
    #[error("the peer answered {0}")]
    Status(StatusCode),
    /// No answer came in time.
    #[error("the peer did not answer within {} s", crate::limits::HBONE_REPLY_DEADLINE.as_secs())]
    ReplyTimeout,
    /// The pool holds as many connections as it may.
    #[error("the pool holds as many connections as it may")]
    PoolFull,
    /// The pool was shut down.
    #[error("the pool was shut down")]
    PoolClosed,
    /// A connection was open, and the peer broke the protocol or fell silent. Server side only.
    #[error("tunnel connection: {0}")]
    Protocol(String),
    /// A connection was accepted and said nothing useful in time. Server side only.
    #[error("no {0} in time")]
    Silent(&'static str),
}

impl HboneError {
    /// Whose doing it is.
    pub fn side(&self) -> Side {
        match self {
            Self::Connect(error) => error.side(),
            Self::Handshake(_)
            | Self::Refused
            | Self::Lost(_)
            | Self::Status(_)
            | Self::ReplyTimeout => Side::Upstream,
            Self::PoolFull | Self::PoolClosed => Side::Local,
            Self::Protocol(_) | Self::Silent(_) => Side::Downstream,
        }
    }

    /// Whether another endpoint, or the same a little later, may well succeed, and trying does no harm: no byte of
    /// the user was sent.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect(error) => error.side() == Side::Upstream,
            Self::Refused | Self::Lost(_) | Self::Handshake(_) | Self::ReplyTimeout => true,
            Self::Status(status) => *status == StatusCode::SERVICE_UNAVAILABLE,
            Self::PoolFull | Self::PoolClosed | Self::Protocol(_) | Self::Silent(_) => false,
        }
    }

    /// What h2 says of a stream that we opened and that got no answer.
    pub(super) fn unanswered(error: &h2::Error) -> Self {
        if error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM) {
            Self::Refused
        } else {
            Self::Lost(error.to_string())
        }
    }
}
