//! The node agent.

pub mod agent;
pub mod backoff;
pub mod cleanup;
#[cfg(test)]
mod fake;
pub mod join_token;
pub mod limits;
pub mod member;
pub mod netns;
pub mod pod;
pub mod program;
pub mod reconciler;
pub mod redirect;
pub mod rules;
mod slot;
pub mod state;
pub mod status;
pub mod zds;
