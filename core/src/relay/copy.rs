//! One direction of a relay.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::task::coop;

use super::splice::{self, Pipe, Splice};
use crate::hbone::{RecvHalf, SendHalf, TunnelError};
use crate::limits;
use crate::read_size::ReadSize;

/// Where bytes come from.
pub(super) enum Source<'a> {
    Tcp(ReadHalf<'a>),
    Tunnel(&'a mut RecvHalf),
}

/// Where bytes go to.
pub(super) enum Sink<'a> {
    Tcp(WriteHalf<'a>),
    Tunnel(&'a mut SendHalf),
}

/// Why a direction stopped before its end.
#[derive(Debug)]
pub(super) enum Stop {
    Read(io::Error),
    Write(io::Error),
}

/// Copies until the source ends, and then ends the sink. A tunnel that its peer closed takes no more, and that is an
/// end as well.
pub(super) async fn copy(
    source: Source<'_>,
    sink: Sink<'_>,
    moved: &AtomicU64,
) -> Result<(), Stop> {
    match (source, sink) {
        (Source::Tcp(read), Sink::Tcp(write)) => tcp_to_tcp(read, write, moved).await,
        (Source::Tcp(read), Sink::Tunnel(send)) => tcp_to_tunnel(read, send, moved).await,
        (Source::Tunnel(recv), Sink::Tcp(write)) => tunnel_to_tcp(recv, write, moved).await,
        (Source::Tunnel(recv), Sink::Tunnel(send)) => tunnel_to_tunnel(recv, send, moved).await,
    }
}

async fn tcp_to_tunnel(
    mut read: ReadHalf<'_>,
    send: &mut SendHalf,
    moved: &AtomicU64,
) -> Result<(), Stop> {
    let mut size = ReadSize::default();
    loop {
        match poll_fn(|cx| poll_data_or_closed(cx, &read, send)).await? {
            Ready::Closed => return Ok(()),
            Ready::Data => {}
        }
        // Room first: what was read must be held until it can be sent.
        let room = match poll_fn(|cx| send.poll_reserve(cx, size.next())).await {
            Ok(room) => room,
            Err(error) => return closed_is_end(error),
        };
        match poll_fn(|cx| poll_read_now(cx, &mut read, room)).await.map_err(Stop::Read)? {
            Read::NotNow => send.unreserve(),
            Read::End => {
                send.unreserve();
                return send.finish().or_else(closed_is_end);
            }
            Read::Data(data) => {
                let bytes = data.len();
                size.learn(bytes);
                if let Err(error) = send.send(data) {
                    return closed_is_end(error);
                }
                count(moved, bytes);
                if bytes < room {
                    send.unreserve();
                }
            }
        }
    }
}

async fn tunnel_to_tcp(
    recv: &mut RecvHalf,
    mut write: WriteHalf<'_>,
    moved: &AtomicU64,
) -> Result<(), Stop> {
    // One place for it: what a loop binds anew, its future has room for twice.
    let mut data;
    loop {
        match poll_fn(|cx| recv.poll_next(cx)).await {
            Ok(Some(next)) => data = next,
            Ok(None) => break,
            Err(error) => return Err(Stop::Read(error.into())),
        }
        let mut more = poll_fn(|cx| Poll::Ready(gather(cx, recv, data.len()))).await;
        let pass_on = |written| {
            recv.release(written);
            count(moved, written);
        };
        if more.is_empty() {
            write_all(&mut write, &mut data, pass_on).await?;
        } else {
            more.push_front(std::mem::take(&mut data));
            Box::pin(write_many(&mut write, more, pass_on)).await?;
        }
    }
    write.shutdown().await.map_err(Stop::Write)
}

/// What came besides the `held` bytes already: several frames leave in one system call, and whoever reads them isn't
/// woken for each.
pub(super) fn gather(
    cx: &mut Context<'_>,
    recv: &mut RecvHalf,
    mut held: usize,
) -> VecDeque<Bytes> {
    let mut more = VecDeque::new();
    while held < limits::GATHER_BYTES_MAX && more.len() < limits::GATHER_FRAMES_MAX {
        // An end or an error is there at the next look, too.
        let Poll::Ready(Ok(Some(data))) = recv.poll_next(cx) else { break };
        held += data.len();
        more.push_back(data);
    }
    more
}

async fn tunnel_to_tunnel(
    recv: &mut RecvHalf,
    send: &mut SendHalf,
    moved: &AtomicU64,
) -> Result<(), Stop> {
    let mut data;
    loop {
        match poll_fn(|cx| recv.poll_next(cx)).await {
            Ok(Some(next)) => data = next,
            Ok(None) => break,
            Err(error) => return Err(Stop::Read(error.into())),
        }
        while data.has_remaining() {
            let room = match poll_fn(|cx| send.poll_reserve(cx, data.len())).await {
                Ok(room) => room,
                Err(error) => return closed_is_end(error),
            };
            if let Err(error) = send.send(data.split_to(room)) {
                return closed_is_end(error);
            }
            recv.release(room);
            count(moved, room);
        }
        drop(std::mem::take(&mut data));
        // Neither end counts against the task's budget by itself, as sockets do.
        coop::consume_budget().await;
    }
    send.finish().or_else(closed_is_end)
}

async fn tcp_to_tcp(
    mut read: ReadHalf<'_>,
    mut write: WriteHalf<'_>,
    moved: &AtomicU64,
) -> Result<(), Stop> {
    let mut size = ReadSize::default();
    let mut copied = 0_u64;
    let mut data;
    loop {
        poll_fn(|cx| read.as_ref().poll_read_ready(cx)).await.map_err(Stop::Read)?;
        if copied >= limits::SPLICE_AFTER_BYTES {
            // A pipe has to be earned anew after a pause, and asked for anew if there was none.
            copied = 0;
            if let Some(pipe) = Pipe::take() {
                // Boxed: most connections never come here, and all would carry its state.
                let splicing = splice::splice(read.as_ref(), write.as_ref(), pipe, moved);
                match Box::pin(splicing).await? {
                    Splice::End => break,
                    Splice::Idle => continue,
                }
            }
        }
        let room = size.next();
        match poll_fn(|cx| poll_read_now(cx, &mut read, room)).await {
            Ok(Read::NotNow) => continue,
            Ok(Read::End) => break,
            Ok(Read::Data(next)) => data = next,
            Err(error) => return Err(Stop::Read(error)),
        }
        size.learn(data.len());
        copied = copied.saturating_add(widen(data.len()));
        write_all(&mut write, &mut data, |written| count(moved, written)).await?;
    }
    write.shutdown().await.map_err(Stop::Write)
}

enum Ready {
    Data,
    Closed,
}

/// Waits for data without a buffer, and notices when the tunnel that would take it is gone.
fn poll_data_or_closed(
    cx: &mut Context<'_>,
    read: &ReadHalf<'_>,
    send: &mut SendHalf,
) -> Poll<Result<Ready, Stop>> {
    if let Poll::Ready(result) = read.as_ref().poll_read_ready(cx) {
        return Poll::Ready(result.map(|()| Ready::Data).map_err(Stop::Read));
    }
    let error = ready!(send.poll_closed(cx));
    Poll::Ready(closed_is_end(error).map(|()| Ready::Closed))
}

enum Read {
    Data(Bytes),
    End,
    NotNow,
}

/// Reads what is there, up to `bytes_max`, into memory of its own that is handed on without a copy.
///
/// Not `try_read`: a read that fills less than its buffer marks the socket as drained here, which saves the call
/// that would find nothing.
fn poll_read_now(
    cx: &mut Context<'_>,
    read: &mut ReadHalf<'_>,
    bytes_max: usize,
) -> Poll<io::Result<Read>> {
    let mut memory = BytesMut::with_capacity(bytes_max);
    let polled = {
        let mut room = (&mut memory).limit(bytes_max);
        pin!(read.read_buf(&mut room)).poll(cx)
    };
    Poll::Ready(match polled {
        Poll::Pending => Ok(Read::NotNow),
        Poll::Ready(Ok(0)) => Ok(Read::End),
        Poll::Ready(Ok(_)) => Ok(Read::Data(memory.freeze())),
        Poll::Ready(Err(error)) => Err(error),
    })
}

/// Writes all of `data` and lets go of it; tells each time how much the socket took.
fn write_all<'a>(
    write: &'a mut WriteHalf<'_>,
    data: &'a mut Bytes,
    mut on_written: impl FnMut(usize) + 'a,
) -> impl Future<Output = Result<(), Stop>> + 'a {
    poll_fn(move |cx| {
        while data.has_remaining() {
            match ready!(Pin::new(&mut *write).poll_write(cx, data)) {
                Ok(0) => return Poll::Ready(Err(Stop::Write(io::ErrorKind::WriteZero.into()))),
                Ok(written) => {
                    data.advance(written);
                    on_written(written);
                }
                Err(error) => return Poll::Ready(Err(Stop::Write(error))),
            }
        }
        // An empty rest would still hold the memory of the whole.
        *data = Bytes::new();
        Poll::Ready(Ok(()))
    })
}

/// Writes all of `frames` in their order; tells each time how much the socket took.
async fn write_many(
    write: &mut WriteHalf<'_>,
    mut frames: VecDeque<Bytes>,
    mut on_written: impl FnMut(usize),
) -> Result<(), Stop> {
    while !frames.is_empty() {
        let mut slices = [IoSlice::new(&[]); limits::GATHER_FRAMES_MAX + 1];
        for (slice, frame) in slices.iter_mut().zip(&frames) {
            *slice = IoSlice::new(frame);
        }
        let filled = slices.get(..frames.len()).unwrap_or(&slices);
        let mut written = write.write_vectored(filled).await.map_err(Stop::Write)?;
        if written == 0 {
            return Err(Stop::Write(io::ErrorKind::WriteZero.into()));
        }
        on_written(written);
        while let Some(first) = frames.front_mut() {
            if written < first.len() {
                first.advance(written);
                break;
            }
            written -= first.len();
            frames.pop_front();
        }
    }
    Ok(())
}

fn closed_is_end(error: TunnelError) -> Result<(), Stop> {
    match error {
        TunnelError::Closed => Ok(()),
        other => Err(Stop::Write(other.into())),
    }
}

pub(super) fn count(moved: &AtomicU64, bytes: usize) {
    moved.fetch_add(widen(bytes), Ordering::Relaxed);
}

fn widen(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
