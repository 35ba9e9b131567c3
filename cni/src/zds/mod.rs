//! The agent's side of ZDS: tells every connected node proxy which pods it serves.
//!
//! ```text
//!  agent ──watch: announcements──▶ one task a connection ──packets──▶ node proxy
//!  agent ◀──watch: connections──── (told, answered)      ◀──acks────
//! ```
//!
//! Each task compares what is announced with what its proxy has been told and says the difference, one packet at a
//! time. So it makes no difference which announcements were missed, or whether the proxy is new, and if the newest proxy
//! goes away the one before it is caught up by the same comparison.
//! Invariants: nothing is said before a set is known; a failure closes its own connection only.

mod connection;
mod plan;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};
use weft_core::clock;
use weft_core::zds::{AsyncSeqpacket, PodIdentity, PodUid, SeqpacketListener, ZdsError};

use crate::backoff::Backoff;
use crate::limits;
use crate::netns::NamespaceId;
use crate::pod::NetnsName;
use crate::redirect::Redirect;

/// A pod that proxies are to serve: its redirection is in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// Who it is.
    pub identity: PodIdentity,
    /// Where its namespace is found.
    pub netns: NetnsName,
    /// Which namespace that must be.
    pub namespace: NamespaceId,
}

/// All of them.
pub type Announcements = BTreeMap<PodUid, Announcement>;
/// Numbers the connections in the order in which the proxies introduced themselves.
pub type ConnectionId = u64;
/// The proxies that have introduced themselves; the last is the newest.
pub type Connections = BTreeMap<ConnectionId, Connection>;

/// One connected proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Its process id, as seen from here.
    pub pid: Option<u32>,
    /// When it introduced itself, Unix seconds.
    pub since: u64,
    /// Whether it has been told everything that was known then.
    pub is_snapshot_sent: bool,
    /// What it says of each pod that it has been told of.
    pub pods: BTreeMap<PodUid, Serving>,
}

/// What a proxy says of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Serving {
    /// It serves the pod.
    Yes,
    /// It does not, or could not be asked to.
    No {
        /// Why.
        reason: String,
        /// Attempts so far.
        attempts: u32,
    },
}

/// What the connections share.
struct Shared<R> {
    redirect: Arc<R>,
    announced: watch::Receiver<Option<Arc<Announcements>>>,
    connections: watch::Sender<Connections>,
}

impl<R> Clone for Shared<R> {
    fn clone(&self) -> Self {
        Self {
            redirect: self.redirect.clone(),
            announced: self.announced.clone(),
            connections: self.connections.clone(),
        }
    }
}

/// Serves proxies that connect to `listener`, for as long as the future is polled. `None` announced means that nothing
/// is known yet, and proxies are kept waiting: they go on with what they serve.
pub async fn serve<R: Redirect>(
    listener: SeqpacketListener,
    redirect: Arc<R>,
    announced: watch::Receiver<Option<Arc<Announcements>>>,
    connections: watch::Sender<Connections>,
) {
    let shared = Shared { redirect, announced, connections };
    let permits = Arc::new(Semaphore::new(limits::ZDS_CONNECTIONS_MAX));
    let mut tasks = JoinSet::new();
    let mut backoff = Backoff::new(limits::ACCEPT_RETRY_MIN, limits::ACCEPT_RETRY_MAX);
    loop {
        while tasks.try_join_next().is_some() {}
        let Ok(permit) = permits.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok(socket) => {
                backoff.reset();
                let shared = shared.clone();
                tasks.spawn(async move {
                    serve_one(shared, socket).await;
                    drop(permit);
                });
            }
            Err(error) => {
                warn!(%error, "a node proxy could not be accepted");
                tokio::time::sleep(backoff.pause()).await;
            }
        }
    }
}

async fn serve_one<R: Redirect>(shared: Shared<R>, socket: AsyncSeqpacket) {
    let pid = socket.peer_pid();
    match connection::introduce(&socket).await {
        Ok(version) => info!(pid, version, "node proxy connected"),
        Err(error) => return warn!(pid, %error, "a connection that is no node proxy was closed"),
    }
    let place = Place::take(shared.connections.clone(), pid);
    let end = connection::Session::new(&shared, socket, place.id).run().await;
    match end {
        ZdsError::Closed => info!(pid, "node proxy disconnected"),
        error => warn!(pid, %error, "the connection to a node proxy was closed"),
    }
}

/// A connection's entry among the others, for as long as it lives.
struct Place {
    connections: watch::Sender<Connections>,
    id: ConnectionId,
}

impl Place {
    fn take(connections: watch::Sender<Connections>, pid: Option<u32>) -> Self {
        let mut id = 0;
        connections.send_modify(|all| {
            // Reusing the number of a newest that has gone is fine: it says nothing any more.
            id = all.keys().next_back().map_or(0, |last| last.saturating_add(1));
            let pods = BTreeMap::new();
            let since = clock::unix_seconds();
            all.insert(id, Connection { pid, since, is_snapshot_sent: false, pods });
        });
        Self { connections, id }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.send_modify(|all| drop(all.remove(&self.id)));
    }
}

#[cfg(test)]
mod tests;
