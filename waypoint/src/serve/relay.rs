//! The bytes of a connection that isn't HTTP, both ways, counted as they are handed on.

use std::future::pending;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional_with_sizes};
use tokio::time::{MissedTickBehavior, interval, sleep};
use weft_core::relay::Counters;

use crate::balance::ConnectionPool;
use crate::limits;

/// How a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// Both sides did, one after the other.
    Whole,
    /// The client's side broke.
    Client(io::Error),
    /// The application's side broke.
    Application(io::Error),
    /// Nothing moved for so long.
    Idle,
    /// It lasted as long as one may.
    Overlong,
}

impl End {
    /// What broke, if anything did.
    pub(super) fn error(&self) -> Option<&io::Error> {
        match self {
            Self::Client(error) | Self::Application(error) => Some(error),
            Self::Whole | Self::Idle | Self::Overlong => None,
        }
    }
}

/// Relays until both directions ended, or it has to end. `early`: what the application said already.
pub(super) async fn relay(
    client: &mut (impl AsyncRead + AsyncWrite + Unpin),
    application: &mut (impl AsyncRead + AsyncWrite + Unpin),
    early: &[u8],
    counters: &Counters,
    pool: &ConnectionPool,
) -> End {
    let mut client = Counted::new(client, &counters.sent);
    let mut application = Counted::new(application, &counters.received);
    let copying = async {
        if !early.is_empty() {
            client.write_all(early).await?;
            client.flush().await?;
        }
        let size = limits::TCP_BUFFER;
        copy_bidirectional_with_sizes(&mut client, &mut application, size, size).await
    };
    let copied = tokio::select! {
        copied = copying => copied,
        () = silence(counters, pool.tcp_idle_timeout) => return End::Idle,
        () = age(pool.connection_duration_max) => return End::Overlong,
    };
    match copied {
        Ok(_) => End::Whole,
        Err(error) if application.is_broken => End::Application(error),
        Err(error) => End::Client(error),
    }
}

/// Returns when nothing has moved for `bound`, or at most a quarter longer: a timer of its own for each read would cost
/// more than that is worth.
async fn silence(counters: &Counters, bound: Option<Duration>) {
    let Some(bound) = bound.filter(|it| !it.is_zero()) else { return pending().await };
    let mut ticks = interval((bound / SILENT_TICKS).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let (mut moved, mut silent) = (counters.totals(), 0);
    while silent < SILENT_TICKS {
        ticks.tick().await;
        let now = counters.totals();
        silent = if now == moved { silent + 1 } else { 0 };
        moved = now;
    }
}

const SILENT_TICKS: u32 = 4;

async fn age(bound: Option<Duration>) {
    match bound {
        Some(bound) => sleep(bound).await,
        None => pending().await,
    }
}

/// One side. Counts what it takes, and remembers whether it broke.
struct Counted<'a, T> {
    io: &'a mut T,
    taken: &'a AtomicU64,
    is_broken: bool,
}

impl<'a, T> Counted<'a, T> {
    fn new(io: &'a mut T, taken: &'a AtomicU64) -> Self {
        Self { io, taken, is_broken: false }
    }

    fn note<V>(&mut self, result: io::Result<V>) -> Poll<io::Result<V>> {
        self.is_broken |= result.is_err();
        Poll::Ready(result)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<'_, T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut *self.io).poll_read(cx, into));
        self.note(read)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<'_, T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut *self.io).poll_write(cx, bytes));
        if let Ok(count) = written {
            self.taken.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        self.note(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut *self.io).poll_flush(cx));
        self.note(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = ready!(Pin::new(&mut *self.io).poll_shutdown(cx));
        self.note(ended)
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use tokio::io::{AsyncReadExt, duplex};
    use tokio::time::Instant;

    use super::*;

    fn bounds(idle: u64, longest: Option<u64>) -> ConnectionPool {
        ConnectionPool {
            tcp_idle_timeout: (idle > 0).then(|| Duration::from_secs(idle)),
            connection_duration_max: longest.map(Duration::from_secs),
            ..ConnectionPool::default()
        }
    }

    #[tokio::test]
    async fn bytes_are_counted_both_ways_with_what_was_said_early() {
        let ((mut near, mut client), (mut application, mut far)) = (duplex(64), duplex(64));
        let counters = Counters::default();
        let pool = bounds(0, None);
        let relaying = relay(&mut client, &mut application, b"hello", &counters, &pool);
        let talking = async {
            near.write_all(b"abc").await.unwrap();
            near.shutdown().await.unwrap();
            let mut heard = String::new();
            far.read_to_string(&mut heard).await.unwrap();
            assert_eq!(heard, "abc");
            far.write_all(b" you").await.unwrap();
            far.shutdown().await.unwrap();
            let mut heard = String::new();
            near.read_to_string(&mut heard).await.unwrap();
            assert_eq!(heard, "hello you");
        };
        let (end, ()) = tokio::join!(relaying, talking);
        assert!(matches!(end, End::Whole), "{end:?}");
        let totals = counters.totals();
        assert_eq!((totals.received, totals.sent), (3, 9));
    }

    #[tokio::test(start_paused = true)]
    async fn silent_connection_ends_after_its_bound_and_one_that_speaks_does_not() {
        let ((mut near, mut client), (mut application, _far)) = (duplex(64), duplex(64));
        let (counters, pool, began) = (Counters::default(), bounds(100, None), Instant::now());
        let relaying = relay(&mut client, &mut application, b"", &counters, &pool);
        let speaking = async {
            sleep(Duration::from_secs(90)).await;
            near.write_all(b"x").await.unwrap();
            pending::<()>().await;
        };
        let end = tokio::select! { end = relaying => end, () = speaking => unreachable!() };
        assert!(matches!(end, End::Idle), "{end:?}");
        let lasted = began.elapsed().as_secs();
        assert!((190..=215).contains(&lasted), "{lasted}");
    }

    #[tokio::test(start_paused = true)]
    async fn connection_ends_at_its_longest() {
        let ((_near, mut client), (mut application, _far)) = (duplex(64), duplex(64));
        let (counters, began) = (Counters::default(), Instant::now());
        let pool = bounds(0, Some(30));
        let end = relay(&mut client, &mut application, b"", &counters, &pool).await;
        assert!(matches!(end, End::Overlong), "{end:?}");
        assert_eq!(began.elapsed().as_secs(), 30);
    }

    #[tokio::test]
    async fn side_that_broke_is_named() {
        let reset = || Reset;
        let (counters, pool) = (Counters::default(), bounds(0, None));
        let (_near, mut whole) = duplex(64);
        let end = relay(&mut whole, &mut reset(), b"", &counters, &pool).await;
        assert!(matches!(end, End::Application(_)), "{end:?}");
        let end = relay(&mut reset(), &mut whole, b"", &counters, &pool).await;
        assert!(matches!(end, End::Client(_)), "{end:?}");
    }

    /// A side that is reset at once.
    struct Reset;

    impl AsyncRead for Reset {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Ready(Err(ErrorKind::ConnectionReset.into()))
        }
    }

    impl AsyncWrite for Reset {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(ErrorKind::ConnectionReset.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }
}
