//! Reads what a client asked for by name, with what belongs to it: a service's endpoints and the workloads of the
//! client's own node. Also reads what is a node's or a waypoint's alone, which is the same with nothing asked for.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::entry::Entry;
use super::log::TypeLog;
use super::read::{Batch, Behind, Progress};

/// A reader by name.
#[derive(Debug)]
pub(super) struct Named {
    cursor: u64,
    scope: Scope,
    keys: HashSet<Arc<str>>,
    /// Services that a key led to: their endpoints follow.
    followed: HashSet<Arc<str>>,
    /// What the client has, at which change.
    held: HashMap<Arc<str>, u64>,
    /// What the client kept from before a reconnect, until it is compared.
    known: HashMap<String, Option<u64>>,
    todo: VecDeque<Todo>,
    missing: VecDeque<Arc<str>>,
}

/// What a client is shown.
#[derive(Debug, Clone)]
pub(super) enum Scope {
    /// What it asks for, and what is on its node.
    Open(Option<Arc<str>>),
    /// What is on its node, whatever it asks for.
    Node(Arc<str>),
    /// What is for this waypoint, whatever it asks for.
    Waypoint(Arc<str>),
}

impl Scope {
    /// Whether what is asked for doesn't count.
    pub(super) fn is_confined(&self) -> bool {
        !matches!(self, Self::Open(_))
    }

    /// Whether a resource is shown unasked.
    fn covers(&self, entry: &Entry) -> bool {
        match self {
            Self::Open(node) => node.is_some() && entry.facts.node == *node,
            Self::Node(node) => entry.facts.node.as_ref() == Some(node),
            Self::Waypoint(waypoint) => entry.facts.audience.contains(waypoint),
        }
    }

    fn all<'a>(&'a self, log: &'a TypeLog) -> Box<dyn Iterator<Item = &'a Arc<str>> + 'a> {
        match self {
            Self::Open(None) => Box::new(std::iter::empty()),
            Self::Open(Some(node)) | Self::Node(node) => Box::new(log.index().on_node(node)),
            Self::Waypoint(waypoint) => Box::new(log.index().for_waypoint(waypoint)),
        }
    }
}

/// A resource to look at out of turn.
#[derive(Debug)]
struct Todo {
    name: Arc<str>,
    /// Sent even if the client has it: it asked again.
    is_asked: bool,
}

impl Todo {
    fn new(name: &Arc<str>) -> Self {
        Self { name: name.clone(), is_asked: false }
    }
}

impl Named {
    /// A reader that starts with all that `scope` shows unasked and with what the client `known` from before.
    pub(super) fn new(
        log: &TypeLog,
        start: u64,
        scope: Scope,
        known: HashMap<String, Option<u64>>,
    ) -> Self {
        let mut todo: VecDeque<_> =
            known.keys().map(|name| Todo::new(&Arc::from(name.as_str()))).collect();
        todo.extend(scope.all(log).map(Todo::new));
        Self {
            cursor: start,
            scope,
            keys: HashSet::new(),
            followed: HashSet::new(),
            held: HashMap::new(),
            known,
            todo,
            missing: VecDeque::new(),
        }
    }

    /// How far the log has been read.
    pub(super) fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Names asked for.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Adds a name, an address or a service to what is wanted. Asking again is answered again.
    pub(super) fn subscribe(&mut self, log: &TypeLog, key: &str) {
        let key: Arc<str> = key.into();
        let names = log.resolve(&key);
        if names.is_empty() {
            self.missing.push_back(key.clone());
        }
        self.followed.extend(names.iter().cloned());
        self.todo.extend(names.into_iter().map(|name| Todo { name, is_asked: true }));
        self.keys.insert(key);
    }

    /// Takes names back. What nothing else asks for is no longer kept up to date; the client drops it by itself.
    pub(super) fn unsubscribe(&mut self, log: &TypeLog, keys: &[String]) {
        for key in keys {
            self.keys.remove(key.as_str());
        }
        self.followed = self.keys.iter().flat_map(|key| log.resolve(key)).collect();
        let mut held = std::mem::take(&mut self.held);
        held.retain(|name, _| log.get(name).is_some_and(|(_, _, entry)| self.wants(name, entry)));
        self.held = held;
    }

    /// Reads on until the batch is full or the log ends.
    pub(super) fn read(&mut self, log: &TypeLog, batch: &mut Batch) -> Result<Progress, Behind> {
        if log.has_forgotten(self.cursor) {
            return Err(Behind);
        }
        if self.read_todo(log, batch) == Progress::More {
            return Ok(Progress::More);
        }
        for (sequence, slot) in log.after(self.cursor) {
            if !batch.count_scan() {
                return Ok(Progress::More);
            }
            let added = match &slot.entry {
                Some(entry) if self.wants(&slot.name, entry) => {
                    let is_news = self.held.get(&slot.name).is_none_or(|held| *held < sequence);
                    if is_news && !batch.push(&slot.name, entry) {
                        return Ok(Progress::More);
                    }
                    self.held.insert(slot.name.clone(), sequence);
                    self.follow(log, &slot.name, entry);
                    is_news
                }
                // Gone, or moved to where this client may not see it.
                _ if self.held.contains_key(&slot.name) || self.keys.contains(&slot.name) => {
                    if !batch.remove(&slot.name) {
                        return Ok(Progress::More);
                    }
                    self.held.remove(&slot.name);
                    true
                }
                _ => false,
            };
            if added {
                batch.note_age(slot.at);
            }
            self.cursor = sequence;
        }
        // A change may have brought a service, and with it endpoints that were there before.
        Ok(if self.todo.is_empty() { Progress::Complete } else { Progress::More })
    }

    fn read_todo(&mut self, log: &TypeLog, batch: &mut Batch) -> Progress {
        while let Some(name) = self.missing.front() {
            if !batch.remove(name) {
                return Progress::More;
            }
            self.missing.pop_front();
        }
        while let Some(todo) = self.todo.pop_front() {
            if !batch.count_scan() || !self.send(log, &todo, batch) {
                self.todo.push_front(todo);
                return Progress::More;
            }
        }
        Progress::Complete
    }

    /// `false`: the batch is full.
    fn send(&mut self, log: &TypeLog, todo: &Todo, batch: &mut Batch) -> bool {
        let name = &todo.name;
        let known = self.known.get(&**name).copied();
        let visible = log.get(name).filter(|(_, _, entry)| self.may_see(entry));
        let Some((sequence, slot, entry)) = visible else {
            let was_held = self.held.contains_key(name) || known.is_some();
            if was_held && !batch.remove(name) {
                return false;
            }
            self.held.remove(name);
            self.known.remove(&**name);
            return true;
        };
        let is_held = self.held.get(name).is_some_and(|held| *held >= sequence)
            || known.flatten() == Some(entry.version);
        if (todo.is_asked || !is_held) && !batch.push(&slot.name, entry) {
            return false;
        }
        self.known.remove(&**name);
        self.held.insert(slot.name.clone(), sequence);
        self.follow(log, name, entry);
        true
    }

    /// A service that the client wants brings its endpoints.
    fn follow(&mut self, log: &TypeLog, name: &Arc<str>, entry: &Entry) {
        if !self.scope.is_confined()
            && !entry.facts.is_workload
            && self.followed.insert(name.clone())
        {
            self.todo.extend(log.index().endpoints(name).map(Todo::new));
        }
    }

    fn may_see(&self, entry: &Entry) -> bool {
        !self.scope.is_confined() || self.scope.covers(entry)
    }

    fn wants(&self, name: &Arc<str>, entry: &Entry) -> bool {
        if self.scope.covers(entry) {
            return true;
        }
        let facts = &entry.facts;
        !self.scope.is_confined()
            && (self.held.contains_key(name)
                || self.keys.contains(name)
                || self.followed.contains(name)
                || facts.aliases.iter().any(|alias| self.keys.contains(alias))
                || facts
                    .services
                    .iter()
                    .any(|service| self.keys.contains(service) || self.followed.contains(service)))
    }
}
