//! HTTP/1.1 for a [`Router`], with a bound on everything that a client can make it hold.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::router::{Request, Response, Router};
use crate::serve::{AcceptSettings, accept_loop};
use crate::socket::{self, ListenSettings};
use crate::{drain, limits};

/// Why a server doesn't listen.
#[derive(Debug, thiserror::Error)]
#[error("{name}: listening on {address}: {error}")]
pub struct ListenError {
    name: &'static str,
    address: SocketAddr,
    error: io::Error,
}

/// Listens at `address` and answers there, as one of `parts`.
pub fn spawn(
    parts: &mut JoinSet<&'static str>,
    name: &'static str,
    address: SocketAddr,
    router: Router,
) -> Result<(), ListenError> {
    let settings = ListenSettings { is_dual_stack: true, ..ListenSettings::default() };
    // A kernel without IPv6 has the IPv4 wildcard.
    let v4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
    let listener = match socket::listen(address, &settings) {
        Err(_) if address.ip() == Ipv6Addr::UNSPECIFIED => socket::listen(v4, &settings),
        listening => listening,
    };
    let listener = listener.map_err(|error| ListenError { name, address, error })?;
    parts.spawn(async move {
        serve(listener, Arc::new(router), std::future::pending()).await;
        name
    });
    Ok(())
}

/// Answers requests on `listener` until `shutdown` ends; then idle connections close and requests under way get
/// [`limits::ADMIN_CONNECTION_GRACE`].
pub async fn serve(
    listener: TcpListener,
    router: Arc<Router>,
    shutdown: impl Future<Output = ()> + Send,
) {
    let permits = Arc::new(Semaphore::new(limits::ADMIN_CONNECTIONS_MAX));
    let settings = AcceptSettings { name: "admin", permits };
    let (signal, watch) = drain::pair();
    let stopping = watch.clone();
    let answer = move |stream, _| {
        let (router, stopping) = (Arc::clone(&router), stopping.clone());
        async move { connection(stream, router, stopping.graceful()).await }
    };
    let stop = async {
        shutdown.await;
        if signal.drain(limits::ADMIN_CONNECTION_GRACE).await == drain::Outcome::Forced {
            tracing::warn!("admin requests were cut at shutdown");
        }
    };
    tokio::join!(accept_loop(listener, settings, watch, answer), stop);
}

async fn connection<Io>(io: Io, router: Arc<Router>, stopped: impl Future<Output = ()> + Send)
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let router = Arc::clone(&router);
        async move { Ok::<_, Infallible>(respond(&router, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::ADMIN_HEADER_DEADLINE)
        .max_buf_size(limits::ADMIN_HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(io), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        result = connection.as_mut() => Some(result),
        () = stopped => None,
        () = sleep(limits::ADMIN_CONNECTION_AGE_MAX) => None,
    };
    let result = match ended {
        Some(result) => result,
        None => {
            Pin::as_mut(&mut connection).graceful_shutdown();
            let Ok(result) = timeout(limits::ADMIN_CONNECTION_GRACE, connection).await else {
                return;
            };
            result
        }
    };
    // A client that goes away or sends garbage is its own business.
    if let Err(error) = result {
        tracing::debug!(%error, "admin connection ended");
    }
}

async fn respond(
    router: &Router,
    request: hyper::Request<Incoming>,
) -> hyper::Response<Full<Bytes>> {
    let response = match timeout(limits::ADMIN_HANDLER_DEADLINE, handle(router, request)).await {
        Ok(response) => response,
        Err(_) => Response::text(StatusCode::GATEWAY_TIMEOUT, "this took too long\n"),
    };
    let mut answer = hyper::Response::new(Full::new(response.body));
    *answer.status_mut() = response.status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(response.content_type));
    // A browser must not take a dump for a page, whatever is in it.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

async fn handle(router: &Router, request: hyper::Request<Incoming>) -> Response {
    let (parts, body) = request.into_parts();
    let read = Limited::new(body, limits::ADMIN_BODY_BYTES_MAX).collect();
    match timeout(limits::ADMIN_BODY_DEADLINE, read).await {
        Ok(Ok(body)) => router.answer(Request::new(&parts, body.to_bytes())).await,
        Ok(Err(_)) => {
            let text =
                format!("the body is broken or over {} bytes\n", limits::ADMIN_BODY_BYTES_MAX);
            Response::text(StatusCode::PAYLOAD_TOO_LARGE, text)
        }
        Err(_) => Response::text(StatusCode::REQUEST_TIMEOUT, "the body didn't come\n"),
    }
}
