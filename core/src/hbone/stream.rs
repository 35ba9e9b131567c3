//! One tunnel: an HTTP/2 stream that carries a TCP connection's bytes both ways.
//!
//! END_STREAM is FIN. RST_STREAM with CANCEL or NO_ERROR is read as the end too, since a stock ztunnel sends it when
//! its side is done; any other code is a reset, and a tunnel dropped before its end sends CONNECT_ERROR (RFC 9113,
//! section 8.5), so that a cut is never mistaken for an end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::gate::Gate;
use super::pool::Slot;
use super::turn::Queued;

/// Why a tunnel carries no more.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TunnelError {
    /// The peer is done with the tunnel and reads no more.
    #[error("the peer closed the tunnel")]
    Closed,
    /// The peer or its application cut it.
    #[error("the peer reset the tunnel: {0}")]
    Reset(Reason),
    /// The connection under it ended.
    #[error("the tunnel's connection ended: {0}")]
    Lost(String),
}

impl From<h2::Error> for TunnelError {
    fn from(error: h2::Error) -> Self {
        match error.reason() {
            Some(reason) if error.is_reset() => reason.into(),
            _ => Self::Lost(error.to_string()),
        }
    }
}

impl From<Reason> for TunnelError {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::CANCEL | Reason::NO_ERROR => Self::Closed,
            other => Self::Reset(other),
        }
    }
}

impl From<TunnelError> for io::Error {
    fn from(error: TunnelError) -> Self {
        let kind = match error {
            TunnelError::Closed | TunnelError::Reset(Reason::STREAM_CLOSED) => {
                io::ErrorKind::BrokenPipe
            }
            TunnelError::Reset(_) => io::ErrorKind::ConnectionReset,
            TunnelError::Lost(_) => io::ErrorKind::ConnectionAborted,
        };
        Self::new(kind, error)
    }
}

/// A tunnel. Dropping it before both directions ended resets it.
#[derive(Debug)]
pub struct TunnelStream {
    pub(crate) send: SendHalf,
    pub(crate) recv: RecvHalf,
    /// Its place in the pool's connection, given back when the tunnel is dropped.
    _slot: Option<Slot>,
}

impl TunnelStream {
    pub(super) fn new(
        send: SendStream<Bytes>,
        recv: RecvStream,
        queued: Arc<Queued>,
        slot: Option<Slot>,
    ) -> Self {
        Self {
            send: SendHalf { stream: send, queued, is_finished: false, gate: Gate::new() },
            recv: RecvHalf { stream: recv, rest: Bytes::new() },
            _slot: slot,
        }
    }

    /// The next bytes without a copy; none at the end. At most a frame of them, whatever the reader has room for.
    pub fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let data = ready!(self.recv.poll_next(cx))?.unwrap_or_default();
        self.recv.release(data.len());
        Poll::Ready(Ok(data))
    }

    /// Sends all of `data` without a copy. Ready when it is empty; what was sent is off it before.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, data: &mut BytesMut) -> Poll<io::Result<()>> {
        while !data.is_empty() {
            let room = ready!(self.send.poll_reserve(cx, data.len()))?;
            self.send.send(data.split_to(room).freeze())?;
        }
        Poll::Ready(Ok(()))
    }
}

/// The sending direction.
#[derive(Debug)]
pub(crate) struct SendHalf {
    stream: SendStream<Bytes>,
    queued: Arc<Queued>,
    is_finished: bool,
    gate: Gate,
}

impl SendHalf {
    /// Asks for room for `bytes`, and is ready when there is room for one at least. Whoever then sends less gives
    /// the rest back by [`Self::unreserve`]: room is taken out of the connection's window, which neighbours share.
    ///
    /// What was waited for by [`Self::poll_closed`] must be asked again after this was ready.
    pub(crate) fn poll_reserve(
        &mut self,
        cx: &mut Context<'_>,
        bytes: usize,
    ) -> Poll<Result<usize, TunnelError>> {
        self.gate.shut_during(|| self.stream.reserve_capacity(bytes));
        loop {
            // h2 announces each growth once, so what is there already must be looked at first.
            let capacity = self.stream.capacity();
            if capacity > 0 {
                return Poll::Ready(Ok(capacity.min(bytes)));
            }
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(error.into())),
                None => return Poll::Ready(Err(TunnelError::Closed)),
            }
        }
    }

    pub(crate) fn unreserve(&mut self) {
        self.stream.reserve_capacity(0);
    }

    /// Sends within reserved room. `data` is never empty: a peer counts empty frames, and takes few.
    pub(crate) fn send(&mut self, data: Bytes) -> Result<(), TunnelError> {
        self.queued.add_one();
        self.stream.send_data(data, false).map_err(|_| TunnelError::Closed)
    }

    /// END_STREAM.
    pub(crate) fn finish(&mut self) -> Result<(), TunnelError> {
        self.is_finished = true;
        self.stream.send_data(Bytes::new(), true).map_err(|_| TunnelError::Closed)
    }

    /// Cuts both directions.
    pub(crate) fn abort(&mut self) {
        self.is_finished = true;
        self.stream.send_reset(Reason::CONNECT_ERROR);
    }

    /// Ready when the peer cut the tunnel or wants no more of it.
    pub(crate) fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<TunnelError> {
        match ready!(self.stream.poll_reset(&mut self.gate.context(cx))) {
            Ok(reason) => Poll::Ready(reason.into()),
            Err(error) => Poll::Ready(error.into()),
        }
    }
}

impl Drop for SendHalf {
    fn drop(&mut self) {
        if !self.is_finished {
            self.abort();
        }
    }
}

/// The receiving direction.
#[derive(Debug)]
pub(crate) struct RecvHalf {
    stream: RecvStream,
    /// What a reader with a small buffer left of the last frame.
    rest: Bytes,
}

impl RecvHalf {
    /// The next bytes, or `None` at the end. The sender gets room for more only by [`Self::release`].
    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, TunnelError>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Ok(Some(std::mem::take(&mut self.rest))));
        }
        loop {
            match ready!(self.stream.poll_data(cx)) {
                None => return Poll::Ready(Ok(None)),
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => return Poll::Ready(Ok(Some(data))),
                Some(Err(error)) => {
                    return Poll::Ready(match error.into() {
                        TunnelError::Closed => Ok(None),
                        other => Err(other),
                    });
                }
            }
        }
    }

    /// Tells the sender that `bytes` of what it sent were passed on.
    pub(crate) fn release(&mut self, bytes: usize) {
        // It fails if the stream is gone, and then nobody waits for room.
        let _ = self.stream.flow_control().release_capacity(bytes);
    }
}

impl AsyncRead for TunnelStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let Some(mut data) = ready!(self.recv.poll_next(cx))? else {
            return Poll::Ready(Ok(()));
        };
        let taken = data.split_to(data.remaining().min(buf.remaining()));
        buf.put_slice(&taken);
        self.recv.rest = data;
        self.recv.release(taken.len());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let room = ready!(self.send.poll_reserve(cx, buf.len()))?;
        let data = Bytes::copy_from_slice(buf.get(..room).unwrap_or(buf));
        let sent = data.len();
        self.send.send(data)?;
        Poll::Ready(Ok(sent))
    }

    /// The connection's driver writes out what is queued.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.send.is_finished {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(self.send.finish().map_err(Into::into))
    }
}
