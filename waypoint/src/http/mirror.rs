//! Copies of requests. Nobody waits for them, and nobody reads what comes back.

use std::sync::Arc;

use http::{Request, request};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use rand::Rng;
use tokio::time::{Instant, timeout};
use weft_core::telemetry::Registry;

use super::backing::{backend, find};
use super::feed::Feed;
use crate::balance::PickContext;
use crate::limits;
use crate::route::{Action, Destination, Mirror, Protocol};
use crate::serve::Tunnel;
use crate::upstream::{Piece, RequestBody, Spoken, Way};

/// What became of copies.
#[derive(Debug, Clone, Default)]
pub(crate) struct Copies(Family<Became, Counter>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Became {
    result: &'static str,
}

impl Copies {
    /// Adds the counter to `registry`.
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let copies = Self::default();
        let help = "Copies of requests: answered, failed, or left out as too large or one too many";
        registry.metrics().register("weft_mirrored_requests", help, copies.0.clone());
        copies
    }

    fn count(&self, result: &'static str) {
        self.0.get_or_create(&Became { result }).inc();
    }
}

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

/// Sends the copies of a request with a body, once it was read whole. One too large to be kept isn't copied: whoever waits for
/// nobody can't be held back, so that a copy that is slow would have to be kept whole.
pub(super) fn with_body(
    tunnel: &Arc<Tunnel>,
    action: Option<&Action>,
    head: &request::Parts,
    feed: &Feed,
) {
    if !feed.has_body() {
        return;
    }
    match feed.whole() {
        Some(body) => send_all(tunnel, action, head, body),
        None if !feed.can_repeat() => {
            let left_out = drawn(action).count();
            (0..left_out).for_each(|_| tunnel.worker.shared.copies.count("too_large"));
        }
        // The client gave it up.
        None => {}
    }
}

fn send_all(
    tunnel: &Arc<Tunnel>,
    action: Option<&Action>,
    head: &request::Parts,
    body: &[bytes::Bytes],
) {
    for mirror in drawn(action) {
        let Ok(permit) = tunnel.worker.mirrors.clone().try_acquire_owned() else {
            tunnel.worker.shared.copies.count("too_many");
            continue;
        };
        let (tunnel, head, body) = (tunnel.clone(), head.clone(), body.to_vec());
        let to = mirror.to.clone();
        tokio::spawn(async move {
            let sending = Box::pin(send(&tunnel, &to, head, body));
            let sent = timeout(limits::MIRROR_DEADLINE, sending).await.ok().flatten();
            let result = if sent.is_some() { "answered" } else { "failed" };
            tunnel.worker.shared.copies.count(result);
            drop(permit);
        });
    }
}

/// The mirrors whose share takes this request.
fn drawn(action: Option<&Action>) -> impl Iterator<Item = &Mirror> {
    let mirrors = action.into_iter().flat_map(|action| &action.filters.mirrors);
    mirrors.filter(|mirror| mirror.share.holds(rand::rng().next_u64()))
}

async fn send(
    tunnel: &Tunnel,
    to: &Destination,
    mut head: request::Parts,
    body: Vec<bytes::Bytes>,
) -> Option<()> {
    let snapshot = tunnel.mesh().load();
    let (service, port) = find(&snapshot, tunnel, to)?;
    let backend = backend(tunnel, &snapshot, &service, port, to.subset.as_ref()).ok()?;
    let context = PickContext { hash: None, tried: &[], is_anywhere: false, now: Instant::now() };
    let picked = backend.pick(&context, &mut rand::rng());
    let (_picked, to_endpoint) = picked.ok()?;
    let is_two = to.protocol == Protocol::Http2 || head.version == http::Version::HTTP_2;
    let spoken = if is_two { Spoken::Http2 } else { Spoken::Http1 };
    let shelf = &tunnel.worker.shelf;
    let host = head.uri.authority().map_or("", |it| it.host());
    let to_endpoint = to_endpoint.for_host(host).ok()?;
    let way = Way::plain(&to_endpoint, spoken, tunnel.worker.baggage(), tunnel.trace);
    let way = way.secured(&backend, host);
    let mut exchange = shelf.take(&way).await.ok()?;
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
    let response = exchange.send(Request::from_parts(head, sent_body)).await.ok()?;
    let mut body = response.into_body();
    while let Some(frame) = exchange.frame(&mut body).await {
        frame.ok()?;
    }
    drop(body);
    shelf.give_back(&way, exchange);
    Some(())
}
