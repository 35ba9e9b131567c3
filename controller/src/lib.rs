//! Standalone placeholder.

pub mod admin;
pub mod ca;
pub mod config;
pub mod metrics;
pub mod nodes;
mod rate;
pub mod run;
pub mod serving_limits;
pub mod state_dir;
pub mod tls;
pub mod tokens;
pub mod xds;
