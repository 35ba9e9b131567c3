//! What both proxies share.
//!
//! ```text
//!  xds ──▶ mesh (immutable snapshot) ──▶ policy (pure verdicts)
//!  ca_client ──▶ certs ──▶ tls ──▶ hbone (client, server, pool) ──▶ relay
//!  serve (accept loop, permits) ── drain ── telemetry ── admin ── config
//! ```
//!
//! Invariants: nothing here changes a network namespace; identity comes from a verified certificate or from
//! the caller's own knowledge of a socket, never from a header; every await on the network has a deadline.

pub mod admin;
pub mod ca_client;
pub mod certs;
pub mod clock;
pub mod config;
pub mod control_plane;
pub mod drain;
mod forward;
pub mod hbone;
pub mod identity;
pub mod join_token;
pub mod limits;
pub mod mesh;
pub mod policy;
pub mod program;
mod read_size;
pub mod relay;
pub mod replace;
pub mod seal;
pub mod serve;
pub mod signals;
pub mod socket;
pub mod telemetry;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod tls;
pub mod token;
pub mod x509;
pub mod xds;
pub mod zds;
