//! What is in the folder: manifests, with what tells that one has changed, and sub-folders.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::limits;

/// Changes whenever a file's content may have. The inode tells of a replaced file, the status change time (which
/// no program can set) of one that was rewritten with its old times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: (u64, u64),
    pub(super) bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            inode: (metadata.dev(), metadata.ino()),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// A manifest.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) metadata: Metadata,
    /// Where it really is, if the path is a symbolic link.
    pub(super) real: Option<PathBuf>,
}

/// One look at the whole folder.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// By path below the folder.
    pub(super) files: BTreeMap<Arc<str>, Found>,
    /// Folders in which a change may matter, with their inodes.
    pub(super) folders: BTreeMap<PathBuf, (u64, u64)>,
    /// Sub-folders that can't be listed; the folder itself is `.`.
    pub(super) faults: Vec<(Arc<str>, String)>,
}

/// Whether a file of this name is read.
pub(super) fn is_manifest(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let suffix = path.extension().and_then(|suffix| suffix.to_str()).unwrap_or_default();
    !name.starts_with('.') && matches!(suffix, "yaml" | "yml" | "json")
}

/// The path below the folder, as reports show it. Nothing for paths elsewhere and names that are no text.
pub(super) fn relative(root: &Path, path: &Path) -> Option<Arc<str>> {
    path.strip_prefix(root).ok()?.to_str().map(Into::into)
}

/// Looks at the whole folder. Names that begin with a dot are passed over, links are followed: a mounted ConfigMap
/// is links into a hidden folder.
pub(super) fn scan(root: &Path) -> Scan {
    let mut found = Scan::default();
    folder(root, root, &mut Vec::new(), &mut found);
    if root.is_symlink()
        && let Some(parent) = root.parent()
    {
        watch(parent, &mut found);
    }
    found
}

fn folder(root: &Path, path: &Path, above: &mut Vec<(u64, u64)>, found: &mut Scan) {
    let fault = |reason: String, found: &mut Scan| {
        let below = relative(root, path).filter(|below| !below.is_empty());
        found.faults.push((below.unwrap_or_else(|| ".".into()), reason));
    };
    let inode = match fs::metadata(path) {
        Ok(metadata) => (metadata.dev(), metadata.ino()),
        Err(error) => return fault(format!("can't be looked at: {error}"), found),
    };
    if above.contains(&inode) || above.len() > limits::DEPTH_MAX {
        return fault("leads back to itself, or is too deep; it is passed over".to_owned(), found);
    }
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) => return fault(format!("can't be listed: {error}"), found),
    };
    found.folders.insert(path.to_owned(), inode);
    above.push(inode);
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                fault(format!("can't be listed: {error}"), found);
                break;
            }
        };
        if found.files.len() >= limits::FILES_MAX {
            fault(format!("has over {} files; the rest is passed over", limits::FILES_MAX), found);
            break;
        }
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        self::entry(root, &entry.path(), above, found);
    }
    above.pop();
}

fn entry(root: &Path, path: &Path, above: &mut Vec<(u64, u64)>, found: &mut Scan) {
    // A link to nothing, or a file that went away just now, is no file.
    let Ok(metadata) = fs::metadata(path) else {
        return;
    };
    if metadata.is_dir() {
        return folder(root, path, above, found);
    }
    let Some(below) = relative(root, path).filter(|_| metadata.is_file() && is_manifest(path))
    else {
        return;
    };
    let real = path.is_symlink().then(|| path.canonicalize().ok()).flatten();
    if let Some(parent) = real.as_deref().and_then(Path::parent) {
        watch(parent, found);
    }
    found.files.insert(below, Found { path: path.to_owned(), metadata, real });
}

fn watch(path: &Path, found: &mut Scan) {
    if let Ok(metadata) = fs::metadata(path) {
        found.folders.insert(path.to_owned(), (metadata.dev(), metadata.ino()));
    }
}

/// A file that was last written before any process could still be at it needs no further look at the start.
pub(super) fn has_long_been(metadata: &Metadata) -> bool {
    let modified = metadata.modified().ok();
    let age = modified.and_then(|at| weft_core::clock::now().duration_since(at).ok());
    age.is_some_and(|age| age > limits::RESCAN)
}

/// A file's content, up to the bound.
pub(super) fn read_file(path: &Path, bytes: u64) -> Result<Vec<u8>, String> {
    let too_long = || format!("has over {} bytes", limits::FILE_BYTES_MAX);
    if bytes > limits::FILE_BYTES_MAX {
        return Err(too_long());
    }
    let file = File::open(path).map_err(|error| format!("can't be opened: {error}"))?;
    let mut content = Vec::with_capacity(usize::try_from(bytes).unwrap_or_default() + 1);
    file.take(limits::FILE_BYTES_MAX + 1)
        .read_to_end(&mut content)
        .map_err(|error| format!("can't be read: {error}"))?;
    if content.len() as u64 > limits::FILE_BYTES_MAX { Err(too_long()) } else { Ok(content) }
}
