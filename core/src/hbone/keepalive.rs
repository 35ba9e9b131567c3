//! Signs of life: who reads from a connection marks the time, and who keeps it asks by PING after silence.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::settings::KeepaliveSettings;
use crate::forward_writes;
use crate::limits;
use crate::tls::in_plain_words;

/// When something was last received on a connection.
#[derive(Debug)]
pub(super) struct Heard {
    start: Instant,
    /// Nanoseconds since `start`, plus one; zero before the first byte. Nothing coarser will do: an answer that
    /// comes within the same millisecond as its question must not look older.
    last: AtomicU64,
}

impl Heard {
    fn mark(&self) {
        let nanos = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.last.store(nanos.saturating_add(1), Ordering::Relaxed);
    }

    fn at(&self) -> Option<Instant> {
        let nanos = self.last.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.start + Duration::from_nanos(nanos))
    }
}

/// A byte stream that marks what it receives.
#[derive(Debug)]
pub(super) struct Watched<Io> {
    io: Io,
    heard: Arc<Heard>,
}

impl<Io> Watched<Io> {
    pub(super) fn new(io: Io) -> (Self, Arc<Heard>) {
        let heard = Arc::new(Heard { start: Instant::now(), last: AtomicU64::new(0) });
        (Self { io, heard: heard.clone() }, heard)
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Watched<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = ready!(Pin::new(&mut self.io).poll_read(cx, buf)).map_err(in_plain_words);
        if buf.filled().len() > before {
            self.heard.mark();
        }
        Poll::Ready(result)
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Watched<Io> {
    forward_writes!();
}

/// What a connection's owner learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beat {
    /// Time passed, never more than `after` or `timeout` between two beats: a chance to look for idleness.
    Tick,
    /// The peer never said anything.
    NeverHeard,
    /// The peer fell silent and left a PING without answer.
    Dead,
}

/// Watches one connection.
pub(super) struct Keepalive {
    heard: Arc<Heard>,
    settings: KeepaliveSettings,
    ping_pong: Option<PingPong>,
    /// When the question was asked that still has no answer.
    asked: Option<Instant>,
    is_pong_due: bool,
    timer: Pin<Box<Sleep>>,
}

impl Keepalive {
    /// From now on: the peer's first byte is due within the deadline of the HTTP/2 handshake.
    pub(super) fn new(
        heard: Arc<Heard>,
        ping_pong: Option<PingPong>,
        settings: KeepaliveSettings,
    ) -> Self {
        let first =
            if heard.at().is_some() { settings.after } else { limits::HBONE_HANDSHAKE_DEADLINE };
        let timer = Box::pin(sleep(first));
        Self { heard, settings, ping_pong, asked: None, is_pong_due: false, timer }
    }

    pub(super) fn poll_beat(&mut self, cx: &mut Context<'_>) -> Poll<Beat> {
        self.take_pong(cx);
        ready!(self.timer.as_mut().poll(cx));
        let now = Instant::now();
        let Some(heard) = self.heard.at() else {
            return Poll::Ready(Beat::NeverHeard);
        };
        let next = match self.asked {
            Some(asked) if heard < asked && now >= asked + self.settings.timeout => {
                return Poll::Ready(Beat::Dead);
            }
            Some(asked) if heard < asked => asked + self.settings.timeout,
            _ if now < heard + self.settings.after => {
                self.asked = None;
                heard + self.settings.after
            }
            // Not counted from the last byte: a process that was stopped for a minute first has to ask.
            _ => {
                self.ask();
                self.asked = Some(now);
                now + self.settings.timeout
            }
        };
        // While an answer is awaited the owner still gets its ticks.
        self.timer.as_mut().reset(next.min(now + self.settings.after));
        Poll::Ready(Beat::Tick)
    }

    fn ask(&mut self) {
        if let Some(ping_pong) = &mut self.ping_pong {
            // It fails if the last one is still on its way, and then its answer serves as well.
            self.is_pong_due |= ping_pong.send_ping(Ping::opaque()).is_ok();
        }
    }

    /// h2 sends the next PING only after the answer to the last was fetched.
    fn take_pong(&mut self, cx: &mut Context<'_>) {
        if self.is_pong_due
            && let Some(ping_pong) = &mut self.ping_pong
            && ping_pong.poll_pong(cx).is_ready()
        {
            self.is_pong_due = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answer_within_the_same_millisecond_is_not_older_than_its_question() {
        let (_, heard) = Watched::new(tokio::io::empty());
        for _ in 0..1000 {
            let asked = Instant::now();
            heard.mark();
            assert!(heard.at().unwrap() >= asked);
        }
    }
}
