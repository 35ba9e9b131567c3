//! What is fuzzed: one function for each parser of bytes that come from elsewhere.
//!
//! ```text
//!  tests/fuzz/fuzz_targets/<target>.rs (libFuzzer, nightly) ──┐
//!                                                             ├──▶ <target>(bytes) ──▶ the parser, then its promises
//!  tests/replay.rs (every `cargo test`) ── corpus/<target>/* ─┘
//! ```
//!
//! Invariants: a target takes any bytes and panics exactly if a promise is broken. It keeps no state that changes what
//! it says to the next input, and needs neither root nor a network beyond loopback.

mod access;
mod backend;
mod credential;
mod dns;
mod headers;
mod identity;
mod manifests;
mod mesh;
mod policy;
mod reference;
mod route;
mod tokens;
mod tunnel;
mod zds;

pub use access::access_policy;
pub use backend::{affinity, backend_policy};
pub use credential::credentials;
pub use dns::{dns_query, dns_response};
pub use headers::{authority, baggage, forwarded, traceparent};
pub use identity::{leaf_certificate, spiffe_id};
pub use manifests::manifests;
pub use mesh::{address, discovery};
pub use policy::policy;
pub use route::route_table;
pub use tokens::join_token;
pub use tunnel::tunnel;
pub use zds::{zds_answer, zds_hello, zds_request};

/// A target by name: that of its binary and of its corpus's folder.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name.
    pub name: &'static str,
    /// Panics if a promise is broken.
    pub run: fn(&[u8]),
}

macro_rules! targets {
    ($($name:ident),* $(,)?) => {
        &[$(Target { name: stringify!($name), run: $name }),*]
    };
}

/// Every target.
pub const TARGETS: &[Target] = targets![
    access_policy,
    address,
    affinity,
    authority,
    backend_policy,
    baggage,
    credentials,
    discovery,
    dns_query,
    dns_response,
    forwarded,
    join_token,
    leaf_certificate,
    manifests,
    policy,
    route_table,
    spiffe_id,
    traceparent,
    tunnel,
    zds_answer,
    zds_hello,
    zds_request,
];
