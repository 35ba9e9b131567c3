//! One connection of a pool, and how much of it is taken.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::super::client::Connection;
use crate::{clock, limits};

/// A connection in the pool.
pub(super) struct Member<Peer> {
    id: u64,
    connection: Connection,
    peer: Arc<Peer>,
    valid_until: SystemTime,
    load: Arc<Load>,
}

impl<Peer> Member<Peer> {
    pub(super) fn new(
        id: u64,
        connection: Connection,
        peer: Arc<Peer>,
        valid_until: SystemTime,
    ) -> Self {
        Self { id, connection, peer, valid_until, load: Arc::new(Load::new()) }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    pub(super) fn load(&self) -> &Arc<Load> {
        &self.load
    }

    /// Whether it will never take a tunnel again: going away, ended, or a certificate expired.
    pub(super) fn is_spent(&self) -> bool {
        !self.connection.is_usable() || clock::now() >= self.valid_until
    }

    /// A place for one more tunnel.
    pub(super) fn take_slot(&self, tunnels_max: usize) -> Option<Slot> {
        let mut state = self.load.state.lock();
        let is_paused = state.paused_until.is_some_and(|until| Instant::now() < until);
        if is_paused || state.tunnels >= tunnels_max {
            return None;
        }
        // Last, since it takes the lock of the connection.
        if state.tunnels >= self.connection.tunnels_max() {
            return None;
        }
        state.tunnels += 1;
        Some(Slot(self.load.clone()))
    }

    /// The peer answered a tunnel: it works.
    pub(super) fn answered(&self) {
        self.load.state.lock().has_answered = true;
    }

    /// The peer refused a stream, so it gets no more for a while.
    pub(super) fn pause(&self) {
        self.load.state.lock().paused_until = Some(Instant::now() + limits::POOL_REFUSED_PAUSE);
    }

    /// Whether the peer ever answered a tunnel.
    pub(super) fn has_answered(&self) -> bool {
        self.load.state.lock().has_answered
    }
}

/// How much of a connection is taken.
#[derive(Debug)]
pub(super) struct Load {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tunnels: usize,
    idle_since: Instant,
    paused_until: Option<Instant>,
    has_answered: bool,
}

impl Load {
    fn new() -> Self {
        let state = State {
            tunnels: 0,
            idle_since: Instant::now(),
            paused_until: None,
            has_answered: false,
        };
        Self { state: Mutex::new(state) }
    }

    /// Whether it has had no tunnel for so long.
    pub(super) fn is_idle_for(&self, duration: Duration) -> bool {
        let state = self.state.lock();
        state.tunnels == 0 && state.idle_since.elapsed() >= duration
    }
}

/// A tunnel's place on its connection, given back when dropped.
#[derive(Debug)]
pub(in super::super) struct Slot(Arc<Load>);

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.tunnels = state.tunnels.saturating_sub(1);
        state.idle_since = Instant::now();
    }
}
