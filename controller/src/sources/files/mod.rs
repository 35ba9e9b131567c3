//! A watched folder of manifests.
//!
//! ```text
//! kernel events ─┐
//!                ├▶ settle (is it written to the end?) ─▶ state (documents, last good versions) ─▶ changes
//! rescan ────────┘                                                                             └▶ report
//! ```
//!
//! Three things make a half-written file harmless. It isn't read while somebody who wrote to it holds it open, nor
//! before it has stood still for a moment. What can't be parsed leaves the last good version in force. And while
//! any document of a file can't be read, nothing that the file used to hold goes away.
//!
//! The work is done on a thread of its own, because reading files blocks.

mod documents;
mod events;
pub mod limits;
mod parse;
mod reader;
mod renewal;
mod report;
mod scan;
mod state;
#[cfg(test)]
mod state_tests;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use events::Signal;
use reader::Reader;

use super::{SourceEvent, SourceReport};

/// How a folder is watched.
#[derive(Debug, Clone)]
pub struct FolderSettings {
    /// The folder.
    pub folder: PathBuf,
    /// How often it is compared as a whole.
    pub rescan: Duration,
}

impl FolderSettings {
    /// With the usual times.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), rescan: limits::RESCAN }
    }
}

/// Why a folder can't be watched.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It isn't there, or is no folder.
    #[error("{path} can't be read as a folder of manifests: {source}")]
    Unreadable {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The system gives no thread.
    #[error("no thread to watch the folder with: {0}")]
    Thread(std::io::Error),
}

/// A folder being watched, until this is dropped. That its events end otherwise means that the watcher has failed.
#[derive(Debug)]
pub struct Folder {
    /// What changed, in order.
    pub events: mpsc::Receiver<SourceEvent>,
    /// What isn't in force, and why.
    pub report: watch::Receiver<Arc<SourceReport>>,
    _stop: StopOnDrop,
}

#[derive(Debug)]
struct StopOnDrop(SyncSender<Signal>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        // If the queue is full the reader is awake, and finds the receiver of its events gone.
        let _ = self.0.try_send(Signal::Stop);
    }
}

/// Batches that wait for the model's owner. One that has to wait grows no further batch behind it.
const BATCHES_MAX: usize = 4;

/// Starts to watch a folder.
pub fn watch_folder(settings: FolderSettings) -> Result<Folder, FolderError> {
    std::fs::read_dir(&settings.folder)
        .map_err(|source| FolderError::Unreadable { path: settings.folder.clone(), source })?;
    let (events_in, events) = mpsc::channel(BATCHES_MAX);
    let (report_in, report) = watch::channel(Arc::default());
    let (signals_in, signals) = sync_channel(limits::EVENTS_MAX);
    let reader = Reader::new(settings, signals_in.clone(), events_in, report_in);
    std::thread::Builder::new()
        .name("manifests".to_owned())
        .spawn(move || reader.run(&signals))
        .map_err(FolderError::Thread)?;
    Ok(Folder { events, report, _stop: StopOnDrop(signals_in) })
}
