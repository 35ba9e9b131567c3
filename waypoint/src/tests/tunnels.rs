//! Which tunnels are served, and what is spoken in them.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use weft_core::hbone::HboneError;
use weft_proto::workload::AppProtocol;

use super::app::{App, serve};
use super::stage::{Stage, WEB, WEB_VIP};

fn status(refused: Result<weft_core::hbone::TunnelStream, HboneError>) -> u16 {
    match refused {
        Err(HboneError::Status(status)) => status.as_u16(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_not_bound_is_not_served() {
    let app = App::named("ok").await;
    let stage = Stage::with_web(app.at).await;
    stage.service("free", "10.96.0.9", &[(80, 80, AppProtocol::Http11)], false);
    assert_eq!(status(stage.tunnel("10.96.0.9:80").await), 421);
    assert_eq!(status(stage.tunnel("free.shop.svc.cluster.local:80").await), 421);
    assert_eq!(status(stage.tunnel("10.1.2.3:80").await), 404);
    assert_eq!(status(stage.tunnel(&format!("{WEB_VIP}:81")).await), 404);
    assert_eq!(status(stage.tunnel(&app.at.to_string()).await), 421);
    assert!(stage.tunnel(&format!("{WEB}:80")).await.is_ok());
}

#[tokio::test]
async fn application_that_speaks_first_is_heard_on_a_port_without_a_protocol() {
    let at = serve(|mut tcp| async move {
        let _ = tcp.write_all(b"220 ready\r\n").await;
        let (mut from, mut into) = tcp.split();
        let _ = tokio::io::copy(&mut from, &mut into).await;
    })
    .await;
    let stage = Stage::new().await;
    stage.web(&[at], AppProtocol::Unknown);
    for _ in 0..3 {
        let mut tunnel = stage.to_web().await;
        let mut greeting = [0; 11];
        timeout(Duration::from_secs(10), tunnel.read_exact(&mut greeting)).await.unwrap().unwrap();
        tunnel.write_all(b"EHLO").await.unwrap();
        let mut echoed = [0; 4];
        timeout(Duration::from_secs(10), tunnel.read_exact(&mut echoed)).await.unwrap().unwrap();
        assert_eq!((&greeting, &echoed), (b"220 ready\r\n", b"EHLO"));
    }
}

#[tokio::test]
async fn http_is_found_on_a_port_without_a_protocol() {
    let app = App::named("ok").await;
    let stage = Stage::new().await;
    stage.web(&[app.at], AppProtocol::Unknown);
    let answered = stage.get("/").await;
    assert_eq!(answered.body, "ok");
    // Only what was read as HTTP has one.
    assert!(app.asked.lock()[0].headers().contains_key("x-request-id"));
}

#[tokio::test]
async fn bytes_of_another_protocol_pass_untouched() {
    let at = serve(|mut tcp| async move {
        let (mut from, mut into) = tcp.split();
        let _ = tokio::io::copy(&mut from, &mut into).await;
        let _ = into.shutdown().await;
    })
    .await;
    for protocol in [AppProtocol::Unknown, AppProtocol::Tcp] {
        let stage = Stage::new().await;
        stage.web(&[at], protocol);
        let mut tunnel = stage.to_web().await;
        tunnel.write_all(b"\x16\x03\x01 anything").await.unwrap();
        tunnel.shutdown().await.unwrap();
        let mut echoed = Vec::new();
        timeout(Duration::from_secs(10), tunnel.read_to_end(&mut echoed)).await.unwrap().unwrap();
        assert_eq!(echoed, b"\x16\x03\x01 anything");
    }
}

#[tokio::test]
async fn caller_of_a_tcp_port_is_told_that_the_application_is_not_reached() {
    let stage = Stage::new().await;
    stage.web(&["127.0.1.1:9".parse().unwrap()], AppProtocol::Tcp);
    assert_eq!(status(stage.tunnel(&format!("{WEB_VIP}:80")).await), 503);
}
