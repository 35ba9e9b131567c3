//! Requests: from the client's side of a tunnel to a backend and back.
//!
//! ```text
//!  one (pingora, HTTP/1.1) ─┐                                    ┌─ answer (made here)
//!                           ├▶ exchange: check ─▶ route ─▶ filter ┤
//!  two (h2) ────────────────┘                                    └─ forward ─▶ attempt ─▶ reply ─▶ client
//! ```
//!
//! Both engines end in one [`Downstream`], so that all that follows knows nothing of either. pingora carries HTTP/1.1.
//! Its HTTP/2 drops the trailers of requests, so that HTTP/2 stands on h2 itself.

mod access;
mod answer;
mod attempt;
mod backing;
mod blocks;
mod check;
mod chunks;
mod counting;
mod downstream;
mod exchange;
mod feed;
mod forward;
mod headers;
mod messages;
mod mirror;
mod one;
mod outgoing;
mod reply;
mod sticky;
mod trying;
mod two;
mod vigil;

pub(crate) use check::Ambiguous;
pub(crate) use chunks::Chunks;
pub(crate) use exchange::{Decision, Seen, check, decide, routes_for};
pub(crate) use forward::Plan;
pub(crate) use mirror::Copies;
pub(crate) use one::{drain_grace, serve as serve_one};
pub(crate) use two::serve as serve_two;
