//! Mutual TLS between workloads, and TLS towards the controller.
//!
//! ```text
//!  certs ──▶ WorkloadCertificate ──▶ ServerConfig (one)            ──▶ accept ──▶ PeerCertificate
//!            (identity, generation)  ClientConfig (one a peer set) ──▶ connect ─▶ PeerCertificate
//! ```
//!
//! Invariants:
//! * TLS 1.3 only, ALPN exactly `h2`, both sides present a certificate, no early data, no SNI.
//! * A peer's identity is compared inside the verifier, so a wrong one gets an alert before any byte of ours,
//!   and again after every handshake: a resumed one shows no certificate, only the one that it showed before.
//! * Tickets and sessions belong to one certificate (its generation) and die with it; neither end's expiry can be
//!   outlived by a resumption.

mod certificate;
mod config;
mod control;
mod error;
mod handshake;
mod provider;
mod read_ahead;
mod verify;

pub use certificate::{ChainError, WorkloadCertificate};
pub use control::{
    ControlError, ControlSettings, RootSource, control_channel, control_client, control_server,
};
pub use error::{PeerFault, Side, TlsError};
pub use handshake::{ClientStream, ServerStream, accept, connect, connect_to};
pub use provider::{key_exchange_groups, provider};
pub use read_ahead::ReadAhead;

pub(crate) use control::certificates_from_pem;
pub(crate) use error::in_plain_words;

#[cfg(test)]
mod tests;
