//! The client's side of one exchange.

use std::future::poll_fn;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Method, StatusCode, response};
use pingora_core::protocols::http::v1::server::HttpSession;
use pingora_http::ResponseHeader;

use crate::serve::Inner;
use crate::upstream::Piece;

/// Why the client's side carries no more.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Gone {
    /// The client ended it, or its connection did.
    #[error("the client is gone: {0}")]
    Client(String),
    /// The client sent what is no HTTP.
    #[error("the client broke the protocol: {0}")]
    Protocol(String),
    /// The client fell silent within a request, or reads no more.
    #[error("the client fell silent")]
    Silent,
    /// The client sends more than it may.
    #[error("the request's body is too large")]
    TooLarge,
    /// The client sends less than clients do who mean it.
    #[error("the client is too slow")]
    Slow,
}

/// One request of a client, and the way back.
pub(super) enum Downstream {
    /// HTTP/1.1
    One(Box<HttpSession>),
    /// HTTP/2
    Two(Box<Stream>),
}

/// A stream of an HTTP/2 connection.
pub(super) struct Stream {
    respond: SendResponse<Bytes>,
    send: Option<SendStream<Bytes>>,
    recv: RecvStream,
    has_body_ended: bool,
}

impl Stream {
    pub(super) fn new(respond: SendResponse<Bytes>, recv: RecvStream) -> Self {
        let has_body_ended = recv.is_end_stream();
        Self { respond, send: None, recv, has_body_ended }
    }
}

impl Downstream {
    /// Whether there is nothing of the request's body to be read any more.
    pub(super) fn is_body_done(&mut self) -> bool {
        match self {
            Self::One(session) => session.is_body_done(),
            Self::Two(stream) => stream.has_body_ended,
        }
    }

    /// The next part of the request's body. May be dropped while it waits, without loss. How long that may be is its caller's
    /// to say.
    pub(super) async fn read(&mut self) -> Result<Piece, Gone> {
        match self {
            Self::One(session) => {
                // Trailers of HTTP/1.1 requests: pingora reads and drops them.
                let read = session.read_body_bytes().await.map_err(|error| of_pingora(&error))?;
                Ok(read.map_or(Piece::End(None), Piece::Data))
            }
            Self::Two(stream) => stream.read().await,
        }
    }

    /// Returns when the client no longer wants the response. Only after the request's body.
    pub(super) async fn gone(&mut self) -> Gone {
        match self {
            // A client that has closed its sending side may still read.
            Self::One(session) => match session.read_body_or_idle(true).await {
                Err(error) => of_pingora(&error),
                Ok(_) => std::future::pending().await,
            },
            Self::Two(stream) => {
                let reset = poll_fn(|cx| match &mut stream.send {
                    Some(send) => send.poll_reset(cx),
                    None => stream.respond.poll_reset(cx),
                });
                match reset.await {
                    Ok(reason) => Gone::Client(format!("reset: {reason}")),
                    Err(error) => Gone::Client(error.to_string()),
                }
            }
        }
    }

    /// Tells a client that waits for it to go on with the body (RFC 9110, section 10.1.1).
    pub(super) async fn invite_body(&mut self) -> Result<(), Gone> {
        match self {
            Self::One(session) => {
                session.write_continue_response().await.map_err(|error| of_pingora(&error))?;
                send_held(session).await
            }
            Self::Two(stream) => {
                let mut head = http::Response::new(());
                *head.status_mut() = StatusCode::CONTINUE;
                stream.respond.send_informational(head).map_err(|error| of_h2(&error))
            }
        }
    }

    /// Sends the head of the response; `is_whole`: nothing follows. It leaves with the first bytes of the body, or by
    /// [`Self::flush`]. Here and below its caller bounds how long that may take.
    pub(super) async fn write_head(
        &mut self,
        mut head: response::Parts,
        is_whole: bool,
    ) -> Result<(), Gone> {
        match self {
            Self::One(session) => {
                // The application may speak HTTP/2, whose version pingora doesn't write here.
                head.version = http::Version::HTTP_11;
                let head = Box::new(ResponseHeader::from(head));
                session.write_response_header(head).await.map_err(|error| of_pingora(&error))
            }
            Self::Two(stream) => {
                let head = http::Response::from_parts(head, ());
                let sent = stream.respond.send_response(head, is_whole);
                stream.send = Some(sent.map_err(|error| of_h2(&error))?);
                Ok(())
            }
        }
    }

    /// Sends bytes of the response's body. They leave at the latest with the next [`Self::flush`].
    pub(super) async fn write(&mut self, data: Bytes) -> Result<(), Gone> {
        match self {
            Self::One(session) => {
                let written = session.write_body(&data).await;
                written.map(|_| ()).map_err(|error| of_pingora(&error))
            }
            Self::Two(stream) => stream.write(data).await,
        }
    }

    /// Lets go of all that was written.
    pub(super) async fn flush(&mut self) -> Result<(), Gone> {
        match self {
            Self::One(session) => send_held(session).await,
            Self::Two(_) => Ok(()),
        }
    }

    /// Ends the response's body.
    pub(super) async fn finish(&mut self, trailers: Option<HeaderMap>) -> Result<(), Gone> {
        match self {
            // pingora sends no trailers on HTTP/1.1.
            Self::One(session) => {
                session.finish_body().await.map_err(|error| of_pingora(&error))?;
                send_held(session).await
            }
            Self::Two(stream) => {
                let Some(send) = &mut stream.send else { return Ok(()) };
                let sent = match trailers {
                    Some(trailers) => send.send_trailers(trailers),
                    None => send.send_data(Bytes::new(), true),
                };
                sent.map_err(|error| of_h2(&error))
            }
        }
    }

    /// Whether the client has been told nothing of a response yet.
    pub(super) fn is_unanswered(&self) -> bool {
        match self {
            Self::One(session) => {
                session.response_written().is_none_or(|head| head.status.is_informational())
            }
            Self::Two(stream) => stream.send.is_none(),
        }
    }

    /// The next response of an HTTP/1.1 connection is its last.
    pub(super) fn close_after(&mut self) {
        if let Self::One(session) = self {
            session.set_server_keepalive(None);
        }
    }

    /// Cuts the response off, so that the client doesn't take it for whole.
    pub(super) fn abort(&mut self) {
        if let Self::Two(stream) = self {
            match &mut stream.send {
                Some(send) => send.send_reset(Reason::INTERNAL_ERROR),
                None => stream.respond.send_reset(Reason::INTERNAL_ERROR),
            }
        }
        // HTTP/1.1: the connection is dropped without the last chunk, see `one`.
    }

    /// Whether a request with this method has a response without a body.
    pub(super) fn is_bodiless(method: &Method, status: StatusCode) -> bool {
        *method == Method::HEAD
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
    }
}

impl Stream {
    async fn read(&mut self) -> Result<Piece, Gone> {
        if self.has_body_ended {
            return Ok(Piece::End(None));
        }
        if let Some(data) = self.recv.data().await {
            let data = data.map_err(|error| of_h2(&error))?;
            // Passed on before more is granted: the channel behind has room for one.
            let granted = self.recv.flow_control().release_capacity(data.len());
            granted.map_err(|error| of_h2(&error))?;
            return Ok(Piece::Data(data));
        }
        let trailers = self.recv.trailers().await.map_err(|error| of_h2(&error))?;
        self.has_body_ended = true;
        Ok(Piece::End(trailers))
    }

    async fn write(&mut self, mut data: Bytes) -> Result<(), Gone> {
        let Some(send) = &mut self.send else { return Ok(()) };
        while !data.is_empty() {
            send.reserve_capacity(data.len());
            let room = match send.capacity() {
                0 => match poll_fn(|cx| send.poll_capacity(cx)).await {
                    Some(room) => room.map_err(|error| of_h2(&error))?,
                    None => return Err(Gone::Client("the stream is closed".into())),
                },
                room => room,
            };
            let part = data.split_to(room.min(data.len()));
            if !part.is_empty() {
                send.send_data(part, false).map_err(|error| of_h2(&error))?;
            }
        }
        Ok(())
    }
}

async fn send_held(session: &HttpSession) -> Result<(), Gone> {
    let Some(inner) = session.stream().as_any().downcast_ref::<Inner>() else { return Ok(()) };
    poll_fn(|cx| inner.poll_send_held(cx)).await.map_err(|error| Gone::Client(error.to_string()))
}

fn of_pingora(error: &pingora_error::Error) -> Gone {
    use pingora_error::ErrorType;
    let is_malformed = || {
        let cause = error.root_cause().downcast_ref::<std::io::Error>();
        cause.is_some_and(|it| it.kind() == std::io::ErrorKind::InvalidData)
    };
    match error.etype() {
        ErrorType::InvalidHTTPHeader => Gone::Protocol(error.to_string()),
        // Too large a chunk's line, or trailers: pingora's own bounds.
        ErrorType::Custom("InvalidChunk" | "InvalidTrailerEnd") => {
            Gone::Protocol(error.to_string())
        }
        _ if is_malformed() => Gone::Protocol(error.to_string()),
        ErrorType::ReadTimedout | ErrorType::WriteTimedout => Gone::Silent,
        _ => Gone::Client(error.to_string()),
    }
}

fn of_h2(error: &h2::Error) -> Gone {
    Gone::Client(error.to_string())
}
