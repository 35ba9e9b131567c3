//! Who may be quiet, and for how long: bodies, responses, conversations.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weft_core::hbone::TunnelStream;
use weft_proto::route::HttpRule;
use weft_proto::workload::AppProtocol;

use super::{in_http_one, neighbour_is_served, pass, rest, stage_of};
use crate::limits;
use crate::tests::app::{self, beginning, quiet_line};
use crate::tests::frames::{Attacker, DATA, END_HEADERS, HEADERS, frame, literal, request};
use crate::tests::stage::{Stage, WEB};

const LINE: &str = "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n";
/// `:status` by its name's index, and 408 by Huffman's code (RFC 7541).
const STATUS_408: [u8; 5] = [0x48, 0x83, 0x68, 0x0f, 0x7f];

/// A client that has heard `heard` of an application's answer.
async fn hearing(answer: &'static str, heard: &str) -> (Stage, TunnelStream) {
    let stage = Stage::new().await;
    stage.web(&[beginning(answer).await], AppProtocol::Http11);
    stage.logs(WEB, LINE);
    let head = "GET /quiet HTTP/1.1\r\nhost: web\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n";
    let tunnel = app::hearing(&stage, head, heard).await;
    (stage, tunnel)
}

#[tokio::test]
async fn body_that_does_not_come_in_http_two_is_answered_408() {
    let (stage, _app) = stage_of(AppProtocol::Http11).await;
    stage.routes(vec![HttpRule::default()], vec![in_http_one()]);
    stage.logs(WEB, LINE);
    let mut silent = Attacker::new(&stage).await;
    silent.send(&frame(HEADERS, END_HEADERS, 1, &request("POST", "/quiet"))).await;
    silent.send(&frame(DATA, 0, 1, b"abc")).await;
    pass(&stage, limits::MESSAGE_SILENCE_MAX).await;
    let came = silent.read.until(HEADERS).await.expect("an answer");
    assert_eq!(came.payload[..5], STATUS_408);
    assert_eq!(quiet_line(&stage).await, "/quiet 408 SI stream_idle_timeout");
}

#[tokio::test]
async fn body_of_declared_length_that_trickles_is_answered_408() {
    let (stage, _app) = stage_of(AppProtocol::Http11).await;
    stage.logs(WEB, LINE);
    let mut tunnel = stage.to_web().await;
    let head = "POST /quiet HTTP/1.1\r\nhost: web\r\ncontent-length: 1000000\r\n\r\n";
    tunnel.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..4 {
        tunnel.write_all(b"x").await.unwrap();
        pass(&stage, limits::MESSAGE_SILENCE_MAX / 4).await;
    }
    let got = rest(tunnel).await;
    assert!(got.starts_with("HTTP/1.1 408"), "{got:?}");
    assert_eq!(quiet_line(&stage).await, "/quiet 408 - request_overall_timeout");
}

#[tokio::test]
async fn body_of_declared_length_may_be_slow_where_it_is_not_all_too_slow() {
    let (stage, app) = stage_of(AppProtocol::Http11).await;
    let mut tunnel = stage.to_web().await;
    let part = vec![b'x'; usize::try_from(limits::BODY_BYTES_MIN).unwrap()];
    let head = format!(
        "POST /quiet HTTP/1.1\r\nhost: web\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        part.len() * 6
    );
    tunnel.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..6 {
        tunnel.write_all(&part).await.unwrap();
        pass(&stage, limits::MESSAGE_SILENCE_MAX / 2).await;
    }
    let got = rest(tunnel).await;
    assert!(got.starts_with("HTTP/1.1 200"), "{got:?}");
    assert!(app.asked.lock().iter().any(|it| it.body().len() == part.len() * 6));
}

/// Whoever writes as it comes about, such as a log that is sent on, says little for long.
#[tokio::test]
async fn body_without_declared_length_may_trickle_until_the_request_has_had_its_hour() {
    let (stage, _app) = stage_of(AppProtocol::Http11).await;
    let mut tunnel = stage.to_web().await;
    let head = "POST /quiet HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n";
    tunnel.write_all(head.as_bytes()).await.unwrap();
    let parts = limits::RESPONSE_HEAD_DEADLINE.as_secs() / 200;
    for _ in 0..parts - 1 {
        tunnel.write_all(b"1\r\nx\r\n").await.unwrap();
        pass(&stage, Duration::from_secs(200)).await;
    }
    let mut more = [0];
    assert!(futures::FutureExt::now_or_never(tunnel.read(&mut more)).is_none(), "it is waited for");
    pass(&stage, Duration::from_secs(200)).await;
    let got = rest(tunnel).await;
    assert!(got.starts_with("HTTP/1.1 504"), "{got:?}");
}

#[tokio::test]
async fn application_that_falls_silent_within_a_response_is_cut_off() {
    let measured = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";
    let (stage, tunnel) = hearing(measured, "half").await;
    pass(&stage, limits::MESSAGE_SILENCE_MAX).await;
    rest(tunnel).await;
    assert_eq!(quiet_line(&stage).await, "/quiet 200 SI stream_idle_timeout");

    let streamed = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    let (stage, mut tunnel) = hearing(streamed, "half\r\n").await;
    pass(&stage, limits::STREAM_SILENCE_MAX / 2).await;
    neighbour_is_served(&stage, 3).await;
    let mut more = [0];
    assert!(futures::FutureExt::now_or_never(tunnel.read(&mut more)).is_none(), "it goes on");
    pass(&stage, limits::STREAM_SILENCE_MAX / 2).await;
    rest(tunnel).await;
    assert_eq!(quiet_line(&stage).await, "/quiet 200 SI stream_idle_timeout");
}

#[tokio::test]
async fn conversations_and_events_may_be_quiet_for_hours() {
    let upgraded =
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n";
    let events = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    for (answer, heard) in [(upgraded, "\r\n\r\n"), (events, "half\r\n")] {
        let (stage, mut tunnel) = hearing(answer, heard).await;
        for _ in 0..10 {
            pass(&stage, Duration::from_secs(3_600)).await;
        }
        neighbour_is_served(&stage, 3).await;
        let mut more = [0];
        let read = futures::FutureExt::now_or_never(tunnel.read(&mut more));
        assert!(read.is_none(), "{answer}: {read:?}");
    }
    let (stage, mut tunnel) = hearing(upgraded, "\r\n\r\n").await;
    pass(&stage, Duration::from_secs(36_000)).await;
    tunnel.write_all(b"still there").await.unwrap();
    let mut heard = [0; 11];
    tunnel.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"still there");
}

#[tokio::test]
async fn grpc_may_be_quiet_while_its_request_goes_on() {
    let (stage, _app) = stage_of(AppProtocol::Http11).await;
    stage.routes(vec![HttpRule::default()], vec![in_http_one()]);
    let mut quiet = Attacker::new(&stage).await;
    let mut head = request("POST", "/quiet");
    head.extend(literal("content-type", "application/grpc"));
    quiet.send(&frame(HEADERS, END_HEADERS, 1, &head)).await;
    pass(&stage, limits::RESPONSE_HEAD_DEADLINE / 2).await;
    neighbour_is_served(&stage, 3).await;
    let came = tokio::time::timeout(Duration::from_millis(50), quiet.read.until(HEADERS)).await;
    assert!(came.is_err(), "{came:?}");
}
