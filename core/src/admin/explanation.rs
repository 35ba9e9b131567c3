//! What a waypoint's `/explain` says of one request. The proxy writes these, `weft` reads them.

use serde::{Deserialize, Serialize};

use super::waypoint_dump::{LiveEndpoint, RuleOrigin};

/// What would become of a request, step by step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Explanation {
    /// Who calls: a SPIFFE ID.
    pub source: String,
    /// What is called: `namespace/hostname:port`.
    pub destination: String,
    /// In order; the last one says how it ends.
    pub steps: Vec<Step>,
    /// The rule that it follows; `None`: none does, or it doesn't come so far.
    pub rule: Option<FollowedRule>,
    /// The HTTP status that the waypoint itself answers; `None`: an application does, or it depends.
    pub answers: Option<u16>,
    /// Where it goes, each with its share.
    pub backends: Vec<ChosenBackend>,
}

/// A step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Step {
    /// Such as `binding`, `path`, `access`, `route`, `backends`.
    pub phase: String,
    /// A sentence.
    pub text: String,
    /// More about it, a line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

/// A rule that a request follows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FollowedRule {
    /// Its place among the rules of its set, from 0.
    pub rank: usize,
    /// Where it comes from.
    pub origin: RuleOrigin,
}

/// A backend that may get the request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ChosenBackend {
    /// `namespace/hostname:port`, with `, subset NAME` if it is one.
    pub destination: String,
    /// Of the weights of all.
    pub weight: u64,
    /// Why it gets nothing through; empty if it does.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub problem: String,
    /// How one of its endpoints is chosen, in words.
    pub balancing: String,
    /// Its endpoints, as they are now.
    pub endpoints: Vec<LiveEndpoint>,
}
