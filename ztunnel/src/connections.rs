//! The connections that a pod has open: so that a change of policy can end them, and so that they can be shown.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use weft_core::identity::SpiffeId;
use weft_core::policy::Denial;
use weft_core::telemetry::Direction;

/// How the bytes travel on the mesh's side of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// In an HBONE tunnel.
    Hbone,
    /// In a tunnel within a tunnel, to another network.
    DoubleHbone,
    /// Within this node.
    Local,
    /// As they are.
    Plain,
}

impl Carrier {
    /// As the status page says it; the first and the last are the incumbent's words.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Hbone => "HBONE",
            Self::DoubleHbone => "DOUBLE_HBONE",
            Self::Local => "LOCAL",
            Self::Plain => "TCP",
        }
    }
}

/// One open connection, with all that a verdict on it depends on.
#[derive(Debug, Clone)]
pub(crate) struct OpenConnection {
    /// Which way.
    pub direction: Direction,
    /// The client.
    pub source: SocketAddr,
    /// The client's identity, if a certificate or this node's kernel vouches for it.
    pub source_identity: Option<SpiffeId>,
    /// Where the client wanted to go.
    pub original_destination: SocketAddr,
    /// Where it went.
    pub destination: SocketAddr,
    /// How.
    pub carrier: Carrier,
}

impl OpenConnection {
    /// The client's address.
    pub(crate) fn source_ip(&self) -> IpAddr {
        self.source.ip()
    }
}

/// The open connections of one pod.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    open: Mutex<HashMap<u64, Arc<Entry>>>,
    next_key: AtomicU64,
}

#[derive(Debug)]
struct Entry {
    connection: OpenConnection,
    cut: CancellationToken,
    reason: OnceLock<Denial>,
}

/// A connection in the table; it leaves when this is dropped.
#[derive(Debug)]
pub(crate) struct Tracked {
    connections: Arc<Connections>,
    key: u64,
    entry: Arc<Entry>,
}

impl Tracked {
    /// Cancelled when the connection must end now.
    pub(crate) fn cut(&self) -> &CancellationToken {
        &self.entry.cut
    }

    /// Why a policy ended it, if one did.
    pub(crate) fn cut_reason(&self) -> Option<&Denial> {
        self.entry.reason.get()
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.connections.open.lock().remove(&self.key);
    }
}

impl Connections {
    /// Enters a connection. Enter it before its first verdict is asked for: a policy that arrives in between then
    /// finds it here.
    ///
    /// It is also cut with `forced`.
    pub(crate) fn track(
        self: &Arc<Self>,
        connection: OpenConnection,
        forced: &CancellationToken,
    ) -> Tracked {
        let entry =
            Arc::new(Entry { connection, cut: forced.child_token(), reason: OnceLock::new() });
        let key = self.next_key.fetch_add(1, Ordering::Relaxed);
        self.open.lock().insert(key, entry.clone());
        Tracked { connections: self.clone(), key, entry }
    }

    /// All of them, for a look.
    pub(crate) fn list(&self) -> Vec<OpenConnection> {
        self.open.lock().values().map(|entry| entry.connection.clone()).collect()
    }

    /// Ends the inbound connections that `judge` has something against; how many.
    pub(crate) fn cut_inbound(&self, judge: impl Fn(&OpenConnection) -> Option<Denial>) -> usize {
        self.cut(Direction::Inbound, judge)
    }

    /// The same with outbound ones.
    pub(crate) fn cut_outbound(&self, judge: impl Fn(&OpenConnection) -> Option<Denial>) -> usize {
        self.cut(Direction::Outbound, judge)
    }

    fn cut(
        &self,
        direction: Direction,
        judge: impl Fn(&OpenConnection) -> Option<Denial>,
    ) -> usize {
        let entries: Vec<_> = self.open.lock().values().cloned().collect();
        let mut cut = 0;
        for entry in entries {
            if entry.connection.direction == direction
                && let Some(denial) = judge(&entry.connection)
            {
                // Cut twice, the first reason stands.
                let _ = entry.reason.set(denial);
                entry.cut.cancel();
                cut += 1;
            }
        }
        cut
    }
}

#[cfg(test)]
mod tests {
    use weft_core::policy::PolicyName;

    use super::*;

    fn connection(direction: Direction) -> OpenConnection {
        OpenConnection {
            direction,
            source: "10.0.0.1:4000".parse().unwrap(),
            source_identity: None,
            original_destination: "10.0.0.2:80".parse().unwrap(),
            destination: "10.0.0.2:80".parse().unwrap(),
            carrier: Carrier::Plain,
        }
    }

    #[test]
    fn only_denied_inbound_connections_are_cut_and_they_know_why() {
        let connections = Arc::new(Connections::default());
        let forced = CancellationToken::new();
        let inbound = connections.track(connection(Direction::Inbound), &forced);
        let outbound = connections.track(connection(Direction::Outbound), &forced);
        let denial = Denial::Policy(PolicyName::new("shop/deny"));
        assert_eq!(connections.cut_inbound(|_| Some(denial.clone())), 1);
        assert!(inbound.cut().is_cancelled() && !outbound.cut().is_cancelled());
        assert_eq!(inbound.cut_reason(), Some(&denial));
    }

    #[test]
    fn ended_connection_leaves_the_table() {
        let connections = Arc::new(Connections::default());
        let forced = CancellationToken::new();
        let tracked = connections.track(connection(Direction::Inbound), &forced);
        assert_eq!(connections.list().len(), 1);
        drop(tracked);
        assert!(connections.list().is_empty());
    }
}
