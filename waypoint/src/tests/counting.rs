//! A service that counts requests for all waypoints: one of the tests' own, that speaks the real protocol.

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::CONTENT_TYPE;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use weft_proto::ratelimit::rate_limit_response::Code;
use weft_proto::ratelimit::rate_limit_service_server::{RateLimitService, RateLimitServiceServer};
use weft_proto::ratelimit::{HeaderValue, RateLimitRequest, RateLimitResponse};
use weft_proto::route::{self, limit_entry::Value};
use weft_proto::workload::AppProtocol;

use super::app::App;
use super::stage::{Answered, Stage, WEB, request};

type Answer = Option<RateLimitResponse>;

/// Answers always the same; nothing: never.
#[derive(Clone)]
struct Limiter {
    answer: Answer,
    asked: Arc<Mutex<Vec<RateLimitRequest>>>,
}

#[tonic::async_trait]
impl RateLimitService for Limiter {
    async fn should_rate_limit(
        &self,
        request: tonic::Request<RateLimitRequest>,
    ) -> Result<tonic::Response<RateLimitResponse>, tonic::Status> {
        self.asked.lock().push(request.into_inner());
        match &self.answer {
            Some(answer) => Ok(tonic::Response::new(answer.clone())),
            None => std::future::pending().await,
        }
    }
}

fn says(code: Code) -> RateLimitResponse {
    let header = |key: &str, value: &str| HeaderValue {
        key: key.into(),
        value: value.into(),
        raw_value: Vec::new(),
    };
    RateLimitResponse {
        overall_code: code.into(),
        response_headers_to_add: vec![header("x-left", "0")],
        request_headers_to_add: vec![header("x-tier", "free")],
        raw_body: b"slow down".to_vec(),
    }
}

/// `web` behind a limit, an application and the service that counts.
async fn counted(answer: Answer) -> (Stage, App, Limiter) {
    let app = App::named("web").await;
    let stage = Stage::with_web(app.at).await;
    let limiter = Limiter { answer, asked: Arc::default() };
    let listener = TcpListener::bind("127.0.1.253:0").await.unwrap();
    let at: SocketAddr = listener.local_addr().unwrap();
    let serving = tonic::transport::Server::builder()
        .add_service(RateLimitServiceServer::new(limiter.clone()))
        .serve_with_incoming(TcpIncoming::from(listener));
    tokio::spawn(serving);
    let host = "limiter.shop.svc.cluster.local";
    stage.workload("limiter", &at.ip().to_string(), &[(host, 8081, at.port())]);
    stage.service("limiter", "10.96.0.20", &[(8081, 8081, AppProtocol::Grpc)], false);
    stage.limited(limit());
    (stage, app, limiter)
}

fn limit() -> route::GlobalRateLimit {
    let entry = |key: &str, value| route::LimitEntry { key: key.into(), value: Some(value) };
    let entries = vec![
        entry("generic_key", Value::Literal("free".into())),
        entry("user", Value::Header("x-user".into())),
        entry("path", Value::Attribute(route::LimitAttribute::Path.into())),
    ];
    route::GlobalRateLimit {
        provider: "limiter".into(),
        namespace: "shop".into(),
        hostname: "limiter.shop.svc.cluster.local".into(),
        port: 8081,
        // The test machine may be slow; that of the test of slowness is its own.
        timeout_ms: 10_000,
        domain: "shop".into(),
        descriptors: vec![route::LimitDescriptor { entries }],
        ..Default::default()
    }
}

impl Stage {
    fn limited(&self, limit: route::GlobalRateLimit) {
        let settings =
            route::BackendSettings { global_rate_limit: Some(limit), ..Default::default() };
        self.backends(WEB, route::BackendPolicy { settings: Some(settings), ..Default::default() });
    }

    async fn as_user(&self, user: &str, kind: &'static str) -> Answered {
        let mut asked = request("POST", "/cart?x=1", "");
        asked.headers_mut().insert("x-user", user.parse().unwrap());
        asked.headers_mut().insert(CONTENT_TYPE, kind.parse().unwrap());
        self.ask(asked).await
    }
}

#[tokio::test]
async fn request_over_the_limit_is_answered_429_as_the_service_says() {
    let (stage, app, limiter) = counted(Some(says(Code::OverLimit))).await;
    let answered = stage.as_user("eve", "text/plain").await;
    assert_eq!((answered.status, &*answered.body), (429, "slow down"));
    assert_eq!(answered.headers["x-envoy-ratelimited"], "true");
    assert_eq!(answered.headers["x-left"], "0");
    assert_eq!(app.count(), 0);
    stage.counts("response_flags=\"RL\"").await;
    let asked = limiter.asked.lock()[0].clone();
    assert_eq!((&*asked.domain, asked.hits_addend), ("shop", 0));
    let entries = asked.descriptors[0].entries.iter();
    let pairs: Vec<_> = entries.map(|it| (&*it.key, &*it.value)).collect();
    assert_eq!(pairs, [("generic_key", "free"), ("user", "eve"), ("path", "/cart")]);
}

#[tokio::test]
async fn request_under_the_limit_goes_on_with_the_services_headers() {
    let (stage, app, limiter) = counted(Some(says(Code::Ok))).await;
    for _ in 0..2 {
        let answered = stage.as_user("eve", "text/plain").await;
        assert_eq!((answered.status, &*answered.body), (200, "web"));
        assert_eq!(answered.headers["x-left"], "0");
        assert!(!answered.headers.contains_key("x-envoy-ratelimited"));
    }
    assert_eq!(app.asked.lock()[0].headers()["x-tier"], "free");
    // Nothing can be said of a request without the header, and nobody is asked.
    assert_eq!(stage.get("/").await.status, 200);
    assert_eq!(limiter.asked.lock().len(), 2);
}

#[tokio::test]
async fn clients_of_grpc_are_told_unavailable_or_that_something_is_exhausted() {
    let (stage, app, _limiter) = counted(Some(says(Code::OverLimit))).await;
    for (as_resource_exhausted, status) in [(false, "14"), (true, "8")] {
        stage.limited(route::GlobalRateLimit { as_resource_exhausted, ..limit() });
        let answered = stage.as_user("eve", "application/grpc").await;
        assert_eq!(
            (answered.status, &answered.headers["grpc-status"]),
            (200, &status.parse().unwrap())
        );
        assert_eq!(answered.headers["grpc-message"], "slow down");
        assert_eq!(answered.headers["x-envoy-ratelimited"], "true");
        assert_eq!(answered.headers["x-left"], "0");
    }
    assert_eq!(app.count(), 0);
}

#[tokio::test]
async fn requests_go_on_where_the_service_fails_unless_it_is_said_otherwise() {
    let slow = route::GlobalRateLimit { timeout_ms: 50, ..limit() };
    let absent = route::GlobalRateLimit { hostname: "none.shop".into(), ..limit() };
    for (answer, how) in
        [(None, slow), (Some(says(Code::Ok)), absent), (Some(says(Code::Unknown)), limit())]
    {
        let (stage, ..) = counted(answer).await;
        stage.limited(how.clone());
        assert_eq!(stage.as_user("eve", "text/plain").await.status, 200, "{how:?}");
        stage.limited(route::GlobalRateLimit { fails_closed: true, ..how.clone() });
        assert_eq!(stage.as_user("eve", "text/plain").await.status, 500, "{how:?}");
        stage.counts("response_flags=\"RLSE\"").await;
        let status_on_error = 503;
        stage.limited(route::GlobalRateLimit { fails_closed: true, status_on_error, ..how });
        assert_eq!(stage.as_user("eve", "text/plain").await.status, 503);
    }
}
