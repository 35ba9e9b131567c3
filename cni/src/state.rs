//! The agent's folder: what lets it start again without the controller. Every file is replaced in one step.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use weft_core::replace;

use crate::limits;
use crate::netns::NamespaceId;
use crate::pod::Pod;
use crate::reconciler::WantedPods;

/// Why the folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another agent has it.
    #[error("{0}: another agent is using this state folder; stop it first")]
    Busy(PathBuf),
    /// A file is too long or not what it should be.
    #[error("{path}: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The system refused.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// The mesh's roots, PEM, for the agent and the node proxy.
pub const ROOTS: &str = "root-cert.pem";
/// The agent's own token.
pub const AGENT_TOKEN: &str = "agent-token";
/// The node proxy's token.
pub const ZTUNNEL_TOKEN: &str = "ztunnel-token";
/// Which node this is and until when its tokens hold.
pub const MEMBERSHIP: &str = "node.json";
/// The pods.
pub const PODS: &str = "pods.json";
/// What `weft-cni status` shows.
pub const STATUS: &str = "status.json";
const LOCK: &str = "lock";

/// A pod in whose namespace the agent has, or may have, put something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// As it was enrolled.
    pub pod: Pod,
    /// Where; absent if that was never confirmed.
    pub namespace: Option<NamespaceId>,
}

/// What the agent knows of its node's pods.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PodsFile {
    /// The node that they are on.
    pub node: String,
    /// What the control plane wants; absent until it has said so once.
    pub wanted: Option<WantedPods>,
    /// What is to be undone when it is not wanted any more.
    pub enrolled: Vec<Enrolled>,
}

/// The folder, locked for one agent.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    _lock: Flock<File>,
}

impl StateDir {
    /// Opens the folder, made if it is missing, for this process alone.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let failed = |error| StateError::Io { path: path.to_owned(), error };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join(LOCK))
            .map_err(failed)?;
        match Flock::lock(lock, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err((_, nix::Error::EWOULDBLOCK)) => Err(StateError::Busy(path.to_owned())),
            Err((_, error)) => Err(failed(error.into())),
        }
    }

    /// Where a file of the folder is.
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Replaces a file: readers see the old or the new, also after a loss of power. Only the owner may read it.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<(), StateError> {
        let path = self.path_of(name);
        replace::file(&path, content, 0o600).map_err(|error| StateError::Io { path, error })
    }

    /// Replaces a JSON file.
    pub fn write_json(&self, name: &str, value: &impl Serialize) -> Result<(), StateError> {
        let malformed = |error: serde_json::Error| StateError::Malformed {
            path: self.path_of(name),
            reason: error.to_string(),
        };
        self.write(name, &serde_json::to_vec_pretty(value).map_err(malformed)?)
    }

    /// A file's content, or nothing if there is none.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StateError> {
        read_file(&self.path_of(name))
    }

    /// A JSON file's content, or nothing if there is none.
    pub fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StateError> {
        read_json_file(&self.path_of(name))
    }

    /// Removes a file; it is no error if there is none.
    pub fn remove(&self, name: &str) -> Result<(), StateError> {
        let path = self.path_of(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StateError::Io { path, error })
            }
            _ => Ok(()),
        }
    }
}

/// A bounded file's content, or nothing if there is none.
pub fn read_file(path: &Path) -> Result<Option<Vec<u8>>, StateError> {
    let failed = |error| StateError::Io { path: path.to_owned(), error };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut content = Vec::new();
    let mut bounded = file.take(limits::STATE_FILE_BYTES_MAX);
    bounded.read_to_end(&mut content).map_err(failed)?;
    if bounded.limit() == 0 {
        let reason = format!("over {} bytes", limits::STATE_FILE_BYTES_MAX);
        return Err(StateError::Malformed { path: path.to_owned(), reason });
    }
    Ok(Some(content))
}

/// A bounded JSON file's content, or nothing if there is none.
pub fn read_json_file<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StateError> {
    let Some(content) = read_file(path)? else {
        return Ok(None);
    };
    serde_json::from_slice(&content)
        .map(Some)
        .map_err(|error| StateError::Malformed { path: path.to_owned(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::fake;

    #[test]
    fn folder_serves_one_agent_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = StateDir::open(folder.path()).unwrap();
        assert!(matches!(StateDir::open(folder.path()), Err(StateError::Busy(_))));
        drop(first);
        assert!(StateDir::open(folder.path()).is_ok());
    }

    #[test]
    fn files_are_replaced_whole_and_only_the_owner_reads_them() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(&folder.path().join("made/here")).unwrap();
        assert_eq!(state.read(AGENT_TOKEN).unwrap(), None);
        state.write(AGENT_TOKEN, b"longer than the next").unwrap();
        state.write(AGENT_TOKEN, b"token").unwrap();
        assert_eq!(state.read(AGENT_TOKEN).unwrap().unwrap(), b"token");
        let mode = std::fs::metadata(state.path_of(AGENT_TOKEN)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        state.remove(AGENT_TOKEN).unwrap();
        state.remove(AGENT_TOKEN).unwrap();
    }

    #[test]
    fn pods_survive_and_a_damaged_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        let pod = fake::pod("u1", "a");
        let file = PodsFile {
            node: "node1".into(),
            wanted: Some([(pod.uid.clone(), pod.clone())].into()),
            enrolled: vec![Enrolled { pod, namespace: Some(fake::namespace(1)) }],
        };
        state.write_json(PODS, &file).unwrap();
        assert_eq!(state.read_json::<PodsFile>(PODS).unwrap().unwrap(), file);
        let text = String::from_utf8(state.read(PODS).unwrap().unwrap()).unwrap();
        state.write(PODS, text.replace("\"a\"", "\"../a\"").as_bytes()).unwrap();
        let error = state.read_json::<PodsFile>(PODS).unwrap_err().to_string();
        assert!(error.contains("pods.json"), "{error}");
    }
}
