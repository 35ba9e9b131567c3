//! What the kernel tells about the folder, condensed.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RemoveKind, RenameMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::limits;
use super::scan::is_manifest;

/// What wakes the reader.
pub(super) enum Signal {
    /// Something happened in the folder.
    Event(notify::Result<Event>),
    /// The owner has gone.
    Stop,
}

/// The kernel's watches, one a folder, set to follow the folders that were found.
pub(super) struct Watches {
    watcher: Option<RecommendedWatcher>,
    watched: BTreeMap<PathBuf, (u64, u64)>,
    /// The reader was behind, so events were dropped.
    overflow: Arc<AtomicBool>,
}

impl Watches {
    /// Without the kernel's help (it limits the number of watchers of a user) the folder is still compared now and
    /// then, so that is no error.
    pub(super) fn new(signals: SyncSender<Signal>) -> Self {
        let overflow = Arc::new(AtomicBool::new(false));
        let lost = overflow.clone();
        let handler = move |event| {
            if signals.try_send(Signal::Event(event)).is_err() {
                lost.store(true, Ordering::Release);
            }
        };
        let watcher = notify::recommended_watcher(handler)
            .inspect_err(|error| tracing::warn!(%error, "folder is only polled"))
            .ok();
        Self { watcher, watched: BTreeMap::new(), overflow }
    }

    /// Whether events were lost since this was last asked.
    pub(super) fn take_overflow(&self) -> bool {
        self.overflow.swap(false, Ordering::AcqRel)
    }

    /// Whether `path` is a watched folder.
    pub(super) fn is_watched(&self, path: &Path) -> bool {
        self.watched.contains_key(path)
    }

    /// Watches exactly `folders`. True if there are new ones: what happened in them until now was not seen.
    pub(super) fn follow(&mut self, folders: &BTreeMap<PathBuf, (u64, u64)>) -> bool {
        let Some(watcher) = &mut self.watcher else {
            return false;
        };
        let stale: Vec<_> = self
            .watched
            .iter()
            .filter(|(path, inode)| folders.get(*path) != Some(inode))
            .map(|(path, _)| path.clone())
            .collect();
        for path in stale {
            // A folder that is gone took its watch along.
            let _ = watcher.unwatch(&path);
            self.watched.remove(&path);
        }
        let mut is_new = false;
        for (path, inode) in folders {
            if self.watched.contains_key(path) {
                continue;
            }
            match watcher.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(path.clone(), *inode);
                    is_new = true;
                }
                Err(error) => {
                    tracing::warn!(%error, path = %path.display(), "folder is only polled");
                }
            }
        }
        is_new
    }
}

/// How a change of a file was seen, which says how long it has to stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// It differs; nobody knows whether that was all.
    Changed,
    /// Its writer closed it.
    Closed,
    /// It was moved into its place, or has been as it is for long: it is complete.
    Moved,
}

/// What happened since the last look.
#[derive(Debug, Default)]
pub(super) struct Happened {
    /// Manifests that may have changed, and how that was last seen.
    pub(super) touched: BTreeMap<PathBuf, Sight>,
    /// Files that somebody writes to and has not closed.
    pub(super) writing: HashSet<PathBuf>,
    /// More than single manifests changed.
    pub(super) rescan: bool,
}

impl Happened {
    /// Takes in one event.
    pub(super) fn take(&mut self, event: notify::Result<Event>, watches: &Watches) {
        let Ok(event) = event else {
            return self.lost();
        };
        if event.need_rescan() {
            return self.lost();
        }
        for (at, path) in event.paths.iter().enumerate() {
            let is_arrival = match event.kind {
                EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => at > 0,
                EventKind::Modify(ModifyKind::Name(RenameMode::To)) => true,
                _ => false,
            };
            let sight = match event.kind {
                EventKind::Access(AccessKind::Close(AccessMode::Write)) => Sight::Closed,
                _ if is_arrival => Sight::Moved,
                _ => Sight::Changed,
            };
            if is_manifest(path) {
                self.manifest(event.kind, path, sight);
            } else {
                self.rescan |= concerns_folder(event.kind, path, watches);
            }
        }
    }

    /// Events were lost: who is writing isn't known any more.
    pub(super) fn lost(&mut self) {
        self.writing.clear();
        self.rescan = true;
    }

    fn manifest(&mut self, kind: EventKind, path: &Path, sight: Sight) {
        match kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => {
                self.writing.remove(path);
            }
            EventKind::Access(_) => return,
            EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Any) => {
                if self.writing.len() >= limits::EVENTS_MAX {
                    return self.lost();
                }
                self.writing.insert(path.to_owned());
            }
            EventKind::Modify(ModifyKind::Name(_)) | EventKind::Remove(_) => {
                self.writing.remove(path);
            }
            EventKind::Create(CreateKind::Folder) => self.rescan = true,
            _ => {}
        }
        if self.touched.len() >= limits::EVENTS_MAX {
            self.rescan = true;
        } else {
            self.touched.insert(path.to_owned(), sight);
        }
    }
}

/// Whether something that is no manifest changes what is in the folder: a folder, or a link (`..data`).
fn concerns_folder(kind: EventKind, path: &Path, watches: &Watches) -> bool {
    let leads_on = || path.is_symlink() || path.is_dir();
    match kind {
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_)) => {
            false
        }
        EventKind::Create(CreateKind::Folder) | EventKind::Remove(RemoveKind::Folder) => true,
        EventKind::Remove(RemoveKind::File) => watches.is_watched(path),
        EventKind::Create(_) | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => leads_on(),
        _ => true,
    }
}
