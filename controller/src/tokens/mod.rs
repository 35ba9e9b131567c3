//! Who calls: JSON web tokens of the shape that Kubernetes gives its service accounts.
//!
//! In standalone mode the controller stands in for the API server as issuer, so that authentication is one code
//! path. Two audiences exist: components present `istio-ca` tokens, and a node that is not yet a member presents
//! a join token, which opens nothing else.

mod bearer;
mod claims;
mod issuer;
mod join;

pub use bearer::bearer_token;
pub(crate) use claims::check_node_name;
pub use claims::{Caller, Component};
pub use issuer::{IssuedToken, TokenIssuer};

use weft_core::join_token::JoinTokenShape;

use crate::state_dir::StateError;

/// Issuer of standalone tokens where none is set.
pub const DEFAULT_ISSUER: &str = "https://weft.standalone";
/// Service account of the node proxy.
pub const ZTUNNEL_ACCOUNT: &str = "ztunnel";
/// Service account of the node agent.
pub const AGENT_ACCOUNT: &str = "istio-cni-node";

/// Why a token was not issued or not accepted. Texts go to the caller, so they name no token and no key.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The token key can't be read, made or used.
    #[error("the token key {0}")]
    Key(String),
    /// The state folder can't be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// No `authorization: Bearer` came with the call.
    #[error("no bearer token came with the call")]
    Missing,
    /// It is no token of this mesh: shape, algorithm, signature, issuer or audience.
    #[error("the token is not acceptable: {0}")]
    Invalid(String),
    /// Its time is over.
    #[error("the token expired {0} s ago; the node agent keeps fresh ones, so look at its log")]
    Expired(u64),
    /// Its time has not come.
    #[error("the token is valid only in {0} s; compare the clocks of issuer and controller")]
    NotYet(u64),
    /// A node's name is no DNS subdomain.
    #[error("{0:?} is no node name: lower-case letters, digits, '-' and '.', at most 253 bytes")]
    NodeName(String),
    /// A name of a Gateway, a namespace or a service account can't be one.
    #[error(
        "{0:?} is no object's name: lower-case letters, digits, '-' and '.', at most 253 bytes"
    )]
    ObjectName(String),
    /// A validity is outside its bounds.
    #[error("a token is valid for at least 1 minute and at most 365 days")]
    Validity,
    /// What was issued makes no join token.
    #[error(transparent)]
    JoinShape(#[from] JoinTokenShape),
}
