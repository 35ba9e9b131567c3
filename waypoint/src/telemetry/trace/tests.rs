use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use http::HeaderMap;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};
use weft_core::telemetry::{Build, Exposition, Registry};
use weft_proto::opentelemetry::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use weft_proto::opentelemetry::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use weft_proto::opentelemetry::common::v1::any_value::Value;
use weft_proto::opentelemetry::trace::v1::Span;

use super::super::record::tests::Owned;
use super::super::share::Share;
use super::*;
use crate::limits;

/// Dials a port of this machine.
struct Loopback(std::net::SocketAddr);

impl Dial for Loopback {
    fn dial(&self) -> BoxFuture<'static, io::Result<Box<dyn Io>>> {
        let to = self.0;
        Box::pin(
            async move { Ok(Box::new(TcpSocket::new_v4()?.connect(to).await?) as Box<dyn Io>) },
        )
    }
}

/// Hands out streams that a test made.
struct Streams(Mutex<Vec<DuplexStream>>);

impl Dial for Streams {
    fn dial(&self) -> BoxFuture<'static, io::Result<Box<dyn Io>>> {
        let stream = self.0.lock().pop().ok_or(io::ErrorKind::ConnectionRefused);
        Box::pin(async move { Ok(Box::new(stream?) as Box<dyn Io>) })
    }
}

fn origin() -> Arc<Origin> {
    Arc::new(Origin {
        service: "waypoint.shop".into(),
        canonical_service: "waypoint".into(),
        canonical_revision: "latest".into(),
        namespace: "shop".into(),
        mesh: "cluster.local".into(),
        cluster: "Kubernetes".into(),
    })
}

struct Traced {
    tracer: Arc<Tracer>,
    exporter: Exporter,
    metrics: SpanMetrics,
    registry: Registry,
}

fn traced(protocol: OtlpProtocol, dial: impl Dial, change: impl FnOnce(&mut Tracer)) -> Traced {
    let mut registry = Registry::new(&Build::default());
    let metrics = SpanMetrics::new(&mut registry);
    let mut headers = HeaderMap::new();
    headers.insert("x-token", "t".parse().unwrap());
    let authority = "collector.observability:4317".parse().unwrap();
    let collector = Collector::new(authority, protocol, Arc::new(dial), headers, None);
    let (queue, exporter) = SpanQueue::new(collector, origin(), metrics.clone());
    let mut tracer = Tracer {
        share: Share::ALL,
        is_silent: false,
        tags: Vec::new(),
        has_istio_tags: true,
        path_bytes_max: 256,
        origin: origin(),
        queue,
    };
    change(&mut tracer);
    Traced { tracer: Arc::new(tracer), exporter, metrics, registry }
}

fn nowhere(change: impl FnOnce(&mut Tracer)) -> Traced {
    traced(OtlpProtocol::Grpc, Streams(Mutex::default()), change)
}

fn tag<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    let tag = span.attributes.iter().find(|tag| tag.key == key)?;
    match tag.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

/// A request with two attempts, the first of which failed. The headers of the second.
fn request(tracer: &Arc<Tracer>, headers: &HeaderMap) -> HeaderMap {
    let owned = Owned::new();
    let mut span = tracer.begin(headers);
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
    let mut sent = headers.clone();
    for (status, failure) in [(None, "connection refused"), (Some(200), "")] {
        let attempt = span.attempt(&mut sent, start);
        let end = AttemptEnd {
            at: start + Duration::from_millis(2),
            address: Some("10.44.2.10:8080".parse().unwrap()),
            cluster: "checkout",
            status,
            failure,
        };
        span.end(attempt, &end);
    }
    span.finish(&owned.request());
    sent
}

type Received = (ExportTraceServiceRequest, Option<String>);

struct Scripted {
    received: mpsc::Sender<Received>,
    answers: Mutex<Vec<Result<ExportTraceServiceResponse, Status>>>,
}

#[tonic::async_trait]
impl TraceService for Scripted {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let token = request.metadata().get("x-token").map(|it| it.to_str().unwrap().to_owned());
        self.received.send((request.into_inner(), token)).await.unwrap();
        let answer = self.answers.lock().pop();
        answer.unwrap_or_else(|| Ok(ExportTraceServiceResponse::default())).map(Response::new)
    }
}

async fn grpc_collector(
    answers: Vec<Result<ExportTraceServiceResponse, Status>>,
) -> (Loopback, mpsc::Receiver<Received>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (received, requests) = mpsc::channel(16);
    let service = TraceServiceServer::new(Scripted { received, answers: Mutex::new(answers) });
    let incoming = futures::stream::unfold(listener, |listener| async {
        let (stream, _) = listener.accept().await.unwrap();
        Some((Ok::<_, io::Error>(stream), listener))
    });
    tokio::spawn(
        tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming),
    );
    (Loopback(at), requests)
}

fn spans(request: &ExportTraceServiceRequest) -> &[Span] {
    &request.resource_spans[0].scope_spans[0].spans
}

#[tokio::test]
async fn collector_gets_a_server_span_with_its_attempts_inside_over_grpc() {
    let (dial, mut requests) = grpc_collector(Vec::new()).await;
    let traced = traced(OtlpProtocol::Grpc, dial, |_| ());
    tokio::spawn(traced.exporter.run());
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", parent.parse().unwrap());
    headers.insert("tracestate", "vendor=1".parse().unwrap());
    let sent = request(&traced.tracer, &headers);

    let (request, token) = requests.recv().await.unwrap();
    assert_eq!(token.as_deref(), Some("t"), "the provider's headers go with it");
    let resource = request.resource_spans[0].resource.as_ref().unwrap();
    assert_eq!(resource.attributes[0].key, "service.name");
    let [failed, answered, server] = spans(&request) else { panic!("{request:?}") };
    let trace = hex(&server.trace_id);
    assert_eq!(trace, "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(hex(&server.parent_span_id), "00f067aa0ba902b7");
    assert_eq!((server.kind, answered.kind), (2, 3));
    assert_eq!(answered.parent_span_id, server.span_id);
    assert_eq!(failed.parent_span_id, server.span_id);
    assert_ne!(failed.span_id, answered.span_id);
    assert_eq!(sent["traceparent"], format!("00-{trace}-{}-01", hex(&answered.span_id)).as_str());
    assert_eq!(sent["tracestate"], "vendor=1");
    assert_eq!(server.trace_state, "vendor=1");

    assert_eq!(failed.status.as_ref().unwrap().message, "connection refused");
    assert_eq!((server.status.as_ref(), answered.status.as_ref()), (None, None));
    assert_eq!(server.name, "checkout.shop.svc.cluster.local:8080/*");
    assert_eq!(server.end_time_unix_nano - server.start_time_unix_nano, 8_400_000);
    for (key, value) in [
        ("http.method", "GET"),
        ("http.url", "http://checkout.shop:8080/stock?id=7"),
        ("http.status_code", "200"),
        ("response_flags", "-"),
        ("guid:x-request-id", "0f1e"),
        ("peer.address", "10.44.1.10"),
        ("istio.canonical_service", "waypoint"),
        ("istio.mesh_id", "cluster.local"),
        ("istio.namespace", "shop"),
        ("istio.downstream.workload", "web-v1"),
        ("istio.upstream.workload", "checkout-v1"),
    ] {
        assert_eq!(tag(server, key), Some(value), "{key}");
    }
    assert_eq!(tag(failed, "error"), Some("true"));
    assert_eq!(tag(answered, "upstream_address"), Some("10.44.2.10:8080"));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn refusals_of_a_collector_are_counted_and_the_next_batch_goes_through() {
    let partial = ExportTracePartialSuccess { rejected_spans: 1, error_message: String::new() };
    let answers = vec![
        Ok(ExportTraceServiceResponse { partial_success: Some(partial) }),
        Err(Status::unavailable("not now")),
    ];
    let (dial, mut requests) = grpc_collector(answers).await;
    let traced = traced(OtlpProtocol::Grpc, dial, |_| ());
    let running = tokio::spawn(traced.exporter.run());
    request(&traced.tracer, &HeaderMap::new());
    requests.recv().await.unwrap();
    request(&traced.tracer, &HeaderMap::new());
    assert_eq!(spans(&requests.recv().await.unwrap().0).len(), 3);
    drop(traced.tracer);
    running.await.unwrap();
    let text = traced.registry.encode(Exposition::Text).unwrap();
    assert!(text.contains("weft_trace_spans_total{result=\"failed\"} 4\n"), "{text}");
    assert!(text.contains("weft_trace_spans_total{result=\"exported\"} 2\n"), "{text}");
}

#[tokio::test]
async fn collector_gets_the_same_over_http() {
    let (near, mut far) = tokio::io::duplex(1 << 16);
    let protocol = OtlpProtocol::Http { path: "/v1/traces".into() };
    let traced = traced(protocol, Streams(Mutex::new(vec![near])), |_| ());
    let running = tokio::spawn(traced.exporter.run());
    request(&traced.tracer, &HeaderMap::new());
    drop(traced.tracer);
    let mut read = Vec::new();
    let (head, body) = loop {
        assert_ne!(far.read_buf(&mut read).await.unwrap(), 0);
        let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(read[..end].to_vec()).unwrap().to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if read.len() >= end + 4 + length.parse::<usize>().unwrap() {
            break (head, read[end + 4..].to_vec());
        }
    };
    assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
    assert!(head.contains("host: collector.observability:4317"));
    assert!(head.contains("content-type: application/x-protobuf") && head.contains("x-token: t"));
    let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
    assert_eq!(spans(&request).len(), 3);
    far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    running.await.unwrap();
    let text = traced.registry.encode(Exposition::Text).unwrap();
    assert!(text.contains("weft_trace_spans_total{result=\"exported\"} 3\n"), "{text}");
}

#[tokio::test]
async fn full_queue_drops_spans_and_counts_them_but_stops_nobody() {
    let traced = nowhere(|_| ());
    for _ in 0..limits::SPAN_QUEUE_MAX {
        request(&traced.tracer, &HeaderMap::new());
    }
    let pushed = 3 * u64::try_from(limits::SPAN_QUEUE_MAX).unwrap();
    assert_eq!(traced.metrics.dropped(), pushed - pushed / 3);
}

#[tokio::test]
async fn callers_decision_wins_over_the_share() {
    let decided = |sampled: &str| {
        let value = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{sampled}");
        HeaderMap::from_iter([(
            http::HeaderName::from_static("traceparent"),
            value.parse().unwrap(),
        )])
    };
    for (share, headers, is_sampled) in [
        (Share::NONE, decided("01"), true),
        (Share::ALL, decided("00"), false),
        (Share::ALL, HeaderMap::new(), true),
        (Share::NONE, HeaderMap::new(), false),
    ] {
        let mut traced = nowhere(|tracer| tracer.share = share);
        let sent = request(&traced.tracer, &headers);
        let flag = if is_sampled { "-01" } else { "-00" };
        assert!(sent["traceparent"].to_str().unwrap().ends_with(flag));
        drop(traced.tracer);
        assert_eq!(traced.exporter.gather_now().await, if is_sampled { 3 } else { 0 });
    }
}

#[tokio::test]
async fn envoys_header_forces_nothing() {
    let mut headers = HeaderMap::new();
    headers.insert("x-envoy-force-trace", "true".parse().unwrap());
    let traced = nowhere(|tracer| tracer.share = Share::NONE);
    assert!(!traced.tracer.begin(&headers).is_sampled());
}

#[tokio::test]
async fn silent_tracer_sends_headers_and_no_spans() {
    let mut traced = nowhere(|tracer| tracer.is_silent = true);
    let sent = request(&traced.tracer, &HeaderMap::new());
    assert!(sent["traceparent"].to_str().unwrap().ends_with("-01"));
    drop(traced.tracer);
    assert_eq!(traced.exporter.gather_now().await, 0);
}

#[tokio::test]
async fn custom_tags_are_added_and_replace_the_usual() {
    let header = |name: &'static str, otherwise: &str| TagValue::Header {
        name: http::HeaderName::from_static(name),
        otherwise: otherwise.into(),
    };
    let custom = |name: &str, value| CustomTag { name: name.into(), value };
    let mut traced = nowhere(|tracer| {
        tracer.tags = vec![
            custom("mesh", TagValue::Literal("one".into())),
            custom("tenant", header("x-tenant", "none")),
            custom("other", header("x-other", "none")),
            custom("absent", header("x-other", "")),
            custom("component", TagValue::Literal("waypoint".into())),
        ];
        tracer.has_istio_tags = false;
        tracer.path_bytes_max = 6;
    });
    request(&traced.tracer, &HeaderMap::new());
    drop(traced.tracer);
    let spans = traced.exporter.take_now().await;
    let server = spans.last().unwrap();
    for (key, value) in [
        ("mesh", Some("one")),
        ("tenant", Some("blue")),
        ("other", Some("none")),
        ("absent", None),
        ("component", Some("waypoint")),
        ("istio.namespace", None),
        ("http.url", Some("http://checkout.shop:8080/stock")),
    ] {
        assert_eq!(tag(server, key), value, "{key}");
    }
    assert_eq!(server.attributes.iter().filter(|tag| tag.key == "component").count(), 1);
}

impl Exporter {
    async fn take_now(&mut self) -> Vec<Span> {
        let mut batch = Vec::new();
        self.gather(&mut batch).await;
        batch
    }

    async fn gather_now(&mut self) -> usize {
        self.take_now().await.len()
    }
}
