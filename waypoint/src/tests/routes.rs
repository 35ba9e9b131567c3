//! What rules do to requests.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use weft_proto::route::condition::Kind;
use weft_proto::route::filter::Kind as Filter;
use weft_proto::route::http_action::Outcome;
use weft_proto::route::path_condition::Kind as Path;
use weft_proto::route::text_match::Kind as Text;
use weft_proto::route::weighted_backend::Target;
use weft_proto::route::{self, abort};
use weft_proto::workload::AppProtocol;

use super::app::{App, serve};
use super::stage::{Stage, request};

fn always(action: u32) -> route::HttpRule {
    route::HttpRule { conditions: Vec::new(), action }
}

fn prefix(prefix: &str, action: u32) -> route::HttpRule {
    let path =
        route::PathCondition { kind: Some(Path::ElementPrefix(prefix.into())), ignore_case: false };
    let condition = route::Condition { kind: Some(Kind::Path(path)), negated: false };
    route::HttpRule { conditions: vec![condition], action }
}

fn with_header(name: &str, value: &str, action: u32) -> route::HttpRule {
    let value = route::TextMatch { kind: Some(Text::Exact(value.into())), ignore_case: false };
    let header = route::HeaderCondition { name: name.into(), value: Some(value) };
    let condition = route::Condition { kind: Some(Kind::Header(header)), negated: false };
    route::HttpRule { conditions: vec![condition], action }
}

fn to(service: &str) -> route::Destination {
    route::Destination {
        namespace: "shop".into(),
        hostname: format!("{service}.shop.svc.cluster.local"),
        port: 80,
        ..Default::default()
    }
}

fn forward(weights: &[(u32, &str)]) -> route::Forward {
    let backend = |(weight, service): &(u32, &str)| route::WeightedBackend {
        weight: *weight,
        target: Some(Target::To(to(service))),
        ..Default::default()
    };
    route::Forward { backends: weights.iter().map(backend).collect(), ..Default::default() }
}

fn action(outcome: Outcome, filters: Vec<Filter>) -> route::HttpAction {
    let filters = filters.into_iter().map(|kind| route::Filter { kind: Some(kind) });
    route::HttpAction { outcome: Some(outcome), filters: filters.collect(), ..Default::default() }
}

fn plain(service: &str) -> route::HttpAction {
    action(Outcome::Forward(forward(&[(1, service)])), Vec::new())
}

const ALL: Option<route::Fraction> = Some(route::Fraction { numerator: 1, denominator: 1 });

/// `web` with two versions beside it, `v1` and `v2`.
async fn versions() -> (Stage, App, App) {
    let (v1, v2) = (App::named("v1").await, App::named("v2").await);
    let stage = Stage::with_web(v1.at).await;
    for (name, vip, app) in [("v1", "10.96.0.11", &v1), ("v2", "10.96.0.12", &v2)] {
        let host = format!("{name}.shop.svc.cluster.local");
        stage.workload(name, &app.at.ip().to_string(), &[(&host, 80, app.at.port())]);
        stage.service(name, vip, &[(80, 80, AppProtocol::Http11)], false);
    }
    (stage, v1, v2)
}

#[tokio::test]
async fn shares_of_backends_are_kept() {
    let (stage, v1, v2) = versions().await;
    let split = forward(&[(80, "v1"), (20, "v2")]);
    stage.routes(vec![always(0)], vec![action(Outcome::Forward(split), Vec::new())]);
    for _ in 0..300 {
        assert_eq!(stage.get("/").await.status, 200);
    }
    assert_eq!(v1.count() + v2.count(), 300);
    // 60 expected, a deviation of 7: five of them.
    assert!((25..=95).contains(&v2.count()), "{}", v2.count());
}

#[tokio::test]
async fn first_matching_rule_counts_and_none_is_404() {
    let (stage, ..) = versions().await;
    let rules = vec![with_header("x-beta-user", "true", 1), prefix("/shop", 0)];
    stage.routes(rules, vec![plain("v1"), plain("v2")]);
    let mut beta = request("GET", "/shop", "");
    beta.headers_mut().insert("x-beta-user", "true".parse().unwrap());
    assert_eq!(stage.ask(beta).await.body, "v2");
    assert_eq!(stage.get("/shop/a").await.body, "v1");
    assert_eq!(stage.get("/shopping").await.status, 404);
}

#[tokio::test]
async fn changed_routes_count_for_the_next_request_of_an_open_connection() {
    let (stage, ..) = versions().await;
    stage.routes(vec![always(0)], vec![plain("v1")]);
    let tunnel = stage.to_web().await;
    let io = hyper_util::rt::TokioIo::new(tunnel);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    for version in ["v1", "v2", "v1"] {
        stage.routes(vec![always(0)], vec![plain(version)]);
        sender.ready().await.unwrap();
        let response = sender.send_request(request("GET", "/", "")).await.unwrap();
        assert_eq!(super::stage::Answered::of(response).await.body, version);
    }
}

#[tokio::test]
async fn faults_are_injected() {
    let (stage, v1, _) = versions().await;
    let delay = route::Delay { share: ALL, delay_ms: 150 };
    let abort = route::Abort { share: ALL, answer: Some(abort::Answer::HttpStatus(418)) };
    let fault = |delay, abort| Filter::Fault(route::Fault { delay, abort });
    let forward = || Outcome::Forward(forward(&[(1, "v1")]));
    let late = action(forward(), vec![fault(Some(delay), None)]);
    let broken = action(forward(), vec![fault(None, Some(abort))]);
    stage.routes(vec![prefix("/late", 0), prefix("/broken", 1)], vec![late, broken]);
    let began = Instant::now();
    assert_eq!(stage.get("/late").await.body, "v1");
    assert!(began.elapsed() >= Duration::from_millis(150));
    assert_eq!(stage.get("/broken").await.status, 418);
    assert_eq!(v1.count(), 1);
}

#[tokio::test]
async fn failed_requests_are_tried_again_as_the_rule_says() {
    let (stage, ..) = versions().await;
    let app = App::new(|number, request| {
        let status = if number < 3 { 503 } else { 200 };
        let body = Full::new(Bytes::from(request.body().clone()));
        Response::builder().status(status).body(body).unwrap()
    })
    .await;
    stage.web(&[app.at], AppProtocol::Http11);
    let retry = route::Retry {
        retries: 2,
        http_codes: vec![503],
        backoff_base_ms: 1,
        backoff_max_ms: 2,
        ..Default::default()
    };
    let trying = route::Forward { retry: Some(retry), ..forward(&[(1, "web")]) };
    stage.routes(vec![always(0)], vec![action(Outcome::Forward(trying), Vec::new())]);
    let answered = stage.ask(request("POST", "/", "again")).await;
    assert_eq!((answered.status, &*answered.body), (200, "again"));
    assert_eq!(app.count(), 3);
    assert!(app.asked.lock().iter().all(|asked| asked.body() == "again"));
}

#[tokio::test]
async fn requests_that_take_too_long_are_answered_504() {
    let (stage, ..) = versions().await;
    let at = serve(|mut tcp| async move {
        let mut read = Vec::new();
        let _ = tcp.read_to_end(&mut read).await;
    })
    .await;
    stage.web(&[at], AppProtocol::Http11);
    let timed = route::Forward { request_timeout_ms: 100, ..forward(&[(1, "web")]) };
    stage.routes(vec![always(0)], vec![action(Outcome::Forward(timed), Vec::new())]);
    let began = Instant::now();
    assert_eq!(stage.get("/").await.status, 504);
    assert!((Duration::from_millis(100)..Duration::from_secs(5)).contains(&began.elapsed()));
}

#[tokio::test]
async fn copies_go_with_their_bodies_and_nobody_waits_for_them() {
    let (stage, v1, _) = versions().await;
    let (heard, mut hear) = tokio::sync::mpsc::channel(1);
    let at = serve(move |mut tcp| {
        let heard = heard.clone();
        async move {
            let mut read = Vec::new();
            while !read.ends_with(b"body") && tcp.read_buf(&mut read).await.unwrap() > 0 {}
            let _ = heard.send(String::from_utf8_lossy(&read).into_owned()).await;
            // Never answers.
            let _ = tcp.read_buf(&mut read).await;
        }
    })
    .await;
    let host = "copy.shop.svc.cluster.local";
    stage.workload("copy", &at.ip().to_string(), &[(host, 80, at.port())]);
    stage.service("copy", "10.96.0.13", &[(80, 80, AppProtocol::Http11)], false);
    let mirror = Filter::Mirror(route::Mirror { to: Some(to("copy")), share: ALL });
    let copied = action(Outcome::Forward(forward(&[(1, "v1")])), vec![mirror]);
    stage.routes(vec![always(0)], vec![copied]);
    assert_eq!(stage.ask(request("POST", "/", "body")).await.body, "v1");
    let copy = tokio::time::timeout(Duration::from_secs(10), hear.recv()).await.unwrap().unwrap();
    assert!(copy.starts_with("POST / HTTP/1.1") && copy.contains("body"), "{copy}");
    assert_eq!(v1.count(), 1);
}

#[tokio::test]
async fn what_became_of_copies_is_counted() {
    let (stage, v1, _) = versions().await;
    let copy = App::named("copy").await;
    let host = "copy.shop.svc.cluster.local";
    stage.workload("copy", &copy.at.ip().to_string(), &[(host, 80, copy.at.port())]);
    stage.service("copy", "10.96.0.13", &[(80, 80, AppProtocol::Http11)], false);
    let mirror = |to| Filter::Mirror(route::Mirror { to: Some(to), share: ALL });
    let mirrors = vec![mirror(to("copy")), mirror(to("nobody"))];
    stage.routes(vec![always(0)], vec![action(Outcome::Forward(forward(&[(1, "v1")])), mirrors)]);
    let large = "x".repeat(crate::limits::REPLAY_BYTES_MAX);
    for body in ["", "small", &large, &format!("{large}x")] {
        assert_eq!(stage.ask(request("POST", "/", body)).await.body, "v1");
    }
    let count = |result: &str| {
        stage.metric("weft_mirrored_requests_total", &format!("result=\"{result}\""))
    };
    crate::tests::stage::until(|| count("answered") == 3 && count("failed") == 3).await;
    assert_eq!((count("too_large"), copy.count(), v1.count()), (2, 3, 4));
}

#[tokio::test]
async fn headers_paths_and_redirects_follow_the_rule() {
    let (stage, v1, _) = versions().await;
    let pair = |name: &str, value: &str| route::Header { name: name.into(), value: value.into() };
    let edit = |set: route::Header| route::HeaderEdit { set: vec![set], ..Default::default() };
    let rewrite = route::Rewrite {
        authority: "inside".into(),
        path: Some(route::PathRewrite {
            kind: Some(route::path_rewrite::Kind::Prefix("/new".into())),
        }),
    };
    let edited = action(
        Outcome::Forward(forward(&[(1, "v1")])),
        vec![
            Filter::RequestHeaders(edit(pair("x-in", "1"))),
            Filter::ResponseHeaders(edit(pair("x-out", "2"))),
            Filter::Rewrite(rewrite),
        ],
    );
    let redirect = route::Redirect { scheme: "https".into(), status: 308, ..Default::default() };
    let moved = action(Outcome::Redirect(redirect), Vec::new());
    stage.routes(vec![prefix("/old", 0), prefix("/moved", 1)], vec![edited, moved]);
    let answered = stage.get("/old/a?q=1").await;
    assert_eq!(answered.headers["x-out"], "2");
    {
        let asked = v1.asked.lock();
        assert_eq!(asked[0].uri(), "/new/a?q=1");
        assert_eq!(
            (&asked[0].headers()["host"], &asked[0].headers()["x-in"]),
            (&"inside".parse().unwrap(), &"1".parse().unwrap())
        );
    }
    let moved = stage.get("/moved").await;
    assert_eq!(
        (moved.status, &moved.headers["location"]),
        (308, &"https://web.shop/moved".parse().unwrap())
    );
}

#[tokio::test]
async fn consumers_follow_their_own_routes() {
    let (stage, ..) = versions().await;
    let own = route::RouteSet {
        source_namespaces: vec!["other".into()],
        http: Some(route::HttpRoutes { rules: vec![always(0)], actions: vec![plain("v2")] }),
        ..Default::default()
    };
    let common = route::RouteSet {
        http: Some(route::HttpRoutes { rules: vec![always(0)], actions: vec![plain("v1")] }),
        ..Default::default()
    };
    let table = route::RouteTable {
        namespace: "shop".into(),
        hostname: super::stage::WEB.into(),
        sets: vec![own, common],
    };
    let name = format!("shop/{}", super::stage::WEB);
    let bytes = prost::Message::encode_to_vec(&table);
    stage.tell(weft_proto::contract::type_url::ROUTE_TABLE, &name, Some(bytes));
    for (namespace, wanted) in [("shop", "v1"), ("other", "v2")] {
        let authority = format!("{}:80", super::stage::WEB_VIP);
        let mut tunnel = stage.tunnel_of(namespace, &authority).await.unwrap();
        tunnel
            .write_all(b"GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut got = String::new();
        tunnel.read_to_string(&mut got).await.unwrap();
        assert!(got.ends_with(wanted), "{namespace}: {got}");
    }
}
