//! The node agent: joins its node to the mesh, redirects the traffic of the node's pods, and tells the node proxy.
//!
//! ```text
//!  controller ──▶ member (roots, tokens: kept fresh)
//!      └────────▶ feed ──▶ reconciler ──watch: wanted──▶ agent (one slot a pod) ──▶ redirect ──▶ rules (nft), routes (ip)
//!                                                          │  ▲                      inside the pod's netns
//!                                                  announced  connections
//!                                                          ▼  │
//!                                                          zds ──Add + namespace, Del──▶ node proxies
//!  state: pods.json, tokens, status.json (all of it survives a restart without the controller)
//! ```
//!
//! Invariants:
//! * A pod is redirected before a proxy is told of it, and no more redirected when the proxy is told to drop it. In
//!   between, its connections are refused, never sent in the clear by accident.
//! * The redirection of a pod changes in one nftables transaction, inside that pod's namespace and nowhere else; never
//!   in the agent's own.
//! * Nobody concludes that a pod is gone from not knowing: no snapshot is sent before a set is known, and stopping the
//!   agent undoes nothing.
//! * Threads that enter a namespace end there.

pub mod agent;
pub mod backoff;
pub mod cleanup;
#[cfg(test)]
mod fake;
pub mod feed;
pub mod limits;
pub mod member;
pub mod netns;
pub mod pod;
pub mod program;
pub mod reconciler;
pub mod redirect;
pub mod rules;
#[cfg(test)]
mod scripted;
mod slot;
pub mod state;
pub mod status;
pub mod zds;
