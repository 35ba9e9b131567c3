//! Packets with descriptors over `AF_UNIX` `SOCK_SEQPACKET`: each send is one receive, in order, and a descriptor
//! arrives with the packet that it was sent with.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    accept_with, bind, connect, listen, recvmsg, sendmsg, socket_with, sockopt,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;
use weft_proto::contract::ZDS_PACKET_MAX;

use super::ZdsError;
use crate::limits::{ZDS_DEADLINE, ZDS_DESCRIPTORS_MAX};

/// One end of a connection of the agent's protocol.
#[derive(Debug)]
pub struct AsyncSeqpacket {
    socket: AsyncFd<OwnedFd>,
}

impl AsyncSeqpacket {
    /// Connects to a listener. Its queue being full is an error (`WouldBlock`): try again later.
    pub fn connect(path: &Path) -> Result<Self, ZdsError> {
        let socket = new_socket()?;
        let address = SocketAddrUnix::new(path).map_err(io::Error::from)?;
        connect(&socket, &address).map_err(io::Error::from)?;
        Self::from_socket(socket)
    }

    /// Sends one packet, with a descriptor or without. Waits at most [`ZDS_DEADLINE`] for room.
    pub async fn send(
        &self,
        packet: &[u8],
        descriptor: Option<BorrowedFd<'_>>,
    ) -> Result<(), ZdsError> {
        if packet.is_empty() {
            // A reader could not tell it from the end of the connection.
            return Err(ZdsError::Malformed("an empty packet"));
        }
        if packet.len() > ZDS_PACKET_MAX {
            return Err(ZdsError::TooLong { bytes: packet.len() });
        }
        let send =
            self.socket.async_io(Interest::WRITABLE, |socket| send(socket, packet, descriptor));
        let sent = timeout(ZDS_DEADLINE, send).await.map_err(|_| ZdsError::Deadline)?;
        match sent {
            Ok(length) if length == packet.len() => Ok(()),
            Ok(_) => Err(ZdsError::Truncated),
            Err(error) => Err(error.into()),
        }
    }

    /// The next packet and the descriptors that came with it, close-on-exec. Waits without end: an idle connection
    /// is normal here, so a caller who expects an answer puts [`ZDS_DEADLINE`] around this. Nothing is lost if the
    /// future is dropped.
    pub async fn recv(&self) -> Result<(Bytes, Vec<OwnedFd>), ZdsError> {
        let received = self.socket.async_io(Interest::READABLE, receive).await?;
        if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(ZdsError::Truncated);
        }
        if received.packet.is_empty() {
            return Err(ZdsError::Closed);
        }
        Ok((received.packet, received.descriptors))
    }

    /// Process id of the peer at connect, as the kernel saw it.
    pub fn peer_pid(&self) -> Option<u32> {
        let credentials = sockopt::socket_peercred(self.socket.get_ref()).ok()?;
        u32::try_from(credentials.pid.as_raw_nonzero().get()).ok()
    }

    fn from_socket(socket: OwnedFd) -> Result<Self, ZdsError> {
        let socket = register(socket)?;
        Ok(Self { socket })
    }
}

impl AsFd for AsyncSeqpacket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
    }
}

/// The listening end. The socket file goes away with it, unless another listener has taken its place.
#[derive(Debug)]
pub struct SeqpacketListener {
    socket: AsyncFd<OwnedFd>,
    path: PathBuf,
    inode: u64,
}

/// Connections waiting to be accepted: two proxies during an upgrade, and their quick retries.
const BACKLOG: i32 = 16;

impl SeqpacketListener {
    /// Listens at `path`, which only the owner may connect to. A socket left there by an earlier process is replaced
    /// in one step, so that a proxy that reconnects never finds a socket with other permissions.
    pub fn bind(path: &Path) -> Result<Self, ZdsError> {
        let fresh = path.with_extension("new");
        match std::fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let socket = new_socket()?;
        let address = SocketAddrUnix::new(&fresh).map_err(io::Error::from)?;
        bind(&socket, &address).map_err(io::Error::from)?;
        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))?;
        listen(&socket, BACKLOG).map_err(io::Error::from)?;
        let inode = std::fs::metadata(&fresh)?.ino();
        std::fs::rename(&fresh, path)?;
        let socket = register(socket)?;
        let path = path.to_owned();
        Ok(Self { socket, path, inode })
    }

    /// The next connection.
    pub async fn accept(&self) -> Result<AsyncSeqpacket, ZdsError> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let accept = |socket: &OwnedFd| accept_with(socket, flags).map_err(io::Error::from);
        AsyncSeqpacket::from_socket(self.socket.async_io(Interest::READABLE, accept).await?)
    }
}

impl Drop for SeqpacketListener {
    fn drop(&mut self) {
        if std::fs::metadata(&self.path).is_ok_and(|meta| meta.ino() == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[expect(
    deprecated,
    reason = "its replacement is unsafe for types that could change their descriptor; an OwnedFd can't"
)]
fn register(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(socket)
}

fn new_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

fn send(socket: &OwnedFd, packet: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = descriptor.map(|descriptor| [descriptor]);
    if let Some(descriptors) = &descriptors {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    let parts = [IoSlice::new(packet)];
    // Without NOSIGNAL a peer that has gone away would end this process by SIGPIPE.
    Ok(sendmsg(socket.as_fd(), &parts, &mut control, SendFlags::NOSIGNAL)?)
}

struct Received {
    packet: Bytes,
    descriptors: Vec<OwnedFd>,
    flags: ReturnFlags,
}

fn receive(socket: &OwnedFd) -> io::Result<Received> {
    let mut bytes = [0; ZDS_PACKET_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(ZDS_DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let message = recvmsg(socket.as_fd(), &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for item in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = item {
            descriptors.extend(received);
        }
    }
    let packet = bytes.get(..message.bytes).unwrap_or_default();
    Ok(Received { packet: Bytes::copy_from_slice(packet), descriptors, flags: message.flags })
}
