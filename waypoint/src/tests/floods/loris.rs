//! Clients that are slow on purpose, at every stage of a request. The clock is moved on once they have fallen silent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use weft_proto::workload::AppProtocol;

use super::{neighbour_is_served, pass, rest, served_until, stage_of, within_bounds};
use crate::limits;
use crate::tests::app::serve;
use crate::tests::frames::{
    Attacker, CONTINUATION, END_HEADERS, END_STREAM, HEADERS, frame, request,
};
use crate::tests::stage::Stage;

#[tokio::test]
async fn slow_head_is_answered_408() {
    let (stage, app) = stage_of(AppProtocol::Http11).await;
    for part in ["G", "GET / HTTP/1.1", "GET / HTTP/1.1\r\nhost: web\r\nx: "] {
        let before = app.count();
        let mut tunnel = stage.to_web().await;
        tunnel.write_all(part.as_bytes()).await.unwrap();
        pass(&stage, limits::REQUEST_HEAD_DEADLINE).await;
        let got = rest(tunnel).await;
        assert!(got.starts_with("HTTP/1.1 408"), "{part:?}: {got:?}");
        assert_eq!(app.count(), before + 6);
    }
}

#[tokio::test]
async fn head_that_trickles_has_one_deadline_for_all_of_it() {
    let (stage, _app) = stage_of(AppProtocol::Http11).await;
    let mut tunnel = stage.to_web().await;
    tunnel.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    for _ in 0..3 {
        pass(&stage, limits::REQUEST_HEAD_DEADLINE / 4).await;
        tunnel.write_all(b"x: y\r\n").await.unwrap();
    }
    pass(&stage, limits::REQUEST_HEAD_DEADLINE / 4).await;
    let got = rest(tunnel).await;
    assert!(got.starts_with("HTTP/1.1 408"), "{got:?}");
}

#[tokio::test]
async fn beginning_that_could_be_anything_is_not_waited_for_long() {
    let (stage, _app) = stage_of(AppProtocol::Http11).await;
    let mut tunnel = stage.to_web().await;
    // HTTP/2's preface, or a method.
    tunnel.write_all(b"PRI * HT").await.unwrap();
    pass(&stage, limits::REQUEST_HEAD_DEADLINE).await;
    assert_eq!(rest(tunnel).await, "");
}

#[tokio::test]
async fn slow_body_is_answered_408() {
    let (stage, app) = stage_of(AppProtocol::Http11).await;
    let chunked = "transfer-encoding: chunked\r\n\r\n";
    for (head, part) in [
        ("content-length: 10\r\n\r\n", ""),
        ("content-length: 10\r\n\r\n", "abc"),
        (chunked, "5"),
        (chunked, "5\r\nab"),
        (chunked, "5\r\nabcde"),
        (chunked, "0\r\n"),
        (chunked, "0\r\nx: y\r\n"),
    ] {
        let before = app.count();
        let mut tunnel = stage.to_web().await;
        let sent = format!("POST / HTTP/1.1\r\nhost: web\r\n{head}{part}");
        tunnel.write_all(sent.as_bytes()).await.unwrap();
        pass(&stage, limits::MESSAGE_SILENCE_MAX).await;
        let got = rest(tunnel).await;
        assert!(got.starts_with("HTTP/1.1 408"), "{head:?} {part:?}: {got:?}");
        assert_eq!(app.count(), before + 6);
    }
}

#[tokio::test]
async fn http_two_that_never_gets_to_a_request_is_let_go() {
    let (stage, _app) = stage_of(AppProtocol::Http11).await;
    let mut idle = Attacker::new(&stage).await;
    pass(&stage, limits::DOWNSTREAM_IDLE_MAX).await;
    assert_eq!(idle.read.until_goaway().await, Some(0));
}

#[tokio::test]
async fn header_block_that_does_not_end_closes_its_connection() {
    let (stage, _app) = stage_of(AppProtocol::Http11).await;
    let mut half = Attacker::new(&stage).await;
    half.send(&frame(HEADERS, END_STREAM, 1, &request("GET", "/"))).await;
    pass(&stage, limits::REQUEST_HEAD_DEADLINE).await;
    while half.read.next().await.is_some() {}

    let mut slow = Attacker::new(&stage).await;
    slow.send(&frame(HEADERS, END_STREAM, 1, &request("GET", "/"))).await;
    for _ in 0..4 {
        pass(&stage, limits::REQUEST_HEAD_DEADLINE / 4).await;
        let _may_be_over = slow.write.write_all(&frame(CONTINUATION, 0, 1, b"")).await;
    }
    while slow.read.next().await.is_some() {}
}

/// An application that answers without end, and counts what was taken from it.
async fn endless() -> (std::net::SocketAddr, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (taken, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (count, served) = (taken.clone(), open.clone());
    let at = serve(move |mut tcp| {
        let (count, served) = (count.clone(), served.clone());
        async move {
            let mut read = vec![0; 4096];
            let read = match tcp.read(&mut read).await {
                Ok(count) => String::from_utf8_lossy(&read[..count]).into_owned(),
                Err(_) => return,
            };
            if read.contains("/neighbour") {
                let ok = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
                let _sent = tcp.write_all(ok).await;
                return;
            }
            served.fetch_add(1, Ordering::SeqCst);
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n";
            let _sent = tcp.write_all(head).await;
            while let Ok(sent) = tcp.write(&[b'x'; 16 << 10]).await {
                count.fetch_add(sent, Ordering::SeqCst);
            }
            served.fetch_sub(1, Ordering::SeqCst);
        }
    })
    .await;
    (at, taken, open)
}

/// Waits until no more is taken, for as long as a few requests of a neighbour take.
async fn settled(stage: &Stage, taken: &AtomicUsize) -> usize {
    let began = Instant::now();
    let mut before = taken.load(Ordering::SeqCst);
    loop {
        assert!(began.elapsed() < Duration::from_secs(30), "{before} were taken, and no end");
        neighbour_is_served(stage, 5).await;
        let now = taken.load(Ordering::SeqCst);
        if now == before && now > 0 {
            return now;
        }
        before = now;
    }
}

#[test]
fn response_that_is_not_read_stops_the_application_and_is_cut_in_the_end() {
    within_bounds(async |stage, _| {
        let (at, taken, open) = endless().await;
        stage.workload("web-0", &at.ip().to_string(), &[(crate::tests::stage::WEB, 80, at.port())]);
        let mut tunnel = stage.to_web().await;
        tunnel.write_all(b"GET / HTTP/1.1\r\nhost: web\r\n\r\n").await.unwrap();
        let taken = settled(stage, &taken).await;
        // The tunnel's window, and sockets that grow on loopback.
        assert!(taken < 16 << 20, "{taken}");
        assert_eq!(open.load(Ordering::SeqCst), 1);
        pass(stage, limits::MESSAGE_SILENCE_MAX).await;
        served_until(stage, || open.load(Ordering::SeqCst) == 0).await;
        // Nothing of it was read until here.
        drop(tunnel);
    });
}

#[test]
fn streams_without_window_stop_their_applications_and_are_cut_in_the_end() {
    const STREAMS: u32 = 20;
    within_bounds(async |stage, _| {
        let (at, taken, open) = endless().await;
        stage.workload("web-0", &at.ip().to_string(), &[(crate::tests::stage::WEB, 80, at.port())]);
        // SETTINGS_INITIAL_WINDOW_SIZE: nothing.
        let mut attacker = Attacker::with(stage, &[0, 4, 0, 0, 0, 0]).await;
        for number in 0..STREAMS {
            let stream = number * 2 + 1;
            let open = frame(HEADERS, END_HEADERS | END_STREAM, stream, &request("GET", "/"));
            attacker.send(&open).await;
        }
        let most = usize::try_from(STREAMS).unwrap();
        served_until(stage, || open.load(Ordering::SeqCst) == most).await;
        settled(stage, &taken).await;
        pass(stage, limits::MESSAGE_SILENCE_MAX).await;
        served_until(stage, || open.load(Ordering::SeqCst) == 0).await;
    });
}
