//! Tunnels on shared connections.
//!
//! ```text
//!  open(key) ─▶ a member with a free slot ───────────────▶ CONNECT ─▶ OpenedTunnel (gives its slot back)
//!           └─▶ else a connect under way with room, or a new one ─▶ its outcome wakes all who wait for it
//! ```
//!
//! Members of a key are filled in order, so that in quiet times the last ones fall idle and leave. Nothing is
//! locked across an await; a connect runs in a task of its own, so that no opener's end strands the others.

mod member;
mod shelf;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;

use self::member::Member;
pub(super) use self::member::Slot;
use self::shelf::{Shelf, Step};
use super::client::Connection;
use super::connect::{Connect, ConnectError, PoolKey};
use super::error::HboneError;
use super::message::{TunnelRequest, TunnelResponse};
use super::settings::KeepaliveSettings;
use super::stream::TunnelStream;
use crate::limits;

/// Bounds of a pool.
#[derive(Debug, Clone)]
pub struct PoolSettings {
    /// Tunnels on one connection, at most `limits::HBONE_CLIENT_STREAMS_MAX`, and at most what the peer grants.
    pub tunnels_per_connection: usize,
    /// A connection without tunnels leaves after this.
    pub idle_max: Duration,
    /// Connections of one key.
    pub connections_per_key: usize,
    /// Connections altogether.
    pub connections: usize,
    /// When to ask whether a silent peer is still there.
    pub keepalive: KeepaliveSettings,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            tunnels_per_connection: limits::HBONE_CLIENT_STREAMS_MAX as usize,
            idle_max: limits::POOL_IDLE_MAX,
            connections_per_key: limits::POOL_CONNECTIONS_PER_PEER_MAX,
            connections: limits::POOL_CONNECTIONS_MAX,
            keepalive: KeepaliveSettings::default(),
        }
    }
}

/// What a pool did; all but `connections` only grow.
#[derive(Debug, Default)]
pub struct PoolCounters {
    /// Connections that are open now, in the pool or finishing their tunnels.
    pub connections: AtomicU64,
    /// Connections made.
    pub connects: AtomicU64,
    /// Connects that failed.
    pub connect_failures: AtomicU64,
    /// Tunnels answered with 200.
    pub tunnels: AtomicU64,
    /// Of these, how many found a connection with a free slot.
    pub reuses: AtomicU64,
    /// Attempts repeated on another connection.
    pub retries: AtomicU64,
}

/// A tunnel, and who is at its other end.
#[derive(Debug)]
pub struct OpenedTunnel<Peer> {
    /// The bytes.
    pub stream: TunnelStream,
    /// What the peer said.
    pub response: TunnelResponse,
    /// What the peer's certificate says.
    pub peer: Arc<Peer>,
}

/// Opens tunnels. Clones share their connections. When the last is dropped, connections end with their last tunnel.
pub struct Pool<C: Connect> {
    shared: Arc<Shared<C>>,
}

impl<C: Connect> Clone for Pool<C> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

struct Shared<C: Connect> {
    connect: C,
    settings: PoolSettings,
    shelf: Mutex<Shelf<C::Peer>>,
    counters: Arc<PoolCounters>,
}

/// What those who wait for a connect are told.
type Outcome = Result<(), HboneError>;

impl<C: Connect> Pool<C> {
    /// An empty pool.
    pub fn new(settings: PoolSettings, connect: C) -> Self {
        let shelf = Mutex::new(Shelf::new(&settings));
        let counters = Arc::default();
        Self { shared: Arc::new(Shared { connect, settings, shelf, counters }) }
    }

    /// Opens a tunnel on a connection of that key, making one if none has room. A stream that was refused, or whose
    /// connection ended before the answer, is tried again on another connection: nothing of the user was sent.
    pub async fn open(
        &self,
        key: &PoolKey,
        request: &TunnelRequest,
    ) -> Result<OpenedTunnel<C::Peer>, HboneError> {
        let mut attempt = 1;
        loop {
            let (member, slot) = self.checkout(key).await?;
            let error = match member.connection().open_in(request, Some(slot)).await {
                Ok((stream, response)) => {
                    member.answered();
                    self.shared.counters.tunnels.fetch_add(1, Ordering::Relaxed);
                    return Ok(OpenedTunnel { stream, response, peer: member.peer().clone() });
                }
                Err(error) => error,
            };
            match &error {
                HboneError::Refused => member.pause(),
                HboneError::Lost(_) | HboneError::Handshake(_) => {
                    self.shared.shelf.lock().remove(key, member.id());
                }
                HboneError::Status(_) => member.answered(),
                _ => {}
            }
            // A peer that refuses the first stream of a fresh connection is overloaded, and more connections would
            // add to that.
            let is_worth_repeating = match &error {
                HboneError::Refused => member.has_answered(),
                HboneError::Lost(_) | HboneError::Handshake(_) => true,
                _ => false,
            };
            if !is_worth_repeating {
                return Err(error);
            }
            if attempt == limits::POOL_OPEN_ATTEMPTS {
                return Err(error);
            }
            attempt += 1;
            self.shared.counters.retries.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes the connections to a workload out of the pool: it is gone. Open tunnels on them go on until they end.
    pub fn evict(&self, uid: &str) {
        self.shared.shelf.lock().evict(uid);
    }

    /// No more tunnels are opened; open ones go on until they end.
    pub fn close(&self) {
        self.shared.shelf.lock().close();
    }

    /// What the pool did.
    pub fn counters(&self) -> &PoolCounters {
        &self.shared.counters
    }

    /// A connection of that key with a slot on it.
    async fn checkout(&self, key: &PoolKey) -> Result<(Arc<Member<C::Peer>>, Slot), HboneError> {
        for round in 0..limits::POOL_CHECKOUT_ROUNDS {
            let step = self.shared.shelf.lock().step(key)?;
            let mut outcome = match step {
                Step::Take(member, slot) => {
                    if round == 0 {
                        self.shared.counters.reuses.fetch_add(1, Ordering::Relaxed);
                    }
                    return Ok((member, slot));
                }
                Step::Wait(outcome) => outcome,
                Step::Connect { id, announce, outcome } => {
                    let connecting = connect(self.shared.clone(), key.clone(), id, announce);
                    tokio::spawn(Box::pin(connecting));
                    outcome
                }
            };
            // The connect has a deadline, and its task announces its end even if it panics: this can't hang.
            match outcome.wait_for(Option::is_some).await.as_deref() {
                Ok(Some(Err(error))) => return Err(error.clone()),
                Ok(_) => {}
                Err(_) => return Err(HboneError::Lost("the connect was given up".into())),
            }
            // Others may have taken all slots of the new connection, or it may have ended already.
        }
        Err(HboneError::Lost("connections end, or are taken, before they can be used".into()))
    }
}

/// Makes a connection, puts it on the shelf, announces it, and drives it until its end.
async fn connect<C: Connect>(
    shared: Arc<Shared<C>>,
    key: PoolKey,
    id: u64,
    announce: watch::Sender<Option<Outcome>>,
) {
    let unfinished = Unfinished { shared: &shared, key: &key, id };
    let result = timeout(limits::POOL_CONNECT_DEADLINE, establish(&shared, &key, id)).await;
    let result = result.unwrap_or_else(|_| {
        let waited = limits::POOL_CONNECT_DEADLINE;
        Err(ConnectError::Timeout { address: key.address, waited }.into())
    });
    let made = result.map(|(member, driver)| {
        shared.counters.connects.fetch_add(1, Ordering::Relaxed);
        shared.shelf.lock().connected(&key, Arc::new(member));
        driver
    });
    drop(unfinished);
    let driver = match made {
        Ok(driver) => driver,
        Err(error) => {
            shared.counters.connect_failures.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(address = %key.address, uid = %key.uid, %error, "no HBONE connection");
            announce.send_replace(Some(Err(error)));
            return;
        }
    };
    announce.send_replace(Some(Ok(())));
    drop(announce);
    // From here on the pool must be able to go while the connection finishes its tunnels.
    let open = Open::new(shared.counters.clone());
    let (weak, idle_max) = (Arc::downgrade(&shared), shared.settings.idle_max);
    drop(shared);
    driver
        .run(|| {
            if let Some(shared) = weak.upgrade() {
                shared.shelf.lock().remove_idle(&key, id, idle_max);
            }
        })
        .await;
    if let Some(shared) = weak.upgrade() {
        shared.shelf.lock().remove(&key, id);
    }
    drop(open);
}

type Made<C> = (Member<<C as Connect>::Peer>, super::client::Driver<<C as Connect>::Io>);

async fn establish<C: Connect>(
    shared: &Shared<C>,
    key: &PoolKey,
    id: u64,
) -> Result<Made<C>, HboneError> {
    let established = shared.connect.connect(key).await?;
    let keepalive = shared.settings.keepalive;
    let (connection, driver) = Connection::handshake(established.io, keepalive).await?;
    Ok((Member::new(id, connection, established.peer, established.valid_until), driver))
}

/// Takes a connect off the shelf when it is over, be it by panic.
struct Unfinished<'a, C: Connect> {
    shared: &'a Shared<C>,
    key: &'a PoolKey,
    id: u64,
}

impl<C: Connect> Drop for Unfinished<'_, C> {
    fn drop(&mut self) {
        self.shared.shelf.lock().failed(self.key, self.id);
    }
}

/// Counts an open connection, for as long as it lives.
struct Open(Arc<PoolCounters>);

impl Open {
    fn new(counters: Arc<PoolCounters>) -> Self {
        counters.connections.fetch_add(1, Ordering::Relaxed);
        Self(counters)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
