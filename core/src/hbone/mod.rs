//! HBONE: TCP connections as CONNECT streams of HTTP/2 (RFC 9113, section 8.5) inside mutual TLS, as Istio ambient
//! speaks it.
//!
//! ```text
//!  Pool ──▶ Connect (capability: dial, TLS) ──▶ client::Connection ──▶ TunnelStream ─┐
//!                                                                                    ├─▶ relay
//!  serve(io, on_tunnel) ──▶ IncomingTunnel::accept ──▶ TunnelStream ─────────────────┘
//! ```
//!
//! Invariants: flow control is h2's own (`reserve_capacity`, and `release_capacity` only after the bytes were
//! written out), so memory follows the slower side; no empty DATA frame is sent but the last; headers other than
//! the authority decide nothing; who the peer is comes from [`Connect`], never from a message.

mod client;
mod connect;
mod error;
mod gate;
mod headers;
mod keepalive;
mod message;
mod pool;
mod secure;
mod server;
mod settings;
mod stream;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod turn;

pub use client::Connection;
pub use connect::{Connect, ConnectError, Established, PoolKey};
pub use error::{HboneError, Side};
pub use headers::{
    Authority, AuthorityError, Baggage, Forwarded, HostName, TraceParent, WorkloadKind,
    WorkloadName,
};
pub use message::{TunnelRequest, TunnelResponse};
pub use pool::{OpenedTunnel, Pool, PoolCounters, PoolSettings};
pub use secure::{AcceptError, accept, certificate, secure};
pub use server::{IncomingTunnel, ServerSettings, serve};
pub use settings::KeepaliveSettings;
pub(crate) use stream::{RecvHalf, SendHalf};
pub use stream::{TunnelError, TunnelStream};
