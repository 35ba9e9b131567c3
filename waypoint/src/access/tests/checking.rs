//! Checks against a scripted service.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use weft_proto::auth;
use weft_proto::auth::check_response::HttpResponse;

use super::*;
use crate::access::check::{Allowed, Denied, HeaderChange, ReadBody, Target};

/// Hands out one end of a pipe; the script has the other.
struct Scripted<F> {
    script: F,
    dials: Arc<AtomicUsize>,
}

impl<F: Fn(DuplexStream) + Send + Sync> Dial for Scripted<F> {
    type Stream = DuplexStream;

    async fn dial(&self, target: &Target) -> io::Result<DuplexStream> {
        assert_eq!((&*target.hostname, target.port), ("authz", 9000));
        self.dials.fetch_add(1, Ordering::Relaxed);
        let (near, far) = tokio::io::duplex(64 << 10);
        (self.script)(far);
        Ok(near)
    }
}

/// Every dial fails.
struct Unreachable;

impl Dial for Unreachable {
    type Stream = DuplexStream;

    async fn dial(&self, _: &Target) -> io::Result<DuplexStream> {
        Err(io::Error::other("no endpoint"))
    }
}

fn grpc() -> proto::Checker {
    proto::Checker {
        name: "authz".into(),
        hostname: "authz".into(),
        port: 9000,
        timeout_ms: 1000,
        protocol: Some(proto::checker::Protocol::Grpc(proto::GrpcCheck {})),
        ..proto::Checker::default()
    }
}

fn http1(http: proto::HttpCheck) -> proto::Checker {
    proto::Checker { protocol: Some(proto::checker::Protocol::Http(http)), ..grpc() }
}

fn built(message: &proto::Checker) -> Checker {
    Checker::decode(message).unwrap()
}

fn request(headers: &HeaderMap) -> CheckedRequest<'_> {
    CheckedRequest {
        id: "id-1",
        method: "POST",
        scheme: "http",
        authority: "stock:80",
        path_and_query: "/a?b=c",
        protocol: "HTTP/2",
        headers,
        size: Some(4),
        body: Some(ReadBody { bytes: Bytes::from_static(b"body"), is_partial: true }),
        source: None,
        source_address: "10.0.0.1:1234".parse().unwrap(),
        destination: None,
        destination_address: "10.96.0.1:80".parse().unwrap(),
        time: SystemTime::UNIX_EPOCH,
    }
}

fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.append("x-user", HeaderValue::from_static("a"));
    headers.append("x-user", HeaderValue::from_static("b"));
    headers.append("authorization", HeaderValue::from_static("Basic x"));
    headers.append("transfer-encoding", HeaderValue::from_static("chunked"));
    headers.append("cookie", HeaderValue::from_static("secret"));
    headers
}

/// Answers every call with `answer`, or with `raw` bytes for a message, and keeps what it was asked.
fn grpc_service(
    stream: DuplexStream,
    answer: Result<auth::CheckResponse, Vec<u8>>,
    status: &'static str,
    asked: Arc<Mutex<Vec<auth::CheckRequest>>>,
) {
    tokio::spawn(async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            assert_eq!(request.uri().path(), "/envoy.service.auth.v3.Authorization/Check");
            assert_eq!(request.headers()["content-type"], "application/grpc");
            let (answer, asked) = (answer.clone(), asked.clone());
            tokio::spawn(async move {
                let mut body = request.into_body();
                let mut bytes = Vec::new();
                while let Some(data) = body.data().await {
                    bytes.extend_from_slice(&data.unwrap());
                }
                let mut message = &bytes[5..];
                assert_eq!((bytes[0], (&bytes[1..5]).get_u32() as usize), (0, message.len()));
                asked.lock().push(auth::CheckRequest::decode(&mut message).unwrap());
                let response = Response::builder().status(200).body(()).unwrap();
                let mut stream = respond.send_response(response, false).unwrap();
                let data = answer.map_or_else(
                    |raw| raw,
                    |message| {
                        let message = message.encode_to_vec();
                        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
                        [&[0][..], &length, &message].concat()
                    },
                );
                stream.send_data(data.into(), false).unwrap();
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static(status));
                stream.send_trailers(trailers).unwrap();
            });
        }
    });
}

async fn ask_grpc(
    answer: Result<auth::CheckResponse, Vec<u8>>,
    status: &'static str,
) -> (CheckOutcome, auth::CheckRequest) {
    let asked: Arc<Mutex<Vec<auth::CheckRequest>>> = Arc::default();
    let keeps = asked.clone();
    let script = move |stream| grpc_service(stream, answer.clone(), status, keeps.clone());
    let client = CheckClient::new(Scripted { script, dials: Arc::default() });
    let body = Some(proto::CheckedBody { max_bytes: 4, allow_partial: true, as_bytes: false });
    let checker = built(&proto::Checker { body, ..grpc() });
    let outcome = client.check(&checker, &request(&headers())).await;
    let asked = asked.lock().pop().unwrap();
    (outcome, asked)
}

fn status(code: i32) -> Option<weft_proto::google::rpc::Status> {
    Some(weft_proto::google::rpc::Status { code, ..weft_proto::google::rpc::Status::default() })
}

fn option(key: &str, append: Option<bool>, append_action: i32) -> auth::HeaderValueOption {
    let header = auth::HeaderValue { key: key.into(), value: "v".into(), raw_value: Vec::new() };
    auth::HeaderValueOption { header: Some(header), append, append_action }
}

fn name(name: &'static str) -> http::HeaderName {
    http::HeaderName::from_static(name)
}

const V: HeaderValue = HeaderValue::from_static("v");

#[tokio::test(start_paused = true)]
async fn grpc_service_is_told_of_the_request_and_its_edits_come_back() {
    let ok = auth::OkHttpResponse {
        headers: vec![
            option("x-set", None, 0),
            option("x-more", Some(true), 0),
            option("host", None, 0),
            option(":path", None, 0),
            option("content-length", None, 0),
        ],
        headers_to_remove: vec!["authorization".into(), "host".into(), "a b".into()],
        response_headers_to_add: vec![option("x-r", Some(false), 0), option("x-s", None, 1)],
    };
    let response = auth::CheckResponse {
        status: status(0),
        http_response: Some(HttpResponse::OkResponse(ok)),
    };
    let (outcome, asked) = ask_grpc(Ok(response), "0").await;
    let expected = Allowed {
        request: vec![
            HeaderChange::Set(name("x-set"), V),
            HeaderChange::Append(name("x-more"), V),
            HeaderChange::Remove(name("authorization")),
        ],
        response: vec![
            HeaderChange::Set(name("x-r"), V),
            HeaderChange::AddIfAbsent(name("x-s"), V),
        ],
    };
    assert_eq!(outcome, CheckOutcome::Allowed(expected));
    let attributes = asked.attributes.unwrap();
    let http = attributes.request.unwrap().http.unwrap();
    assert_eq!((&*http.method, &*http.path, &*http.host), ("POST", "/a?b=c", "stock:80"));
    assert_eq!((&*http.body, http.size), ("body", 4));
    assert_eq!(http.headers["x-user"], "a,b");
    assert_eq!(http.headers["x-envoy-auth-partial-body"], "true");
    let source = attributes.source.unwrap().address.unwrap().socket_address.unwrap();
    assert_eq!((&*source.address, source.port_value), ("10.0.0.1", 1234));
}

#[tokio::test(start_paused = true)]
async fn grpc_service_denies_with_its_own_answer_or_403() {
    let denied = auth::DeniedHttpResponse {
        status: Some(auth::HttpStatus { code: 302 }),
        headers: vec![option("location", None, 2)],
        body: "go away".into(),
    };
    let response = auth::CheckResponse {
        status: status(7),
        http_response: Some(HttpResponse::DeniedResponse(denied)),
    };
    let expected = Denied {
        status: StatusCode::FOUND,
        headers: vec![HeaderChange::Set(name("location"), V)],
        body: Bytes::from_static(b"go away"),
    };
    assert_eq!(ask_grpc(Ok(response), "0").await.0, CheckOutcome::Denied(expected));
    let plain = auth::CheckResponse { status: status(16), http_response: None };
    let CheckOutcome::Denied(plain) = ask_grpc(Ok(plain), "0").await.0 else {
        panic!("it was not denied")
    };
    assert_eq!(plain.status, StatusCode::FORBIDDEN);
    // An answer that says yes besides a status that says no.
    let both = auth::CheckResponse {
        status: status(7),
        http_response: Some(HttpResponse::OkResponse(auth::OkHttpResponse::default())),
    };
    assert!(matches!(ask_grpc(Ok(both), "0").await.0, CheckOutcome::Denied(_)));
}

#[tokio::test(start_paused = true)]
async fn grpc_answer_that_is_none_refuses() {
    let ok = || auth::CheckResponse { status: status(0), http_response: None };
    let contradiction = auth::CheckResponse {
        http_response: Some(HttpResponse::DeniedResponse(auth::DeniedHttpResponse::default())),
        ..ok()
    };
    let cases: [(Result<auth::CheckResponse, Vec<u8>>, &str); 7] = [
        (Ok(ok()), "14"),
        (Ok(auth::CheckResponse::default()), "0"),
        (Ok(contradiction), "0"),
        (Err(vec![]), "0"),
        (Err(vec![0, 0, 0, 0, 9, 1]), "0"),
        (Err(vec![1, 0, 0, 0, 0]), "0"),
        (Err(vec![0; 300 << 10]), "0"),
    ];
    for (answer, status) in cases {
        let (outcome, _) = ask_grpc(answer.clone(), status).await;
        let CheckOutcome::Failed { refusal, .. } = outcome else {
            panic!("{answer:?}: {outcome:?}")
        };
        assert_eq!(refusal, Some(StatusCode::FORBIDDEN));
    }
    assert!(matches!(ask_grpc(Ok(ok()), "0").await.0, CheckOutcome::Allowed(_)));
}

#[tokio::test(start_paused = true)]
async fn checker_that_cannot_be_asked_refuses_unless_it_fails_open() {
    let headers = headers();
    let silent = || Scripted {
        script: |stream: DuplexStream| {
            // Held open, and never answered.
            tokio::spawn(async move {
                let mut stream = stream;
                let _end = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            });
        },
        dials: Arc::default(),
    };
    for checker in [grpc(), http1(proto::HttpCheck::default())] {
        let strict = built(&proto::Checker { status_on_error: 503, ..checker.clone() });
        let open = built(&proto::Checker { fail_open: true, ..checker });
        let refusal = |outcome| match outcome {
            CheckOutcome::Failed { refusal, .. } => refusal,
            other => panic!("{other:?}"),
        };
        let unreachable = CheckClient::new(Unreachable);
        let status = refusal(unreachable.check(&strict, &request(&headers)).await);
        assert_eq!(status, Some(StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(refusal(unreachable.check(&open, &request(&headers)).await), None);
        let start = tokio::time::Instant::now();
        let outcome = CheckClient::new(silent()).check(&strict, &request(&headers)).await;
        let timeout = CheckError::Timeout(Duration::from_secs(1));
        assert!(matches!(outcome, CheckOutcome::Failed { error, .. } if error == timeout));
        assert_eq!(start.elapsed(), Duration::from_secs(1));
    }
}

#[tokio::test(start_paused = true)]
async fn connections_are_kept_between_checks() {
    let ok = auth::CheckResponse { status: status(0), http_response: None };
    let dials: Arc<AtomicUsize> = Arc::default();
    let script = move |stream| grpc_service(stream, Ok(ok.clone()), "0", Arc::default());
    let client = CheckClient::new(Scripted { script, dials: dials.clone() });
    let (checker, headers) = (built(&grpc()), headers());
    for _ in 0..3 {
        let outcome = client.check(&checker, &request(&headers)).await;
        assert!(matches!(outcome, CheckOutcome::Allowed(_)), "{outcome:?}");
    }
    assert_eq!(dials.load(Ordering::Relaxed), 1);
    client.retain(|_| false);
    client.check(&checker, &request(&headers)).await;
    assert_eq!(dials.load(Ordering::Relaxed), 2);
}

/// A connection that ended while nobody used it is no answer of the service.
#[tokio::test(start_paused = true)]
async fn kept_connection_that_has_ended_costs_no_request() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let ok = auth::CheckResponse { status: status(0), http_response: None };
    let headers = headers();
    let http = move |stream| {
        let (near, far) = tokio::io::duplex(64 << 10);
        http_service(answer, &Arc::default(), far);
        ends_after_one(stream, near);
    };
    let grpc_script = move |stream| {
        let (near, far) = tokio::io::duplex(64 << 10);
        grpc_service(far, Ok(ok.clone()), "0", Arc::default());
        ends_after_one(stream, near);
    };
    let dials: [Arc<AtomicUsize>; 2] = Default::default();
    let http_client = CheckClient::new(Scripted { script: http, dials: dials[0].clone() });
    let grpc_client = CheckClient::new(Scripted { script: grpc_script, dials: dials[1].clone() });
    let (by_http, by_grpc) = (built(&http1(proto::HttpCheck::default())), built(&grpc()));
    for _ in 0..3 {
        let outcome = http_client.check(&by_http, &request(&headers)).await;
        assert!(matches!(outcome, CheckOutcome::Allowed(_)), "{outcome:?}");
        let outcome = grpc_client.check(&by_grpc, &request(&headers)).await;
        assert!(matches!(outcome, CheckOutcome::Allowed(_)), "{outcome:?}");
        tokio::time::advance(Duration::from_secs(2)).await;
    }
    assert_eq!(dials.map(|count| count.load(Ordering::Relaxed)), [3, 3]);
}

/// Joins two pipes for a second, then cuts both.
fn ends_after_one(mut client: DuplexStream, mut service: DuplexStream) {
    tokio::spawn(async move {
        let joined = tokio::io::copy_bidirectional(&mut client, &mut service);
        let _cut = tokio::time::timeout(Duration::from_secs(1), joined).await;
    });
}

/// Answers each request on a connection with `answer`; returns what came.
fn http_service(answer: &'static str, asked: &Arc<Mutex<String>>, stream: DuplexStream) {
    let asked = asked.clone();
    tokio::spawn(async move {
        let mut stream = stream;
        loop {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => request.push(byte),
                    Err(_) => return,
                }
            }
            let head = String::from_utf8(request).unwrap();
            let length = head.split("content-length: ").nth(1).unwrap();
            let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await.unwrap();
            *asked.lock() = head + std::str::from_utf8(&body).unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
}

async fn ask_http(http: proto::HttpCheck, answer: &'static str) -> (CheckOutcome, String) {
    let asked: Arc<Mutex<String>> = Arc::default();
    let keeps = asked.clone();
    let dials: Arc<AtomicUsize> = Arc::default();
    let script = move |stream| http_service(answer, &keeps, stream);
    let client = CheckClient::new(Scripted { script, dials: dials.clone() });
    let body = Some(proto::CheckedBody { max_bytes: 4, ..proto::CheckedBody::default() });
    let checker = built(&proto::Checker { body, ..http1(http) });
    let headers = headers();
    let first = client.check(&checker, &request(&headers)).await;
    assert_eq!(client.check(&checker, &request(&headers)).await, first);
    assert_eq!(dials.load(Ordering::Relaxed), 1, "the connection was not used again");
    (first, asked.lock().clone())
}

#[tokio::test(start_paused = true)]
async fn http_service_is_sent_what_is_asked_for_and_no_more() {
    let http = proto::HttpCheck {
        path_prefix: "/check".into(),
        request_headers: vec![text("X-User"), text("transfer-*")],
        additional_headers: vec![proto::Header { name: "x-mesh".into(), value: "weft".into() }],
        to_upstream: vec![text("x-auth-*")],
        to_downstream_allowed: vec![text("set-cookie")],
        ..proto::HttpCheck::default()
    };
    let answer = "HTTP/1.1 200 OK\r\nx-auth-user: v\r\nX-Auth-User: w\r\nset-cookie: v\r\nx-other: v\r\n\
                  x-envoy-auth-headers-to-remove: cookie, host\r\ncontent-length: 0\r\n\r\n";
    let (outcome, asked) = ask_http(http, answer).await;
    let expected = Allowed {
        request: vec![
            HeaderChange::Set(name("x-auth-user"), V),
            HeaderChange::Append(name("x-auth-user"), HeaderValue::from_static("w")),
            HeaderChange::Remove(name("cookie")),
        ],
        response: vec![HeaderChange::Append(name("set-cookie"), V)],
    };
    assert_eq!(outcome, CheckOutcome::Allowed(expected));
    let (head, body) = asked.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<&str> = head.lines().collect();
    assert_eq!(lines.remove(0), "POST /check/a?b=c HTTP/1.1");
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "authorization: Basic x",
            "content-length: 4",
            "host: stock:80",
            "x-mesh: weft",
            "x-user: a",
            "x-user: b"
        ]
    );
    assert_eq!(body, "body");
}

#[tokio::test(start_paused = true)]
async fn http_service_denies_with_its_own_answer() {
    let answer = "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: v\r\nx-why: v\r\ncontent-length: 2\r\n\r\nno";
    let denied = |headers| {
        let body = Bytes::from_static(b"no");
        CheckOutcome::Denied(Denied { status: StatusCode::UNAUTHORIZED, headers, body })
    };
    let www = || HeaderChange::Append(name("www-authenticate"), V);
    let why = || HeaderChange::Append(name("x-why"), V);
    let (outcome, _) = ask_http(proto::HttpCheck::default(), answer).await;
    assert_eq!(outcome, denied(vec![www(), why()]));
    let some = proto::HttpCheck {
        to_downstream_denied: vec![text("x-no")],
        ..proto::HttpCheck::default()
    };
    assert_eq!(ask_http(some, answer).await.0, denied(vec![www()]));
}

#[tokio::test(start_paused = true)]
async fn http_error_of_the_service_is_a_failure() {
    let answer = "HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n";
    let (outcome, _) = ask_http(proto::HttpCheck::default(), answer).await;
    assert!(matches!(outcome, CheckOutcome::Failed { refusal: Some(_), .. }), "{outcome:?}");
}

#[test]
fn checker_that_is_not_understood_is_refused() {
    let none = proto::Checker { hostname: String::new(), ..grpc() };
    let port = proto::Checker { port: 70_000, ..grpc() };
    let status = proto::Checker { status_on_error: 7, ..grpc() };
    let protocol = proto::Checker { protocol: None, ..grpc() };
    let regex = proto::TextMatch { kind: Some(TextKind::Regex("x".into())), ignore_case: false };
    let regex = http1(proto::HttpCheck { to_upstream: vec![regex], ..proto::HttpCheck::default() });
    for message in [none, port, status, protocol, regex] {
        assert!(Checker::decode(&message).is_err(), "{message:?}");
    }
}
