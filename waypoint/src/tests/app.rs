//! Scripted applications.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use weft_core::hbone::TunnelStream;

use super::stage::Stage;

/// An application that answers by a closure, and remembers what it was asked.
pub(super) struct App {
    pub(super) at: SocketAddr,
    /// Connections that were made to it.
    pub(super) connections: Arc<AtomicUsize>,
    /// Heads and bodies of requests.
    pub(super) asked: Arc<Mutex<Vec<Request<String>>>>,
}

impl App {
    /// HTTP/1.1.
    pub(super) async fn new(
        answer: impl Fn(usize, &Request<String>) -> Response<Full<Bytes>> + Send + Sync + 'static,
    ) -> Self {
        let connections = Arc::new(AtomicUsize::new(0));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, seen) = (Arc::new(answer), asked.clone());
        let handle = move |request: Request<Incoming>| {
            let (answer, seen) = (answer.clone(), seen.clone());
            async move {
                let (head, body) = request.into_parts();
                // What has no end is no request.
                let body = body.collect().await?.to_bytes();
                let body = String::from_utf8(body.to_vec()).unwrap();
                let request = Request::from_parts(head, body);
                let number = {
                    let mut seen = seen.lock();
                    seen.push(request.clone());
                    seen.len()
                };
                Ok::<_, hyper::Error>(answer(number, &request))
            }
        };
        let count = connections.clone();
        let at = serve(move |tcp| {
            count.fetch_add(1, Ordering::SeqCst);
            let handle = handle.clone();
            async move {
                let _ = http1::Builder::new()
                    .half_close(true)
                    .serve_connection(TokioIo::new(tcp), service_fn(handle))
                    .await;
            }
        })
        .await;
        Self { at, connections, asked }
    }

    /// One that says its name.
    pub(super) async fn named(name: &'static str) -> Self {
        Self::new(move |_, _| Response::new(Full::new(Bytes::from_static(name.as_bytes())))).await
    }

    pub(super) fn count(&self) -> usize {
        self.asked.lock().len()
    }
}

/// An application that answers `/quiet` by `answer`, and then says back what it hears.
pub(super) async fn beginning(answer: &'static str) -> SocketAddr {
    serve(move |mut tcp| async move {
        let mut read = vec![0; 4096];
        let Ok(count) = tcp.read(&mut read).await else { return };
        if !String::from_utf8_lossy(&read[..count]).contains("/quiet") {
            let ok = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
            let _sent = tcp.write_all(ok).await;
            return;
        }
        let _sent = tcp.write_all(answer.as_bytes()).await;
        let (mut from, mut into) = tcp.split();
        let _ended = tokio::io::copy(&mut from, &mut into).await;
    })
    .await
}

/// A client of such an application, that has sent `head` and heard `heard` of the answer.
pub(super) async fn hearing(stage: &Stage, head: &str, heard: &str) -> TunnelStream {
    let mut tunnel = stage.to_web().await;
    tunnel.write_all(head.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains(heard) {
        assert!(tunnel.read_buf(&mut read).await.unwrap() > 0);
    }
    tunnel
}

/// The line about the request for `/quiet`.
pub(super) async fn quiet_line(stage: &Stage) -> String {
    let mut count = 1;
    loop {
        let lines = stage.lines(count).await;
        if let Some(line) = lines.iter().find(|line| line.starts_with("/quiet ")) {
            return line.clone();
        }
        count = lines.len() + 1;
    }
}

/// Runs `connection` for each connection.
pub(super) async fn serve<Handling>(
    connection: impl Fn(TcpStream) -> Handling + Send + 'static,
) -> SocketAddr
where
    Handling: Future<Output = ()> + Send + 'static,
{
    // 127.0.0.1 is the waypoint's own address.
    static NEXT: AtomicUsize = AtomicUsize::new(2);
    let number = u8::try_from(NEXT.fetch_add(1, Ordering::SeqCst) % 250 + 2).unwrap();
    let listener =
        TcpListener::bind((std::net::Ipv4Addr::new(127, 0, 1, number), 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(connection(tcp));
        }
    });
    at
}
