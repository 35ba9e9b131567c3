//! What the controller's `/weft/status` says. The controller writes these, `weft status` reads them.

use serde::{Deserialize, Serialize};

/// The controller, what it was given, and who listens to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// The controller's version.
    pub version: String,
    /// Objects in force, a kind each.
    pub objects: Vec<ObjectCount>,
    /// Documents that were left out.
    pub rejected: Vec<RejectedDocument>,
    /// Who is connected, or was lately.
    pub clients: Vec<Client>,
}

/// How many objects of a kind are in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct ObjectCount {
    pub kind: String,
    pub count: u64,
}

/// A document that can't be used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RejectedDocument {
    /// File.
    pub file: String,
    /// Line of the document, from 1.
    pub line: u64,
    /// `Kind namespace/name`, as far as it could be read.
    pub object: String,
    /// The field at fault.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
    /// Whether an earlier version of it is still in force.
    pub last_good_in_force: bool,
}

/// A proxy or a node agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Client {
    /// `ztunnel`, `agent`, `waypoint`.
    pub kind: String,
    /// Its own name.
    pub name: String,
    /// Node it runs on.
    pub node: String,
    /// Its version, as it says.
    pub version: String,
    /// Address it came from.
    pub address: String,
    /// RFC 3339; absent if it isn't connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connected_since: Option<String>,
    /// What it subscribes to.
    pub types: Vec<Subscription>,
}

/// A resource type that a client subscribes to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Subscription {
    /// Type URL.
    pub type_url: String,
    /// Resources that it holds.
    pub resources: u64,
    /// Last version sent.
    pub sent: u64,
    /// Last version acknowledged.
    pub acknowledged: u64,
    /// When, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acknowledged_at: Option<String>,
    /// What it refused last, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}
