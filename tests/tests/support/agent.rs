//! A node agent played by the test: packets on a ztunnel's socket, well formed or not.

use std::io::IoSlice;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, bind, listen,
    recv, sendmsg, setsockopt, socket,
};
use nix::sys::time::{TimeVal, TimeValLike as _};
use prost::Message as _;
use weft_proto::zds::workload_request::Payload;
use weft_proto::zds::{
    AddWorkload, DelWorkload, KeepWorkload, SnapshotSent, WorkloadInfo, WorkloadRequest,
    WorkloadResponse, ZdsHello, workload_response,
};

use super::SOON;

/// The listening end.
pub(crate) struct Agent(UnixListener);

/// A ztunnel that connected and said hello.
pub(crate) struct Session(OwnedFd);

impl Agent {
    /// Listens where a node's ztunnel connects, in the place of whoever did before.
    pub(crate) fn listen(run_folder: &Path) -> Result<Self> {
        let path: PathBuf = run_folder.join("ztunnel.sock");
        if path.exists() {
            std::fs::remove_file(&path)?;
        }
        let flags = SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
        bind(fd.as_raw_fd(), &UnixAddr::new(&path)?).context("binding the agent's socket")?;
        listen(&fd, Backlog::new(4)?)?;
        wait_at_most(&fd)?;
        Ok(Self(fd.into()))
    }

    /// The next ztunnel.
    pub(crate) fn accept(&self) -> Result<Session> {
        // The library's type stands for any socket of the family; only accepting is asked of it.
        let (stream, _) = self.0.accept().context("no ztunnel came")?;
        let session = Session(stream.into());
        wait_at_most(&session.0)?;
        let hello = ZdsHello::decode(session.receive()?.as_slice()).context("the hello")?;
        ensure!(hello.version == 1, "{hello:?}");
        Ok(session)
    }
}

fn wait_at_most(fd: &OwnedFd) -> Result<()> {
    let time = TimeVal::seconds(i64::try_from(SOON.as_secs())?);
    Ok(setsockopt(fd, ReceiveTimeout, &time)?)
}

impl Session {
    /// Sends a packet as it is, with descriptors.
    pub(crate) fn send(&self, packet: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        let raw: Vec<RawFd> = descriptors.iter().map(|fd| fd.as_raw_fd()).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let rights = if raw.is_empty() { &[][..] } else { &rights };
        let packet = [IoSlice::new(packet)];
        sendmsg::<()>(self.0.as_raw_fd(), &packet, rights, MsgFlags::MSG_NOSIGNAL, None)?;
        Ok(())
    }

    /// Sends a request and gives the error that it is answered with, empty for none.
    pub(crate) fn ask(&self, payload: Payload, descriptors: &[BorrowedFd<'_>]) -> Result<String> {
        let request = WorkloadRequest { payload: Some(payload) };
        self.send(&request.encode_to_vec(), descriptors)?;
        let answer = WorkloadResponse::decode(self.receive()?.as_slice())?;
        match answer.payload {
            Some(workload_response::Payload::Ack(ack)) => Ok(ack.error),
            None => bail!("an answer of no kind"),
        }
    }

    /// Waits until the ztunnel ends the session.
    pub(crate) fn wait_for_end(&self) -> Result<()> {
        match self.receive() {
            Ok(packet) if packet.is_empty() => Ok(()),
            Ok(packet) => bail!("answered with {packet:?}"),
            Err(error) if error.downcast_ref() == Some(&Errno::ECONNRESET) => Ok(()),
            Err(error) => Err(error.context("the session goes on")),
        }
    }

    fn receive(&self) -> Result<Vec<u8>> {
        let mut packet = vec![0; 2048];
        let length = recv(self.0.as_raw_fd(), &mut packet, MsgFlags::empty())?;
        packet.truncate(length);
        Ok(packet)
    }
}

/// A pod joins.
pub(crate) fn add(uid: &str, name: (&str, &str), service_account: &str) -> Payload {
    let (namespace, name) = (name.0.to_owned(), name.1.to_owned());
    let service_account = service_account.to_owned();
    let workload_info = Some(WorkloadInfo { name, namespace, service_account });
    Payload::Add(AddWorkload { uid: uid.to_owned(), workload_info })
}

/// A pod of before stays.
pub(crate) fn keep(uid: &str) -> Payload {
    Payload::Keep(KeepWorkload { uid: uid.to_owned() })
}

/// A pod leaves.
pub(crate) fn del(uid: &str) -> Payload {
    Payload::Del(DelWorkload { uid: uid.to_owned() })
}

/// All pods have been named.
pub(crate) fn snapshot_sent() -> Payload {
    Payload::SnapshotSent(SnapshotSent {})
}
