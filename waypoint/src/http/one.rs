//! HTTP/1.1 in a tunnel, by pingora.

use std::any::Any;
use std::sync::Arc;

use http::StatusCode;
use http::header::TRANSFER_ENCODING;
use http::request;
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::v1::server::HttpSession;
use tokio::time::{sleep, timeout};
use weft_core::drain;

use super::check;
use super::downstream::Downstream;
use super::exchange::{self, End};
use crate::limits;
use crate::serve::{Inner, Tunnel};

/// Serves requests until the client, an error or a drain ends it.
pub(crate) async fn serve(tunnel: Arc<Tunnel>, stream: Inner, drain: drain::Watch) {
    let mut stream: Box<Inner> = Box::new(stream);
    let mut early = None;
    loop {
        if early.is_none() && !has_request(&mut stream, &drain).await {
            return;
        }
        stream.begin(early.as_deref().unwrap_or_default());
        let mut session = HttpSession::new(stream);
        session.set_pipelining_enabled(true);
        session.set_abort_on_close(false);
        if let Some(early) = early.take() {
            session.set_pipelined_prefix(early);
        }
        match Box::pin(next(&tunnel, session, &drain)).await {
            Some((kept, rest)) => (stream, early) = (kept, rest),
            None => return,
        }
    }
}

/// Waits for the first byte of a request. Once a drain is announced it doesn't wait for long: whoever sends another request
/// until then is told with its answer that the connection ends, which no client takes for a failure.
async fn has_request(stream: &mut Inner, drain: &drain::Watch) -> bool {
    if !stream.seen().is_empty() {
        return true;
    }
    tokio::select! {
        biased;
        looked = timeout(limits::DOWNSTREAM_IDLE_MAX, stream.look()) => {
            matches!(looked, Ok(Ok(true)))
        }
        () = drain_grace(drain) => false,
    }
}

/// Returns some time after a drain was announced.
pub(crate) async fn drain_grace(drain: &drain::Watch) {
    drain.graceful().await;
    sleep(limits::DRAIN_IDLE_GRACE).await;
}

type Kept = (Box<Inner>, Option<bytes::BytesMut>);

/// One request. What is left, if another may follow.
async fn next(
    tunnel: &Arc<Tunnel>,
    mut session: HttpSession,
    drain: &drain::Watch,
) -> Option<Kept> {
    let read = timeout(limits::REQUEST_HEAD_DEADLINE, session.read_request()).await;
    let refusal = match read {
        Ok(Ok(Some(_))) => admissible(&session).err(),
        Ok(Ok(None)) => return None,
        Ok(Err(error)) if inner(&session).is_some_and(Inner::is_head_too_large) => {
            Some((StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, error.to_string()))
        }
        Ok(Err(error)) => Some((StatusCode::BAD_REQUEST, error.to_string())),
        Err(_) => Some((StatusCode::REQUEST_TIMEOUT, "the request's head didn't come".into())),
    };
    if let Some((status, reason)) = refusal {
        exchange::refuse_unread(tunnel, session, status, &reason).await;
        return None;
    }
    // The exchange itself sees to it that bodies come; what it leaves of one is read here.
    session.set_read_timeout(None);
    session.set_total_drain_timeout(Some(limits::DRAIN_DEADLINE));
    session.set_server_keepalive(Some(limits::DOWNSTREAM_IDLE_MAX.as_secs()));
    session.respect_keepalive();
    if drain.is_draining() {
        session.set_server_keepalive(None);
    }
    let head = request::Parts::from(session.req_header().clone());
    let mut downstream = Downstream::One(Box::new(session));
    let end = exchange::serve(tunnel, &mut downstream, head).await;
    let Downstream::One(session) = downstream else { return None };
    match end {
        End::Whole => {
            let kept = session.reuse().await.ok()??;
            let (stream, rest) = kept.into_parts();
            Some((downcast(stream)?, rest))
        }
        // Dropped: a client that was promised more sees that it doesn't come.
        End::Broken | End::Upgraded => None,
    }
}

/// What a request whose head was read is refused for.
fn admissible(session: &HttpSession) -> Result<(), (StatusCode, String)> {
    let bad = |why: &dyn std::fmt::Display| (StatusCode::BAD_REQUEST, why.to_string());
    let head = session.get_headers_raw_bytes();
    if head.len() > limits::HEAD_BYTES_MAX {
        return Err((StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the head is too large".into()));
    }
    check::framing(&head).map_err(|error| bad(&error))?;
    session.validate_request().map_err(|error| bad(&error))?;
    let is_chunked = session.get_header(TRANSFER_ENCODING).is_some();
    let ended = inner(session).map_or(Ok(()), |inner| inner.end_head(&head, is_chunked));
    ended.map_err(|error| bad(&error))
}

fn inner(session: &HttpSession) -> Option<&Inner> {
    session.stream().as_any().downcast_ref()
}

fn downcast(stream: Stream) -> Option<Box<Inner>> {
    let any: Box<dyn Any> = stream.into_any();
    any.downcast().ok()
}
