//! Names for the pods of this node: services of the mesh are answered here, everything else by name servers.
//!
//! ```text
//!  pod ──UDP/TCP──▶ server ──▶ answer (pure) ──▶ names (pure) ──▶ NameTable (the mesh)
//!                     │            │
//!                     │            └─ not ours ─▶ Forwarder ──▶ cache, then a name server, from the pod's namespace
//!                     └◀───────────── response
//! ```
//!
//! Invariants: nothing that a pod or a name server sends can panic or make us hold more than `limits` say; a response
//! to something unreadable is never longer than that was; what one pod is told by name servers never reaches another.

mod answer;
mod cache;
mod forward;
mod names;
mod resolv_conf;
mod server;
mod wire;

pub use answer::{Names, Verdict, answer};
pub use forward::{Forwarder, UpstreamSockets};
pub use names::{ClientView, NameTable, NamedService};
pub use resolv_conf::name_servers;
pub use server::{PodDns, serve_tcp, serve_udp};
