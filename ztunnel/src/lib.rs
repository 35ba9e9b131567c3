//! The node's L4 proxy.
//!
//! ```text
//!  zds ──▶ Pods ──▶ PodProxy (a pod's listeners, in its namespace)
//!                     │ accept
//!                     ├─ outbound ──▶ resolve ──▶ local | hbone | double | plain ──▶ relay ──▶ record
//!                     ├─ inbound (HBONE) ──▶ authorise ──▶ relay ──▶ record
//!                     └─ passthrough (plaintext) ──▶ authorise ──▶ relay ──▶ record
//!  mesh snapshot ──▶ recheck ──▶ cuts open connections that a new policy denies
//!  netns::Broker: the only thread that changes its network namespace
//! ```
//!
//! Invariants: a connection is decided on one snapshot; a peer's identity comes from its certificate or from the
//! kernel, never from a header; an inbound tunnel leads to this pod and nowhere else; a pod whose description or
//! policy is missing is waited for and then refused, never passed through.

mod app;
mod authorise;
mod connections;
mod describe;
mod dial;
pub mod dns;
mod double;
mod dump;
mod error;
mod inbound;
mod limits;
mod local;
mod names;
mod netns;
mod outbound;
mod passthrough;
mod pod;
mod pods;
mod recheck;
mod record;
mod relaying;
mod resolve;
mod shared;
mod zds;

pub use app::run;
