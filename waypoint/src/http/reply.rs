//! The response on its way to the client.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, Method, StatusCode, Version};
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::attempt::Begun;
use super::downstream::{Downstream, Gone};
use super::feed::{Feed, Pipe};
use super::headers;
use super::messages::Messages;
use super::vigil::{Alarm, Pace, Patience, Vigil};
use crate::limits;
use crate::upstream::{Exchange, Io, Piece, Shelf, Way};

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
    /// Nothing moved for as long as may be.
    #[error("nothing moved")]
    Silent,
    /// By policies that changed.
    #[error("{0}")]
    Forbidden(String),
}

impl From<Alarm> for Broken {
    fn from(alarm: Alarm) -> Self {
        match alarm {
            Alarm::Late => Self::Late,
            Alarm::Silent => Self::Silent,
            Alarm::Slow => Self::Gone(Gone::Slow),
            Alarm::Forbidden(why) => Self::Forbidden(why),
        }
    }
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
    pub(super) is_grpc: bool,
    pub(super) until: Option<Instant>,
    pub(super) patience: Patience,
}

/// The client, and what is between it and us.
pub(super) struct Client<'a, 'v> {
    pub(super) downstream: &'a mut Downstream,
    pub(super) feed: &'a mut Feed,
    pub(super) vigil: &'a mut Vigil<'v>,
}

/// Sends it.
pub(super) async fn send(
    begun: Begun,
    client: Client<'_, '_>,
    asked: &Asked<'_>,
    way: &Way<'_>,
    shelf: &Shelf,
) -> Result<Sent, (Sent, Broken)> {
    let Begun { mut exchange, mut head, mut body, mut pipe, .. } = begun;
    let Client { downstream, feed, vigil } = client;
    vigil.begin(asked.until, pace(&head, asked), feed.read);
    let is_switch = head.status == StatusCode::SWITCHING_PROTOCOLS;
    let upgraded_to = head.headers.get(UPGRADE).filter(|_| is_switch).cloned();
    headers::strip_connection(&mut head.headers);
    let mut sent = Sent { messages: Messages::of(&head.headers), ..Sent::default() };
    if let Some(to) = upgraded_to {
        head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        head.headers.insert(UPGRADE, to);
        drop(body);
        let client = Client { downstream, feed, vigil };
        return switch(head, client, asked.patience, exchange, sent).await;
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
    let within = asked.patience.message;
    let begin = async {
        downstream.write_head(head, is_empty && !is_one).await?;
        if is_empty && is_one { downstream.finish(None).await } else { Ok(()) }
    };
    if let Err(broken) = taken(vigil.hand(within, begin).await) {
        return Err((sent, broken));
    }
    if !is_empty {
        let flow = Flow { exchange: &mut exchange, body: &mut body, pipe: &mut pipe, within };
        let client = Client { downstream, feed, vigil };
        if let Err(broken) = relay(flow, client, &mut sent).await {
            return Err((sent, broken));
        }
    }
    drop(body);
    shelf.give_back(way, exchange);
    Ok(sent)
}

/// In which time something has to move.
fn pace(head: &http::response::Parts, asked: &Asked<'_>) -> Pace {
    let is_live = asked.is_grpc || headers::is_events(&head.headers);
    asked.patience.answering(is_live, head.headers.contains_key(CONTENT_LENGTH))
}

/// What became of something that was handed to the client.
fn taken(handed: Result<Result<(), Gone>, Alarm>) -> Result<(), Broken> {
    Ok(handed??)
}

/// What moves while a response goes on.
struct Flow<'a> {
    exchange: &'a mut Exchange,
    body: &'a mut Incoming,
    pipe: &'a mut Pipe,
    /// The client has to take each part in this time.
    within: Duration,
}

async fn relay(flow: Flow<'_>, client: Client<'_, '_>, sent: &mut Sent) -> Result<(), Broken> {
    let Flow { exchange, body, pipe, within } = flow;
    let Client { downstream, feed, vigil } = client;
    loop {
        let at_once = poll_fn(|cx| Poll::Ready(pin!(exchange.frame(body)).poll(cx))).await;
        let frame = match at_once {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                // What there is doesn't wait for what comes later.
                taken(vigil.hand(within, downstream.flush()).await)?;
                tokio::select! {
                    biased;
                    frame = exchange.frame(body) => frame,
                    fed = feed.step(pipe, downstream) => {
                        fed?;
                        continue;
                    }
                    () = vigil.due() => match vigil.look(Some(sent.bytes + feed.read)) {
                        Some(alarm) => return Err(alarm.into()),
                        None => continue,
                    }
                }
            }
        };
        match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    sent.bytes += u64::try_from(data.len()).unwrap_or(u64::MAX);
                    sent.messages.pass(&data);
                    if !data.is_empty() {
                        taken(vigil.hand(within, downstream.write(data)).await)?;
                    }
                }
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_else(|_| HeaderMap::new());
                    sent.trailers = Some(trailers.clone());
                    let ending = downstream.finish(Some(trailers));
                    return taken(vigil.hand(within, ending).await);
                }
            },
            None => return taken(vigil.hand(within, downstream.finish(None)).await),
            Some(Err(error)) => return Err(Broken::Upstream(error.to_string())),
        }
    }
}

/// From here on the connection carries bytes of another protocol.
async fn switch(
    head: http::response::Parts,
    client: Client<'_, '_>,
    patience: Patience,
    exchange: Exchange,
    mut sent: Sent,
) -> Result<Sent, (Sent, Broken)> {
    sent.is_upgraded = true;
    let Exchange::One(one) = exchange else {
        let why = "HTTP/2 has no other protocols to change to".to_owned();
        return Err((sent, Broken::Upstream(why)));
    };
    let read = client.feed.read;
    client.vigil.begin(None, patience.answering(true, false), read);
    let (mut io, early) = one.into_stream();
    let opening = async {
        client.downstream.write_head(head, false).await?;
        if !early.is_empty() {
            client.downstream.write(early).await?;
        }
        client.downstream.flush().await
    };
    let opened = taken(client.vigil.hand(patience.message, opening).await);
    let carried = match opened {
        Ok(()) => carry(&mut io, client, patience.message, &mut sent).await,
        Err(broken) => Err(broken),
    };
    match carried {
        Ok(()) => Ok(sent),
        Err(broken) => {
            io.cut();
            Err((sent, broken))
        }
    }
}

/// Bytes both ways, until the application ends it. Each side has to take within `within` what the other said.
async fn carry(
    io: &mut Io,
    client: Client<'_, '_>,
    within: Duration,
    sent: &mut Sent,
) -> Result<(), Broken> {
    let of_io = |error: std::io::Error| Broken::Upstream(error.to_string());
    let Client { downstream, feed, vigil } = client;
    let (mut from, mut into) = tokio::io::split(io);
    let (mut client_ended, mut buffer) = (false, BytesMut::new());
    loop {
        buffer.reserve(limits::LOOK_BYTES);
        tokio::select! {
            read = from.read_buf(&mut buffer) => {
                if read.map_err(of_io)? == 0 {
                    return taken(vigil.hand(within, downstream.finish(None)).await);
                }
                let data: Bytes = buffer.split().freeze();
                sent.bytes += u64::try_from(data.len()).unwrap_or(u64::MAX);
                let passing = async {
                    downstream.write(data).await?;
                    downstream.flush().await
                };
                taken(vigil.hand(within, passing).await)?;
            }
            piece = downstream.read(), if !client_ended => match piece? {
                Piece::Data(data) => {
                    feed.read += u64::try_from(data.len()).unwrap_or(u64::MAX);
                    vigil.hand(within, into.write_all(&data)).await?.map_err(of_io)?;
                }
                Piece::End(_) => {
                    client_ended = true;
                    vigil.hand(within, into.shutdown()).await?.map_err(of_io)?;
                }
            },
            () = vigil.due() => if let Some(alarm) = vigil.look(Some(sent.bytes + feed.read)) {
                return Err(alarm.into());
            }
        }
    }
}
