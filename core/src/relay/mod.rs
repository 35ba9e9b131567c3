//! Joins two ends of a connection until both directions ended.
//!
//! ```text
//!  downstream ──▶ forth (received) ──▶ upstream      one task drives both directions
//!  downstream ◀── back  (sent)     ◀── upstream
//! ```
//!
//! Invariants: a direction that waits holds no buffer and no part of a shared window; an end in one direction is
//! passed on and leaves the other direction open; a cut is passed on as a cut (TCP RST, RST_STREAM), never as an
//! end; bytes are counted when they were handed to the receiving socket or stream, not before.

mod copy;
mod splice;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use self::copy::{Sink, Source, Stop};
use crate::hbone::{Side, TunnelStream};
use crate::telemetry::ByteTotals;
use crate::{limits, socket};

/// One end.
#[derive(Debug)]
pub enum End {
    /// A socket.
    Tcp(TcpStream),
    /// A tunnel.
    Tunnel(TunnelStream),
}

impl From<TcpStream> for End {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream)
    }
}

impl From<TunnelStream> for End {
    fn from(stream: TunnelStream) -> Self {
        Self::Tunnel(stream)
    }
}

impl End {
    fn split(&mut self) -> (Source<'_>, Sink<'_>) {
        match self {
            Self::Tcp(stream) => {
                let (read, write) = stream.split();
                (Source::Tcp(read), Sink::Tcp(write))
            }
            Self::Tunnel(stream) => {
                (Source::Tunnel(&mut stream.recv), Sink::Tunnel(&mut stream.send))
            }
        }
    }

    /// Its peer sees a reset, at the latest when this is dropped.
    fn cut(&mut self) {
        match self {
            Self::Tcp(stream) => socket::reset_on_close(stream),
            Self::Tunnel(stream) => stream.send.abort(),
        }
    }
}

/// Bytes of one connection so far. They grow while it lasts.
#[derive(Debug, Default)]
pub struct Counters {
    /// From downstream, handed to upstream.
    pub received: AtomicU64,
    /// From upstream, handed to downstream.
    pub sent: AtomicU64,
}

impl Counters {
    /// Both.
    pub fn totals(&self) -> Totals {
        Totals {
            received: self.received.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
        }
    }
}

impl ByteTotals for Counters {
    fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

/// Bytes of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// From downstream to upstream.
    pub received: u64,
    /// From upstream to downstream.
    pub sent: u64,
}

/// How a connection is relayed.
#[derive(Debug, Clone)]
pub struct RelaySettings {
    /// A connection of which one direction ended is closed when the other moves nothing for so long.
    pub half_close_idle: Duration,
    /// Cancelled when the connection must end now: a policy denies it, or a drain is forced.
    pub abort: CancellationToken,
}

impl Default for RelaySettings {
    fn default() -> Self {
        Self { half_close_idle: limits::HALF_CLOSE_IDLE_MAX, abort: CancellationToken::new() }
    }
}

/// Why a connection did not end by itself. What it carried is in its [`Counters`].
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// One end failed or was reset.
    #[error("{side:?} end: {error}")]
    Cut {
        /// Which.
        side: Side,
        /// Why.
        error: io::Error,
    },
    /// One direction ended, and the other moved nothing for too long.
    #[error("half closed, and idle in the other direction")]
    HalfClosed,
    /// It was told to end.
    #[error("closed by the proxy")]
    Aborted,
}

/// Relays both directions until both ended. Anything else cuts both ends; they are of no further use in any case.
///
/// Borrowed, so that an end has one place in the memory of its connection: what an async function is given, it keeps a
/// second time.
pub async fn join(
    downstream: &mut End,
    upstream: &mut End,
    counters: &Counters,
    settings: &RelaySettings,
) -> Result<Totals, RelayError> {
    let outcome = {
        let (down_source, down_sink) = downstream.split();
        let (up_source, up_sink) = upstream.split();
        let forth = pin!(copy::copy(down_source, up_sink, &counters.received));
        let back = pin!(copy::copy(up_source, down_sink, &counters.sent));
        supervise(forth, back, counters, settings).await
    };
    match outcome {
        Ok(()) => Ok(counters.totals()),
        Err(error) => {
            downstream.cut();
            upstream.cut();
            Err(error)
        }
    }
}

async fn supervise(
    forth: Pin<&mut impl Future<Output = Result<(), Stop>>>,
    back: Pin<&mut impl Future<Output = Result<(), Stop>>>,
    counters: &Counters,
    settings: &RelaySettings,
) -> Result<(), RelayError> {
    let mut forth = Direction::new(forth, Side::Downstream, Side::Upstream);
    let mut back = Direction::new(back, Side::Upstream, Side::Downstream);
    let mut aborted = pin!(settings.abort.cancelled());
    // Boxed: most connections never need it.
    let mut patience = None::<Pin<Box<Sleep>>>;
    let mut moved = Totals::default();
    poll_fn(|cx| {
        if aborted.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(RelayError::Aborted));
        }
        forth.poll(cx)?;
        back.poll(cx)?;
        match (&mut forth.end, &mut back.end) {
            (None, None) => Poll::Pending,
            (Some(forth), Some(back)) => {
                Poll::Ready(std::mem::replace(forth, Ok(())).and(std::mem::replace(back, Ok(()))))
            }
            _ => loop {
                if let Some(patience) = &mut patience
                    && patience.as_mut().poll(cx).is_pending()
                {
                    return Poll::Pending;
                }
                let now = counters.totals();
                if patience.is_some() && now == moved {
                    return Poll::Ready(Err(RelayError::HalfClosed));
                }
                moved = now;
                let deadline = Instant::now() + settings.half_close_idle;
                patience = Some(Box::pin(sleep_until(deadline)));
            },
        }
    })
    .await
}

/// One direction, and how it ended.
struct Direction<'a, F> {
    copy: Pin<&'a mut F>,
    source: Side,
    sink: Side,
    end: Option<Result<(), RelayError>>,
}

impl<'a, F: Future<Output = Result<(), Stop>>> Direction<'a, F> {
    fn new(copy: Pin<&'a mut F>, source: Side, sink: Side) -> Self {
        Self { copy, source, sink, end: None }
    }

    /// A source that was reset ends the connection at once: its peer takes nothing any more. A sink that takes
    /// nothing may still have something to say, which the other direction is to deliver.
    fn poll(&mut self, cx: &mut Context<'_>) -> Result<(), RelayError> {
        if self.end.is_none()
            && let Poll::Ready(result) = self.copy.as_mut().poll(cx)
        {
            self.end = Some(match result {
                Ok(()) => Ok(()),
                Err(Stop::Write(error)) => Err(RelayError::Cut { side: self.sink, error }),
                Err(Stop::Read(error)) => {
                    return Err(RelayError::Cut { side: self.source, error });
                }
            });
        }
        Ok(())
    }
}
