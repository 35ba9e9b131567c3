//! The small HTTP servers beside the data path: admin (loopback), metrics and readiness.
//!
//! ```text
//!  Router (path ─▶ closure) ──▶ serve(listener, router, shutdown)
//!                                 permit ─▶ accept ─▶ Host check ─▶ token check ─▶ closure under a deadline
//! ```
//!
//! Invariants (design, invariant 10): a route that changes something needs the token of a file, unless the operator
//! chose otherwise; on loopback a request must also *name* loopback, or a web page could reach it through a
//! browser by pointing its own host name here (DNS rebinding); no route shows a key.

mod certificate;
pub mod dump;
pub mod explanation;
mod query;
mod router;
mod routes;
mod server;
pub mod waypoint_dump;

#[cfg(test)]
mod tests;

pub use query::parse_query;
pub use router::{ChangeAccess, Hosts, Request, Response, Router};
pub use routes::{add_dump, add_logging, add_metrics, add_quit, add_ready};
pub use server::{ListenError, serve, spawn};
