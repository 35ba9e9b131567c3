//! The configuration of a node proxy, from the environment keys of Istio's ztunnel and a few of Weft's own.
//!
//! The environment is read once, here. Every key that can't be read is reported, all in one go: nobody should
//! learn of three typing errors in three restarts. An empty value counts as unset, as charts write it.
//!
//! Keys that would weaken something if they were ignored (a revocation list, say) are refused rather than skipped.

mod duration;
mod env;
mod load;
mod read;
mod sections;

#[cfg(test)]
mod tests;

pub use duration::parse_duration;
pub use env::{Env, ProcessEnv};
pub use sections::{
    AdminConfig, CaConfig, Config, ControllerEndpoint, DnsConfig, HboneConfig, HttpConfig,
    InpodConfig, Keepalive, LogConfig, MeshConfig, OwnPod, PoolConfig, Roots, SocketConfig,
    XdsConfig,
};

use std::fmt;

/// One key that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}={value}: expected {expected}")]
pub struct ConfigError {
    /// The environment key.
    pub key: String,
    /// What it holds; a secret is not repeated.
    pub value: String,
    /// What would be read.
    pub expected: String,
}

/// All keys that can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the environment can't be used:")?;
        self.0.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}
