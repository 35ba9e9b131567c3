//! Reads everything of a type: the state of a client is a cursor.

use std::collections::HashMap;

use super::log::TypeLog;
use super::read::{Batch, Behind, Progress};

/// A reader of everything.
#[derive(Debug)]
pub(super) struct Wildcard {
    /// All changes up to here have been read.
    cursor: u64,
    /// The log's length when the client subscribed: up to here it is a first load.
    start: u64,
    /// What the client kept from before a reconnect; `None` once it has been compared with the log.
    known: Option<HashMap<String, Option<u64>>>,
    /// Names that the client kept and that are gone.
    departed: Vec<String>,
}

impl Wildcard {
    /// A reader for a client that holds `known` (name to version).
    pub(super) fn new(start: u64, known: HashMap<String, Option<u64>>) -> Self {
        Self { cursor: 0, start, known: Some(known), departed: Vec::new() }
    }

    /// How far the log has been read.
    pub(super) fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Reads on until the batch is full or the log ends.
    pub(super) fn read(&mut self, log: &TypeLog, batch: &mut Batch) -> Result<Progress, Behind> {
        // During a first load only removals after its start matter: what went before, the client was never sent.
        if log.has_forgotten(self.cursor.max(self.start)) {
            return Err(Behind);
        }
        if let Some(known) = &mut self.known {
            if load(log, batch, (&mut self.cursor, self.start), known) == Progress::More {
                return Ok(Progress::More);
            }
            let absent = |name: &String| log.get(name).is_none();
            let known = self.known.take().unwrap_or_default();
            self.departed = known.into_keys().filter(absent).collect();
            self.departed.sort();
            self.cursor = self.start;
        }
        while let Some(name) = self.departed.last() {
            if !batch.remove(name) {
                return Ok(Progress::More);
            }
            self.departed.pop();
        }
        Ok(self.follow(log, batch))
    }

    fn follow(&mut self, log: &TypeLog, batch: &mut Batch) -> Progress {
        for (sequence, slot) in log.after(self.cursor) {
            let added = batch.count_scan()
                && match &slot.entry {
                    Some(entry) => batch.push(&slot.name, entry),
                    None => batch.remove(&slot.name),
                };
            if !added {
                return Progress::More;
            }
            batch.note_age(slot.at);
            self.cursor = sequence;
        }
        Progress::Complete
    }
}

/// Sends what stood in the log when the client subscribed, except what the client holds already.
fn load(
    log: &TypeLog,
    batch: &mut Batch,
    (cursor, start): (&mut u64, u64),
    known: &mut HashMap<String, Option<u64>>,
) -> Progress {
    for (sequence, slot) in log.after(*cursor) {
        if sequence > start {
            break;
        }
        if !batch.count_scan() {
            return Progress::More;
        }
        if let Some(entry) = &slot.entry {
            let held = known.get(&*slot.name).copied().flatten();
            if held != Some(entry.version) && !batch.push(&slot.name, entry) {
                return Progress::More;
            }
            known.remove(&*slot.name);
        }
        *cursor = sequence;
    }
    Progress::Complete
}
