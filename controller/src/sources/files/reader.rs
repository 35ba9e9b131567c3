//! The loop that watches a folder: which files have changed, and when each may be read.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::sources::{SourceEvent, SourceReport};

use super::events::{Happened, Sight, Signal, Watches};
use super::scan::{self, Scan, Stamp};
use super::state::FolderState;
use super::{FolderSettings, limits};

/// A file that will be read, or was.
#[derive(Debug)]
struct Known {
    path: PathBuf,
    real: Option<PathBuf>,
    /// As of the reading that is in force.
    stamp: Option<Stamp>,
}

/// A file that has changed and has to stand still for a moment.
#[derive(Debug)]
struct Pending {
    /// As it is now; nothing: it is gone.
    stamp: Option<Stamp>,
    since: Instant,
    sight: Sight,
}

pub(super) struct Reader {
    root: PathBuf,
    rescan: Duration,
    watches: Watches,
    happened: Happened,
    known: BTreeMap<Arc<str>, Known>,
    pending: BTreeMap<Arc<str>, Pending>,
    folder_faults: Vec<(Arc<str>, String)>,
    has_new_faults: bool,
    state: FolderState,
    rescan_at: Instant,
    events: mpsc::Sender<SourceEvent>,
    report: watch::Sender<Arc<SourceReport>>,
}

/// The receiver of the events has gone.
struct Ended;

impl Reader {
    pub(super) fn new(
        settings: FolderSettings,
        signals: SyncSender<Signal>,
        events: mpsc::Sender<SourceEvent>,
        report: watch::Sender<Arc<SourceReport>>,
    ) -> Self {
        Self {
            root: settings.folder,
            rescan: settings.rescan,
            watches: Watches::new(signals),
            happened: Happened { rescan: true, ..Happened::default() },
            known: BTreeMap::new(),
            pending: BTreeMap::new(),
            folder_faults: Vec::new(),
            has_new_faults: false,
            state: FolderState::default(),
            rescan_at: Instant::now(),
            events,
            report,
        }
    }

    /// Watches until the receiver of the events has gone.
    pub(super) fn run(mut self, signals: &Receiver<Signal>) {
        let load_until = Instant::now() + limits::LOAD_PATIENCE;
        loop {
            self.look();
            let has_read = self.read_settled();
            let is_patient = Instant::now() < load_until;
            let is_load_over = !self.state.is_loaded && (self.pending.is_empty() || !is_patient);
            let is_partial = !self.state.is_loaded && !is_load_over;
            if !is_partial && self.publish(has_read, is_load_over).is_err() {
                return;
            }
            let wake_at = self.wake_at().min(if is_partial { load_until } else { self.rescan_at });
            if !self.wait(signals, wake_at) {
                return;
            }
        }
    }

    /// Takes in events until `wake_at`, or until there are some and no more wait. False: it is over.
    fn wait(&mut self, signals: &Receiver<Signal>, wake_at: Instant) -> bool {
        let patience = wake_at.saturating_duration_since(Instant::now());
        let mut signal = match signals.recv_timeout(patience) {
            Ok(signal) => Some(signal),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return false,
        };
        while let Some(next) = signal {
            match next {
                Signal::Event(event) => self.happened.take(event, &self.watches),
                Signal::Stop => return false,
            }
            signal = signals.try_recv().ok();
        }
        if self.watches.take_overflow() {
            self.happened.lost();
        }
        !self.events.is_closed()
    }

    /// Finds out which files have changed.
    fn look(&mut self) {
        let now = Instant::now();
        for (path, sight) in std::mem::take(&mut self.happened.touched) {
            let Some(below) = scan::relative(&self.root, &path) else {
                // A link of the folder leads there.
                self.happened.rescan = true;
                continue;
            };
            match std::fs::metadata(&path) {
                Ok(metadata) if metadata.is_file() => {
                    if path.is_symlink() {
                        self.happened.rescan = true;
                    }
                    let unread = Known { path, real: None, stamp: None };
                    let known = self.known.entry(below.clone()).or_insert(unread);
                    known.stamp = None;
                    let stamp = Some(Stamp::of(&metadata));
                    self.pending.insert(below, Pending { stamp, since: now, sight });
                }
                Ok(_) => self.happened.rescan = true,
                Err(_) if self.known.contains_key(&below) => {
                    let gone = Pending { stamp: None, since: now, sight: Sight::Changed };
                    self.pending.entry(below).or_insert(gone);
                }
                Err(_) => {}
            }
        }
        if std::mem::take(&mut self.happened.rescan) || now >= self.rescan_at {
            self.compare(now);
        }
    }

    /// Compares the whole folder with what is known of it.
    fn compare(&mut self, now: Instant) {
        let mut found = scan::scan(&self.root);
        // What happens in a new folder before its watch is set is only found by another look.
        let mut rounds = 0;
        while self.watches.follow(&found.folders) && rounds < limits::DEPTH_MAX {
            found = scan::scan(&self.root);
            rounds += 1;
        }
        self.rescan_at = Instant::now() + self.rescan;
        for (below, file) in &found.files {
            self.compare_file(below, file, now);
        }
        let is_gone =
            |below: &&Arc<str>| !found.files.contains_key(*below) && !is_below_fault(below, &found);
        let gone: Vec<_> = self.known.keys().filter(is_gone).cloned().collect();
        for below in &gone {
            self.set_gone(below, now);
        }
        self.has_new_faults |= self.folder_faults != found.faults;
        self.folder_faults = found.faults;
    }

    fn compare_file(&mut self, below: &Arc<str>, file: &scan::Found, now: Instant) {
        let stamp = Stamp::of(&file.metadata);
        let unread = || Known { path: file.path.clone(), real: None, stamp: None };
        let known = self.known.entry(below.clone()).or_insert_with(unread);
        let is_elsewhere = known.real != file.real;
        known.real.clone_from(&file.real);
        if known.stamp == Some(stamp) && !is_elsewhere {
            self.pending.remove(below);
            return;
        }
        if self.pending.get(below).is_none_or(|pending| pending.stamp != Some(stamp)) {
            let is_whole = !self.state.is_loaded && scan::has_long_been(&file.metadata);
            let sight = if is_whole { Sight::Moved } else { Sight::Changed };
            let pending = Pending { stamp: Some(stamp), since: now, sight };
            self.pending.insert(below.clone(), pending);
        }
    }

    fn set_gone(&mut self, below: &Arc<str>, now: Instant) {
        if self.pending.get(below).is_none_or(|pending| pending.stamp.is_some()) {
            let gone = Pending { stamp: None, since: now, sight: Sight::Changed };
            self.pending.insert(below.clone(), gone);
        }
    }

    fn due(&self, below: &Arc<str>, pending: &Pending) -> Instant {
        if pending.stamp.is_none() {
            return pending.since + limits::SETTLE_GONE;
        }
        let is_written = self.known.get(below).is_some_and(|known| {
            let writing = &self.happened.writing;
            writing.contains(&known.path)
                || known.real.as_ref().is_some_and(|real| writing.contains(real))
        });
        let patience = match pending.sight {
            _ if is_written => limits::WRITER_MAX,
            Sight::Changed => limits::SETTLE,
            Sight::Closed => limits::SETTLE_CLOSED,
            Sight::Moved => Duration::ZERO,
        };
        pending.since + patience
    }

    fn wake_at(&self) -> Instant {
        let dues = self.pending.iter().map(|(below, pending)| self.due(below, pending));
        dues.min().unwrap_or(self.rescan_at).min(self.rescan_at)
    }

    /// Reads the files that have stood still for long enough. True if there were any.
    fn read_settled(&mut self) -> bool {
        let now = Instant::now();
        let is_due = |(below, pending): &(&Arc<str>, &Pending)| self.due(below, pending) <= now;
        let due: Vec<_> =
            self.pending.iter().filter(is_due).map(|(below, _)| below.clone()).collect();
        for below in &due {
            self.read(below, now);
        }
        !due.is_empty()
    }

    fn read(&mut self, below: &Arc<str>, now: Instant) {
        let Some(pending) = self.pending.remove(below) else {
            return;
        };
        let Some(known) = self.known.get_mut(below) else {
            return;
        };
        let before = std::fs::metadata(&known.path).ok().map(|metadata| Stamp::of(&metadata));
        let mut again = |stamp| {
            self.pending
                .insert(below.clone(), Pending { stamp, since: now, sight: Sight::Changed });
        };
        if before != pending.stamp {
            return again(before);
        }
        let Some(stamp) = before else {
            self.known.remove(below);
            return self.state.remove_file(below);
        };
        let content = scan::read_file(&known.path, stamp.bytes);
        let after = std::fs::metadata(&known.path).ok().map(|metadata| Stamp::of(&metadata));
        if after != before {
            return again(after);
        }
        known.stamp = Some(stamp);
        match content.map(String::from_utf8) {
            Ok(Ok(text)) => self.state.set_file(below, &text),
            Ok(Err(error)) => {
                let at = error.utf8_error().valid_up_to();
                self.state.set_fault(below, format!("is no text: byte {at} is not UTF-8"));
            }
            Err(reason) => self.state.set_fault(below, reason),
        }
    }

    fn publish(&mut self, has_read: bool, is_load_over: bool) -> Result<(), Ended> {
        if has_read {
            let changes = self.state.take_changes();
            if !changes.is_empty() {
                self.send(SourceEvent::Changes(changes))?;
            }
        }
        if is_load_over {
            self.state.is_loaded = true;
            self.send(SourceEvent::Loaded)?;
        }
        if has_read || is_load_over || std::mem::take(&mut self.has_new_faults) {
            let report = Arc::new(self.state.report(&self.folder_faults));
            self.report.send_if_modified(|current| {
                let is_new = **current != *report;
                *current = report;
                is_new
            });
        }
        Ok(())
    }

    fn send(&self, event: SourceEvent) -> Result<(), Ended> {
        self.events.blocking_send(event).map_err(|_| Ended)
    }
}

fn is_below_fault(below: &str, found: &Scan) -> bool {
    found.faults.iter().any(|(folder, _)| {
        **folder == *"." || below.strip_prefix(&**folder).is_some_and(|rest| rest.starts_with('/'))
    })
}
