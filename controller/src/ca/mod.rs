//! The certificate authority: who may have which identity, and the signing of it.
//!
//! ```text
//! state folder ─┐
//! plugged files ┴▶ root::Root ─▶ Authority ◀─ csr (verified public key)
//!                                  ▲
//! CreateCertificate ─▶ service (token, rate, LivePods) ┘
//! ```
//!
//! Invariants: an identity comes from the caller's token or from the model, never from the request's own text; a
//! leaf never outlives its signer; the signing key leaves neither this module nor the state folder.

mod authority;
mod csr;
mod root;
mod service;

use std::path::PathBuf;

pub use authority::{Authority, IssuedChain};
pub use csr::verified_public_key;
pub use root::Root;
pub(crate) use root::pem_of;
pub use service::{CertificateService, LivePods};

use crate::state_dir::StateError;

/// Why the authority can't work or won't sign.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The state folder can't be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// A certificate or key of the authority can't be used.
    #[error("{}: {reason}", path.display())]
    Material {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The signing request can't be accepted.
    #[error("the signing request {0}")]
    Request(String),
    /// The validity asked for is outside its bounds.
    #[error(
        "a validity of {asked_seconds} s was asked for; it may be {min_seconds} to {max_seconds} s"
    )]
    Validity {
        /// Asked for.
        asked_seconds: i64,
        /// Least.
        min_seconds: u64,
        /// Most.
        max_seconds: u64,
    },
    /// The signer's own certificate has expired.
    #[error("the authority's own certificate expired; renew it before anything can be signed")]
    SignerExpired,
    /// Signing failed.
    #[error("signing failed: {0}")]
    Signing(String),
}
