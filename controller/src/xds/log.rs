//! The log: every type's present resources, in the order of their last change.
//!
//! A name stands in the log once, at its latest change; what it replaces is gone, so the log is always compact.
//! Removals stay as marks for sessions that have still to read them, up to a bound. Writers build a new snapshot
//! from persistent maps and swap it in; readers take the snapshot and are never blocked, nor block anybody.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use imbl::{HashMap, OrdMap, OrdSet};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::entry::Entry;
use super::index::Index;
use crate::serving_limits::REMOVALS_KEPT;

/// A resource that appeared, changed or went.
#[derive(Clone)]
pub struct ResourceChange {
    /// Its type, one of `weft_proto::contract::type_url`.
    pub type_url: &'static str,
    /// Its name, unique within the type.
    pub name: Arc<str>,
    /// The encoded message that goes into the `Any`; `None` if the resource went.
    pub resource: Option<Bytes>,
    /// The waypoints that it is for, where the type is served to waypoints alone.
    pub audience: Audience,
}

/// Without the content, which may be a key.
impl fmt::Debug for ResourceChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = self.resource.as_ref().map(Bytes::len);
        let mut shown = f.debug_struct("ResourceChange");
        shown.field("type_url", &self.type_url).field("name", &self.name);
        shown.field("resource", &length).field("audience", &self.audience).finish()
    }
}

/// Namespaces and names of Gateways: `<namespace>/<name>`.
pub type Audience = Arc<[Arc<str>]>;

/// The log. Cloning gives another handle.
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
}

struct Shared {
    snapshot: ArcSwap<Snapshot>,
    writer: Mutex<()>,
    head: watch::Sender<u64>,
}

/// The log at one moment.
#[derive(Clone, Default)]
pub(super) struct Snapshot {
    sequence: u64,
    types: BTreeMap<&'static str, TypeLog>,
}

/// One type's part of the log.
#[derive(Clone, Default)]
pub(super) struct TypeLog {
    sequence_of: HashMap<Arc<str>, u64>,
    slots: OrdMap<u64, Slot>,
    removals: OrdSet<u64>,
    /// Removals up to this sequence number have been forgotten.
    floor: u64,
    index: Index,
}

/// The latest change of one name.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub(super) name: Arc<str>,
    /// When it entered the log.
    pub(super) at: Instant,
    /// The node that it lives on, or lived on before it was removed.
    pub(super) node: Option<Arc<str>>,
    /// `None`: it was removed.
    pub(super) entry: Option<Arc<Entry>>,
}

impl Log {
    /// An empty log.
    pub fn new() -> Self {
        let shared = Shared {
            snapshot: ArcSwap::from_pointee(Snapshot::default()),
            writer: Mutex::new(()),
            head: watch::Sender::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Appends changes as one step: a reader sees all of them or none. A resource whose content is as before makes
    /// no entry. Returns how many did.
    pub fn apply(&self, changes: Vec<ResourceChange>) -> usize {
        let _writer = self.shared.writer.lock();
        let mut next = Snapshot::clone(&self.shared.snapshot.load());
        let before = next.sequence;
        let now = Instant::now();
        let mut count = 0;
        for change in changes {
            let log = next.types.entry(change.type_url).or_default();
            if log.apply(next.sequence + 1, now, change) {
                next.sequence += 1;
                count += 1;
            }
        }
        let head = next.sequence;
        if head != before {
            self.shared.snapshot.store(Arc::new(next));
            self.shared.head.send_replace(head);
        }
        count
    }

    /// Resources present, by type.
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        let snapshot = self.snapshot();
        snapshot.types.iter().map(|(type_url, log)| (*type_url, log.len())).collect()
    }

    /// The log as it is now.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot.load_full()
    }

    /// Wakes when the log has grown.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.shared.head.subscribe()
    }
}

impl Default for Log {
    fn default() -> Self {
        Self::new()
    }
}

impl Snapshot {
    /// One type's part; `None` before its first resource.
    pub(super) fn type_log(&self, type_url: &str) -> Option<&TypeLog> {
        self.types.get(type_url)
    }

    /// The sequence number of the latest change.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }
}

impl TypeLog {
    /// Whether the change made an entry.
    fn apply(&mut self, sequence: u64, at: Instant, change: ResourceChange) -> bool {
        let old_sequence = self.sequence_of.get(&change.name).copied();
        let old = old_sequence.and_then(|old| self.slots.get(&old)).and_then(|s| s.entry.clone());
        let entry = change
            .resource
            .map(|content| Entry::new(change.type_url, &change.name, content))
            .map(|entry| Arc::new(entry.only_for(change.audience)));
        match (&old, &entry) {
            (None, None) => return false,
            (Some(old), Some(new)) if old.is_same(new) => return false,
            _ => {}
        }
        if let Some(old) = &old {
            self.index.remove(&change.name, &old.facts);
        }
        if let Some(old_sequence) = old_sequence {
            self.slots.remove(&old_sequence);
            self.removals.remove(&old_sequence);
        }
        if let Some(entry) = &entry {
            self.index.insert(&change.name, &entry.facts);
        } else {
            self.removals.insert(sequence);
        }
        let node = entry.as_ref().or(old.as_ref()).and_then(|entry| entry.facts.node.clone());
        // The mark of a removal keeps its name, so that a return of the name replaces the mark.
        self.sequence_of.insert(change.name.clone(), sequence);
        self.slots.insert(sequence, Slot { name: change.name, at, node, entry });
        self.forget_old_removals();
        true
    }

    fn forget_old_removals(&mut self) {
        while self.removals.len() > REMOVALS_KEPT {
            let Some(oldest) = self.removals.get_min().copied() else {
                return;
            };
            self.removals.remove(&oldest);
            if let Some(slot) = self.slots.remove(&oldest) {
                self.sequence_of.remove(&slot.name);
            }
            self.floor = oldest;
        }
    }

    /// Resources present.
    fn len(&self) -> usize {
        self.sequence_of.len().saturating_sub(self.removals.len())
    }

    /// Changes after `cursor`, oldest first.
    pub(super) fn after(&self, cursor: u64) -> impl Iterator<Item = (u64, &Slot)> {
        let range = (Bound::Excluded(cursor), Bound::Unbounded);
        self.slots.range(range).map(|(sequence, slot)| (*sequence, slot))
    }

    /// The sequence number of this type's latest change.
    pub(super) fn head(&self) -> u64 {
        self.slots.get_max().map_or(0, |(sequence, _)| *sequence)
    }

    /// Whether a session that has read up to `cursor` may have missed a removal.
    pub(super) fn has_forgotten(&self, cursor: u64) -> bool {
        cursor < self.floor
    }

    /// A present resource by its name, and the sequence number of its latest change.
    pub(super) fn get(&self, name: &str) -> Option<(u64, &Slot, &Arc<Entry>)> {
        let sequence = *self.sequence_of.get(name)?;
        let slot = self.slots.get(&sequence)?;
        Some((sequence, slot, slot.entry.as_ref()?))
    }

    /// The look-up by address, service and node.
    pub(super) fn index(&self) -> &Index {
        &self.index
    }

    /// What a subscription to `key` means: the resource of that name, those with that address, and for services
    /// their endpoints too.
    pub(super) fn resolve(&self, key: &str) -> Vec<Arc<str>> {
        let direct = self.get(key).map(|(_, slot, _)| slot.name.clone());
        let mut names: Vec<Arc<str>> =
            direct.into_iter().chain(self.index.aliased(key).cloned()).collect();
        let endpoints: Vec<_> = [key]
            .into_iter()
            .chain(names.iter().map(AsRef::as_ref))
            .flat_map(|service| self.index.endpoints(service))
            .cloned()
            .collect();
        names.extend(endpoints);
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = weft_proto::contract::type_url::AUTHORIZATION;

    fn set(name: &str, content: &'static str) -> ResourceChange {
        let resource = Some(Bytes::from_static(content.as_bytes()));
        ResourceChange {
            type_url: TYPE,
            name: name.into(),
            resource,
            audience: Audience::default(),
        }
    }

    fn remove(name: &str) -> ResourceChange {
        let audience = Audience::default();
        ResourceChange { type_url: TYPE, name: name.into(), resource: None, audience }
    }

    fn names_after(log: &Log, cursor: u64) -> Vec<String> {
        let snapshot = log.snapshot();
        let log = snapshot.type_log(TYPE).unwrap();
        log.after(cursor).map(|(_, slot)| slot.name.to_string()).collect()
    }

    #[test]
    fn name_stands_in_the_log_once_at_its_latest_change() {
        let log = Log::new();
        log.apply(vec![set("a", "1"), set("b", "1"), set("a", "2")]);
        assert_eq!(names_after(&log, 0), ["b", "a"]);
        log.apply(vec![remove("b"), set("b", "3")]);
        assert_eq!(names_after(&log, 0), ["a", "b"]);
        assert_eq!(log.counts()[TYPE], 2);
        log.apply(vec![remove("a")]);
        assert_eq!(log.counts()[TYPE], 1);
        assert_eq!(names_after(&log, 0), ["b", "a"]);
    }

    #[test]
    fn what_changes_nothing_makes_no_entry() {
        let log = Log::new();
        let mut head = log.watch();
        assert_eq!(log.apply(vec![set("a", "1")]), 1);
        assert!(head.has_changed().unwrap());
        head.mark_unchanged();
        assert_eq!(log.apply(vec![set("a", "1"), remove("x")]), 0);
        assert!(!head.has_changed().unwrap());
    }

    #[test]
    fn removals_are_bounded_and_who_missed_one_is_told() {
        let log = Log::new();
        log.apply(vec![set("stays", "1")]);
        for index in 0..REMOVALS_KEPT + 10 {
            let name = format!("pod-{index}");
            log.apply(vec![set(&name, "1"), remove(&name)]);
        }
        let snapshot = log.snapshot();
        let typed = snapshot.type_log(TYPE).unwrap();
        assert_eq!(typed.slots.len(), REMOVALS_KEPT + 1);
        assert_eq!(typed.sequence_of.len(), REMOVALS_KEPT + 1);
        assert!(typed.has_forgotten(1));
        assert!(!typed.has_forgotten(snapshot.sequence() - 10));
    }

    #[test]
    fn earlier_snapshot_is_untouched_by_later_changes() {
        let log = Log::new();
        log.apply(vec![set("a", "1")]);
        let before = log.snapshot();
        log.apply(vec![remove("a"), set("b", "1")]);
        assert!(before.type_log(TYPE).unwrap().get("a").is_some());
        assert!(log.snapshot().type_log(TYPE).unwrap().get("a").is_none());
    }
}
