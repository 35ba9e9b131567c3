//! Two origins of different make. What they read is told in one form, so that it can be compared.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::tests::app::serve;

/// A request as an origin read it, to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Read {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
    pub(super) trailers: Vec<String>,
}

impl Read {
    pub(super) fn header(&self, wanted: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(name, _)| name == wanted);
        found.next().map(|(_, value)| &**value)
    }

    /// Without what is drawn anew for each request.
    pub(super) fn comparable(mut self) -> Self {
        const DRAWN: [&str; 4] = ["x-request-id", "traceparent", "x-b3-traceid", "x-b3-spanid"];
        self.headers.retain(|(name, _)| !DRAWN.contains(&&**name));
        self
    }
}

/// The strict one: hyper.
pub(super) async fn strict() -> SocketAddr {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let handle = move |request: Request<Incoming>| {
        let seen: Arc<Mutex<Vec<Read>>> = seen.clone();
        async move {
            let (head, body) = request.into_parts();
            // What has no end is no request.
            let body = body.collect().await?;
            let text = |bytes: &[u8]| bytes.iter().map(|byte| char::from(*byte)).collect();
            let trailers = body.trailers().into_iter().flatten();
            let trailers = trailers.map(|(name, value)| format!("{name}: {value:?}")).collect();
            let mut headers: Vec<(String, String)> = head
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), text(value.as_bytes())))
                .collect();
            headers.sort();
            let read = Read {
                method: head.method.to_string(),
                target: head.uri.to_string(),
                headers,
                body: text(&body.to_bytes()),
                trailers,
            };
            let answer = if read.target == "/seen" {
                std::mem::take(&mut *seen.lock())
            } else {
                seen.lock().push(read.clone());
                vec![read]
            };
            let answer = serde_json::to_vec(&answer).unwrap();
            Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from(answer))))
        }
    };
    serve(move |tcp| {
        let handle = handle.clone();
        async move {
            let server = http1::Builder::new();
            let _ended = server.serve_connection(TokioIo::new(tcp), service_fn(handle)).await;
        }
    })
    .await
}

/// The forgiving one: Python's, in a process of its own.
pub(super) struct Forgiving {
    pub(super) at: SocketAddr,
    child: Child,
}

impl Forgiving {
    pub(super) fn start() -> Self {
        let mut child = Command::new("python3")
            .args(["-c", include_str!("origin.py")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3, which scripts/setup.sh installs");
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        let at = format!("127.0.2.1:{}", port.trim()).parse().unwrap();
        Self { at, child }
    }
}

impl Drop for Forgiving {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}
