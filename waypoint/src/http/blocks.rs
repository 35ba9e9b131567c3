//! Header blocks of HTTP/2 that have to come in time.
//!
//! While a block is open nothing else may come on its connection (RFC 9113, section 4.3), and h2 tells of it only when it is
//! whole. So its beginning and end are looked for in the frames that go by.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use weft_core::forward_writes;

use crate::limits;

/// A client's connection. Reading fails when a header block isn't whole within its time.
pub(super) struct InTime<T> {
    io: T,
    blocks: Blocks,
    late: Option<Pin<Box<Sleep>>>,
}

impl<T> InTime<T> {
    /// From its first byte on.
    pub(super) fn new(io: T) -> Self {
        Self { io, blocks: Blocks::default(), late: None }
    }

    fn note(&mut self, read: &[u8]) {
        let ended = self.blocks.ended;
        self.blocks.read(read);
        if !self.blocks.is_open {
            self.late = None;
        } else if self.late.is_none() || self.blocks.ended != ended {
            self.late = Some(Box::pin(sleep(limits::REQUEST_HEAD_DEADLINE)));
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for InTime<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut self.io).poll_read(cx, into) {
            self.note(into.filled().get(before..).unwrap_or_default());
            return Poll::Ready(read);
        }
        let Some(late) = &mut self.late else { return Poll::Pending };
        ready!(late.as_mut().poll(cx));
        let why = "a header block didn't come in time";
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for InTime<T> {
    forward_writes!();
}

/// The frames of a connection as they go by (RFC 9113, sections 3.4 and 4.1).
#[derive(Debug)]
struct Blocks {
    /// Bytes that are passed over: the preface, then payloads.
    skip: usize,
    head: [u8; HEAD],
    /// Of the next frame's head.
    known: usize,
    /// The frame that goes by ends a block.
    is_last: bool,
    is_open: bool,
    ended: u64,
}

const PREFACE: usize = 24;
const HEAD: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

impl Default for Blocks {
    fn default() -> Self {
        Self { skip: PREFACE, head: [0; HEAD], known: 0, is_last: false, is_open: false, ended: 0 }
    }
}

impl Blocks {
    fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let passed = self.skip.min(bytes.len());
                self.skip -= passed;
                bytes = bytes.get(passed..).unwrap_or_default();
                self.end_if_whole();
                continue;
            }
            let fits = (HEAD - self.known).min(bytes.len());
            let (now, rest) = bytes.split_at(fits);
            if let Some(room) = self.head.get_mut(self.known..self.known + fits) {
                room.copy_from_slice(now);
            }
            (self.known, bytes) = (self.known + fits, rest);
            if self.known == HEAD {
                self.begin();
            }
        }
    }

    fn begin(&mut self) {
        let [a, b, c, kind, flags, ..] = self.head;
        self.known = 0;
        self.skip = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        // Others between them are an error, which h2 sees.
        if matches!(kind, HEADERS | CONTINUATION) {
            self.is_open = true;
            self.is_last = flags & END_HEADERS != 0;
            self.end_if_whole();
        }
    }

    fn end_if_whole(&mut self) {
        if self.is_open && self.is_last && self.skip == 0 {
            (self.is_open, self.is_last) = (false, false);
            self.ended += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::frames::{DATA, frame};

    #[test]
    fn blocks_are_found_however_frames_are_cut() {
        let mut whole = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        whole.extend(frame(4, 0, 0, &[0; 12]));
        whole.extend(frame(HEADERS, END_HEADERS, 1, b"abc"));
        whole.extend(frame(DATA, 0, 1, b"body"));
        whole.extend(frame(HEADERS, 0, 3, b"abc"));
        let open_from = whole.len();
        whole.extend(frame(CONTINUATION, 0, 3, b""));
        whole.extend(frame(CONTINUATION, END_HEADERS, 3, b"d"));
        for cut in 0..=whole.len() {
            let mut blocks = Blocks::default();
            blocks.read(&whole[..cut]);
            if (open_from..whole.len()).contains(&cut) {
                assert!(blocks.is_open, "{cut}");
                assert_eq!(blocks.ended, 1, "{cut}");
            }
            blocks.read(&whole[cut..]);
            assert!(!blocks.is_open, "{cut}");
            assert_eq!(blocks.ended, 2, "{cut}");
        }
    }
}
