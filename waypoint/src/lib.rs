//! The waypoint: the L7 proxy of services that ask for one.
//!
//! ```text
//!  serve: accept ─▶ caller ─▶ tunnel ─▶ target ─▶ sniff ─▶ http ──┬─ route (pure) ─▶ filters
//!                                                     └──▶ tcp    ├─ answer made here
//!                                                                 └─ upstream ─▶ endpoint's proxy ─▶ application
//! ```
//!
//! `route` is what is matched, chosen, rewritten and answered: free of sockets, clocks and the HTTP engine, so that every rule
//! of it is tested as a function. `http` carries it out.
//!
//! Invariants: nothing is served that isn't bound to this waypoint; who calls comes from the verified certificate; a
//! condition that isn't understood never holds; a filter or an outcome that isn't understood answers 500; a table that
//! reaches the proxy is never refused for one bad rule. Looking for a rule takes no memory.

pub mod access;
mod app;
pub mod balance;
mod cookie;
mod dump;
mod explain;
mod http;
pub mod limit;
pub mod limits;
mod record;
mod renewal;
mod resources;
pub mod retry;
pub mod route;
mod serve;
pub mod session;
mod shared;
pub mod telemetry;
mod text;
mod upstream;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;

pub use app::run;
