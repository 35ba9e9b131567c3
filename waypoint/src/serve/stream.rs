//! The bytes inside a tunnel, as the HTTP engines take them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use weft_core::hbone::TunnelStream;

use crate::limits;

/// A tunnel of which some bytes were looked at already. They are read again.
#[derive(Debug)]
pub(crate) struct Inner {
    tunnel: TunnelStream,
    seen: Bytes,
}

impl Inner {
    /// Nothing was looked at.
    pub(crate) fn new(tunnel: TunnelStream) -> Self {
        Self { tunnel, seen: Bytes::new() }
    }

    /// What was looked at.
    pub(crate) fn seen(&self) -> &[u8] {
        &self.seen
    }

    /// Waits for more bytes to look at. `false`: the client will send no more.
    pub(crate) async fn look(&mut self) -> io::Result<bool> {
        let mut more = bytes::BytesMut::with_capacity(limits::LOOK_BYTES);
        if self.tunnel.read_buf(&mut more).await? == 0 {
            return Ok(false);
        }
        self.seen = match self.seen.is_empty() {
            true => more.freeze(),
            false => [&self.seen[..], &more[..]].concat().into(),
        };
        Ok(true)
    }
}

impl AsyncRead for Inner {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.seen.is_empty() {
            return Pin::new(&mut self.tunnel).poll_read(cx, into);
        }
        let fits = self.seen.len().min(into.remaining());
        let taken = self.seen.split_to(fits);
        into.put_slice(taken.chunk());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Inner {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tunnel).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tunnel).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tunnel).poll_shutdown(cx)
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
