//! Over real loopback sockets: what an application at either end sees.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::*;
use crate::hbone::testing::{eventually, tunnel};

type Relayed = JoinHandle<Result<Totals, RelayError>>;

const PATIENCE: Duration = Duration::from_secs(20);

/// A connection by both of its ends.
async fn tcp_pair() -> (TcpStream, TcpStream) {
    let at = "127.0.0.1:0".parse().unwrap();
    let listener = socket::listen(at, &Default::default()).unwrap();
    let to = listener.local_addr().unwrap();
    let connecting = socket::connect(socket::stream_socket(to, &Default::default()).unwrap(), to);
    let (near, accepted) = tokio::join!(connecting, listener.accept());
    let far = accepted.unwrap().0;
    (near.unwrap(), far)
}

/// A relay at work, with a client at one side and a server at the other.
struct World {
    client: TcpStream,
    server: TcpStream,
    relays: Vec<Relayed>,
    counters: Arc<Counters>,
    abort: CancellationToken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    /// client ─ relay ─ server
    Plain,
    /// client ─ relay ═ tunnel ═ relay ─ server
    Tunnel,
    /// client ─ relay ═ tunnel ═ relay ═ tunnel ═ relay ─ server
    TwoTunnels,
}

const PATHS: [Path; 3] = [Path::Plain, Path::Tunnel, Path::TwoTunnels];

fn relay(
    downstream: impl Into<End> + Send + 'static,
    upstream: impl Into<End> + Send + 'static,
    counters: Arc<Counters>,
    settings: RelaySettings,
) -> Relayed {
    let (mut downstream, mut upstream) = (downstream.into(), upstream.into());
    tokio::spawn(async move { join(&mut downstream, &mut upstream, &counters, &settings).await })
}

async fn world(path: Path) -> World {
    let (client, inner_client) = tcp_pair().await;
    let (inner_server, server) = tcp_pair().await;
    let counters = Arc::<Counters>::default();
    let settings = RelaySettings::default();
    let abort = settings.abort.clone();
    let other = || (Arc::<Counters>::default(), RelaySettings::default());
    let mut relays = Vec::new();
    match path {
        Path::Plain => {
            relays.push(relay(inner_client, inner_server, counters.clone(), settings));
        }
        Path::Tunnel => {
            let (near, far) = tunnel().await;
            let (others, plain) = other();
            relays.push(relay(inner_client, near, counters.clone(), settings));
            relays.push(relay(far, inner_server, others, plain));
        }
        Path::TwoTunnels => {
            let (first, second) = (tunnel().await, tunnel().await);
            let ((middle, plain), (last, last_plain)) = (other(), other());
            relays.push(relay(inner_client, first.0, counters.clone(), settings));
            relays.push(relay(first.1, second.0, middle, plain));
            relays.push(relay(second.1, inner_server, last, last_plain));
        }
    }
    World { client, server, relays, counters, abort }
}

async fn finish(relays: Vec<Relayed>) -> Vec<Result<Totals, RelayError>> {
    let mut ends = Vec::new();
    for relay in relays {
        ends.push(timeout(PATIENCE, relay).await.expect("the relay ends").unwrap());
    }
    ends
}

/// Not periodic in any buffer's size, so that a lost or repeated piece shows.
fn pattern(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    };
    (0..bytes).map(|_| next()).collect()
}

#[tokio::test]
async fn bulk_in_both_directions_arrives_whole_and_is_counted() {
    for path in PATHS {
        let World { client, server, relays, counters, .. } = world(path).await;
        let (question, answer) = (pattern(5_000_001, 1), pattern(3_000_003, 2));
        let (mut client_read, mut client_write) = client.into_split();
        let (mut server_read, mut server_write) = server.into_split();
        let (asked, answered) = (question.clone(), answer.clone());
        let sending = tokio::spawn(async move {
            client_write.write_all(&asked).await.unwrap();
            client_write.shutdown().await.unwrap();
        });
        let answering = tokio::spawn(async move {
            server_write.write_all(&answered).await.unwrap();
            server_write.shutdown().await.unwrap();
        });
        let (mut at_client, mut at_server) = (Vec::new(), Vec::new());
        let reading = async {
            let (a, b) = tokio::join!(
                client_read.read_to_end(&mut at_client),
                server_read.read_to_end(&mut at_server)
            );
            (a.unwrap(), b.unwrap())
        };
        timeout(PATIENCE, reading).await.expect("it arrives");
        assert!(at_server == question && at_client == answer, "{path:?}: bytes differ");
        sending.await.unwrap();
        answering.await.unwrap();
        let totals = Totals { received: 5_000_001, sent: 3_000_003 };
        for end in finish(relays).await {
            assert_eq!(end.unwrap(), totals, "{path:?}");
        }
        assert_eq!(counters.totals(), totals);
    }
}

#[tokio::test]
async fn frames_that_came_together_leave_together_up_to_a_bound() {
    let (mut near, mut far) = tunnel().await;
    for number in 0..20_u8 {
        near.write_all(&[number; 100]).await.unwrap();
    }
    // All of them are there, once the last is.
    let first = poll_fn(|cx| far.recv.poll_next(cx)).await.unwrap().unwrap();
    tokio::task::yield_now().await;
    let more = poll_fn(|cx| Poll::Ready(copy::gather(cx, &mut far.recv, first.len()))).await;
    assert_eq!(more.len(), limits::GATHER_FRAMES_MAX);
    let firsts: Vec<_> = more.iter().map(|frame| frame[0]).collect();
    assert_eq!(firsts, [1, 2, 3, 4, 5, 6, 7]);
}

#[tokio::test]
async fn small_messages_go_to_and_fro_and_are_counted_at_once() {
    for path in PATHS {
        let mut world = world(path).await;
        for number in 1..=100_u64 {
            world.client.write_all(b"ping").await.unwrap();
            let mut message = [0; 4];
            world.server.read_exact(&mut message).await.unwrap();
            world.server.write_all(b"pong!").await.unwrap();
            world.client.read_exact(&mut [0; 5]).await.unwrap();
            let totals = Totals { received: number * 4, sent: number * 5 };
            eventually("bytes are counted", || world.counters.totals() == totals).await;
        }
    }
}

#[tokio::test]
async fn end_of_the_client_leaves_the_answer_open() {
    for path in PATHS {
        let mut world = world(path).await;
        world.client.write_all(b"question").await.unwrap();
        world.client.shutdown().await.unwrap();
        let mut question = Vec::new();
        world.server.read_to_end(&mut question).await.unwrap();
        assert_eq!(question, b"question", "{path:?}");
        let answer = pattern(300_000, 3);
        world.server.write_all(&answer).await.unwrap();
        world.server.shutdown().await.unwrap();
        let mut received = Vec::new();
        world.client.read_to_end(&mut received).await.unwrap();
        assert!(received == answer, "{path:?}: bytes differ");
        assert!(finish(world.relays).await.iter().all(Result::is_ok), "{path:?}");
    }
}

#[tokio::test]
async fn end_of_the_server_leaves_the_question_open() {
    for path in PATHS {
        let mut world = world(path).await;
        world.server.write_all(b"banner").await.unwrap();
        world.server.shutdown().await.unwrap();
        let mut banner = Vec::new();
        world.client.read_to_end(&mut banner).await.unwrap();
        assert_eq!(banner, b"banner", "{path:?}");
        let upload = pattern(300_000, 4);
        world.client.write_all(&upload).await.unwrap();
        world.client.shutdown().await.unwrap();
        let mut received = Vec::new();
        world.server.read_to_end(&mut received).await.unwrap();
        assert!(received == upload, "{path:?}: bytes differ");
        assert!(finish(world.relays).await.iter().all(Result::is_ok), "{path:?}");
    }
}

#[tokio::test]
async fn empty_connection_ends_on_both_sides() {
    for path in PATHS {
        let mut world = world(path).await;
        world.client.shutdown().await.unwrap();
        assert_eq!(world.server.read(&mut [0; 1]).await.unwrap(), 0, "{path:?}");
        world.server.shutdown().await.unwrap();
        assert_eq!(world.client.read(&mut [0; 1]).await.unwrap(), 0, "{path:?}");
        assert!(finish(world.relays).await.iter().all(Result::is_ok), "{path:?}");
    }
}

fn is_reset(result: io::Result<usize>) -> bool {
    result.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
}

#[tokio::test]
async fn reset_by_one_end_reaches_the_other_as_a_reset() {
    for path in PATHS {
        for by_client in [true, false] {
            let World { mut client, mut server, relays, .. } = world(path).await;
            client.write_all(b"x").await.unwrap();
            assert_eq!(server.read_u8().await.unwrap(), b'x');
            let (by, mut other) = if by_client { (client, server) } else { (server, client) };
            socket::reset_on_close(&by);
            drop(by);
            let read = timeout(PATIENCE, other.read(&mut [0; 1])).await.expect("it ends");
            assert!(is_reset(read), "{path:?}, by client: {by_client}");
            let ends = finish(relays).await;
            assert!(ends.iter().all(Result::is_err), "{path:?}: {ends:?}");
        }
    }
}

#[tokio::test]
async fn reset_after_a_half_close_reaches_the_other_as_a_reset() {
    for path in PATHS {
        let World { mut client, mut server, relays, .. } = world(path).await;
        client.shutdown().await.unwrap();
        assert_eq!(server.read(&mut [0; 1]).await.unwrap(), 0);
        socket::reset_on_close(&server);
        drop(server);
        let read = timeout(PATIENCE, client.read(&mut [0; 1])).await.expect("it ends");
        assert!(is_reset(read), "{path:?}");
        assert!(finish(relays).await.iter().all(Result::is_err), "{path:?}");
    }
}

#[tokio::test]
async fn answer_sent_before_the_server_closed_on_an_upload_is_delivered() {
    let World { mut client, mut server, relays, .. } = world(Path::Plain).await;
    client.write_all(b"x").await.unwrap();
    server.read_u8().await.unwrap();
    server.write_all(b"go away").await.unwrap();
    drop(server);
    let mut answer = [0; 7];
    timeout(PATIENCE, client.read_exact(&mut answer)).await.expect("it arrives").unwrap();
    assert_eq!(&answer, b"go away");
    // The server is gone: what is still sent meets a reset, and the relay passes that on.
    while client.write_all(&[0; 1024]).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let _ = finish(relays).await;
}

#[tokio::test]
async fn aborted_relay_resets_both_ends() {
    for path in PATHS {
        let World { mut client, mut server, relays, abort, .. } = world(path).await;
        client.write_all(b"x").await.unwrap();
        server.read_u8().await.unwrap();
        abort.cancel();
        for end in [&mut client, &mut server] {
            let read = timeout(PATIENCE, end.read(&mut [0; 1])).await.expect("it ends");
            assert!(is_reset(read), "{path:?}");
        }
        let ends = finish(relays).await;
        assert!(matches!(ends[0], Err(RelayError::Aborted)), "{path:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn half_closed_relay_ends_at_its_deadline() {
    for path in PATHS {
        let World { mut client, mut server, mut relays, .. } = world(path).await;
        client.shutdown().await.unwrap();
        assert_eq!(server.read(&mut [0; 1]).await.unwrap(), 0);
        let start = Instant::now();
        let first = relays.remove(0).await.unwrap();
        assert!(matches!(first, Err(RelayError::HalfClosed)), "{path:?}: {first:?}");
        assert_eq!(start.elapsed().as_secs(), limits::HALF_CLOSE_IDLE_MAX.as_secs(), "{path:?}");
        assert!(is_reset(client.read(&mut [0; 1]).await), "{path:?}");
        // To one that has read the end already, Linux reports a reset when it writes.
        let written = server.write(b"x").await;
        assert!(written.is_err_and(|it| it.kind() == io::ErrorKind::BrokenPipe), "{path:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn half_closed_relay_that_still_moves_bytes_lives_on() {
    let World { mut client, mut server, relays, .. } = world(Path::Plain).await;
    client.shutdown().await.unwrap();
    assert_eq!(server.read(&mut [0; 1]).await.unwrap(), 0);
    for _ in 0..10 {
        sleep(limits::HALF_CLOSE_IDLE_MAX - Duration::from_secs(5)).await;
        server.write_all(b"x").await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'x');
    }
    drop(server);
    assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
    assert!(finish(relays).await.iter().all(Result::is_ok));
}

#[tokio::test(start_paused = true)]
async fn open_relay_has_no_deadline() {
    for path in PATHS {
        let mut world = world(path).await;
        sleep(limits::HALF_CLOSE_IDLE_MAX * 100).await;
        world.client.write_all(b"x").await.unwrap();
        assert_eq!(world.server.read_u8().await.unwrap(), b'x', "{path:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn bulk_that_pauses_goes_on_after_its_pipe_was_given_back() {
    let World { mut client, mut server, .. } = world(Path::Plain).await;
    for round in 0..3 {
        let sent = pattern(200_000, round);
        let sending = sent.clone();
        let write = async { client.write_all(&sending).await.unwrap() };
        let mut received = vec![0; sent.len()];
        let (_, read) = tokio::join!(write, server.read_exact(&mut received));
        read.unwrap();
        assert!(received == sent, "bytes differ");
        sleep(limits::SPLICE_PIPE_IDLE * 3).await;
    }
}

#[tokio::test]
async fn relay_is_small_while_it_waits() {
    let (client, inner) = tcp_pair().await;
    let (near, _far) = tunnel().await;
    let (counters, settings) = (Counters::default(), RelaySettings::default());
    let (mut downstream, mut upstream) = (inner.into(), near.into());
    let relay = join(&mut downstream, &mut upstream, &counters, &settings);
    let bytes = size_of_val(&relay) + 2 * size_of::<End>();
    assert!(bytes <= 1100, "{bytes}");
    drop(client);
}

#[tokio::test]
async fn slow_reader_holds_its_sender_back() {
    for path in PATHS {
        let World { mut client, mut server, relays, .. } = world(path).await;
        let chunk = vec![0; 1 << 16];
        let mut sent = 0_usize;
        // Socket buffers of the kernel, windows and send buffers, and no more.
        while let Ok(written) = timeout(Duration::from_millis(300), client.write(&chunk)).await {
            sent += written.unwrap();
            assert!(sent < 64 << 20, "{path:?}: nothing holds the sender back");
        }
        let reading = tokio::spawn(async move {
            let mut received = Vec::new();
            server.read_to_end(&mut received).await.unwrap();
            received.len()
        });
        client.shutdown().await.unwrap();
        let received = timeout(PATIENCE, reading).await.expect("it arrives").unwrap();
        assert_eq!(received, sent, "{path:?}");
        finish(relays).await;
    }
}
