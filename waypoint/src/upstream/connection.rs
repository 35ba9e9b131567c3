//! One HTTP exchange with an application.
//!
//! An HTTP/1.1 connection has no task of its own: whoever has the exchange moves its bytes, so that a request costs no
//! switch between tasks. HTTP/2 connections are shared, and have one.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Request, Response, Uri, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;

use super::backends::Held;
use super::dial::Io;
use crate::limits;

/// A part of a request's body.
#[derive(Debug)]
pub(crate) enum Piece {
    /// Bytes.
    Data(Bytes),
    /// The end, with trailers if there are any. Without it the request counts as cut off.
    End(Option<HeaderMap>),
}

/// What is sent.
#[derive(Debug)]
pub(crate) struct RequestBody {
    pieces: Option<mpsc::Receiver<Piece>>,
    /// Bytes that are still to come, where the client declared it.
    declared: Option<u64>,
}

impl RequestBody {
    /// Nothing.
    pub(crate) fn none() -> Self {
        Self { pieces: None, declared: None }
    }

    /// Whether there is one whose length isn't known.
    fn is_unmeasured(&self) -> bool {
        self.pieces.is_some() && self.declared.is_none()
    }

    /// What comes out of a channel; `declared` bytes altogether, if that is known.
    pub(crate) fn channel(declared: Option<u64>) -> (mpsc::Sender<Piece>, Self) {
        let (sender, pieces) = mpsc::channel(1);
        (sender, Self { pieces: Some(pieces), declared })
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Truncated;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Truncated>>> {
        let Some(pieces) = &mut self.pieces else { return Poll::Ready(None) };
        match ready!(pieces.poll_recv(cx)) {
            Some(Piece::Data(data)) => {
                let bytes = u64::try_from(data.len()).unwrap_or(u64::MAX);
                self.declared = self.declared.map(|left| left.saturating_sub(bytes));
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Some(Piece::End(trailers)) => {
                self.pieces = None;
                Poll::Ready(trailers.map(|it| Ok(Frame::trailers(it))))
            }
            None => Poll::Ready(Some(Err(Truncated))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.pieces, self.declared) {
            (None, _) => SizeHint::with_exact(0),
            (Some(_), Some(bytes)) => SizeHint::with_exact(bytes),
            (Some(_), None) => SizeHint::default(),
        }
    }
}

/// The client's request ended before its end.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the request was given up by its client")]
pub(crate) struct Truncated;

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// The application never saw the request: it can be sent again, whatever it asks for.
    #[error("the connection ended before the request was sent")]
    NotSent,
    /// The application says that it didn't process the request (RFC 9113, section 8.7).
    #[error("the application refused the stream")]
    Refused,
    /// The connection, which had served others before, ended without a byte of a response.
    #[error("the connection ended before the response")]
    ClosedWhileIdle,
    /// What came is no response, or one that could be read in two ways.
    #[error("the application broke the protocol: {0}")]
    Protocol(String),
    /// Anything else.
    #[error("{0}")]
    Reset(hyper::Error),
}

/// A connection while it has an exchange.
pub(crate) enum Exchange {
    /// HTTP/1.1, this exchange's alone.
    One(Box<One>),
    /// HTTP/2, shared.
    Two(Two),
}

/// HTTP/1.1.
pub(crate) struct One {
    sender: http1::SendRequest<RequestBody>,
    driver: http1::Connection<TokioIo<Io>, RequestBody>,
    has_ended: bool,
    served: u32,
    /// Counts it among the connections of its backend.
    _permit: Option<Held>,
}

/// HTTP/2.
pub(crate) struct Two {
    sender: http2::SendRequest<RequestBody>,
    _stream: Arc<()>,
}

impl One {
    /// Begins to speak on a new stream.
    pub(super) async fn open(io: Io, permit: Option<Held>) -> Result<Self, hyper::Error> {
        let (sender, driver) = http1::Builder::new()
            .max_headers(limits::HEADER_FIELDS_MAX)
            .max_buf_size(limits::UPSTREAM_BUFFER_BYTES)
            .handshake(TokioIo::new(io))
            .await?;
        Ok(Self { sender, driver, has_ended: false, served: 0, _permit: permit })
    }

    fn poll_driver(&mut self, cx: &mut Context<'_>) {
        if !self.has_ended {
            // Why it ended, the exchange is told.
            self.has_ended = self.driver.poll_without_shutdown(cx).is_ready();
        }
    }

    /// Whether another request can be sent now.
    pub(super) fn is_ready(&mut self) -> bool {
        self.poll_driver(&mut Context::from_waker(Waker::noop()));
        !self.has_ended && self.sender.is_ready()
    }

    /// Requests that it took.
    pub(super) fn served(&self) -> u32 {
        self.served
    }

    /// The stream itself, after the application agreed to speak something else on it; and what it said already.
    pub(crate) fn into_stream(self) -> (Io, Bytes) {
        let parts = self.driver.into_parts();
        (parts.io.into_inner(), parts.read_buf)
    }
}

impl Two {
    /// One of several exchanges; `stream` counts it.
    pub(super) fn new(sender: http2::SendRequest<RequestBody>, stream: Arc<()>) -> Self {
        Self { sender, _stream: stream }
    }
}

impl Exchange {
    /// Sends a request and waits for the head of its response.
    pub(crate) async fn send(
        &mut self,
        mut request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, SendError> {
        self.address(&mut request);
        match self {
            Self::One(one) => {
                let was_used = one.served > 0;
                one.served = one.served.saturating_add(1);
                let mut answer = pin!(one.sender.try_send_request(request));
                // `answer` keeps no hold of the sender.
                let (driver, has_ended) = (&mut one.driver, &mut one.has_ended);
                let outcome = poll_fn(|cx| {
                    if !*has_ended {
                        *has_ended = driver.poll_without_shutdown(cx).is_ready();
                    }
                    answer.as_mut().poll(cx)
                });
                outcome.await.map_err(|mut error| {
                    SendError::of(error.take_message().is_some(), error.into_error(), was_used)
                })
            }
            Self::Two(two) => {
                two.sender.ready().await.map_err(|_| SendError::NotSent)?;
                let sent = two.sender.try_send_request(request).await;
                sent.map_err(|mut error| {
                    SendError::of(error.take_message().is_some(), error.into_error(), false)
                })
            }
        }
    }

    /// Where the host and the path stand in this version. Requests come with both in their URI, and the host besides.
    fn address(&self, request: &mut Request<RequestBody>) {
        match self {
            Self::One(_) => {
                *request.version_mut() = Version::HTTP_11;
                // The authority stands in `Host`; with it here, this would be the absolute form that only proxies are sent.
                let path = request.uri().path_and_query().cloned();
                *request.uri_mut() = path.map(Uri::from).unwrap_or_default();
                // hyper takes a GET or HEAD without a length for one without a body, and would drop it.
                let is_told = request.headers().contains_key(CONTENT_LENGTH);
                if request.body().is_unmeasured() && !is_told {
                    let chunked = HeaderValue::from_static("chunked");
                    request.headers_mut().insert(TRANSFER_ENCODING, chunked);
                }
            }
            Self::Two(_) => {
                *request.version_mut() = Version::HTTP_2;
                // `:authority` takes its place (RFC 9113, section 8.3.1).
                request.headers_mut().remove(HOST);
            }
        }
    }

    /// The next part of the response's body.
    pub(crate) async fn frame(
        &mut self,
        body: &mut Incoming,
    ) -> Option<Result<Frame<Bytes>, hyper::Error>> {
        poll_fn(|cx| {
            if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) {
                return Poll::Ready(frame);
            }
            match self {
                Self::One(one) => {
                    one.poll_driver(cx);
                    Pin::new(&mut *body).poll_frame(cx)
                }
                Self::Two(_) => Poll::Pending,
            }
        })
        .await
    }
}

impl SendError {
    fn of(is_unsent: bool, error: hyper::Error, was_used: bool) -> Self {
        if is_unsent {
            return Self::NotSent;
        }
        let reason = std::error::Error::source(&error)
            .and_then(|source| source.downcast_ref::<h2::Error>())
            .and_then(h2::Error::reason);
        match reason {
            Some(h2::Reason::REFUSED_STREAM) => Self::Refused,
            None if was_used && error.is_incomplete_message() => Self::ClosedWhileIdle,
            None if error.is_parse() => Self::Protocol(error.to_string()),
            _ => Self::Reset(error),
        }
    }
}
