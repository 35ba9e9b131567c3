//! The node agent.

pub mod backoff;
pub mod limits;
pub mod netns;
pub mod pod;
pub mod program;
pub mod reconciler;
pub mod redirect;
pub mod rules;
