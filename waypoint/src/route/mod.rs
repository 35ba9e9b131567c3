//! Which rule a request matches, and what follows from it. Pure functions over a table that the controller compiled.
//!
//! ```text
//!  bytes ──decode──▶ Table ─ RouteSet ─┬─ HttpRoutes ─ HttpRule (conditions) ─▶ Action (filters, outcome)
//!                      ▲        ▲      └─ ConnectionRoutes ─ ConnectionRule (conditions, backends)
//!        port, caller ─┘        └─ Request + Index
//! ```
//!
//! Invariants: rules keep the order that the controller gave them; a rule that isn't understood never matches, an action
//! that isn't understood answers 500, and both are named; no look-up takes memory (but where the values of one repeated
//! header are longer than 1 KiB together).

mod action;
mod backend;
mod bucket;
mod condition;
mod connection;
mod cors;
mod decode;
mod fraction;
mod headers;
mod index;
mod path;
mod pattern;
mod query;
mod redirect;
mod request;
mod resilience;
mod rewrite;
mod rules;
mod table;
mod text;
mod words;

#[cfg(test)]
mod tests;

pub use action::{Action, DirectResponse, Filters, Forward, Mirror, Origin, Outcome};
pub use backend::{Backend, Backends, Destination, Protocol, Subset, Target};
pub use condition::Condition;
pub use connection::{Connection, ConnectionRoutes, ConnectionRule};
pub use cors::{Cors, Preflight};
pub use decode::{Decoded, Effect, Problem, TableError, decode};
pub use fraction::Fraction;
pub use headers::HeaderEdit;
pub(crate) use headers::is_framing;
pub use path::{PathMatch, Span};
pub use pattern::Pattern;
pub use redirect::{Redirect, RedirectPort};
pub use request::{Request, Source, host_of, port_of};
pub use resilience::{Abort, Fault, Retry, RetryOn, Timeouts};
pub use rewrite::{PathRewrite, Replacement};
pub use rules::{HttpRoutes, HttpRule, Matched};
pub use table::{RouteSet, Table};
pub use text::TextMatch;
