//! Delta discovery: an append-only log of resources, and sessions that read it.
//!
//! ```text
//! model ──ResourceChange──▶ Log ──Snapshot──▶ Session (a stream) ──Subscription (a type)──▶ Reader
//!                            │                   │                                           │
//!                            │ pre-encoded once  │ acks, refusals, admission, expiry         │ all, or by name
//!                            └───────────────────┴───── DeltaCodec writes the bytes as is ◀──┘
//! ```
//!
//! Invariants: a resource is encoded once, whoever reads it; a client of everything costs a cursor, not a set of
//! names; no session waits for another; versions are hashes of content, so a restart re-sends nothing; pods of a node
//! go to that node's agent alone, and what concerns a service's requests to the waypoints that stand before it.

mod clients;
mod codec;
mod entry;
mod index;
pub mod log;
mod named;
mod node;
mod read;
mod server;
mod session;
mod subscription;
mod wildcard;

pub use clients::{ClientStatus, Clients, Refusal, TypeStatus};
pub use log::{Audience, Log, ResourceChange};
pub use server::{Discovery, DiscoveryService};

#[cfg(test)]
mod tests;
