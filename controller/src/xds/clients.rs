//! Who is connected, what it has acknowledged, and what it refused.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use weft_core::clock;

use super::node::Description;

/// A connected client, as the status shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientStatus {
    /// `<pod>.<namespace>`, or the name alone where there is no namespace.
    pub proxy: String,
    /// Its pod; a node agent has none and says its node.
    pub name: String,
    /// That pod's namespace; empty for a node agent.
    pub namespace: String,
    /// The whole node id.
    pub node_id: String,
    /// `ztunnel`, `waypoint`…
    pub kind: String,
    /// The node that it runs on.
    pub node: Option<String>,
    /// Its cluster.
    pub cluster_id: String,
    /// Its version.
    pub version: String,
    /// Service account of its token: `<namespace>/<name>`.
    pub account: String,
    /// Where it connects from.
    pub peer: Option<SocketAddr>,
    /// Unix seconds.
    pub connected_since: u64,
    /// When its token expires, Unix seconds.
    pub token_expires_at: u64,
    /// By type URL.
    pub types: BTreeMap<String, TypeStatus>,
}

/// One type of one client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeStatus {
    /// `all`, `by name`, `own node` or `own services`.
    pub subscribed: String,
    /// Nonce of the last response.
    pub nonce_sent: String,
    /// Nonce of the last acknowledged response.
    pub nonce_acked: String,
    /// Unix milliseconds.
    pub sent_at_ms: u64,
    /// Unix milliseconds.
    pub acked_at_ms: u64,
    /// How long the last acknowledgement took, milliseconds.
    pub ack_ms: u64,
    /// Responses not yet answered.
    pub in_flight: usize,
    /// Log position that has been read for this client.
    pub position: u64,
    /// Resources sent since it connected.
    pub resources_sent: u64,
    /// Responses refused since it connected.
    pub rejects: u64,
    /// Resources that it refuses now.
    pub refused: Vec<Refusal>,
}

/// A resource that a client refuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The resource, or empty if the client named none.
    pub name: String,
    /// In the client's words.
    pub reason: String,
}

/// All connected clients.
#[derive(Debug, Clone, Default)]
pub struct Clients {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    next: AtomicU64,
    by_id: Mutex<BTreeMap<u64, Arc<Mutex<ClientStatus>>>>,
}

impl Clients {
    /// Everybody, in order of connection.
    pub fn list(&self) -> Vec<ClientStatus> {
        let records: Vec<_> = self.shared.by_id.lock().values().cloned().collect();
        records.iter().map(|record| record.lock().clone()).collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.shared.by_id.lock().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Enters a client; it leaves when the record is dropped.
    pub(super) fn enter(&self, status: ClientStatus) -> Record {
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let status = Arc::new(Mutex::new(status));
        self.shared.by_id.lock().insert(id, status.clone());
        Record { id, clients: self.clone(), status }
    }
}

/// A client's entry.
#[derive(Debug)]
pub(super) struct Record {
    id: u64,
    clients: Clients,
    status: Arc<Mutex<ClientStatus>>,
}

impl Record {
    /// Changes what is known about one type.
    pub(super) fn update(&self, type_url: &str, change: impl FnOnce(&mut TypeStatus)) {
        let mut status = self.status.lock();
        match status.types.get_mut(type_url) {
            Some(known) => change(known),
            None => change(status.types.entry(type_url.to_owned()).or_default()),
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.clients.shared.by_id.lock().remove(&self.id);
    }
}

impl TypeStatus {
    /// Whether the client has taken everything that was sent to it.
    pub fn is_in_sync(&self) -> bool {
        self.in_flight == 0 && self.refused.is_empty() && !self.nonce_acked.is_empty()
    }
}

impl ClientStatus {
    /// A client that has just said who it is.
    pub(super) fn new(description: &Description) -> Self {
        Self {
            proxy: description.proxy.clone(),
            name: description.name.clone(),
            namespace: description.namespace.clone(),
            node_id: description.id.clone(),
            kind: description.kind.clone(),
            node: description.node.as_deref().map(ToOwned::to_owned),
            cluster_id: description.cluster_id.clone(),
            version: description.version.clone(),
            connected_since: clock::unix_seconds(),
            ..Self::default()
        }
    }
}

/// Unix milliseconds.
pub(super) fn unix_millis() -> u64 {
    let since = clock::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
