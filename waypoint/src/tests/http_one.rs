//! HTTP/1.1 through a tunnel.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::timeout;
use weft_core::hbone::TunnelStream;

use super::app::{App, serve};
use super::stage::{Answered, Stage, request};

/// Sends raw bytes and reads until `until` is there, or the end.
async fn raw(stage: &Stage, sent: &[u8], until: &str) -> String {
    let mut tunnel = stage.to_web().await;
    tunnel.write_all(sent).await.unwrap();
    tunnel.flush().await.unwrap();
    let mut read = Vec::new();
    let reading = async {
        while tunnel.read_buf(&mut read).await.is_ok_and(|count| count > 0) {
            if String::from_utf8_lossy(&read).contains(until) {
                break;
            }
        }
    };
    let answered = timeout(Duration::from_secs(10), reading).await;
    answered.unwrap_or_else(|_| {
        panic!(
            "no answer to {:?}: {:?}",
            String::from_utf8_lossy(sent),
            String::from_utf8_lossy(&read)
        )
    });
    String::from_utf8(read).unwrap()
}

#[tokio::test]
async fn request_and_response_pass_whole() {
    let app = App::new(|_, request| {
        let body = format!("{} {}", request.method(), request.body());
        Response::builder().header("x-app", "yes").body(Full::new(body.into())).unwrap()
    })
    .await;
    let stage = Stage::with_web(app.at).await;
    let answered = stage.ask(request("POST", "/a?b=c", "hello")).await;
    assert_eq!((answered.status, &*answered.body), (200, "POST hello"));
    assert_eq!(answered.headers["x-app"], "yes");
    let asked = app.asked.lock();
    assert_eq!(asked[0].uri(), "/a?b=c");
    assert_eq!(asked[0].headers()["host"], "web.shop");
    assert_eq!(asked[0].headers()["x-request-id"].len(), 36);
}

#[tokio::test]
async fn connections_to_an_application_are_kept_across_requests_and_clients() {
    let app = App::named("ok").await;
    let stage = Stage::with_web(app.at).await;
    let tunnel = stage.to_web().await;
    let (mut sender, connection) = http1::handshake(TokioIo::new(tunnel)).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..5 {
        sender.ready().await.unwrap();
        let response = sender.send_request(request("GET", "/", "")).await.unwrap();
        assert_eq!(Answered::of(response).await.body, "ok");
    }
    stage.get("/").await;
    assert_eq!((app.count(), app.connections.load(Ordering::SeqCst)), (6, 1));
}

#[tokio::test]
async fn application_that_closed_an_idle_connection_costs_no_request() {
    // Answers once on each connection and then closes it, having said that it wouldn't.
    let at = serve(|mut tcp| async move {
        let mut read = [0; 4096];
        let _ = tcp.read(&mut read).await;
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    })
    .await;
    let stage = Stage::with_web(at).await;
    for _ in 0..20 {
        assert_eq!(stage.get("/").await.status, 200);
    }
}

#[tokio::test]
async fn chunked_bodies_pass_both_ways() {
    let app = App::new(|_, request| Response::new(Full::new(request.body().clone().into()))).await;
    let stage = Stage::with_web(app.at).await;
    let sent = b"POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    let got = raw(&stage, sent, "abcde").await;
    assert!(got.starts_with("HTTP/1.1 200 OK"), "{got}");
    assert_eq!(app.asked.lock()[0].body(), "abcde");
}

#[tokio::test]
async fn head_has_the_length_and_no_body() {
    let app = App::new(|_, _| {
        let answer = Response::builder().header("content-length", "5");
        answer.body(Full::new(Bytes::from_static(b"hello"))).unwrap()
    })
    .await;
    let stage = Stage::with_web(app.at).await;
    let both = b"HEAD / HTTP/1.1\r\nhost: web\r\n\r\nGET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n";
    let got = raw(&stage, both, "hello").await;
    assert_eq!(got.to_lowercase().matches("content-length: 5").count(), 2, "{got}");
    assert_eq!(got.matches("hello").count(), 1, "{got}");
}

#[tokio::test]
async fn client_that_waits_to_be_asked_for_its_body_is_asked() {
    let app = App::new(|_, request| Response::new(Full::new(request.body().clone().into()))).await;
    let stage = Stage::with_web(app.at).await;
    let mut tunnel = stage.to_web().await;
    let head = b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n";
    tunnel.write_all(head).await.unwrap();
    let mut invited = [0; 25];
    timeout(Duration::from_secs(10), tunnel.read_exact(&mut invited)).await.unwrap().unwrap();
    assert_eq!(&invited, b"HTTP/1.1 100 Continue\r\n\r\n");
    tunnel.write_all(b"hi").await.unwrap();
    let mut got = vec![0; 15];
    timeout(Duration::from_secs(10), tunnel.read_exact(&mut got)).await.unwrap().unwrap();
    assert_eq!(&got, b"HTTP/1.1 200 OK");
}

#[tokio::test]
async fn client_that_ended_its_side_is_still_answered() {
    let app = App::named("late").await;
    let stage = Stage::with_web(app.at).await;
    let mut tunnel = stage.to_web().await;
    tunnel.write_all(b"GET / HTTP/1.1\r\nhost: web\r\n\r\n").await.unwrap();
    tunnel.shutdown().await.unwrap();
    let mut got = String::new();
    timeout(Duration::from_secs(10), tunnel.read_to_string(&mut got)).await.unwrap().unwrap();
    assert!(got.ends_with("late"), "{got}");
}

#[tokio::test]
async fn application_that_answers_early_is_heard() {
    let at = serve(|mut tcp| async move {
        let mut read = [0; 1024];
        let _ = tcp.read(&mut read).await;
        let refusal =
            b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        let _ = tcp.write_all(refusal).await;
        // Reads on, so that no reset takes the answer back.
        let mut rest = Vec::new();
        let _ = tcp.read_to_end(&mut rest).await;
    })
    .await;
    let stage = Stage::with_web(at).await;
    let mut tunnel = stage.to_web().await;
    tunnel
        .write_all(b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 1000000\r\n\r\nxx")
        .await
        .unwrap();
    let mut got = [0; 12];
    timeout(Duration::from_secs(10), tunnel.read_exact(&mut got)).await.unwrap().unwrap();
    assert_eq!(&got, b"HTTP/1.1 413");
}

/// An application that answers the first request on each connection with these pieces, the next when it is asked for it.
async fn in_pieces(pieces: &'static [&'static str]) -> (Stage, Arc<Notify>) {
    let more = Arc::<Notify>::default();
    let wanted = more.clone();
    let at = serve(move |mut tcp| {
        let wanted = wanted.clone();
        async move {
            let mut read = [0; 4096];
            let _ = tcp.read(&mut read).await;
            for piece in pieces {
                tcp.write_all(piece.as_bytes()).await.unwrap();
                wanted.notified().await;
            }
        }
    })
    .await;
    (Stage::with_web(at).await, more)
}

async fn next_frame(tunnel: &mut TunnelStream) -> String {
    let taking = timeout(Duration::from_secs(10), poll_fn(|cx| tunnel.poll_take(cx)));
    String::from_utf8(taking.await.unwrap().unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn head_and_body_that_came_together_are_one_frame() {
    for answer in [
        &["HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwhole"],
        &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n"],
    ] {
        let (stage, _more) = in_pieces(answer).await;
        let mut tunnel = stage.to_web().await;
        tunnel.write_all(b"GET / HTTP/1.1\r\nhost: web.shop\r\n\r\n").await.unwrap();
        let frame = next_frame(&mut tunnel).await;
        assert!(frame.starts_with("HTTP/1.1 200") && frame.contains("whole"), "{frame}");
    }
}

#[tokio::test]
async fn what_has_come_is_not_held_back_for_what_is_still_to_come() {
    let pieces = &[
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        "5\r\nfirst\r\n",
        "6\r\nsecond\r\n",
        "0\r\n\r\n",
    ];
    let (stage, more) = in_pieces(pieces).await;
    let mut tunnel = stage.to_web().await;
    tunnel.write_all(b"GET / HTTP/1.1\r\nhost: web.shop\r\n\r\n").await.unwrap();
    for expected in ["HTTP/1.1 200 OK", "first", "second", "0\r\n\r\n"] {
        let frame = next_frame(&mut tunnel).await;
        assert!(frame.contains(expected), "{expected}: {frame}");
        more.notify_one();
    }
}

#[tokio::test]
async fn response_that_ends_early_is_not_taken_for_whole() {
    let at = serve(|mut tcp| async move {
        let mut read = [0; 1024];
        let _ = tcp.read(&mut read).await;
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await;
    })
    .await;
    let stage = Stage::with_web(at).await;
    let mut tunnel = stage.to_web().await;
    tunnel.write_all(b"GET / HTTP/1.1\r\nhost: web\r\n\r\n").await.unwrap();
    let mut got = Vec::new();
    let end = timeout(Duration::from_secs(10), tunnel.read_to_end(&mut got)).await.unwrap();
    assert!(end.is_err(), "a reset, and no clean end: {}", String::from_utf8_lossy(&got));
}

#[tokio::test]
async fn what_two_programs_could_read_in_two_ways_reaches_no_application() {
    let app = App::named("reached").await;
    let stage = Stage::with_web(app.at).await;
    for bad in [
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabc",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx: a\nb: c\r\n\r\n",
        "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET nowhere HTTP/1.1\r\nhost: a\r\n\r\n",
    ] {
        let got = raw(&stage, bad.as_bytes(), "HTTP/1.1 400").await;
        assert!(got.starts_with("HTTP/1.1 400") || got.is_empty(), "{bad:?}: {got}");
    }
    assert_eq!(app.count(), 0);
}

#[tokio::test]
async fn websocket_carries_bytes_both_ways_once_the_application_agreed() {
    let at = serve(|mut tcp| async move {
        let mut read = vec![0; 4096];
        let count = tcp.read(&mut read).await.unwrap();
        let asked = String::from_utf8_lossy(&read[..count]).to_lowercase();
        assert!(asked.contains("upgrade: websocket") && asked.contains("connection: upgrade"));
        let agreed = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhi";
        tcp.write_all(agreed).await.unwrap();
        let (mut from, mut into) = tcp.split();
        let _ = tokio::io::copy(&mut from, &mut into).await;
    })
    .await;
    let stage = Stage::with_web(at).await;
    let mut tunnel = stage.to_web().await;
    let asked =
        b"GET /chat HTTP/1.1\r\nhost: web\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
    tunnel.write_all(asked).await.unwrap();
    let mut got = Vec::new();
    while !got.ends_with(b"\r\n\r\nhi") {
        let read = timeout(Duration::from_secs(10), tunnel.read_buf(&mut got)).await.unwrap();
        assert!(read.unwrap() > 0, "{}", String::from_utf8_lossy(&got));
    }
    assert!(got.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&got));
    tunnel.write_all(b"\x81\x02ab").await.unwrap();
    let mut echoed = [0; 4];
    timeout(Duration::from_secs(10), tunnel.read_exact(&mut echoed)).await.unwrap().unwrap();
    assert_eq!(&echoed, b"\x81\x02ab");
}

#[tokio::test]
async fn unreachable_application_is_answered_503() {
    let stage = Stage::with_web("127.0.1.1:9".parse().unwrap()).await;
    let answered = stage.get("/").await;
    assert_eq!(answered.status, 503);
    assert!(answered.body.contains("connection failure"), "{}", answered.body);
}
