//! Copies of requests. Nobody waits for them, and nobody reads what comes back.

use std::sync::Arc;

use http::{Request, request};
use rand::Rng;
use tokio::time::{Instant, timeout};

use super::backing::{backend, find};
use super::feed::Feed;
use crate::balance::PickContext;
use crate::limits;
use crate::route::{Action, Destination, Protocol};
use crate::serve::Tunnel;
use crate::upstream::{Piece, RequestBody, Spoken, Way};

/// Sends the copies of a request without a body.
pub(super) fn begin(
    tunnel: &Arc<Tunnel>,
    action: Option<&Action>,
    head: &request::Parts,
    is_bodiless: bool,
) {
    if is_bodiless {
        send_all(tunnel, action, head, &[]);
    }
}

/// Sends the copies of a request with a body, once it was read whole. One too large to be kept isn't copied.
pub(super) fn with_body(
    tunnel: &Arc<Tunnel>,
    action: Option<&Action>,
    head: &request::Parts,
    feed: &Feed,
) {
    if let Some(body) = feed.whole().filter(|_| feed.has_body()) {
        send_all(tunnel, action, head, body);
    }
}

fn send_all(
    tunnel: &Arc<Tunnel>,
    action: Option<&Action>,
    head: &request::Parts,
    body: &[bytes::Bytes],
) {
    for mirror in action.iter().flat_map(|action| &action.filters.mirrors) {
        if !mirror.share.holds(rand::rng().next_u64()) {
            continue;
        }
        let Ok(permit) = tunnel.worker.mirrors.clone().try_acquire_owned() else {
            tracing::debug!(target: "http", "too many copies under way, this one is left out");
            continue;
        };
        let (tunnel, head, body) = (tunnel.clone(), head.clone(), body.to_vec());
        let to = mirror.to.clone();
        tokio::spawn(async move {
            let sending = Box::pin(send(&tunnel, &to, head, body));
            if timeout(limits::MIRROR_DEADLINE, sending).await.is_err() {
                tracing::debug!(target: "http", to = %to.hostname, "a copy took too long");
            }
            drop(permit);
        });
    }
}

async fn send(
    tunnel: &Tunnel,
    to: &Destination,
    mut head: request::Parts,
    body: Vec<bytes::Bytes>,
) {
    let snapshot = tunnel.mesh().load();
    let Some((service, port)) = find(&snapshot, tunnel, to) else { return };
    let Ok(backend) = backend(tunnel, &snapshot, &service, port, to.subset.as_ref()) else {
        return;
    };
    let context = PickContext { hash: None, tried: &[], is_anywhere: false, now: Instant::now() };
    let picked = backend.pick(&context, &mut rand::rng());
    let Ok((_picked, to_endpoint)) = picked else { return };
    let is_two = to.protocol == Protocol::Http2 || head.version == http::Version::HTTP_2;
    let spoken = if is_two { Spoken::Http2 } else { Spoken::Http1 };
    let shelf = &tunnel.worker.shelf;
    let host = head.uri.authority().map_or("", |it| it.host());
    let Ok(to_endpoint) = to_endpoint.for_host(host) else { return };
    let way = Way::plain(&to_endpoint, spoken, tunnel.worker.baggage(), tunnel.trace);
    let way = way.secured(&backend, host);
    let Ok(mut exchange) = shelf.take(&way).await else { return };
    head.uri = way.address(head.uri);
    let sent_body = if body.is_empty() {
        RequestBody::none()
    } else {
        let (sender, sent_body) = RequestBody::channel(None);
        tokio::spawn(async move {
            for data in body {
                if sender.send(Piece::Data(data)).await.is_err() {
                    return;
                }
            }
            // Nobody there to read it: then it ends by itself.
            let _sent = sender.send(Piece::End(None)).await;
        });
        sent_body
    };
    let Ok(response) = exchange.send(Request::from_parts(head, sent_body)).await else { return };
    let mut body = response.into_body();
    while let Some(Ok(_)) = exchange.frame(&mut body).await {}
    drop(body);
    shelf.give_back(&way, exchange);
}
