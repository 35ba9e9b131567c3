//! The response on its way to the client.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, Method, StatusCode, Version};
use hyper::body::{Frame, Incoming};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep_until};

use super::attempt::Begun;
use super::downstream::{Downstream, Gone};
use super::feed::{Feed, Pipe};
use super::headers;
use super::messages::Messages;
use crate::limits;
use crate::upstream::{Exchange, Piece, Shelf, Way};

/// How a response ended, once it had begun.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// By the client.
    #[error("{0}")]
    Gone(#[from] Gone),
    /// By the application.
    #[error("the application ended its response early: {0}")]
    Upstream(String),
    /// By the clock.
    #[error("the request took longer than it may")]
    Late,
}

/// What was sent.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// Bytes of the body.
    pub(super) bytes: u64,
    /// gRPC messages.
    pub(super) messages: Messages,
    /// What came behind the body.
    pub(super) trailers: Option<HeaderMap>,
    /// The connection speaks something else now, and has ended.
    pub(super) is_upgraded: bool,
}

/// What is said of the request to whoever sends its response.
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    pub(super) version: Version,
    pub(super) until: Option<Instant>,
}

/// Sends it. `edit` changes its head.
pub(super) async fn send(
    begun: Begun,
    downstream: &mut Downstream,
    feed: &mut Feed,
    asked: &Asked<'_>,
    way: &Way<'_>,
    shelf: &Shelf,
) -> Result<Sent, (Sent, Broken)> {
    let Begun { mut exchange, mut head, mut body, mut pipe, .. } = begun;
    let is_switch = head.status == StatusCode::SWITCHING_PROTOCOLS;
    let upgraded_to = head.headers.get(UPGRADE).filter(|_| is_switch).cloned();
    headers::strip_connection(&mut head.headers);
    let mut sent = Sent { messages: Messages::of(&head.headers), ..Sent::default() };
    if let Some(to) = upgraded_to {
        head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        head.headers.insert(UPGRADE, to);
        drop(body);
        return switch(head, downstream, exchange, sent).await;
    }
    let is_bodiless = Downstream::is_bodiless(asked.method, head.status);
    let is_empty = is_bodiless || http_body::Body::is_end_stream(&body);
    let is_one = matches!(downstream, Downstream::One(_));
    if is_one && !is_bodiless && !head.headers.contains_key(CONTENT_LENGTH) {
        // Without either, the body would end with the connection, as it has to for a client of HTTP/1.0.
        let (name, value) = match (is_empty, asked.version) {
            (true, _) => (CONTENT_LENGTH, "0"),
            (false, Version::HTTP_10) => (TRANSFER_ENCODING, ""),
            (false, _) => (TRANSFER_ENCODING, "chunked"),
        };
        if !value.is_empty() {
            head.headers.insert(name, HeaderValue::from_static(value));
        }
    }
    let begin = async {
        downstream.write_head(head, is_empty && !is_one).await?;
        if is_empty && is_one { downstream.finish(None).await } else { Ok(()) }
    };
    if let Err(gone) = begin.await {
        return Err((sent, gone.into()));
    }
    if !is_empty {
        let flow = Flow { exchange: &mut exchange, body: &mut body, pipe: &mut pipe, feed };
        let relayed = relay(flow, downstream, asked.until, &mut sent).await;
        if let Err(broken) = relayed {
            return Err((sent, broken));
        }
    }
    drop(body);
    shelf.give_back(way, exchange);
    Ok(sent)
}

/// What moves while a response goes on.
struct Flow<'a> {
    exchange: &'a mut Exchange,
    body: &'a mut Incoming,
    pipe: &'a mut Pipe,
    feed: &'a mut Feed,
}

async fn relay(
    flow: Flow<'_>,
    downstream: &mut Downstream,
    until: Option<Instant>,
    sent: &mut Sent,
) -> Result<(), Broken> {
    let Flow { exchange, body, pipe, feed } = flow;
    let mut late = pin!(async {
        match until {
            Some(until) => sleep_until(until).await,
            None => std::future::pending().await,
        }
    });
    loop {
        let at_once = poll_fn(|cx| Poll::Ready(pin!(exchange.frame(body)).poll(cx))).await;
        if let Poll::Ready(frame) = at_once {
            match pass(frame, downstream, sent).await? {
                Pass::More => continue,
                Pass::Whole => return Ok(()),
            }
        }
        // What comes later, what there is doesn't wait for.
        downstream.flush().await?;
        let frame = tokio::select! {
            biased;
            frame = exchange.frame(body) => frame,
            fed = feed.step(pipe, downstream) => {
                fed?;
                continue;
            }
            () = &mut late => return Err(Broken::Late),
        };
        if let Pass::Whole = pass(frame, downstream, sent).await? {
            return Ok(());
        }
    }
}

enum Pass {
    More,
    Whole,
}

/// Passes a part of the body on.
async fn pass(
    frame: Option<Result<Frame<Bytes>, hyper::Error>>,
    downstream: &mut Downstream,
    sent: &mut Sent,
) -> Result<Pass, Broken> {
    let Some(frame) = frame else {
        downstream.finish(None).await?;
        return Ok(Pass::Whole);
    };
    match frame.map_err(|error| Broken::Upstream(error.to_string()))?.into_data() {
        Ok(data) => {
            sent.bytes += u64::try_from(data.len()).unwrap_or(u64::MAX);
            sent.messages.pass(&data);
            if !data.is_empty() {
                downstream.write(data).await?;
            }
            Ok(Pass::More)
        }
        Err(frame) => {
            let trailers = frame.into_trailers().unwrap_or_else(|_| HeaderMap::new());
            sent.trailers = Some(trailers.clone());
            downstream.finish(Some(trailers)).await?;
            Ok(Pass::Whole)
        }
    }
}

/// From here on the connection carries bytes of another protocol.
async fn switch(
    head: http::response::Parts,
    downstream: &mut Downstream,
    exchange: Exchange,
    mut sent: Sent,
) -> Result<Sent, (Sent, Broken)> {
    sent.is_upgraded = true;
    let Exchange::One(one) = exchange else {
        let why = "HTTP/2 has no other protocols to change to".to_owned();
        return Err((sent, Broken::Upstream(why)));
    };
    match carry(head, downstream, *one, &mut sent).await {
        Ok(()) => Ok(sent),
        Err(broken) => Err((sent, broken)),
    }
}

async fn carry(
    head: http::response::Parts,
    downstream: &mut Downstream,
    one: crate::upstream::One,
    sent: &mut Sent,
) -> Result<(), Broken> {
    let of_io = |error: std::io::Error| Broken::Upstream(error.to_string());
    let (io, early) = one.into_stream();
    let (mut from, mut into) = tokio::io::split(io);
    downstream.write_head(head, false).await?;
    if !early.is_empty() {
        downstream.write(early).await?;
    }
    downstream.flush().await?;
    let (mut client_ended, mut buffer) = (false, BytesMut::new());
    loop {
        buffer.reserve(limits::LOOK_BYTES);
        tokio::select! {
            read = from.read_buf(&mut buffer) => {
                if read.map_err(of_io)? == 0 {
                    return Ok(downstream.finish(None).await?);
                }
                let data: Bytes = buffer.split().freeze();
                sent.bytes += u64::try_from(data.len()).unwrap_or(u64::MAX);
                downstream.write(data).await?;
                downstream.flush().await?;
            }
            piece = downstream.read(), if !client_ended => match piece? {
                Piece::Data(data) => into.write_all(&data).await.map_err(of_io)?,
                Piece::End(_) => {
                    client_ended = true;
                    into.shutdown().await.map_err(of_io)?;
                }
            },
        }
    }
}
