//! The mesh's controller: what users write becomes what proxies are told, and who they are is certified.
//!
//! ```text
//! sources ──changes──▶ owner ─▶ model ─▶ translate (pure) ──resources──▶ xds::log ──▶ sessions of ztunnels, agents
//!    │                   │                                                 (one cursor each)
//!    └── refused         ├──▶ ca (who may ask: tokens, and which pods live where)
//!                        └──▶ admin (status, metrics, join tokens; loopback)
//! ```
//!
//! Invariants: translation reads nothing but the model and the settings, so any order of arrival gives the same
//! resources; an object that can't be read never replaces one that could; versions are hashes of contents, so a
//! restarted controller sends nothing that is known already; no port without TLS but the admin server's loopback one.

pub mod admin;
pub mod ca;
pub mod config;
pub mod jwks;
pub mod metrics;
pub mod model;
pub mod nodes;
pub mod objects;
pub mod owner;
mod rate;
pub mod run;
pub mod serving_limits;
pub mod sources;
pub mod state_dir;
pub mod tls;
pub mod tokens;
pub mod translate;
pub mod xds;
