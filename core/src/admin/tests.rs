use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;

use super::*;
use crate::limits;
use crate::telemetry::{Build, Registry};

struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

async fn start(router: Router) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(serve(listener, Arc::new(router), async move {
        let _ = stopped.await;
    }));
    Server { address, stop: Some(stop), task }
}

async fn connect(to: SocketAddr) -> TcpStream {
    TcpSocket::new_v4().unwrap().connect(to).await.unwrap()
}

/// Everything that the server sends after `request`, until it closes.
async fn exchange(to: SocketAddr, request: &str) -> String {
    let mut stream = connect(to).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn get(to: SocketAddr, path: &str) -> String {
    exchange(to, &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"))
        .await
}

async fn post(to: SocketAddr, path: &str, extra: &str) -> String {
    let head = "host: localhost\r\nconnection: close\r\ncontent-length: 0";
    exchange(to, &format!("POST {path} HTTP/1.1\r\n{head}\r\n{extra}\r\n")).await
}

fn counting(access: ChangeAccess) -> (Router, Arc<AtomicUsize>) {
    let quits = Arc::new(AtomicUsize::new(0));
    let mut router = Router::new(Hosts::Loopback, access);
    let count = Arc::clone(&quits);
    add_quit(&mut router, move || {
        count.fetch_add(1, Ordering::Relaxed);
    });
    add_ready(&mut router, || vec!["xds".into(), "proxies".into()]);
    (router, quits)
}

#[tokio::test]
async fn nothing_changes_without_the_token() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let (router, quits) = counting(ChangeAccess::TokenFile(file.path().into()));
    let server = start(router).await;
    let empty = post(server.address, "/quitquitquit", "authorization: Bearer \r\n").await;
    assert!(empty.starts_with("HTTP/1.1 403"), "an empty file must not let everybody in: {empty}");
    std::fs::write(file.path(), "s3cret\n").unwrap();
    for header in ["", "authorization: Bearer wrong\r\n", "authorization: s3cret\r\n"] {
        let answer = post(server.address, "/quitquitquit", header).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{header:?}: {answer}");
    }
    let answer = get(server.address, "/quitquitquit").await;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    assert_eq!(quits.load(Ordering::Relaxed), 0);
    let answer = post(server.address, "/quitquitquit", "authorization: Bearer s3cret\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(quits.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn without_a_token_file_changes_are_off_unless_opened() {
    let (router, quits) = counting(ChangeAccess::Closed);
    let server = start(router).await;
    assert!(post(server.address, "/quitquitquit", "").await.starts_with("HTTP/1.1 403"));
    assert_eq!(quits.load(Ordering::Relaxed), 0);
    let (router, quits) = counting(ChangeAccess::Open);
    let server = start(router).await;
    assert!(post(server.address, "/quitquitquit", "").await.starts_with("HTTP/1.1 200"));
    assert_eq!(quits.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn request_under_another_host_name_is_refused() {
    let (router, _) = counting(ChangeAccess::Open);
    let server = start(router).await;
    let request = "GET / HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n";
    assert!(exchange(server.address, request).await.starts_with("HTTP/1.1 403"));
    let request = "GET / HTTP/1.0\r\n\r\n";
    assert!(exchange(server.address, request).await.starts_with("HTTP/1.0 403"));
}

#[tokio::test]
async fn readiness_says_what_is_pending() {
    let (router, _) = counting(ChangeAccess::Closed);
    let server = start(router).await;
    let answer = get(server.address, "/healthz/ready").await;
    assert!(answer.starts_with("HTTP/1.1 500"));
    assert!(answer.ends_with("not ready, pending: xds, proxies\n"));
}

#[tokio::test]
async fn metrics_come_in_the_format_that_was_asked_for() {
    let mut router = Router::new(Hosts::Any, ChangeAccess::Closed);
    add_metrics(&mut router, &Arc::new(Registry::new(&Build::default())));
    let server = start(router).await;
    let plain = get(server.address, "/metrics").await;
    assert!(plain.contains("content-type: text/plain; version=0.0.4"), "{plain}");
    assert!(plain.contains("istio_build"));
    let accept = "accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
    let request = format!(
        "GET /stats/prometheus HTTP/1.1\r\nhost: x\r\n{accept}\r\nconnection: close\r\n\r\n"
    );
    let open = exchange(server.address, &request).await;
    assert!(
        open.contains("content-type: application/openmetrics-text") && open.ends_with("# EOF\n")
    );
}

#[tokio::test]
async fn oversized_heads_and_bodies_are_refused() {
    let (router, quits) = counting(ChangeAccess::Open);
    let server = start(router).await;
    let long = "x".repeat(2 * limits::ADMIN_HEADER_BYTES_MAX);
    let mut stream = connect(server.address).await;
    // The server may close before everything is written.
    let _ = stream.write_all(format!("GET /{long} HTTP/1.1\r\n").as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    let length = limits::ADMIN_BODY_BYTES_MAX + 1;
    let head = format!("host: localhost\r\nconnection: close\r\ncontent-length: {length}");
    let body = "x".repeat(length);
    let request = format!("POST /quitquitquit HTTP/1.1\r\n{head}\r\n\r\n{body}");
    let answer = exchange(server.address, &request).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert_eq!(quits.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn client_that_sends_no_head_is_cut_off() {
    let (router, _) = counting(ChangeAccess::Closed);
    let server = start(router).await;
    let began = tokio::time::Instant::now();
    let mut stream = connect(server.address).await;
    stream.write_all(b"GET / HT").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(began.elapsed() >= limits::ADMIN_HEADER_DEADLINE);
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn more_connections_than_the_bound_wait_in_the_kernel() {
    let (router, _) = counting(ChangeAccess::Closed);
    let server = start(router).await;
    let mut held = Vec::new();
    for _ in 0..limits::ADMIN_CONNECTIONS_MAX {
        let mut stream = connect(server.address).await;
        // An answered request shows that the connection holds its permit.
        stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        stream.read_u8().await.unwrap();
        held.push(stream);
    }
    let address = server.address;
    let waiting = tokio::spawn(async move { get(address, "/").await });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    drop(held);
    assert!(waiting.await.unwrap().starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn shutdown_lets_a_request_finish_and_then_ends() {
    let mut router = Router::new(Hosts::Loopback, ChangeAccess::Closed);
    let (reached, mut was_reached) = tokio::sync::mpsc::channel(1);
    let release = Arc::new(tokio::sync::Notify::new());
    let wait = Arc::clone(&release);
    router.get("/slow", "", move |_| {
        let (reached, wait) = (reached.clone(), Arc::clone(&wait));
        async move {
            reached.send(()).await.unwrap();
            wait.notified().await;
            Response::ok("done")
        }
    });
    let mut server = start(router).await;
    let address = server.address;
    let request = tokio::spawn(async move { get(address, "/slow").await });
    was_reached.recv().await.unwrap();
    drop(server.stop.take());
    release.notify_one();
    assert!(request.await.unwrap().ends_with("done"));
    server.task.await.unwrap();
}

#[tokio::test]
async fn shutdown_closes_idle_connections_without_waiting() {
    let (router, _) = counting(ChangeAccess::Closed);
    let mut server = start(router).await;
    let mut idle = connect(server.address).await;
    idle.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    idle.read_u8().await.unwrap();
    drop(server.stop.take());
    let ended = tokio::time::timeout(limits::ADMIN_CONNECTION_GRACE / 2, server.task).await;
    ended.expect("an idle connection held up the end").unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
}

#[tokio::test]
async fn index_lists_the_routes() {
    let (router, _) = counting(ChangeAccess::Closed);
    let server = start(router).await;
    let index = get(server.address, "/").await;
    assert!(
        index.contains("POST /quitquitquit") && index.contains("GET  /healthz/ready"),
        "{index}"
    );
    assert!(get(server.address, "/nothing").await.starts_with("HTTP/1.1 404"));
}
