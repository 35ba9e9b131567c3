//! Which endpoint takes a request, and whether one may be sent at all. Pure: clock and random numbers are given, nothing
//! opens a socket.
//!
//! ```text
//!  bytes ──decode──▶ Policy ──settings(port, subset)──▶ Settings ─┐
//!                                                                 ▼
//!  endpoints ──set_endpoints──▶ Layout (groups by locality, tables of hashes) ──▶ Live ◀── ejections
//!                                                                 │
//!  request ──admit_request, pick──▶ Picked ──report(Outcome)──▶ counts of failures ──▶ ejections
//! ```
//!
//! A [`Cluster`] is what all threads of a proxy share about one service's port and subset. Requests read one immutable
//! snapshot and count with atomics; a lock is taken where an endpoint is ejected or comes back, and where settings or
//! endpoints change.
//!
//! Invariants: never more endpoints are ejected than settings allow; what a guard counted is given back when it drops,
//! in whatever order; choosing by least requests takes no memory; equal endpoints and settings give equal tables of
//! hashes, whichever replica builds them.

mod breaker;
mod cluster;
mod credential;
mod decode;
mod draw;
mod endpoint;
mod hash;
mod layout;
mod live;
mod outlier;
mod pick;
mod policy;
mod preference;
mod rate_limit;
mod settings;
mod table;
mod warmup;
mod words;

#[cfg(test)]
mod tests;

pub use breaker::{ConnectionPermit, Overflow, PendingPermit, RequestPermit, RetryPermit};
pub use cluster::{Cluster, ClusterCounts, EndpointState};
pub use credential::{Credential, Credentials, CredentialsError, Material};
pub use decode::{Decoded, PolicyError, Problem, decode};
pub use endpoint::{EndpointSpec, Place};
pub use hash::hash_of;
pub use outlier::Outcome;
pub use pick::{PickContext, PickError, Picked};
pub use policy::Policy;
pub use rate_limit::RateLimited;
pub use settings::{
    Algorithm, Balancer, ConnectionPool, ConsistentHash, Distribute, Failover, H2Upgrade,
    HashCookie, HashKey, Keepalive, Localities, LocalityPattern, Outlier, RateLimit, RetryBudget,
    Scope, Settings, TlsMode, UpstreamTls, Warmup,
};
