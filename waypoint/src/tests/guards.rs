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
