//! The folder of what must survive a restart: keys and roots.
//!
//! Only its owner may look into it. A folder or file that others can read is refused rather than repaired, because
//! what was readable may have been read.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc;
use weft_core::replace;

use crate::serving_limits::STATE_FILE_BYTES_MAX;

const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Why the state folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The system refused.
    #[error("can't {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others than the owner have rights.
    #[error(
        "{path} has mode {mode:04o}; it holds the mesh's keys, so only its owner may have access. \
         If nobody can have read it: chmod {wanted:04o} {path}"
    )]
    TooOpen {
        /// The folder or file.
        path: PathBuf,
        /// The mode found.
        mode: u32,
        /// The mode wanted.
        wanted: u32,
    },
    /// It belongs to another user.
    #[error("{path} belongs to user {owner}, and this process runs as user {user}")]
    Foreign {
        /// The folder or file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who runs this process.
        user: u32,
    },
    /// The file is far larger than anything kept here.
    #[error("{path} is larger than {STATE_FILE_BYTES_MAX} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
}

/// An opened and checked state folder.
#[derive(Debug, Clone)]
pub struct StateDir {
    path: PathBuf,
}

impl StateDir {
    /// Opens the folder, and makes it if it is missing.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        if !path.exists() {
            DirBuilder::new()
                .recursive(true)
                .mode(FOLDER_MODE)
                .create(path)
                .map_err(|source| io_error("make", path, source))?;
        }
        let metadata = path.metadata().map_err(|source| io_error("look at", path, source))?;
        check_access(path, &metadata, FOLDER_MODE)?;
        Ok(Self { path: path.to_owned() })
    }

    /// Opens the folder if it exists; `None` if it doesn't.
    pub fn open_existing(path: &Path) -> Result<Option<Self>, StateError> {
        if path.exists() { Self::open(path).map(Some) } else { Ok(None) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads a file; `None` if there is none.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StateError> {
        let path = self.path.join(name);
        let opened = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(&path);
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(io_error("open", &path, source)),
        };
        let metadata = file.metadata().map_err(|source| io_error("look at", &path, source))?;
        check_access(&path, &metadata, FILE_MODE)?;
        read_bounded(&path, file).map(Some)
    }

    /// Reads a text file; `None` if there is none.
    pub fn read_text(&self, name: &str) -> Result<Option<String>, StateError> {
        let Some(bytes) = self.read(name)? else {
            return Ok(None);
        };
        String::from_utf8(bytes).map(Some).map_err(|_| {
            let source = io::Error::new(io::ErrorKind::InvalidData, "not UTF-8");
            io_error("read", &self.path.join(name), source)
        })
    }

    /// Writes a file so that after a crash either the old or the new content is there, whole.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<(), StateError> {
        let path = self.path.join(name);
        let written = replace::file(&path, content, FILE_MODE);
        written.map_err(|source| io_error("write", &path, source))
    }
}

/// Reads a file of bounded size that need not be private (a certificate, for one).
pub(crate) fn read_public(path: &Path) -> Result<Vec<u8>, StateError> {
    let file = File::open(path).map_err(|source| io_error("open", path, source))?;
    read_bounded(path, file)
}

/// Reads a private file outside the state folder, under the same rules.
pub(crate) fn read_private(path: &Path) -> Result<Vec<u8>, StateError> {
    let file = File::open(path).map_err(|source| io_error("open", path, source))?;
    let metadata = file.metadata().map_err(|source| io_error("look at", path, source))?;
    let mode = metadata.mode() & 0o7777;
    // A mounted Secret is owned by root and readable by a group (fsGroup), so only "others" count here.
    if mode & 0o007 != 0 {
        return Err(StateError::TooOpen { path: path.to_owned(), mode, wanted: FILE_MODE });
    }
    read_bounded(path, file)
}

fn read_bounded(path: &Path, file: File) -> Result<Vec<u8>, StateError> {
    let mut content = Vec::new();
    file.take(STATE_FILE_BYTES_MAX + 1)
        .read_to_end(&mut content)
        .map_err(|source| io_error("read", path, source))?;
    if u64::try_from(content.len()).unwrap_or(u64::MAX) > STATE_FILE_BYTES_MAX {
        return Err(StateError::TooLarge { path: path.to_owned() });
    }
    Ok(content)
}

fn check_access(path: &Path, metadata: &std::fs::Metadata, wanted: u32) -> Result<(), StateError> {
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(StateError::TooOpen { path: path.to_owned(), mode, wanted });
    }
    let user = nix::unistd::geteuid().as_raw();
    if metadata.uid() != user {
        return Err(StateError::Foreign { path: path.to_owned(), owner: metadata.uid(), user });
    }
    Ok(())
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> StateError {
    StateError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode_of(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & 0o7777
    }

    #[test]
    fn folder_and_files_are_private_from_the_start() {
        let parent = tempfile::tempdir().unwrap();
        let state = StateDir::open(&parent.path().join("a/state")).unwrap();
        state.write("key", b"secret").unwrap();
        assert_eq!(mode_of(state.path()), 0o700);
        assert_eq!(mode_of(&state.path().join("key")), 0o600);
        assert_eq!(state.read("key").unwrap().as_deref(), Some(b"secret".as_slice()));
        assert_eq!(state.read("other").unwrap(), None);
    }

    #[test]
    fn looser_permissions_are_refused_and_named() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("state");
        let state = StateDir::open(&path).unwrap();
        state.write("key", b"secret").unwrap();
        std::fs::set_permissions(path.join("key"), PermissionsExt::from_mode(0o640)).unwrap();
        let refusal = state.read("key").unwrap_err();
        assert!(matches!(refusal, StateError::TooOpen { mode: 0o640, .. }), "{refusal}");
        assert!(refusal.to_string().contains("chmod 0600"), "{refusal}");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        assert!(matches!(StateDir::open(&path), Err(StateError::TooOpen { mode: 0o755, .. })));
    }

    #[test]
    fn symbolic_link_in_the_folder_is_not_followed() {
        let parent = tempfile::tempdir().unwrap();
        let state = StateDir::open(&parent.path().join("state")).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", state.path().join("key")).unwrap();
        assert!(matches!(state.read("key"), Err(StateError::Io { .. })));
    }

    #[test]
    fn replacing_a_file_leaves_nothing_beside_it() {
        let parent = tempfile::tempdir().unwrap();
        let state = StateDir::open(&parent.path().join("state")).unwrap();
        state.write("key", b"one").unwrap();
        std::fs::write(state.path().join(".key.new"), b"left by a crash").unwrap();
        state.write("key", b"two").unwrap();
        assert_eq!(state.read("key").unwrap().as_deref(), Some(b"two".as_slice()));
        assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 1);
    }
}
