//! Bounds of the folder, with their derivations.

use std::time::Duration;

/// Longest file, bytes: 10,000 pods of 2 kB in one file, three times over.
pub const FILE_BYTES_MAX: u64 = 64 << 20;
/// Longest document, bytes: etcd's default limit of a request, which bounds an object of a real cluster.
pub const DOCUMENT_BYTES_MAX: usize = 1_572_864;
/// Most files: one per object of a mesh of ten times the size that one controller is meant for.
pub const FILES_MAX: usize = 200_000;
/// Deepest sub-folder; a symbolic link that leads back up ends here at the latest.
pub const DEPTH_MAX: usize = 16;
/// Most refused or ignored documents that are listed one by one: a page that a human still reads.
pub const REPORTED_MAX: usize = 1_000;
/// A file counts as written to the end when it has not changed for so long. Longer than a tick of the kernel's clock
/// (10 ms at 100 Hz), in which two writes may get the same modification time.
pub const SETTLE: Duration = Duration::from_millis(12);
/// The same after its writer closed it: a script that writes on (`>` and then `>>`) opens it again within that.
pub const SETTLE_CLOSED: Duration = Duration::from_millis(5);
/// A file that is gone counts as deleted when it has not come back for so long: editors move the old file away
/// before they write the new one.
pub const SETTLE_GONE: Duration = Duration::from_millis(30);
/// How long a file that somebody holds open after writing to it is left alone, if it doesn't change any more. By
/// then the event that it was closed must have been lost.
pub const WRITER_MAX: Duration = Duration::from_secs(30);
/// The folder is compared as a whole so often, which finds what no event told.
pub const RESCAN: Duration = Duration::from_secs(3);
/// Events that wait for the reader. More than that are answered with one comparison of the whole folder.
pub const EVENTS_MAX: usize = 4_096;
/// How long the initial load waits for files that are being written.
pub const LOAD_PATIENCE: Duration = Duration::from_secs(2);
