//! What a pool holds: members and connects under way, by key. All of it changes under the pool's lock. Connections'
//! own locks are taken inside it, never the other way round.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::super::connect::PoolKey;
use super::super::error::HboneError;
use super::member::{Member, Slot};
use super::{Outcome, PoolSettings};
use crate::limits;

/// Keys, each with what there is for it. A key with nothing is not in it, so that keys are bounded by connections.
pub(super) struct Shelf<Peer> {
    entries: HashMap<PoolKey, Lot<Peer>>,
    tunnels_per_connection: usize,
    connections_per_key: usize,
    connections_max: usize,
    /// Members and connects under way, of all keys.
    connections: usize,
    next_id: u64,
    is_closed: bool,
}

struct Lot<Peer> {
    members: Vec<Arc<Member<Peer>>>,
    connecting: Vec<Connecting>,
}

impl<Peer> Default for Lot<Peer> {
    fn default() -> Self {
        Self { members: Vec::new(), connecting: Vec::new() }
    }
}

struct Connecting {
    id: u64,
    /// Those who wait for it; no more than will find room.
    waiting: usize,
    outcome: watch::Receiver<Option<Outcome>>,
}

/// What an opener does next.
pub(super) enum Step<Peer> {
    /// Open the tunnel.
    Take(Arc<Member<Peer>>, Slot),
    /// Wait for somebody's connect.
    Wait(watch::Receiver<Option<Outcome>>),
    /// Connect, and wait for it.
    Connect {
        id: u64,
        announce: watch::Sender<Option<Outcome>>,
        outcome: watch::Receiver<Option<Outcome>>,
    },
}

impl<Peer> Shelf<Peer> {
    pub(super) fn new(settings: &PoolSettings) -> Self {
        Self {
            entries: HashMap::new(),
            tunnels_per_connection: settings.tunnels_per_connection.max(1),
            connections_per_key: settings.connections_per_key.max(1),
            connections_max: settings.connections.max(1),
            connections: 0,
            next_id: 0,
            is_closed: false,
        }
    }

    pub(super) fn step(&mut self, key: &PoolKey) -> Result<Step<Peer>, HboneError> {
        if self.is_closed {
            return Err(HboneError::PoolClosed);
        }
        let tunnels_max = self.tunnels_per_connection;
        if let Some(entry) = self.entries.get_mut(key) {
            while let Some((position, slot)) = entry.find_slot(tunnels_max) {
                match entry.members.get(position) {
                    Some(member) if !member.is_spent() => {
                        return Ok(Step::Take(member.clone(), slot));
                    }
                    _ => {
                        entry.members.remove(position);
                        self.connections -= 1;
                    }
                }
            }
            if let Some(under_way) = entry.connecting.iter_mut().find(|it| it.waiting < tunnels_max)
            {
                under_way.waiting += 1;
                return Ok(Step::Wait(under_way.outcome.clone()));
            }
            if entry.members.len() + entry.connecting.len() >= self.connections_per_key {
                return Err(HboneError::PoolFull);
            }
        }
        self.start_connect(key)
    }

    fn start_connect(&mut self, key: &PoolKey) -> Result<Step<Peer>, HboneError> {
        if self.connections >= self.connections_max && !self.make_room() {
            self.forget_if_empty(key);
            return Err(HboneError::PoolFull);
        }
        let id = self.next_id;
        self.next_id += 1;
        self.connections += 1;
        let (announce, outcome) = watch::channel(None);
        let connecting = Connecting { id, waiting: 1, outcome: outcome.clone() };
        self.entries.entry(key.clone()).or_default().connecting.push(connecting);
        Ok(Step::Connect { id, announce, outcome })
    }

    /// The connection is there. If its key was evicted meanwhile, it finishes what was opened on it and goes.
    pub(super) fn connected(&mut self, key: &PoolKey, member: Arc<Member<Peer>>) {
        if let Some(entry) = self.entries.get_mut(key)
            && let Some(position) = entry.connecting.iter().position(|it| it.id == member.id())
        {
            entry.connecting.swap_remove(position);
            entry.members.push(member);
        }
    }

    /// The connect is over; if it made a connection, this finds nothing left to do.
    pub(super) fn failed(&mut self, key: &PoolKey, id: u64) {
        if let Some(entry) = self.entries.get_mut(key)
            && let Some(position) = entry.connecting.iter().position(|it| it.id == id)
        {
            entry.connecting.swap_remove(position);
            self.connections -= 1;
            self.forget_if_empty(key);
        }
    }

    /// The connection ended, or is of no more use.
    pub(super) fn remove(&mut self, key: &PoolKey, id: u64) {
        self.remove_if(key, |member| member.id() == id);
    }

    /// The connection had no tunnel for `idle`, or for a short while beside another one without: the peak that it was
    /// made for has passed. Looked at again here, since one may just have been opened.
    pub(super) fn remove_idle(&mut self, key: &PoolKey, id: u64, idle: Duration) {
        let is_spare = |it: &Member<Peer>| it.id() != id && it.load().is_idle_for(Duration::ZERO);
        let has_spare = self
            .entries
            .get(key)
            .is_some_and(|entry| entry.members.iter().any(|it| is_spare(it) && !it.is_spent()));
        let patience = if has_spare { idle.min(limits::POOL_SURPLUS_IDLE_MAX) } else { idle };
        self.remove_if(key, |member| member.id() == id && member.load().is_idle_for(patience));
    }

    /// The workload is gone, under whatever address and identity.
    pub(super) fn evict(&mut self, uid: &str) {
        let connections = &mut self.connections;
        self.entries.retain(|key, entry| {
            let is_meant = &*key.uid == uid;
            *connections -= if is_meant { entry.len() } else { 0 };
            !is_meant
        });
    }

    pub(super) fn close(&mut self) {
        self.is_closed = true;
        self.connections = 0;
        self.entries.clear();
    }

    /// Takes out one connection without tunnels, of whichever key. A scan, which happens only at the bound.
    fn make_room(&mut self) -> bool {
        let found = self.entries.iter().find_map(|(key, entry)| {
            let idle = entry.members.iter().find(|it| it.load().is_idle_for(Duration::ZERO));
            idle.map(|member| (key.clone(), member.id()))
        });
        if let Some((key, id)) = &found {
            self.remove(key, *id);
        }
        found.is_some()
    }

    fn remove_if(&mut self, key: &PoolKey, is_meant: impl Fn(&Member<Peer>) -> bool) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let before = entry.members.len();
        entry.members.retain(|member| !is_meant(member));
        self.connections -= before - entry.members.len();
        self.forget_if_empty(key);
    }

    fn forget_if_empty(&mut self, key: &PoolKey) {
        if let Entry::Occupied(entry) = self.entries.entry(key.clone())
            && entry.get().len() == 0
        {
            entry.remove();
        }
    }
}

impl<Peer> Lot<Peer> {
    fn len(&self) -> usize {
        self.members.len() + self.connecting.len()
    }

    /// A free slot, on the first member that has one.
    fn find_slot(&self, tunnels_max: usize) -> Option<(usize, Slot)> {
        let mut members = self.members.iter().enumerate();
        members.find_map(|(position, it)| Some((position, it.take_slot(tunnels_max)?)))
    }
}

#[cfg(test)]
impl<Peer> Shelf<Peer> {
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.entries.len(), self.connections)
    }

    pub(super) fn has_usable(&self, key: &PoolKey) -> bool {
        self.entries.get(key).is_some_and(|it| it.members.iter().any(|it| !it.is_spent()))
    }
}
