//! The one accept loop, for every listener of the node proxy.
//!
//! A permit is taken before a connection is accepted, so that a flood waits in the kernel; an error makes it pause
//! (a process without descriptors would spin otherwise); a drain closes the listener at once, and the loop returns
//! when the last of its connections ended.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use rand::RngExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::{drain, limits};

/// How a listener is served.
#[derive(Debug, Clone)]
pub struct AcceptSettings {
    /// For logs: "inbound", "outbound", …
    pub name: &'static str,
    /// One permit a connection, for as long as it lasts. Listeners may share them.
    pub permits: Arc<Semaphore>,
}

/// Accepts connections and runs `handle` for each in a task of its own, until the drain is announced and all of them
/// ended, or the drain is forced.
pub async fn accept_loop<Handler, Handling>(
    listener: TcpListener,
    settings: AcceptSettings,
    drain: drain::Watch,
    handle: Handler,
) where
    Handler: Fn(TcpStream, SocketAddr) -> Handling,
    Handling: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    tokio::select! {
        () = drain.graceful() => {}
        () = accept_all(&listener, &settings, &mut connections, &handle) => {}
    }
    drop(listener);
    let all_ended = async {
        while let Some(end) = connections.join_next().await {
            report(&settings, end)
        }
    };
    tokio::select! {
        () = drain.forced() => {}
        () = all_ended => {}
    }
    connections.shutdown().await;
}

/// Never returns.
async fn accept_all<Handler, Handling>(
    listener: &TcpListener,
    settings: &AcceptSettings,
    connections: &mut JoinSet<()>,
    handle: &Handler,
) where
    Handler: Fn(TcpStream, SocketAddr) -> Handling,
    Handling: Future<Output = ()> + Send + 'static,
{
    let mut failures = 0_u32;
    loop {
        // The semaphore is never closed; if it were, accepting nothing would be right.
        let Ok(permit) = settings.permits.clone().acquire_owned().await else {
            return std::future::pending().await;
        };
        let accepted = loop {
            tokio::select! {
                accepted = listener.accept() => break accepted,
                // An ended task keeps its memory until somebody asks for its result.
                Some(end) = connections.join_next() => report(settings, end),
            }
        };
        match accepted {
            Ok((stream, peer)) => {
                failures = 0;
                connections.spawn(WithPermit { handling: handle(stream, peer), permit });
            }
            // That was one connection, not the listener.
            Err(error) if is_of_connection(&error) => {}
            Err(error) => {
                drop(permit);
                failures = failures.saturating_add(1);
                let pause = backoff(failures);
                tracing::warn!(
                    listener = settings.name, %error, failures,
                    pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                    "cannot accept connections; check the process's limit of open files",
                );
                sleep(pause).await;
            }
        }
    }
}

pin_project! {
    /// Not an async function: that would keep `handling` twice, as what it was given and as what it waits for, and so
    /// double the memory of every connection.
    struct WithPermit<Handling> {
        #[pin]
        handling: Handling,
        permit: OwnedSemaphorePermit,
    }
}

impl<Handling: Future<Output = ()>> Future for WithPermit<Handling> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().handling.poll(cx)
    }
}

fn report(settings: &AcceptSettings, end: Result<(), tokio::task::JoinError>) {
    if let Err(error) = end {
        tracing::error!(listener = settings.name, %error, "a connection's task ended abnormally");
    }
}

/// accept(2), "Error handling": errors that were pending on the new socket.
fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionAborted
            | Kind::ConnectionReset
            | Kind::ConnectionRefused
            | Kind::Interrupted
    )
}

/// Doubled by each failure in a row, with jitter of a half, so that listeners don't come back all at once.
fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let full =
        limits::ACCEPT_BACKOFF_MIN.saturating_mul(1 << doublings).min(limits::ACCEPT_BACKOFF_MAX);
    full.mul_f64(rand::rng().random_range(0.5..1.0))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Notify;

    use super::*;
    use crate::socket;

    async fn connect(to: SocketAddr) -> TcpStream {
        let socket = socket::stream_socket(to, &Default::default()).unwrap();
        socket::connect(socket, to).await.unwrap()
    }

    fn listener() -> (TcpListener, SocketAddr) {
        let at = "127.0.0.1:0".parse().unwrap();
        let listener = socket::listen(at, &Default::default()).unwrap();
        let at = listener.local_addr().unwrap();
        (listener, at)
    }

    fn settings(permits: usize) -> AcceptSettings {
        AcceptSettings { name: "test", permits: Arc::new(Semaphore::new(permits)) }
    }

    #[tokio::test]
    async fn connections_beyond_the_permits_wait_until_one_ends() {
        let (listener, at) = listener();
        let (signal, watch) = drain::pair();
        let (open, release) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let (seen, gate) = (open.clone(), release.clone());
        let handle = move |mut stream: TcpStream, _| {
            let (seen, gate) = (seen.clone(), gate.clone());
            async move {
                assert!(seen.fetch_add(1, Ordering::SeqCst) < 2);
                stream.write_all(b"x").await.unwrap();
                gate.notified().await;
                seen.fetch_sub(1, Ordering::SeqCst);
            }
        };
        let loop_task = tokio::spawn(accept_loop(listener, settings(2), watch, handle));
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(connect(at).await);
        }
        clients[0].read_u8().await.unwrap();
        clients[1].read_u8().await.unwrap();
        assert_eq!(open.load(Ordering::SeqCst), 2);
        release.notify_one();
        clients[2].read_u8().await.unwrap();
        for _ in 0..2 {
            release.notify_one();
        }
        release.notify_waiters();
        signal.start();
        loop_task.await.unwrap();
    }

    #[tokio::test]
    async fn drain_closes_the_listener_at_once_and_waits_for_connections() {
        let (listener, at) = listener();
        let (signal, watch) = drain::pair();
        let handle = |mut stream: TcpStream, _| async move {
            let _ = stream.write_all(b"x").await;
            let _ = stream.read_u8().await;
        };
        let loop_task = tokio::spawn(accept_loop(listener, settings(10), watch, handle));
        let mut client = connect(at).await;
        client.read_u8().await.unwrap();
        let draining = signal.drain(Duration::from_secs(60));
        let check = async {
            let refused = async {
                loop {
                    let socket = socket::stream_socket(at, &Default::default()).unwrap();
                    if socket::connect(socket, at).await.is_err() {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(5), refused).await.unwrap();
            client.write_all(b"y").await.unwrap();
        };
        let (outcome, ()) = tokio::join!(draining, check);
        assert_eq!(outcome, drain::Outcome::Graceful);
        loop_task.await.unwrap();
    }

    #[tokio::test]
    async fn forced_drain_cuts_connections() {
        let (listener, at) = listener();
        let (signal, watch) = drain::pair();
        let handle = |mut stream: TcpStream, _| async move {
            let _ = stream.write_all(b"x").await;
            std::future::pending().await
        };
        let loop_task = tokio::spawn(accept_loop(listener, settings(10), watch, handle));
        let mut client = connect(at).await;
        client.read_u8().await.unwrap();
        signal.force();
        loop_task.await.unwrap();
        assert!(client.read_u8().await.is_err());
    }

    #[tokio::test]
    async fn panic_in_one_connection_leaves_the_others_alone() {
        let (listener, at) = listener();
        let (_signal, watch) = drain::pair();
        let handle = |mut stream: TcpStream, _| async move {
            let byte = stream.read_u8().await.unwrap();
            assert_eq!(byte, b'x');
            stream.write_u8(byte).await.unwrap();
        };
        let _loop_task = tokio::spawn(accept_loop(listener, settings(1), watch, handle));
        let mut bad = connect(at).await;
        bad.write_u8(b'!').await.unwrap();
        assert!(bad.read_u8().await.is_err());
        let mut good = connect(at).await;
        good.write_u8(b'x').await.unwrap();
        assert_eq!(good.read_u8().await.unwrap(), b'x');
    }

    #[test]
    fn pauses_grow_to_a_bound_and_are_spread() {
        for failures in 1..100 {
            let pause = backoff(failures);
            assert!(pause >= limits::ACCEPT_BACKOFF_MIN / 2 && pause <= limits::ACCEPT_BACKOFF_MAX);
        }
        assert!(backoff(1) <= limits::ACCEPT_BACKOFF_MIN);
        assert!(backoff(50) >= limits::ACCEPT_BACKOFF_MAX / 2);
    }
}
