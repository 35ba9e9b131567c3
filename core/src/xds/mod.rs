//! The discovery client: keeps a [`Handler`] in step with the control plane over delta aggregated discovery.
//!
//! ```text
//!  Client::run ─▶ connect (token, channel) ─▶ session ─▶ response ─▶ Handler::apply ─▶ ACK, or NACK by name
//!       ▲                                        │                        │
//!       └──── back-off with jitter ◀── ended ────┘        StateReader ◀── State (readiness, admin)
//! ```
//!
//! Invariants: what the handler took stays in force through any outage; the client only ever asks for differences to
//! it. A bad resource never holds up the good ones of its push, nor readiness. The token is read anew for every
//! connection and never shown.
//!
//! Protocol: Envoy's "Incremental xDS", <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol>.

mod backoff;
mod client;
mod node;
mod session;
mod state;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

pub use crate::token::TokenSource;
pub use client::{ChannelFactory, Client, NoObserver, Observer, Termination, XdsSettings};
pub use node::{NodeSettings, node};
pub use state::{State, StateReader, TypeState};

/// One resource that was added, replaced or removed.
#[derive(Clone, PartialEq, Eq)]
pub struct Change {
    /// Its name.
    pub name: Arc<str>,
    /// The control plane's mark for this content. May be empty.
    pub version: String,
    /// The encoded message; `None` if the resource is gone.
    pub resource: Option<Bytes>,
}

/// Without the content, which may be a key.
impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Change");
        shown.field("name", &self.name).field("version", &self.version);
        shown.field("resource", &self.resource.as_ref().map(Bytes::len)).finish()
    }
}

/// A resource that was not taken as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Its name.
    pub name: Arc<str>,
    /// Why: goes to the control plane and the log.
    pub reason: String,
}

/// What is kept in step.
pub trait Handler: Send + 'static {
    /// Applies the changes of one response, removals first. Whatever is not taken is named in the result; everything
    /// else has been. Removing what is not there is no error. Large responses are applied on a blocking thread.
    fn apply(&mut self, type_url: &str, changes: Vec<Change>) -> Vec<Rejected>;
}
