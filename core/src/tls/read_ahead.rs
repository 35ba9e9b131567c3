//! Large reads beneath TLS.
//!
//! rustls asks its transport for 4 KiB at a time. A system call for each costs more than deciphering what it brings,
//! and makes the kernel offer the sender a little more room each time. Here one call takes what there is, and rustls
//! reads that from memory.

use std::cell::Cell;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use crate::forward_writes;
use crate::limits;
use crate::read_size::ReadSize;

thread_local! {
    /// What the last stream of this thread read into. A stream is asked for bytes several times for each that come, and
    /// taking and giving back memory each time would cost more than the look.
    static SPARE: Cell<Option<BytesMut>> = const { Cell::new(None) };
}

/// A byte stream with a buffer for reading, which has memory only while it has bytes.
#[derive(Debug)]
pub struct ReadAhead<IO> {
    io: IO,
    ahead: BytesMut,
    size: ReadSize,
}

impl<IO> ReadAhead<IO> {
    pub(super) fn new(io: IO) -> Self {
        Self { io, ahead: BytesMut::new(), size: ReadSize::default() }
    }
}

impl<IO: AsyncRead + Unpin> ReadAhead<IO> {
    /// Leaves the buffer empty at the stream's end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let asked = self.size.next();
        if self.ahead.capacity() == 0 {
            self.ahead = SPARE.take().unwrap_or_default();
        }
        self.ahead.clear();
        self.ahead.reserve(asked);
        let polled = {
            // Limited: a read that fills all that it was given is one that may have left more behind.
            let mut room = (&mut self.ahead).limit(asked);
            pin!(self.io.read_buf(&mut room)).poll(cx)
        };
        if self.ahead.is_empty() {
            self.let_go();
        }
        self.size.learn(ready!(polled)?);
        Poll::Ready(Ok(()))
    }

    /// Memory that holds nothing is for whoever reads next.
    fn let_go(&mut self) {
        let memory = std::mem::take(&mut self.ahead);
        if memory.capacity() <= limits::SPARE_READ_BYTES_MAX {
            SPARE.set(Some(memory));
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for ReadAhead<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            ready!(self.poll_fill(cx))?;
        }
        let taken = self.ahead.len().min(buf.remaining());
        buf.put_slice(self.ahead.get(..taken).unwrap_or_default());
        self.ahead.advance(taken);
        if self.ahead.is_empty() {
            self.let_go();
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for ReadAhead<IO> {
    forward_writes!();
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn small_reads_are_served_from_one_large_one_and_nothing_is_held_while_it_waits() {
        let (mut far, near) = tokio::io::duplex(1 << 20);
        let mut ahead = ReadAhead::new(near);
        let sent: Vec<u8> = (0..=250).cycle().take(3 * limits::READ_BYTES_MIN).collect();
        far.write_all(&sent).await.unwrap();
        let mut received = vec![0; sent.len()];
        for piece in received.chunks_mut(100) {
            ahead.read_exact(piece).await.unwrap();
        }
        assert!(received == sent, "bytes differ");
        let waiting = tokio::time::timeout(Duration::from_millis(1), ahead.read_u8());
        assert!(waiting.await.is_err());
        assert_eq!(ahead.ahead.capacity(), 0);
        drop(far);
        assert_eq!(ahead.read(&mut [0; 1]).await.unwrap(), 0);
    }
}
