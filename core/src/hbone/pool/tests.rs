use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use h2::Reason;
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::super::testing::{
    Script, Scripted, accept, eventually, h2_server, hold_all, key, request, scripted, status,
};
use super::*;

fn small(tunnels: usize, per_key: usize, all: usize) -> PoolSettings {
    PoolSettings {
        tunnels_per_connection: tunnels,
        connections_per_key: per_key,
        connections: all,
        ..PoolSettings::default()
    }
}

type Ends = mpsc::Receiver<DuplexStream>;

/// A pool, what its connects do, and the far ends of its connections.
fn pool(settings: PoolSettings) -> (Pool<Scripted>, Arc<Script>, Ends) {
    let (connect, script, ends) = scripted();
    (Pool::new(settings, connect), script, ends)
}

/// Answers 200 to every stream of every connection and holds on to it for as long as the pool lives.
fn hold_everything(mut ends: Ends, streams_max: u32) {
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Some(end) = ends.recv().await {
            held.push(hold_all(end, streams_max));
        }
    });
}

/// Opens a tunnel over a new connection; with what that connection's far end holds.
async fn open_anew(
    pool: &Pool<Scripted>,
    key: &PoolKey,
    ends: &mut Ends,
) -> (Result<OpenedTunnel<SocketAddr>, HboneError>, mpsc::Receiver<TunnelStream>) {
    let server = async { hold_all(ends.recv().await.unwrap(), 100) };
    let request = request();
    tokio::join!(pool.open(key, &request), server)
}

fn counts(pool: &Pool<Scripted>) -> (usize, usize) {
    pool.shared.shelf.lock().counts()
}

#[tokio::test(start_paused = true)]
async fn tunnels_share_a_connection_and_reach_its_peer() {
    let (pool, script, mut ends) = pool(PoolSettings::default());
    let key = key("a");
    let (mut first, second) = {
        let server = async { hold_all(ends.recv().await.unwrap(), 100) };
        let request = request();
        let opens = async { (pool.open(&key, &request).await, pool.open(&key, &request).await) };
        let ((first, second), mut held) = tokio::join!(opens, server);
        let mut far = held.recv().await.unwrap();
        tokio::spawn(async move {
            let mut bytes = [0; 4];
            far.read_exact(&mut bytes).await.unwrap();
            far.write_all(&bytes).await.unwrap();
            far.shutdown().await.unwrap();
            held.recv().await
        });
        (first.unwrap(), second.unwrap())
    };
    assert_eq!(script.connects(), 1);
    assert_eq!(*second.peer, key.address);
    first.stream.write_all(b"ping").await.unwrap();
    first.stream.shutdown().await.unwrap();
    let mut echo = Vec::new();
    first.stream.read_to_end(&mut echo).await.unwrap();
    assert_eq!(echo, b"ping");
}

#[tokio::test(start_paused = true)]
async fn full_connection_returns_to_the_pool() {
    let (pool, script, ends) = pool(small(2, 10, 10));
    let (key, request) = (key("a"), request());
    hold_everything(ends, 100);
    let first = pool.open(&key, &request).await.unwrap();
    let _second = pool.open(&key, &request).await.unwrap();
    let _third = pool.open(&key, &request).await.unwrap();
    assert_eq!(script.connects(), 2);
    let _fourth = pool.open(&key, &request).await.unwrap();
    drop(first);
    let _fifth = pool.open(&key, &request).await.unwrap();
    assert_eq!(script.connects(), 2);
}

#[tokio::test(start_paused = true)]
async fn openers_of_a_cold_key_share_connects_and_all_get_a_tunnel() {
    let (pool, script, ends) = pool(small(10, 10, 10));
    *script.delay.lock() = Duration::from_millis(100);
    let (key, request) = (key("a"), request());
    hold_everything(ends, 100);
    let opened = join_all((0..45).map(|_| pool.open(&key, &request))).await;
    assert!(opened.iter().all(Result::is_ok));
    assert_eq!(script.connects(), 5);
}

#[tokio::test(start_paused = true)]
async fn waiters_get_an_answer_when_the_connect_fails() {
    let (pool, script, mut ends) = pool(PoolSettings::default());
    *script.delay.lock() = Duration::from_millis(100);
    script.failures.store(1, Ordering::SeqCst);
    let (key, request) = (key("a"), request());
    let opened = join_all((0..50).map(|_| pool.open(&key, &request))).await;
    for result in &opened {
        let error = result.as_ref().map(|_| ()).unwrap_err();
        assert!(matches!(error, HboneError::Connect(ConnectError::Tcp { .. })), "{error}");
        assert!(error.is_retryable());
    }
    assert_eq!((script.connects(), counts(&pool)), (1, (0, 0)));
    // And the key is not poisoned.
    let (opened, _held) = open_anew(&pool, &key, &mut ends).await;
    opened.unwrap();
}

#[tokio::test(start_paused = true)]
async fn waiters_get_an_answer_when_the_connect_panics_or_hangs() {
    let (pool, script, _ends) = pool(PoolSettings::default());
    script.panics.store(1, Ordering::SeqCst);
    let (key, request) = (key("a"), request());
    let opened = join_all((0..5).map(|_| pool.open(&key, &request))).await;
    assert!(opened.iter().all(|it| matches!(it, Err(HboneError::Lost(_)))));
    *script.delay.lock() = Duration::from_secs(3600);
    let opened = join_all((0..5).map(|_| pool.open(&key, &request))).await;
    let is_timeout =
        |error: &HboneError| matches!(error, HboneError::Connect(ConnectError::Timeout { .. }));
    assert!(opened.iter().all(|it| it.as_ref().is_err_and(is_timeout)));
    assert_eq!(counts(&pool), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn opener_that_gives_up_does_not_strand_the_others() {
    let (pool, script, mut ends) = pool(PoolSettings::default());
    *script.delay.lock() = Duration::from_secs(2);
    let (key, request) = (key("a"), request());
    let impatient = timeout(Duration::from_secs(1), pool.open(&key, &request));
    let patient = async {
        tokio::task::yield_now().await;
        pool.open(&key, &request).await
    };
    let server = async { hold_all(ends.recv().await.unwrap(), 100) };
    let (impatient, patient, _held) = tokio::join!(impatient, patient, server);
    assert!(impatient.is_err());
    patient.unwrap();
    assert_eq!(script.connects(), 1);
}

#[tokio::test(start_paused = true)]
async fn goaway_connection_is_replaced() {
    let (pool, script, mut ends) = pool(PoolSettings::default());
    let (key, request) = (key("a"), request());
    let (say_goaway, mut told) = mpsc::channel::<()>(1);
    let server = tokio::spawn(async move {
        let mut connection = h2_server(ends.recv().await.unwrap()).await;
        let (request, respond) = connection.accept().await.unwrap().unwrap();
        let mut first = accept(request, respond);
        loop {
            tokio::select! {
                _ = told.recv() => break,
                accepted = connection.accept() => assert!(accepted.is_none()),
            }
        }
        connection.graceful_shutdown();
        tokio::spawn(async move { while connection.accept().await.is_some() {} });
        let held = hold_all(ends.recv().await.unwrap(), 100);
        // The tunnel on the old connection still works.
        first.write_all(b"x").await.unwrap();
        (first, held)
    });
    let mut first = pool.open(&key, &request).await.unwrap();
    say_goaway.send(()).await.unwrap();
    eventually("the GOAWAY arrives", || !pool.shared.shelf.lock().has_usable(&key)).await;
    let _second = pool.open(&key, &request).await.unwrap();
    assert_eq!(script.connects(), 2);
    assert_eq!(first.stream.read_u8().await.unwrap(), b'x');
    let _ = server.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn connection_that_ends_before_the_answer_is_replaced() {
    let (pool, script, mut ends) = pool(PoolSettings::default());
    let (key, request) = (key("a"), request());
    let server = async {
        let mut connection = h2_server(ends.recv().await.unwrap()).await;
        let _unanswered = connection.accept().await.unwrap().unwrap();
        drop(connection);
        hold_all(ends.recv().await.unwrap(), 100)
    };
    let (opened, _held) = tokio::join!(pool.open(&key, &request), server);
    opened.unwrap();
    assert_eq!(script.connects(), 2);
}

#[tokio::test(start_paused = true)]
async fn refused_stream_is_retried_on_a_new_connection() {
    let (pool, script, mut ends) = pool(PoolSettings::default());
    let (key, request) = (key("a"), request());
    let server = tokio::spawn(async move {
        let mut connection = h2_server(ends.recv().await.unwrap()).await;
        let (request, respond) = connection.accept().await.unwrap().unwrap();
        let first = accept(request, respond);
        let (_, mut respond) = connection.accept().await.unwrap().unwrap();
        respond.send_reset(Reason::REFUSED_STREAM);
        tokio::spawn(async move { while connection.accept().await.is_some() {} });
        (first, hold_all(ends.recv().await.unwrap(), 100))
    });
    let _first = pool.open(&key, &request).await.unwrap();
    let _second = pool.open(&key, &request).await.unwrap();
    assert_eq!(script.connects(), 2);
    assert_eq!(pool.counters().retries.load(Ordering::Relaxed), 1);
    let _ = server.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn peer_that_refuses_the_first_stream_is_not_pressed() {
    let (pool, script, mut ends) = pool(PoolSettings::default());
    tokio::spawn(async move {
        while let Some(end) = ends.recv().await {
            let mut connection = h2_server(end).await;
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                respond.send_reset(Reason::REFUSED_STREAM);
            }
        }
    });
    let error = pool.open(&key("a"), &request()).await.unwrap_err();
    assert!(matches!(error, HboneError::Refused), "{error}");
    assert!(error.is_retryable());
    assert_eq!(script.connects(), 1);
}

#[tokio::test(start_paused = true)]
async fn refusal_by_status_is_not_retried_and_keeps_the_connection() {
    let (pool, script, mut ends) = pool(PoolSettings::default());
    let (key, request) = (key("a"), request());
    tokio::spawn(async move {
        let mut connection = h2_server(ends.recv().await.unwrap()).await;
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            status(&mut respond, StatusCode::UNAUTHORIZED);
        }
    });
    for _ in 0..3 {
        let error = pool.open(&key, &request).await.unwrap_err();
        assert!(matches!(error, HboneError::Status(StatusCode::UNAUTHORIZED)), "{error}");
        assert!(!error.is_retryable());
    }
    assert_eq!(script.connects(), 1);
}

#[tokio::test(start_paused = true)]
async fn silent_peer_is_given_up_at_the_handshake_deadline() {
    let (pool, script, mut ends) = pool(PoolSettings::default());
    let start = Instant::now();
    let error = pool.open(&key("a"), &request()).await.unwrap_err();
    assert!(matches!(error, HboneError::Handshake(_)), "{error}");
    let attempts = u32::try_from(limits::POOL_OPEN_ATTEMPTS).unwrap();
    let bound = limits::HBONE_HANDSHAKE_DEADLINE * attempts + Duration::from_secs(1);
    assert!(start.elapsed() <= bound, "{:?}", start.elapsed());
    assert_eq!(script.connects(), limits::POOL_OPEN_ATTEMPTS);
    ends.close();
    eventually("the dead connections leave", || counts(&pool) == (0, 0)).await;
}

#[tokio::test(start_paused = true)]
async fn garbage_in_place_of_settings_is_an_error_at_once() {
    let (pool, _, mut ends) = pool(PoolSettings::default());
    tokio::spawn(async move {
        while let Some(mut end) = ends.recv().await {
            let _ = end.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            tokio::spawn(async move { end.read_to_end(&mut Vec::new()).await });
        }
    });
    let start = Instant::now();
    let error = pool.open(&key("a"), &request()).await.unwrap_err();
    assert!(matches!(error, HboneError::Lost(_)), "{error}");
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn peer_that_never_answers_is_given_up_at_the_reply_deadline() {
    let (pool, _, mut ends) = pool(PoolSettings::default());
    tokio::spawn(async move {
        let mut connection = h2_server(ends.recv().await.unwrap()).await;
        let mut unanswered = Vec::new();
        while let Some(Ok(it)) = connection.accept().await {
            unanswered.push(it);
        }
    });
    let start = Instant::now();
    let error = pool.open(&key("a"), &request()).await.unwrap_err();
    assert!(matches!(error, HboneError::ReplyTimeout), "{error}");
    assert_eq!(start.elapsed().as_secs(), limits::HBONE_REPLY_DEADLINE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn idle_connection_leaves_and_a_used_one_stays() {
    let (pool, script, ends) = pool(PoolSettings::default());
    hold_everything(ends, 100);
    let (used, idle, request) = (key("used"), key("idle"), request());
    let _tunnel = pool.open(&used, &request).await.unwrap();
    drop(pool.open(&idle, &request).await.unwrap());
    assert_eq!(counts(&pool), (2, 2));
    sleep(limits::POOL_IDLE_MAX - Duration::from_secs(20)).await;
    assert_eq!(counts(&pool), (2, 2));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(counts(&pool), (1, 1));
    eventually("the idle connection ends", || {
        pool.counters().connections.load(Ordering::Relaxed) == 1
    })
    .await;
    let _again = pool.open(&used, &request).await.unwrap();
    assert_eq!(script.connects(), 2);
}

#[tokio::test(start_paused = true)]
async fn of_connections_without_tunnels_one_stays_and_the_others_go_soon() {
    let (pool, script, ends) = pool(small(1, 10, 10));
    hold_everything(ends, 100);
    let (key, request) = (key("a"), request());
    let mut tunnels = Vec::new();
    for _ in 0..4 {
        tunnels.push(pool.open(&key, &request).await.unwrap());
    }
    let used = tunnels.pop();
    drop(tunnels);
    assert_eq!(counts(&pool), (1, 4));
    sleep(Duration::from_secs(30)).await;
    assert_eq!(counts(&pool), (1, 2), "one in use, one spare");
    drop(used);
    sleep(Duration::from_secs(30)).await;
    assert_eq!(counts(&pool), (1, 1));
    let _again = pool.open(&key, &request).await.unwrap();
    assert_eq!(script.connects(), 4);
}

#[tokio::test(start_paused = true)]
async fn evicted_workload_gets_a_new_connection_and_open_tunnels_go_on() {
    let (pool, script, mut ends) = pool(PoolSettings::default());
    let key = key("a");
    let (old, mut held) = open_anew(&pool, &key, &mut ends).await;
    let mut old = old.unwrap();
    let mut far = held.recv().await.unwrap();
    pool.evict("somebody else");
    assert_eq!(counts(&pool), (1, 1));
    pool.evict("a");
    assert_eq!(counts(&pool), (0, 0));
    let (new, _held) = open_anew(&pool, &key, &mut ends).await;
    new.unwrap();
    assert_eq!(script.connects(), 2);
    far.write_all(b"x").await.unwrap();
    assert_eq!(old.stream.read_u8().await.unwrap(), b'x');
}

#[tokio::test(start_paused = true)]
async fn address_given_to_another_workload_does_not_hit_the_old_connection() {
    let (pool, script, ends) = pool(PoolSettings::default());
    hold_everything(ends, 100);
    let _old = pool.open(&key("old"), &request()).await.unwrap();
    let _new = pool.open(&key("new"), &request()).await.unwrap();
    assert_eq!(script.connects(), 2);
}

#[tokio::test(start_paused = true)]
async fn no_tunnel_is_opened_after_a_certificate_expired() {
    let (pool, script, ends) = pool(PoolSettings::default());
    *script.validity.lock() = Some(Duration::ZERO);
    hold_everything(ends, 100);
    let error = pool.open(&key("a"), &request()).await.unwrap_err();
    assert!(matches!(error, HboneError::Lost(_)), "{error}");
    assert_eq!(script.connects(), limits::POOL_CHECKOUT_ROUNDS);
}

#[tokio::test(start_paused = true)]
async fn pool_is_bounded_and_prefers_to_let_an_idle_connection_go() {
    let (pool, script, ends) = pool(small(1, 1, 2));
    hold_everything(ends, 100);
    let request = request();
    let _a = pool.open(&key("a"), &request).await.unwrap();
    let full = pool.open(&key("a"), &request).await.unwrap_err();
    assert!(matches!(full, HboneError::PoolFull), "{full}");
    let b = pool.open(&key("b"), &request).await.unwrap();
    let full = pool.open(&key("c"), &request).await.unwrap_err();
    assert!(matches!(full, HboneError::PoolFull), "{full}");
    drop(b);
    let _c = pool.open(&key("c"), &request).await.unwrap();
    assert_eq!((script.connects(), counts(&pool)), (3, (2, 2)));
}

#[tokio::test(start_paused = true)]
async fn closed_pool_opens_nothing_and_its_connections_end_with_their_tunnels() {
    let (pool, _, mut ends) = pool(PoolSettings::default());
    let (key, request) = (key("a"), request());
    let (tunnel, _held) = open_anew(&pool, &key, &mut ends).await;
    pool.close();
    let error = pool.open(&key, &request).await.unwrap_err();
    assert!(matches!(error, HboneError::PoolClosed), "{error}");
    assert_eq!(pool.counters().connections.load(Ordering::Relaxed), 1);
    drop(tunnel);
    eventually("the connection ends", || pool.counters().connections.load(Ordering::Relaxed) == 0)
        .await;
}

#[tokio::test(start_paused = true)]
async fn small_number_of_streams_that_the_peer_grants_is_kept() {
    let (pool, script, ends) = pool(PoolSettings::default());
    hold_everything(ends, 2);
    let (key, request) = (key("a"), request());
    let mut tunnels = Vec::new();
    for _ in 0..6 {
        tunnels.push(pool.open(&key, &request).await.unwrap());
    }
    assert_eq!(script.connects(), 3);
}
