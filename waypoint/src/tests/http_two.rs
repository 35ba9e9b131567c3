//! HTTP/2 and gRPC through a tunnel.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::timeout;
use weft_proto::workload::AppProtocol;

use super::app::serve;
use super::stage::{Stage, until};

type Frames =
    StreamBody<futures::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

fn frames(data: &[&'static str], trailers: Option<(&'static str, &'static str)>) -> Frames {
    let mut frames: Vec<_> =
        data.iter().map(|data| Ok(Frame::data(Bytes::from_static(data.as_bytes())))).collect();
    if let Some((name, value)) = trailers {
        let mut map = HeaderMap::new();
        map.insert(name, value.parse().unwrap());
        frames.push(Ok(Frame::trailers(map)));
    }
    StreamBody::new(futures::stream::iter(frames))
}

/// Says which trailers came with the request, and sends some.
async fn echo(request: Request<Incoming>) -> Result<Response<Frames>, Infallible> {
    assert_eq!(request.version(), Version::HTTP_2);
    let collected = request.into_body().collect().await.unwrap();
    let came = collected.trailers().is_some_and(|it| it.get("x-checksum").is_some());
    let status = if came { "0" } else { "13" };
    let answer = Response::builder().header("content-type", "application/grpc");
    Ok(answer.body(frames(&["one", "two"], Some(("grpc-status", status)))).unwrap())
}

async fn grpc_app() -> std::net::SocketAddr {
    serve(|tcp| async move {
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = server.serve_connection(TokioIo::new(tcp), service_fn(echo)).await;
    })
    .await
}

fn call(body: Frames) -> Request<Frames> {
    let builder = Request::post("http://web.shop/pkg.Service/Method");
    builder.header("content-type", "application/grpc").header("te", "trailers").body(body).unwrap()
}

async fn client(stage: &Stage) -> http2::SendRequest<Frames> {
    let tunnel = stage.to_web().await;
    let (sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(tunnel)).await.unwrap();
    tokio::spawn(connection);
    sender
}

#[tokio::test]
async fn grpc_passes_with_trailers_both_ways() {
    let stage = Stage::new().await;
    stage.web(&[grpc_app().await], AppProtocol::Grpc);
    let mut sender = client(&stage).await;
    for _ in 0..3 {
        let request = call(frames(&["a", "b"], Some(("x-checksum", "7"))));
        let response = timeout(Duration::from_secs(10), sender.send_request(request));
        let response = response.await.unwrap().unwrap();
        assert_eq!(response.status(), 200);
        let collected = response.into_body().collect().await.unwrap();
        assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(collected.to_bytes(), "onetwo");
    }
}

/// Answers every call with three messages, the second of which is in two frames.
async fn three(_: Request<Incoming>) -> Result<Response<Frames>, Infallible> {
    let data = ["\0\0\0\0\x01a\0\0", "\0\0\x03b", "cd\0\0\0\0\0"];
    let answer = Response::builder().header("content-type", "application/grpc+proto");
    Ok(answer.body(frames(&data, Some(("grpc-status", "0")))).unwrap())
}

#[tokio::test]
async fn messages_of_grpc_are_counted_both_ways_wherever_frames_end() {
    let at = serve(|tcp| async move {
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = server.serve_connection(TokioIo::new(tcp), service_fn(three)).await;
    })
    .await;
    let stage = Stage::new().await;
    stage.web(&[at], AppProtocol::Grpc);
    let mut sender = client(&stage).await;
    let sent = ["\0\0\0", "\0\x04ab", "cd\x01\0\0\0\x01x\0\0\0\0\x09cut"];
    let response = sender.send_request(call(frames(&sent, None))).await.unwrap();
    response.into_body().collect().await.unwrap();
    let label = "grpc_response_status=\"0\"";
    until(|| stage.metric("istio_requests_total", label) == 1).await;
    assert_eq!(stage.metric("istio_request_messages_total", label), 2);
    assert_eq!(stage.metric("istio_response_messages_total", label), 3);
}

#[tokio::test]
async fn clients_of_grpc_are_told_in_grpc_that_nobody_is_there() {
    let stage = Stage::new().await;
    stage.web(&["127.0.1.1:9".parse().unwrap()], AppProtocol::Grpc);
    let mut sender = client(&stage).await;
    let response = sender.send_request(call(frames(&["a"], None))).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["grpc-status"], "14");
}

#[tokio::test]
async fn streams_of_one_connection_do_not_wait_for_each_other() {
    let stage = Stage::new().await;
    let at = serve(|tcp| async move {
        let answer = |request: Request<Incoming>| async move {
            if request.uri().path() == "/never" {
                std::future::pending::<()>().await;
            }
            Ok::<_, Infallible>(Response::new(frames(&["now"], None)))
        };
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = server.serve_connection(TokioIo::new(tcp), service_fn(answer)).await;
    })
    .await;
    stage.web(&[at], AppProtocol::Http2);
    let mut sender = client(&stage).await;
    let stuck = Request::get("http://web.shop/never").body(frames(&[], None)).unwrap();
    let stuck = tokio::spawn(sender.send_request(stuck));
    let quick = Request::get("http://web.shop/now").body(frames(&[], None)).unwrap();
    let response = timeout(Duration::from_secs(10), sender.send_request(quick)).await.unwrap();
    assert_eq!(response.unwrap().into_body().collect().await.unwrap().to_bytes(), "now");
    assert!(!stuck.is_finished());
}
