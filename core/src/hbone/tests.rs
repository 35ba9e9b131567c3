//! Both ends of a connection, and scripted peers in the place of either.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::poll_fn;
use h2::Reason;
use http::{Method, Request, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::testing::{eventually, pair, request, tunnel};
use super::*;
use crate::{drain, limits};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const EMPTY_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
const MIB: usize = 1 << 20;

type Served = JoinHandle<Result<(), HboneError>>;

/// A server of ours whose handlers hold their tunnels until the connection ends.
fn server() -> (DuplexStream, Served, drain::Signal) {
    let (near, far) = tokio::io::duplex(MIB);
    let (signal, watch) = drain::pair();
    let served = tokio::spawn(async move {
        serve(far, &ServerSettings::default(), watch, |incoming| async move {
            let mut stream = incoming.accept(None).unwrap();
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        })
        .await
    });
    (near, served, signal)
}

async fn raw_client(io: DuplexStream) -> h2::client::SendRequest<Bytes> {
    let (requests, connection) = h2::client::handshake(io).await.unwrap();
    tokio::spawn(connection);
    requests
}

fn connect_to(authority: &str) -> Request<()> {
    Request::builder().method(Method::CONNECT).uri(authority).body(()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn ends_of_both_directions_are_independent() {
    let (mut near, mut far) = tunnel().await;
    near.write_all(b"question").await.unwrap();
    near.shutdown().await.unwrap();
    let mut question = Vec::new();
    far.read_to_end(&mut question).await.unwrap();
    assert_eq!(question, b"question");
    sleep(Duration::from_secs(30)).await;
    far.write_all(b"answer").await.unwrap();
    far.shutdown().await.unwrap();
    let mut answer = Vec::new();
    near.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"answer");
}

#[tokio::test(start_paused = true)]
async fn dropped_tunnel_is_read_as_a_reset_and_not_as_an_end() {
    let (near, mut far) = tunnel().await;
    drop(near);
    let error = far.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let (mut near, far) = tunnel().await;
    drop(far);
    let error = near.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test(start_paused = true)]
async fn cancel_and_no_error_of_a_stock_peer_are_read_as_the_end() {
    for (reason, is_end) in [
        (Reason::CANCEL, true),
        (Reason::NO_ERROR, true),
        (Reason::CONNECT_ERROR, false),
        (Reason::STREAM_CLOSED, false),
        (Reason::INTERNAL_ERROR, false),
    ] {
        let (near, mut accepted, _signal) = pair_of_raw().await;
        let mut requests = near;
        let (response, mut send) = requests.send_request(connect_to("10.0.0.1:80"), false).unwrap();
        response.await.unwrap();
        let mut far = accepted.recv().await.unwrap();
        send.send_data(Bytes::from_static(b"x"), false).unwrap();
        assert_eq!(far.read_u8().await.unwrap(), b'x');
        send.send_reset(reason);
        let read = far.read(&mut [0; 1]).await;
        assert_eq!(read.is_ok_and(|bytes| bytes == 0), is_end, "{reason}");
    }
}

/// A raw client of a server of ours.
async fn pair_of_raw()
-> (h2::client::SendRequest<Bytes>, mpsc::Receiver<TunnelStream>, drain::Signal) {
    let (near, far) = tokio::io::duplex(MIB);
    let (signal, watch) = drain::pair();
    let (accepted, taken) = mpsc::channel(1000);
    tokio::spawn(async move {
        serve(far, &ServerSettings::default(), watch, move |incoming| {
            let accepted = accepted.clone();
            async move {
                let _ = accepted.send(incoming.accept(None).unwrap()).await;
            }
        })
        .await
    });
    (raw_client(near).await, taken, signal)
}

#[tokio::test(start_paused = true)]
async fn response_names_the_server_and_request_names_the_client() {
    let (near, far) = tokio::io::duplex(MIB);
    let (_signal, watch) = drain::pair();
    let name = |name: &str| Baggage { canonical_name: Some(name.into()), ..Baggage::default() };
    let server_name = name("server");
    tokio::spawn(async move {
        let server_name = &server_name;
        serve(far, &ServerSettings::default(), watch, |incoming| {
            assert_eq!(incoming.request().baggage.canonical_name.as_deref(), Some("client"));
            let answer = incoming.accept(Some(server_name)).unwrap();
            async move { drop(answer) }
        })
        .await
    });
    let connection = Connection::start(near, KeepaliveSettings::default()).await.unwrap();
    let asked = TunnelRequest { baggage: name("client"), ..request() };
    let (_, response) = connection.open(&asked).await.unwrap();
    assert_eq!(response.baggage.canonical_name.as_deref(), Some("server"));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_tunnel_is_refused_and_the_connection_goes_on() {
    let (near, _served, _signal) = server();
    let mut requests = raw_client(near).await;
    let get = Request::builder().uri("https://10.0.0.1/").body(()).unwrap();
    for bad in [get, connect_to("10.0.0.1"), connect_to("10.0.0.1:0"), connect_to("1.2.3:80")] {
        let (response, _) = requests.send_request(bad, true).unwrap();
        assert_eq!(response.await.unwrap().status(), StatusCode::BAD_REQUEST);
    }
    let (response, _send) = requests.send_request(connect_to("10.0.0.1:80"), false).unwrap();
    assert_eq!(response.await.unwrap().status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn silence_and_half_a_preface_are_cut_at_the_deadline() {
    for sent in [&b""[..], &PREFACE[..10]] {
        let (mut near, served, _signal) = server();
        near.write_all(sent).await.unwrap();
        let start = Instant::now();
        let error = served.await.unwrap().unwrap_err();
        assert!(matches!(error, HboneError::Silent(_)), "{error}");
        assert_eq!(start.elapsed().as_secs(), limits::HBONE_HANDSHAKE_DEADLINE.as_secs());
    }
}

#[tokio::test(start_paused = true)]
async fn garbage_ends_the_connection_at_once() {
    let oversized_frame = [PREFACE, EMPTY_SETTINGS, &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]].concat();
    let data_on_idle_stream = [PREFACE, EMPTY_SETTINGS, &[0, 0, 1, 0, 0, 0, 0, 0, 9, 7]].concat();
    let bad_hpack = [PREFACE, EMPTY_SETTINGS, &[0, 0, 2, 1, 4, 0, 0, 0, 1, 0xff, 0xff]].concat();
    let http1 = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
    for bytes in [oversized_frame, data_on_idle_stream, bad_hpack, http1] {
        let (mut near, served, _signal) = server();
        near.write_all(&bytes).await.unwrap();
        let drained = tokio::spawn(async move { near.read_to_end(&mut Vec::new()).await });
        let start = Instant::now();
        let result = served.await.unwrap();
        assert!(matches!(result, Err(HboneError::Protocol(_))), "{bytes:?}: {result:?}");
        assert!(start.elapsed() < Duration::from_secs(1));
        drained.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn connection_without_a_tunnel_is_ended() {
    let (near, served, _signal) = server();
    let requests = raw_client(near).await;
    let start = Instant::now();
    let error = served.await.unwrap().unwrap_err();
    assert!(matches!(error, HboneError::Silent("tunnel")), "{error}");
    let bound = limits::HBONE_FIRST_TUNNEL_DEADLINE + limits::HBONE_PING_AFTER;
    assert!(start.elapsed() <= bound, "{:?}", start.elapsed());
    drop(requests);
}

#[tokio::test(start_paused = true)]
async fn connection_that_lost_its_last_tunnel_is_kept_longer_and_then_ended() {
    let (near, served, _signal) = server();
    let mut requests = raw_client(near).await;
    let (response, send) = requests.send_request(connect_to("10.0.0.1:80"), false).unwrap();
    response.await.unwrap();
    sleep(limits::HBONE_SERVER_IDLE_MAX * 2).await;
    assert!(!served.is_finished());
    drop(send);
    sleep(limits::HBONE_SERVER_IDLE_MAX - Duration::from_secs(30)).await;
    assert!(!served.is_finished());
    sleep(Duration::from_secs(60)).await;
    assert!(served.is_finished());
}

/// Passes bytes on until told to stop, and counts those from the server.
async fn cable(client: DuplexStream, server: DuplexStream, cut: Arc<Notify>, back: Arc<AtomicU64>) {
    let (mut client_read, mut client_write) = tokio::io::split(client);
    let (mut server_read, mut server_write) = tokio::io::split(server);
    let forth = tokio::io::copy(&mut client_read, &mut server_write);
    let back = async {
        let mut buffer = vec![0; 65536];
        while let Ok(bytes @ 1..) = server_read.read(&mut buffer).await {
            back.fetch_add(u64::try_from(bytes).unwrap(), Ordering::SeqCst);
            client_write.write_all(&buffer[..bytes]).await.unwrap();
        }
    };
    tokio::select! {
        () = cut.notified() => {}
        _ = async { tokio::join!(forth, back) } => {}
    }
    std::future::pending::<()>().await;
}

#[tokio::test(start_paused = true)]
async fn peer_that_vanished_without_a_word_is_noticed_by_both_sides() {
    let (server_io, served, _signal) = server();
    let (client_io, cable_end) = tokio::io::duplex(MIB);
    let (cut, back) = (Arc::new(Notify::new()), Arc::new(AtomicU64::new(0)));
    tokio::spawn(cable(cable_end, server_io, cut.clone(), back));
    let connection = Connection::start(client_io, KeepaliveSettings::default()).await.unwrap();
    let (mut stream, _) = connection.open(&request()).await.unwrap();
    sleep(Duration::from_secs(300)).await;
    assert!(!served.is_finished());
    let start = Instant::now();
    cut.notify_one();
    let error = stream.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionAborted);
    let bound = limits::HBONE_PING_AFTER * 2 + limits::HBONE_PING_TIMEOUT;
    assert!(start.elapsed() <= bound, "{:?}", start.elapsed());
    let error = served.await.unwrap().unwrap_err();
    assert!(matches!(error, HboneError::Silent(_)), "{error}");
    assert!(start.elapsed() <= bound, "{:?}", start.elapsed());
    let error = connection.open(&request()).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, HboneError::Lost(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn no_ping_is_sent_while_data_flows() {
    let (near, far) = tokio::io::duplex(MIB);
    tokio::spawn(async move {
        let mut connection = h2::server::handshake(far).await.unwrap();
        let (request, mut respond) = connection.accept().await.unwrap().unwrap();
        let mut send = respond.send_response(http::Response::new(()), false).unwrap();
        tokio::spawn(async move { while connection.accept().await.is_some() {} });
        while send.send_data(Bytes::from_static(b"tick"), false).is_ok() {
            sleep(Duration::from_secs(3)).await;
        }
        drop(request);
    });
    let (counting, pings) = CountPings::new(near);
    let connection = Connection::start(counting, KeepaliveSettings::default()).await.unwrap();
    let (mut stream, _) = connection.open(&request()).await.unwrap();
    for _ in 0..100 {
        stream.read_exact(&mut [0; 4]).await.unwrap();
    }
    assert_eq!(pings.load(Ordering::SeqCst), 0);
}

/// Counts PING frames that are written. h2 writes a PING's 17 bytes at once if nothing else is pending.
struct CountPings {
    io: DuplexStream,
    pings: Arc<AtomicUsize>,
}

impl CountPings {
    fn new(io: DuplexStream) -> (Self, Arc<AtomicUsize>) {
        let pings = Arc::<AtomicUsize>::default();
        (Self { io, pings: pings.clone() }, pings)
    }
}

impl tokio::io::AsyncRead for CountPings {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl tokio::io::AsyncWrite for CountPings {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        if buf.starts_with(&[0, 0, 8, 6, 0]) {
            self.pings.fetch_add(1, Ordering::SeqCst);
        }
        std::pin::Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[tokio::test(start_paused = true)]
async fn quiet_connection_is_pinged() {
    let (near, _served, _signal) = server();
    let (counting, pings) = CountPings::new(near);
    let connection = Connection::start(counting, KeepaliveSettings::default()).await.unwrap();
    let (_stream, _) = connection.open(&request()).await.unwrap();
    sleep(Duration::from_secs(300)).await;
    assert!(pings.load(Ordering::SeqCst) > 5);
}

/// Opens a tunnel and sends into it until nothing more is taken. Returns how much that was.
async fn stuff(connection: &Connection, chunk: usize) -> (TunnelStream, usize) {
    let (mut stream, _) = connection.open(&request()).await.unwrap();
    let data = vec![7; chunk];
    let mut taken = 0;
    while let Ok(written) = timeout(Duration::from_secs(1), stream.write(&data)).await {
        taken += written.unwrap();
    }
    (stream, taken)
}

#[tokio::test(start_paused = true)]
async fn one_slow_stream_does_not_stall_its_neighbours() {
    let (connection, mut accepted, _signal) = pair().await;
    // All but one of the tunnels that a client may open are stuffed and never read.
    let mut stalled = Vec::new();
    for _ in 1..limits::HBONE_CLIENT_STREAMS_MAX {
        stalled.push((stuff(&connection, 65536).await, accepted.recv().await.unwrap()));
    }
    let (mut near, _) = connection.open(&request()).await.unwrap();
    let mut far = accepted.recv().await.unwrap();
    let sending = async {
        for _ in 0..64 {
            near.write_all(&[1; 65536]).await.unwrap();
        }
        near.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    let both = async { tokio::join!(sending, far.read_to_end(&mut received)) };
    timeout(Duration::from_secs(5), both).await.expect("the neighbour is not stalled").1.unwrap();
    assert_eq!(received.len(), 4 * MIB);
}

#[tokio::test(start_paused = true)]
async fn sender_to_a_slow_reader_is_held_back_at_the_window() {
    let (connection, mut accepted, _signal) = pair().await;
    let (mut near, taken) = stuff(&connection, 65536).await;
    let window = usize::try_from(limits::HBONE_STREAM_WINDOW).unwrap();
    assert!(taken <= window + limits::HBONE_SEND_BUFFER_BYTES_MAX, "{taken}");
    // And goes on when the reader does.
    let mut far = accepted.recv().await.unwrap();
    let reading = tokio::spawn(async move {
        let mut received = vec![0; taken + 5];
        far.read_exact(&mut received).await.unwrap();
        received
    });
    near.write_all(b"after").await.unwrap();
    assert!(reading.await.unwrap().ends_with(b"after"));
}

#[tokio::test(start_paused = true)]
async fn one_stalled_stream_of_small_frames_does_not_kill_its_neighbours() {
    let (connection, mut accepted, _signal) = pair().await;
    let (_near, taken) = stuff(&connection, 10).await;
    assert!(taken >= MIB / 2, "{taken}");
    let _stalled = accepted.recv().await.unwrap();
    let (mut near, _) = connection.open(&request()).await.unwrap();
    let mut far = accepted.recv().await.unwrap();
    near.write_all(b"alive").await.unwrap();
    let mut received = [0; 5];
    far.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"alive");
}

#[tokio::test(start_paused = true)]
async fn tunnel_dropped_unread_gives_its_window_back() {
    let (connection, mut accepted, _signal) = pair().await;
    let connection_window = usize::try_from(limits::HBONE_CONNECTION_WINDOW).unwrap();
    let mut stuffed = 0;
    while stuffed < connection_window * 2 {
        let (near, taken) = stuff(&connection, 1 << 17).await;
        assert!(taken > 0, "stalled after {stuffed} bytes");
        stuffed += taken;
        drop((near, accepted.recv().await.unwrap()));
    }
}

#[tokio::test(start_paused = true)]
async fn rapid_reset_ends_the_connection() {
    let (mut near, served, _signal) = server();
    near.write_all(&[PREFACE, EMPTY_SETTINGS].concat()).await.unwrap();
    // :method CONNECT and :authority a:80, both as literals without indexing, then RST_STREAM, again and again.
    let block = [&[0x02, 7][..], b"CONNECT", &[0x01, 4], b"a:80"].concat();
    let mut burst = Vec::new();
    for stream in (1_u32..20_001).step_by(2) {
        let length = u8::try_from(block.len()).unwrap();
        burst.extend([&[0, 0, length, 1, 4][..], &stream.to_be_bytes(), &block].concat());
        burst.extend([&[0, 0, 4, 3, 0][..], &stream.to_be_bytes(), &8_u32.to_be_bytes()].concat());
    }
    let (mut read, mut write) = tokio::io::split(near);
    let reading = tokio::spawn(async move { read.read_to_end(&mut Vec::new()).await });
    let _ = write.write_all(&burst).await;
    let result = timeout(Duration::from_secs(5), served).await.expect("it ends").unwrap();
    assert!(matches!(result, Err(HboneError::Protocol(_))), "{result:?}");
    let _ = reading.await;
}

#[tokio::test(start_paused = true)]
async fn header_list_beyond_its_bound_is_refused() {
    let (near, _served, _signal) = server();
    let mut requests = raw_client(near).await;
    let mut request = connect_to("10.0.0.1:80");
    for number in 0..40 {
        let name = http::HeaderName::from_bytes(format!("x-{number}").as_bytes()).unwrap();
        request.headers_mut().insert(name, "v".repeat(1000).parse().unwrap());
    }
    // Our client would not send it, if it knew the server's setting in time; either way there is no tunnel.
    let refused = match requests.send_request(request, false) {
        Ok((response, _send)) => response.await.map_or(true, |it| !it.status().is_success()),
        Err(_) => true,
    };
    assert!(refused);
}

#[tokio::test(start_paused = true)]
async fn drain_lets_open_tunnels_finish_and_takes_no_new_ones() {
    let (connection, mut accepted, signal) = pair().await;
    let (mut near, _) = connection.open(&request()).await.unwrap();
    let mut far = accepted.recv().await.unwrap();
    signal.start();
    eventually("the GOAWAY arrives", || !connection.is_usable()).await;
    assert!(connection.open(&request()).await.is_err());
    near.write_all(b"x").await.unwrap();
    assert_eq!(far.read_u8().await.unwrap(), b'x');
    near.shutdown().await.unwrap();
    far.shutdown().await.unwrap();
    assert_eq!(near.read(&mut [0; 1]).await.unwrap(), 0);
    drop((near, far));
    assert_eq!(signal.drain(Duration::from_secs(5)).await, drain::Outcome::Graceful);
}

#[tokio::test(start_paused = true)]
async fn forced_drain_resets_open_tunnels() {
    let (near, served, signal) = server();
    let connection = Connection::start(near, KeepaliveSettings::default()).await.unwrap();
    let (mut stream, _) = connection.open(&request()).await.unwrap();
    assert_eq!(signal.drain(Duration::from_secs(5)).await, drain::Outcome::Forced);
    let error = stream.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    served.await.unwrap().unwrap();
    timeout(Duration::from_secs(1), signal.finished()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn handler_learns_that_its_client_gave_up() {
    let (near, far) = tokio::io::duplex(MIB);
    let (_signal, watch) = drain::pair();
    let abandoned = Arc::new(Notify::new());
    let noticed = abandoned.clone();
    tokio::spawn(async move {
        serve(far, &ServerSettings::default(), watch, move |mut incoming| {
            let noticed = noticed.clone();
            async move {
                incoming.abandoned().await;
                noticed.notify_one();
            }
        })
        .await
    });
    let connection = Connection::start(near, KeepaliveSettings::default()).await.unwrap();
    assert!(timeout(Duration::from_secs(1), connection.open(&request())).await.is_err());
    timeout(Duration::from_secs(1), abandoned.notified()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn handlers_end_with_their_connection() {
    let (near, far) = tokio::io::duplex(MIB);
    let (_signal, watch) = drain::pair();
    let running = Arc::new(AtomicUsize::new(0));
    let count = running.clone();
    let served = tokio::spawn(async move {
        serve(far, &ServerSettings::default(), watch, move |incoming| {
            let guard = Running::new(count.clone());
            async move {
                let _stream = incoming.accept(None).unwrap();
                // A handler that looks at nothing.
                std::future::pending::<()>().await;
                drop(guard);
            }
        })
        .await
    });
    let mut requests = raw_client(near).await;
    let (response, send) = requests.send_request(connect_to("10.0.0.1:80"), false).unwrap();
    let response = response.await.unwrap();
    assert_eq!(running.load(Ordering::SeqCst), 1);
    drop((requests, send, response));
    let ended = limits::HBONE_SERVER_IDLE_MAX * 2 + limits::HBONE_HANDLERS_END_DEADLINE;
    let _ = timeout(ended, served).await.expect("the connection ends").unwrap();
    assert_eq!(running.load(Ordering::SeqCst), 0);
}

struct Running(Arc<AtomicUsize>);

impl Running {
    fn new(count: Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn no_empty_frame_but_the_last_is_sent() {
    let (near, far) = tokio::io::duplex(MIB);
    let frames = tokio::spawn(async move {
        let mut connection = h2::server::handshake(far).await.unwrap();
        let (request, mut respond) = connection.accept().await.unwrap().unwrap();
        let _send = respond.send_response(http::Response::new(()), false).unwrap();
        tokio::spawn(async move { while connection.accept().await.is_some() {} });
        let (mut body, mut sizes) = (request.into_body(), Vec::new());
        while let Some(data) = poll_fn(|cx| body.poll_data(cx)).await {
            let data = data.unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            sizes.push(data.len());
        }
        sizes
    });
    let connection = Connection::start(near, KeepaliveSettings::default()).await.unwrap();
    let (mut stream, _) = connection.open(&request()).await.unwrap();
    for bytes in [&b"one"[..], b"", b"two", b""] {
        stream.write_all(bytes).await.unwrap();
        stream.flush().await.unwrap();
    }
    stream.shutdown().await.unwrap();
    stream.shutdown().await.unwrap();
    let sizes = frames.await.unwrap();
    let empty = sizes.iter().filter(|size| **size == 0).count();
    assert!(empty <= 1 && sizes.iter().sum::<usize>() == 6, "{sizes:?}");
}
