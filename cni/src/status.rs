//! What the agent says of itself in `status.json`, and how `weft-cni status` shows it.

use std::fmt::Write as _;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use weft_core::zds::PodUid;

use crate::zds::{Connections, Serving};

/// How this node stands to the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Membership {
    /// Whether the node has ever joined.
    pub is_joined: bool,
    /// The mesh's trust domain.
    pub trust_domain: Option<String>,
    /// The cluster, as the controller calls it.
    pub cluster_id: Option<String>,
    /// When the agent's token ends, Unix seconds.
    pub agent_token_expires_at: Option<i64>,
    /// When the node proxy's token ends, Unix seconds.
    pub ztunnel_token_expires_at: Option<i64>,
    /// Why the last exchange with the controller failed.
    pub problem: Option<String>,
}

/// How the stream of changes from the controller stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Discovery {
    /// Whether it is open.
    pub is_connected: bool,
    /// Whether this run has been told everything once.
    pub is_loaded: bool,
    /// What ended the last one.
    pub problem: Option<String>,
}

/// How far a pod is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PodState {
    /// Its traffic is redirected and the newest proxy serves it.
    Enrolled,
    /// Wanted, and not there yet.
    Pending,
    /// Not wanted any more, and not undone yet.
    Leaving,
}

/// One pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodStatus {
    /// Its uid.
    pub uid: PodUid,
    /// Kubernetes namespace.
    pub namespace: String,
    /// Kubernetes name.
    pub name: String,
    /// Name of its network namespace.
    pub netns: Option<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// How far it is.
    pub state: PodState,
    /// Whether the redirection is in place.
    pub is_redirected: bool,
    /// Why it is no further.
    pub reason: Option<String>,
}

/// The whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The node.
    pub node: String,
    /// The agent's process id.
    pub pid: u32,
    /// When this was written, Unix seconds.
    pub written_at: u64,
    /// How this node stands to the mesh.
    pub membership: Membership,
    /// How the stream of changes stands.
    pub discovery: Discovery,
    /// Whether any set of pods is known.
    pub is_set_known: bool,
    /// The pods.
    pub pods: Vec<PodStatus>,
    /// The node proxies; the last is the newest.
    pub proxies: Connections,
}

/// The status as text.
pub fn render(status: &Status, now: u64) -> String {
    let mut text = String::new();
    let age = now.saturating_sub(status.written_at);
    let _ = writeln!(text, "node {}, agent {}, as of {age} s ago", status.node, status.pid);
    let membership = &status.membership;
    let standing = if membership.is_joined { "joined" } else { "not joined" };
    let _ = write!(text, "mesh: {standing}");
    let tokens = [
        ("agent", membership.agent_token_expires_at),
        ("ztunnel", membership.ztunnel_token_expires_at),
    ];
    for (name, expires_at) in tokens {
        if let Some(expires_at) = expires_at {
            let left = expires_at.saturating_sub(i64::try_from(now).unwrap_or(i64::MAX));
            let _ = write!(text, ", {name} token for {left} s more");
        }
    }
    text.push('\n');
    let stream = if status.discovery.is_connected { "connected" } else { "not connected" };
    let _ = writeln!(text, "controller: {stream}");
    let problem = status.discovery.problem.as_ref().filter(|_| !status.discovery.is_connected);
    for problem in [&membership.problem, &problem.cloned()].into_iter().flatten() {
        let _ = writeln!(text, "  {problem}");
    }
    if !status.is_set_known {
        text.push_str(
            "pods: not known yet (neither from the controller nor from an earlier run)\n",
        );
    }
    for pod in &status.pods {
        let state = match pod.state {
            PodState::Enrolled => "enrolled",
            PodState::Pending => "pending",
            PodState::Leaving => "leaving",
        };
        let netns = pod.netns.as_deref().unwrap_or("-");
        let _ = write!(text, "pod {}/{}  {state}  netns {netns}", pod.namespace, pod.name);
        if let Some(reason) = &pod.reason {
            let _ = write!(text, "  ({reason})");
        }
        text.push('\n');
    }
    if status.proxies.is_empty() {
        text.push_str("ztunnel: none connected\n");
    }
    for (id, proxy) in &status.proxies {
        let newest = if status.proxies.keys().next_back() == Some(id) { "newest, " } else { "" };
        let serving = proxy.pods.values().filter(|pod| **pod == Serving::Yes).count();
        let pid = proxy.pid.map_or_else(|| "?".to_owned(), |pid| pid.to_string());
        let connected = now.saturating_sub(proxy.since);
        let _ = writeln!(
            text,
            "ztunnel pid {pid}: {newest}connected for {connected} s, serves {serving} pods"
        );
    }
    text
}
