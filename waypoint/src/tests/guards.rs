//! What stands before a backend: policies, limits, breakers, outlier detection.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weft_proto::contract::type_url;
use weft_proto::route;
use weft_proto::workload::AppProtocol;

use super::app::{App, serve};
use super::stage::{Stage, WEB, request};

/// An ALLOW policy for `GET /stock`.
fn readers() -> route::AccessPolicy {
    use route::access_matcher::Kind;
    use route::text_match::Kind as Text;
    let text = |kind| route::TextMatch { kind: Some(kind), ignore_case: false };
    let matcher = |kind| route::AccessMatcher { kind: Some(kind), ..Default::default() };
    let method = route::TextValues { values: vec![text(Text::Exact("GET".into()))] };
    let term = route::AccessTerm { all: vec![matcher(Kind::Method(method))] };
    let rule = route::AccessRule { to: vec![term], ..Default::default() };
    let policy = route::Policy {
        name: "ns[shop]-policy[readers]".into(),
        dry_run: false,
        rules: vec![rule],
    };
    route::AccessPolicy { allow: vec![policy], ..Default::default() }
}

#[tokio::test]
async fn what_no_policy_allows_reaches_no_application() {
    let app = App::named("ok").await;
    let stage = Stage::with_web(app.at).await;
    stage.access(WEB, readers());
    assert_eq!(stage.get("/stock").await.status, 200);
    let refused = stage.ask(request("DELETE", "/stock", "")).await;
    assert_eq!((refused.status, &*refused.body), (403, "RBAC: access denied"));
    assert_eq!(app.count(), 1);
}

#[tokio::test]
async fn service_whose_policies_have_not_come_is_not_served() {
    let app = App::named("ok").await;
    let stage = Stage::with_web(app.at).await;
    stage.tell(type_url::ACCESS_POLICY, &format!("shop/{WEB}"), None);
    assert_eq!(stage.get("/").await.status, 503);
    assert_eq!(app.count(), 0);
}

#[tokio::test]
async fn policy_that_was_damaged_refuses_everything() {
    let app = App::named("ok").await;
    let stage = Stage::with_web(app.at).await;
    stage.tell(type_url::ACCESS_POLICY, &format!("shop/{WEB}"), Some(vec![1, 2, 3]));
    assert_eq!(stage.get("/").await.status, 403);
    assert_eq!(app.count(), 0);
}

#[tokio::test]
async fn instructions_to_proxies_are_not_taken_from_clients() {
    let app = App::named("ok").await;
    let stage = Stage::with_web(app.at).await;
    let mut asked = request("GET", "/", "");
    for name in ["x-envoy-retry-on", "x-forwarded-client-cert", "x-istio-attributes", "x-kept"] {
        asked.headers_mut().insert(name, "1".parse().unwrap());
    }
    stage.ask(asked).await;
    let seen = app.asked.lock();
    let names: Vec<_> =
        seen[0].headers().keys().filter(|it| it.as_str().starts_with("x-")).collect();
    assert_eq!(names, ["x-kept", "x-request-id", "x-forwarded-proto"]);
}

#[tokio::test]
async fn paths_are_judged_and_sent_on_in_one_form() {
    let app = App::named("ok").await;
    let stage = Stage::with_web(app.at).await;
    stage.get("/a/../stock/%41").await;
    assert_eq!(app.asked.lock()[0].uri(), "/stock/A");
}

fn settings(settings: route::BackendSettings) -> route::BackendPolicy {
    route::BackendPolicy { settings: Some(settings), ..Default::default() }
}

#[tokio::test]
async fn requests_beyond_the_breaker_are_refused_at_once() {
    let at = serve(|mut tcp| async move {
        let mut read = Vec::new();
        let _ = tcp.read_to_end(&mut read).await;
    })
    .await;
    let stage = Stage::with_web(at).await;
    let pool = route::ConnectionPool { requests_max: 1, ..Default::default() };
    stage.backends(
        WEB,
        settings(route::BackendSettings { connection_pool: Some(pool), ..Default::default() }),
    );
    let mut first = stage.to_web().await;
    first.write_all(b"GET / HTTP/1.1\r\nhost: web\r\n\r\n").await.unwrap();
    let refused = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            // The first one may not have arrived yet; it never ends, and so stands for all others.
            let asked = tokio::time::timeout(Duration::from_millis(200), stage.get("/")).await;
            if let Ok(answered) = asked {
                break answered;
            }
        }
    });
    let refused = refused.await.unwrap();
    assert_eq!(
        (refused.status, &refused.headers["x-envoy-overloaded"]),
        (503, &"true".parse().unwrap())
    );
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_for_their_turn() {
    let app = App::named("ok").await;
    let stage = Stage::with_web(app.at).await;
    let pool = route::ConnectionPool { connections_max: 1, ..Default::default() };
    stage.backends(
        WEB,
        settings(route::BackendSettings { connection_pool: Some(pool), ..Default::default() }),
    );
    let all = futures::future::join_all((0..20).map(|_| stage.get("/"))).await;
    assert!(all.iter().all(|answered| answered.status == 200));
    assert_eq!(app.count(), 20);
}

#[tokio::test]
async fn endpoint_that_fails_is_left_out() {
    let good = App::named("good").await;
    let bad =
        App::new(|_, _| Response::builder().status(500).body(Full::new(Bytes::new())).unwrap())
            .await;
    let stage = Stage::new().await;
    stage.web(&[good.at, bad.at], AppProtocol::Http11);
    let outlier = route::OutlierDetection {
        consecutive_5xx: Some(2),
        ejected_percent_max: Some(100),
        ..Default::default()
    };
    stage.backends(
        WEB,
        settings(route::BackendSettings { outlier_detection: Some(outlier), ..Default::default() }),
    );
    let mut failures = 0;
    for _ in 0..100 {
        failures += u32::from(stage.get("/").await.status == 500);
    }
    assert_eq!((failures, bad.count()), (2, 2));
}

/// A bound of ten bytes for requests' bodies.
fn ten_bytes() -> route::AccessPolicy {
    route::AccessPolicy { request_body_bytes_max: 10, ..Default::default() }
}

#[tokio::test]
async fn body_beyond_its_bound_is_answered_413_and_reaches_no_application() {
    let app = App::named("ok").await;
    let stage = Stage::with_web(app.at).await;
    stage.access(WEB, ten_bytes());
    stage.logs(WEB, "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n");
    assert_eq!(stage.ask(request("POST", "/", "0123456789")).await.status, 200);
    assert_eq!(stage.ask(request("POST", "/", "0123456789a")).await.status, 413);
    for body in [
        // All at once, and in two parts of which the first would do; and one that is announced, and waited for no more.
        "transfer-encoding: chunked\r\n\r\nb\r\n0123456789a\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n9\r\n012345678\r\n2\r\n9a\r\n",
        "expect: 100-continue\r\ncontent-length: 11\r\n\r\n",
    ] {
        let mut tunnel = stage.to_web().await;
        let asked = format!("POST / HTTP/1.1\r\nhost: web.shop\r\n{body}");
        tunnel.write_all(asked.as_bytes()).await.unwrap();
        let mut got = Vec::new();
        let reading = tokio::time::timeout(Duration::from_secs(10), tunnel.read_to_end(&mut got));
        let _cut_or_ended = reading.await.expect("the connection ends");
        assert!(got.starts_with(b"HTTP/1.1 413"), "{body}: {}", String::from_utf8_lossy(&got));
    }
    let lines = stage.lines(5).await;
    assert_eq!(lines[1..], vec!["413 - request_payload_too_large"; 4]);
    assert_eq!(app.count(), 1);
}

#[tokio::test]
async fn body_beyond_its_bound_is_answered_413_in_http_two_and_its_neighbours_go_on() {
    use super::frames::{Attacker, DATA, END_HEADERS, END_STREAM, HEADERS, frame, request};
    let app = App::named("ok").await;
    let stage = Stage::with_web(app.at).await;
    stage.routes(vec![route::HttpRule::default()], vec![super::floods::in_http_one()]);
    stage.access(WEB, ten_bytes());
    let mut client = Attacker::new(&stage).await;
    client.send(&frame(HEADERS, END_HEADERS, 1, &request("POST", "/"))).await;
    client.send(&frame(DATA, 0, 1, b"012345")).await;
    client.send(&frame(HEADERS, END_HEADERS, 3, &request("POST", "/"))).await;
    client.send(&frame(DATA, 0, 1, b"6789a")).await;
    // `:status` by its name's index, and 413 by Huffman's code (RFC 7541).
    let came = client.read.until(HEADERS).await.expect("an answer");
    assert_eq!((came.stream, &came.payload[..5]), (1, &[0x48, 0x83, 0x68, 0x2c, 0xff][..]));
    client.send(&frame(DATA, END_STREAM, 3, b"0123456789")).await;
    let came = client.read.until(HEADERS).await.expect("an answer");
    assert_eq!((came.stream, came.payload[0]), (3, 0x88), "200");
}
