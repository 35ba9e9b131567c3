//! The waypoint: the L7 proxy of services that ask for one.
//!
//! ```text
//!  RouteTable (bytes) ──route::decode──▶ Table ──select──▶ RouteSet ──find──▶ Matched ──▶ Action
//!                                                                                 │        ├ filters
//!                                                          request + span ────────┘        └ forward, redirect, answer
//! ```
//!
//! [`telemetry`] takes one record a request and makes metrics, log lines and spans of it.
//!
//! So far this is the routing core alone: what is matched, chosen, rewritten and answered, free of sockets, clocks and
//! the HTTP engine, so that every rule of it is tested as a function.
//!
//! Invariants: a condition that isn't understood never holds; a filter or an outcome that isn't understood answers 500;
//! a table that reaches the proxy is never refused for one bad rule. Looking for a rule takes no memory.

pub mod limits;
pub mod route;
pub mod telemetry;
