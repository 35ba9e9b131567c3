//! Pods' network namespaces: found by name in one folder, told apart by inode, entered only by threads that end.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::limits;
use crate::pod::NetnsName;

/// Why a pod's namespace can't be used.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// There is none of this name: the pod has gone, or isn't there yet.
    #[error("there is no network namespace {0:?}")]
    Gone(String),
    /// The file is something else.
    #[error("{0:?} is no network namespace")]
    NotANamespace(String),
    /// It is the node's own: redirecting it would cut the node off.
    #[error("{0:?} is this node's own network namespace")]
    Own(String),
    /// Work inside took too long.
    #[error(
        "work inside the network namespace took over {} s",
        limits::NAMESPACE_DEADLINE.as_secs()
    )]
    Deadline,
    /// The system refused.
    #[error("network namespace: {0}")]
    Io(#[from] io::Error),
}

/// Which namespace: its name can come to mean another one, this can't while somebody holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NamespaceId {
    /// Device of the namespace file system.
    pub device: u64,
    /// Inode there.
    pub inode: u64,
}

impl NamespaceId {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self { device: metadata.dev(), inode: metadata.ino() })
    }
}

/// An open namespace. Holding it keeps a dead pod's namespace alive, so nobody holds one longer than its use.
#[derive(Debug)]
pub struct Namespace {
    file: File,
    id: NamespaceId,
}

impl Namespace {
    /// Which one it is.
    pub fn id(&self) -> NamespaceId {
        self.id
    }

    /// The descriptor, to be passed on.
    pub fn into_descriptor(self) -> OwnedFd {
        self.file.into()
    }

    /// Runs `work` inside, helper programs included: they inherit the namespace of the thread that starts them. The
    /// thread ends with the work and never comes back to another namespace.
    pub async fn run<Output, Work, Running>(self, work: Work) -> Result<Output, NetnsError>
    where
        Work: FnOnce() -> Running + Send + 'static,
        Running: Future<Output = Output>,
        Output: Send + 'static,
    {
        let (reply, result) = oneshot::channel();
        let inside = move || {
            let _ = reply.send(self.enter_and_run(work));
        };
        std::thread::Builder::new().name("in-netns".into()).spawn(inside)?;
        let result = timeout(limits::NAMESPACE_DEADLINE, result).await;
        result
            .map_err(|_| NetnsError::Deadline)?
            .map_err(|_| io::Error::other("the thread inside the namespace ended early"))?
    }

    fn enter_and_run<Output, Work, Running>(self, work: Work) -> Result<Output, NetnsError>
    where
        Work: FnOnce() -> Running,
        Running: Future<Output = Output>,
    {
        setns(&self.file, CloneFlags::CLONE_NEWNET).map_err(io::Error::from)?;
        drop(self);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(async { work().await }))
    }
}

/// The folder in which namespaces are named.
#[derive(Debug, Clone)]
pub struct NetnsFolder {
    path: PathBuf,
    own: NamespaceId,
}

impl NetnsFolder {
    /// The folder, usually `/run/netns`. Remembers this process's own namespace, which is never entered as a pod's.
    pub fn new(path: PathBuf) -> io::Result<Self> {
        Ok(Self { path, own: NamespaceId::of(&File::open("/proc/self/ns/net")?)? })
    }

    /// Opens the namespace of this name.
    pub fn open(&self, name: &NetnsName) -> Result<Namespace, NetnsError> {
        let text = || name.as_str().to_owned();
        let opened = OpenOptions::new()
            .read(true)
            // What stands there may be a pipe by mistake; opening it must not wait.
            .custom_flags((OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).bits())
            .open(self.path.join(name.as_str()));
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(NetnsError::Gone(text()));
            }
            Err(error) => return Err(error.into()),
        };
        let kind = fstatfs(&file).map_err(io::Error::from)?.filesystem_type();
        if kind != NSFS_MAGIC {
            return Err(NetnsError::NotANamespace(text()));
        }
        let id = NamespaceId::of(&file)?;
        if id == self.own { Err(NetnsError::Own(text())) } else { Ok(Namespace { file, id }) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_another_network_namespace_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let namespaces = NetnsFolder::new(folder.path().to_owned()).unwrap();
        let open = |name: &str| namespaces.open(&name.parse().unwrap());
        assert!(matches!(open("none"), Err(NetnsError::Gone(_))));
        std::fs::write(folder.path().join("file"), "").unwrap();
        assert!(matches!(open("file"), Err(NetnsError::NotANamespace(_))));
        nix::unistd::mkfifo(&folder.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(matches!(open("pipe"), Err(NetnsError::NotANamespace(_))));
        symlink("/proc/self/ns/net", folder.path().join("own")).unwrap();
        assert!(matches!(open("own"), Err(NetnsError::Own(_))));
    }
}
