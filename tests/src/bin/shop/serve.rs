//! `shop serve`: one role of the shop.
//!
//! | path | answer |
//! |---|---|
//! | `/`, `/pay`, `/stock` | calls its upstreams, answers with the trace of all hops; 502 if one failed |
//! | `/hold` | a tick each 20 ms until either side ends |
//! | `/echo?bytes=N` | N bytes |
//! | `/health` | `ok`, calling nobody |
//! | `/control?fail=N&status=S&delay_ms=M` | the next N requests for the above are answered S, all of them M later |
//! | `/asked` | how many requests there were, and the bodies of the last ones |
//! | `/v1/traces`, `/spans` | takes spans as a collector does (OTLP over HTTP), and lists them |

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::ValueEnum;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::client::Ask;
use crate::mood::Mood;
use crate::spans::Spans;
use crate::{client, say, socket};

/// Between two ticks of `/hold`.
const TICK: Duration = Duration::from_millis(20);
/// Time for a request to come once a connection is open.
const HEADER_DEADLINE: Duration = Duration::from_secs(600);
/// Most bytes that `/echo` sends.
const ECHO_MAX: usize = 64 << 20;
/// Piece of a long echo.
const ECHO_PIECE: usize = 64 << 10;

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Role {
    Web,
    Checkout,
    Payment,
    Inventory,
    Intruder,
}

impl Role {
    /// Whom it calls where nothing else is given.
    fn upstreams(self) -> &'static [&'static str] {
        match self {
            Self::Web => &["http://checkout.shop/"],
            Self::Checkout => &["http://payment.shop/pay", "http://inventory.shop/stock"],
            Self::Payment | Self::Inventory | Self::Intruder => &[],
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What this one is in the shop.
    #[arg(long, value_enum)]
    role: Role,
    /// Where to listen.
    #[arg(long, default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Whom to call for each request, in this order; replaces the role's own.
    #[arg(long = "upstream")]
    upstreams: Vec<String>,
    /// Which version this one is: says so in `x-version`.
    #[arg(long, default_value = "")]
    version: String,
    /// Call nobody.
    #[arg(long, conflicts_with = "upstreams")]
    no_upstreams: bool,
    /// Time for a call, milliseconds.
    #[arg(long, default_value_t = 5_000)]
    deadline_ms: u64,
}

pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

#[derive(Debug)]
struct Shop {
    name: String,
    upstreams: Vec<String>,
    deadline: Duration,
    version: String,
    mood: Mood,
    spans: Spans,
}

#[derive(Debug, Clone, Copy)]
struct Ends {
    local: SocketAddr,
    caller: SocketAddr,
}

/// Serves until killed.
pub(crate) fn run(arguments: Arguments) -> Result<bool> {
    let upstreams = if arguments.no_upstreams {
        Vec::new()
    } else if arguments.upstreams.is_empty() {
        arguments.role.upstreams().iter().map(|url| (*url).to_owned()).collect()
    } else {
        arguments.upstreams
    };
    let name = arguments.role.to_possible_value().map(|value| value.get_name().to_owned());
    let shop = Arc::new(Shop {
        name: name.unwrap_or_default(),
        upstreams,
        deadline: Duration::from_millis(arguments.deadline_ms),
        version: arguments.version,
        mood: Mood::default(),
        spans: Spans::default(),
    });
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(serve(shop, arguments.listen))?;
    Ok(true)
}

async fn serve(shop: Arc<Shop>, on: SocketAddr) -> Result<()> {
    let listener = socket::listen(on).with_context(|| format!("listening on {on}"))?;
    say(&format!("{} on {on}, calls {}", shop.name, shop.upstreams.join(", ")));
    loop {
        match listener.accept().await {
            Ok((stream, caller)) => {
                tokio::spawn(connection(Arc::clone(&shop), stream, caller));
            }
            // Out of descriptors, or gone before it was accepted.
            Err(_) => tokio::time::sleep(TICK).await,
        }
    }
}

async fn connection(shop: Arc<Shop>, stream: TcpStream, caller: SocketAddr) {
    let Ok(local) = stream.local_addr() else {
        return;
    };
    // Only costs delay where it fails.
    let _slower = stream.set_nodelay(true);
    let ends = Ends { local, caller };
    let service = service_fn(move |request| {
        let shop = Arc::clone(&shop);
        async move { Ok::<_, Infallible>(shop.answer(request, ends).await) }
    });
    // A caller that breaks off is its own business.
    let _ended = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

impl Shop {
    async fn answer(&self, request: Request<Incoming>, ends: Ends) -> Response<Body> {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let query = head.uri.query().unwrap_or_default();
        let mut response = match path {
            "/health" => whole(StatusCode::OK, "text/plain", Bytes::from_static(b"ok")),
            "/hold" => hold(),
            "/echo" => echo(query),
            "/control" => self.mood.change(query),
            "/asked" => self.mood.asked(),
            "/spans" => self.spans.list(),
            "/v1/traces" => self.spans.take(body).await,
            path => match self.mood.suffer(path, body).await {
                Some(status) => whole(status, "text/plain", Bytes::from_static(b"as told")),
                None => self.business(path, &head.headers, ends).await,
            },
        };
        if let Ok(version) = HeaderValue::from_str(&self.version)
            && !version.is_empty()
        {
            response.headers_mut().insert("x-version", version);
        }
        response
    }

    /// Calls everyone that this role needs, and tells of it.
    async fn business(&self, path: &str, headers: &HeaderMap, ends: Ends) -> Response<Body> {
        // What goes along the chain: a note to be looked for on the wire, and the trace.
        let passed = ["x-note", "traceparent", "tracestate", "x-request-id"];
        let note: Vec<(String, String)> = passed
            .into_iter()
            .filter_map(|name| {
                let value = headers.get(name)?.to_str().ok()?;
                Some((name.to_owned(), value.to_owned()))
            })
            .collect();
        let ask = Ask::get(note.clone());
        let mut calls = Vec::with_capacity(self.upstreams.len());
        for upstream in &self.upstreams {
            calls.push(client::ask(upstream, &ask, self.deadline).await);
        }
        let failed = calls.iter().any(|call| !call.is_success());
        let status = if failed { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
        let trace = json!({
            "hop": self.name,
            "path": path,
            "local": ends.local.to_string(),
            "caller": ends.caller.to_string(),
            "version": self.version,
            "note": note.iter().find(|(name, _)| name == "x-note").map(|(_, value)| value),
            "calls": calls,
        });
        whole(status, "application/json", trace.to_string().into())
    }
}

pub(crate) fn whole(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(body).boxed_unsync());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(hyper::header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn hold() -> Response<Body> {
    let (ticks, body) = mpsc::channel(1);
    tokio::spawn(async move {
        while ticks.send(Bytes::from_static(b"tick\n")).await.is_ok() {
            tokio::time::sleep(TICK).await;
        }
    });
    Response::new(stream_of(body))
}

fn echo(query: &str) -> Response<Body> {
    let bytes = query.split('&').find_map(|pair| pair.strip_prefix("bytes="));
    let Some(Ok(bytes)) = bytes.map(str::parse::<usize>) else {
        let usage = Bytes::from_static(b"/echo?bytes=N\n");
        return whole(StatusCode::BAD_REQUEST, "text/plain", usage);
    };
    let mut left = bytes.min(ECHO_MAX);
    let (pieces, body) = mpsc::channel(1);
    tokio::spawn(async move {
        let piece = Bytes::from(vec![b'e'; ECHO_PIECE]);
        while left > 0 {
            let length = left.min(ECHO_PIECE);
            if pieces.send(piece.slice(..length)).await.is_err() {
                return;
            }
            left -= length;
        }
    });
    Response::new(stream_of(body))
}

fn stream_of(mut pieces: mpsc::Receiver<Bytes>) -> Body {
    let stream = futures::stream::poll_fn(move |context| {
        pieces.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    });
    StreamBody::new(stream).boxed_unsync()
}
