//! The bytes inside a tunnel, as the HTTP engines take them.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use weft_core::hbone::TunnelStream;

use crate::http::{Ambiguous, Chunks};
use crate::limits;

/// A tunnel of which some bytes were looked at already. They are read again.
#[derive(Debug)]
pub(crate) struct Inner {
    seen: Bytes,
    /// Shared only so that it can be got at where pingora has the stream: nobody waits for it.
    inside: Mutex<Inside>,
}

#[derive(Debug)]
struct Inside {
    tunnel: TunnelStream,
    noted: Noted,
    /// HTTP/1.1 that was written and is not sent: it leaves by [`Inner::poll_send_held`], so that a head and its body, or a
    /// chunk and what is around it, are one frame. `None`: all is sent at once.
    held: Option<BytesMut>,
}

/// What is kept of an HTTP/1.1 request while it is read, for checks that pingora doesn't make.
#[derive(Debug, Default)]
enum Noted {
    #[default]
    Nothing,
    /// All that came, until the head has been read.
    Head(BytesMut),
    /// How far a chunked body is.
    Body(Chunks),
}

impl Inner {
    /// Nothing was looked at.
    pub(crate) fn new(tunnel: TunnelStream) -> Self {
        let inside = Inside { tunnel, noted: Noted::default(), held: None };
        Self { seen: Bytes::new(), inside: Mutex::new(inside) }
    }

    /// What was looked at.
    pub(crate) fn seen(&self) -> &[u8] {
        &self.seen
    }

    /// Waits for more bytes to look at. `false`: the client will send no more.
    pub(crate) async fn look(&mut self) -> io::Result<bool> {
        let more = poll_fn(|cx| self.inside.get_mut().tunnel.poll_take(cx)).await?;
        if more.is_empty() {
            return Ok(false);
        }
        self.seen = match self.seen.is_empty() {
            true => more,
            false => [&self.seen[..], &more[..]].concat().into(),
        };
        Ok(true)
    }

    /// A request of HTTP/1.1 begins, of which this was read already. From now on what is written is held.
    pub(crate) fn begin(&mut self, early: &[u8]) {
        let inside = self.inside.get_mut();
        inside.noted = Noted::Head(early.into());
        inside.held.get_or_insert_default();
    }

    /// Ready when all that was written is on its way.
    pub(crate) fn poll_send_held(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inside.lock().poll_send_held(cx)
    }

    /// Whether the head is larger than heads may be.
    pub(crate) fn is_head_too_large(&self) -> bool {
        match &self.inside.lock().noted {
            Noted::Head(read) => {
                let is_line = |byte: &&u8| **byte == b'\n';
                read.len() > limits::HEAD_BYTES_MAX
                    || read.iter().filter(is_line).count() > limits::HEADER_FIELDS_MAX
            }
            _ => false,
        }
    }

    /// The head was read, and this is it; behind it comes the body.
    pub(crate) fn end_head(&self, head: &[u8], is_chunked: bool) -> Result<(), Ambiguous> {
        let noted = &mut self.inside.lock().noted;
        let Noted::Head(read) = std::mem::take(noted) else { return Ok(()) };
        let body = read.strip_prefix(head).ok_or(Ambiguous::Repaired)?;
        if is_chunked {
            let mut chunks = Chunks::default();
            chunks.read(body)?;
            *noted = Noted::Body(chunks);
        }
        Ok(())
    }

    /// Looks at what was read.
    fn note(&mut self, read: &[u8]) -> io::Result<()> {
        match &mut self.inside.get_mut().noted {
            Noted::Nothing => Ok(()),
            Noted::Head(head) => {
                // Checked before more is added: one read may bring a whole head and much of a body.
                if head.len() > limits::HEAD_BYTES_MAX {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "the head is too large",
                    ));
                }
                head.extend_from_slice(read);
                Ok(())
            }
            Noted::Body(chunks) => {
                chunks.read(read).map_err(|it| io::Error::new(io::ErrorKind::InvalidData, it))
            }
        }
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.seen.is_empty() {
            return Pin::new(&mut self.inside.get_mut().tunnel).poll_read(cx, into);
        }
        let fits = self.seen.len().min(into.remaining());
        let taken = self.seen.split_to(fits);
        into.put_slice(taken.chunk());
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Inner {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(self.poll_bytes(cx, into))?;
        Poll::Ready(self.note(into.filled().get(before..).unwrap_or_default()))
    }
}

impl Inside {
    fn poll_send_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.held {
            Some(held) => self.tunnel.poll_send(cx, held),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Takes a part of `bytes`, and holds it.
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.held.as_ref().is_some_and(|held| held.len() >= limits::HELD_BYTES_MAX) {
            ready!(self.poll_send_held(cx))?;
        }
        let Some(held) = &mut self.held else {
            return Pin::new(&mut self.tunnel).poll_write(cx, bytes);
        };
        let room = limits::HELD_BYTES_MAX.saturating_sub(held.len());
        let part = bytes.get(..room).unwrap_or(bytes);
        held.extend_from_slice(part);
        Poll::Ready(Ok(part.len()))
    }
}

impl AsyncWrite for Inner {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.inside.get_mut().poll_write(cx, bytes)
    }

    /// What is held isn't sent by this: pingora flushes heads before it knows whether a body is there.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inside.get_mut().tunnel).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let inside = self.inside.get_mut();
        ready!(inside.poll_send_held(cx))?;
        Pin::new(&mut inside.tunnel).poll_shutdown(cx)
    }
}

// What pingora asks of a stream besides its bytes. A tunnel has no descriptor, and who is at its other end is ours to
// know.

#[async_trait::async_trait]
impl Shutdown for Inner {
    async fn shutdown(&mut self) {
        // It is over either way.
        let _ended = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for Inner {
    fn id(&self) -> UniqueIDType {
        -1
    }
}

impl Ssl for Inner {}

impl Peek for Inner {}

impl GetTimingDigest for Inner {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Inner {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Inner {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}
