//! HTTP/2 in a tunnel, by h2.

use std::sync::Arc;

use bytes::Bytes;
use h2::server::Connection;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use weft_core::drain;

use super::blocks::InTime;
use super::downstream::{Downstream, Stream};
use super::exchange::{self, End};
use crate::limits;
use crate::serve::{Inner, Tunnel};

/// Serves requests until the client, an error or a drain ends it.
pub(crate) async fn serve(tunnel: Arc<Tunnel>, stream: Inner, drain: drain::Watch) {
    let handshake = settings().handshake::<_, Bytes>(InTime::new(stream));
    let Ok(Ok(connection)) = timeout(limits::REQUEST_HEAD_DEADLINE, Box::pin(handshake)).await
    else {
        return;
    };
    Box::pin(run(tunnel, connection, drain)).await;
}

async fn run(
    tunnel: Arc<Tunnel>,
    mut connection: Connection<InTime<Inner>, Bytes>,
    drain: drain::Watch,
) {
    let mut exchanges = JoinSet::new();
    let (mut is_draining, mut is_over) = (false, false);
    let mut idle_until = Instant::now() + limits::DOWNSTREAM_IDLE_MAX;
    loop {
        tokio::select! {
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    let (head, recv) = request.into_parts();
                    let downstream = Downstream::Two(Box::new(Stream::new(respond, recv)));
                    exchanges.spawn(one(tunnel.clone(), downstream, head));
                }
                Some(Err(error)) => {
                    tracing::debug!(target: "http", %error, "an HTTP/2 connection broke");
                    return;
                }
                None => return,
            },
            Some(_) = exchanges.join_next() => {
                idle_until = Instant::now() + limits::DOWNSTREAM_IDLE_MAX;
            }
            () = drain.graceful(), if !is_draining => {
                is_draining = true;
                connection.graceful_shutdown();
            }
            () = sleep_until(idle_until), if exchanges.is_empty() => {
                // A client that doesn't even take the goodbye.
                if is_over {
                    return;
                }
                is_over = true;
                connection.graceful_shutdown();
                idle_until = Instant::now() + limits::DOWNSTREAM_IDLE_MAX;
            }
        }
    }
}

async fn one(tunnel: Arc<Tunnel>, mut downstream: Downstream, head: http::request::Parts) {
    match Box::pin(exchange::serve(&tunnel, &mut downstream, head)).await {
        End::Whole => {}
        End::Broken | End::Upgraded => downstream.abort(),
    }
}

fn settings() -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(limits::HTTP2_STREAM_WINDOW)
        .initial_connection_window_size(limits::HTTP2_CONNECTION_WINDOW)
        .max_header_list_size(limits::HEADER_LIST_BYTES_MAX)
        .max_concurrent_streams(limits::HTTP2_STREAMS_MAX)
        .max_pending_accept_reset_streams(limits::HTTP2_PENDING_RESETS_MAX);
    builder
}
