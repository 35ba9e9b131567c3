//! Moves bytes between two sockets inside the kernel (splice(2)), through a pipe.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU64;

use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice as splice_fd};
use nix::unistd::pipe2;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::copy::{Stop, count};
use crate::limits;

/// The kernel's bound on pipe memory is one for the whole process, so ours is too.
static PIPES: Semaphore = Semaphore::const_new(limits::SPLICE_PIPES_MAX);

/// A pipe, empty between two rounds.
pub(super) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    _permit: SemaphorePermit<'static>,
}

impl Pipe {
    /// `None` if there are as many as may be, or no descriptors: the caller goes on copying.
    pub(super) fn take() -> Option<Self> {
        let permit = PIPES.try_acquire().ok()?;
        let (read, write) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).ok()?;
        // Without it the pipe has 64 KiB, which works too.
        let _ = fcntl(&write, FcntlArg::F_SETPIPE_SZ(limits::SPLICE_PIPE_BYTES));
        Some(Self { read, write, _permit: permit })
    }
}

/// How splicing ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Splice {
    /// The source ended.
    End,
    /// Nothing came for a while.
    Idle,
}

const FLAGS: SpliceFFlags = SpliceFFlags::SPLICE_F_MOVE.union(SpliceFFlags::SPLICE_F_NONBLOCK);

/// Splices until the source ends or falls idle.
pub(super) async fn splice(
    read: &TcpStream,
    write: &TcpStream,
    pipe: Pipe,
    moved: &AtomicU64,
) -> Result<Splice, Stop> {
    let bytes_max = usize::try_from(limits::SPLICE_PIPE_BYTES).unwrap_or(usize::MAX);
    loop {
        let readable = poll_fn(|cx| read.poll_read_ready(cx));
        match timeout(limits::SPLICE_PIPE_IDLE, readable).await {
            Ok(result) => result.map_err(Stop::Read)?,
            Err(_) => return Ok(Splice::Idle),
        }
        // The pipe is empty here, so "would block" can only mean the socket.
        let filled = read.try_io(Interest::READABLE, || {
            Ok(splice_fd(read, None, &pipe.write, None, bytes_max, FLAGS)?)
        });
        let mut left = match filled {
            Ok(0) => return Ok(Splice::End),
            Ok(filled) => filled,
            Err(error) if is_transient(&error) => continue,
            Err(error) => return Err(Stop::Read(error)),
        };
        while left > 0 {
            poll_fn(|cx| write.poll_write_ready(cx)).await.map_err(Stop::Write)?;
            let drained = write.try_io(Interest::WRITABLE, || {
                Ok(splice_fd(&pipe.read, None, write, None, left, FLAGS)?)
            });
            match drained {
                Ok(0) => return Err(Stop::Write(io::ErrorKind::WriteZero.into())),
                Ok(drained) => {
                    left = left.saturating_sub(drained);
                    count(moved, drained);
                }
                Err(error) if is_transient(&error) => {}
                Err(error) => return Err(Stop::Write(error)),
            }
        }
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
