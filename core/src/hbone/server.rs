//! The server's end of one HTTP/2 connection: every CONNECT becomes a handler's task under it.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Request, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::error::HboneError;
use super::headers::Baggage;
use super::keepalive::{Beat, Keepalive, Watched};
use super::message::{TunnelRequest, TunnelResponse};
use super::settings::{self, KeepaliveSettings};
use super::stream::TunnelStream;
use super::turn::{Queued, Turn};
use crate::{drain, limits};

/// What a server tolerates.
#[derive(Debug, Clone, Default)]
pub struct ServerSettings {
    /// When to ask whether a silent peer is still there.
    pub keepalive: KeepaliveSettings,
}

/// A CONNECT that waits for its answer.
#[derive(Debug)]
pub struct IncomingTunnel {
    request: TunnelRequest,
    respond: SendResponse<Bytes>,
    recv: RecvStream,
    queued: Arc<Queued>,
}

impl IncomingTunnel {
    /// What is asked for.
    pub fn request(&self) -> &TunnelRequest {
        &self.request
    }

    /// Answers 200: the target is reached. `baggage` says who we are.
    pub fn accept(mut self, baggage: Option<&Baggage>) -> Result<TunnelStream, HboneError> {
        let response = TunnelResponse::to_http(baggage);
        let send = self
            .respond
            .send_response(response, false)
            .map_err(|error| HboneError::Protocol(error.to_string()))?;
        Ok(TunnelStream::new(send, self.recv, self.queued, None))
    }

    /// Answers something else, which ends the tunnel.
    pub fn refuse(mut self, status: StatusCode) {
        refuse(&mut self.respond, status);
    }

    /// Returns when the client no longer wants the tunnel, so that a handler can give up reaching the target.
    pub async fn abandoned(&mut self) {
        // An error means that the whole connection ended.
        let _ = poll_fn(|cx| self.respond.poll_reset(cx)).await;
    }
}

/// Serves one connection until it ends. Each tunnel's handler is a task of this connection: it ends with it.
///
/// When a drain is announced the peer is told to open no more tunnels here, and the open ones go on; when the drain
/// is forced they are cut.
pub async fn serve<Io, Handler, Handling>(
    io: Io,
    settings: &ServerSettings,
    drain: drain::Watch,
    on_tunnel: Handler,
) -> Result<(), HboneError>
where
    Io: AsyncRead + AsyncWrite + Unpin,
    Handler: Fn(IncomingTunnel) -> Handling,
    Handling: Future<Output = ()> + Send + 'static,
{
    let (io, heard) = Watched::new(io);
    // Boxed, both: HTTP/2's state is some kilobytes, and would be in this future several times over.
    let handshake = Box::pin(settings::server().handshake::<_, Bytes>(io));
    let connection = tokio::select! {
        result = timeout(limits::HBONE_HANDSHAKE_DEADLINE, handshake) => result
            .map_err(|_| HboneError::Silent("HTTP/2 preface"))?
            .map_err(|error| HboneError::Protocol(error.to_string()))?,
        () = drain.graceful() => return Ok(()),
    };
    let mut connection = Box::new(connection);
    let keepalive = Keepalive::new(heard, connection.ping_pong(), settings.keepalive);
    let session = Session {
        connection,
        keepalive,
        turn: Turn::new(),
        handlers: JoinSet::new(),
        on_tunnel,
        has_tunnelled: false,
        idle_since: Instant::now(),
    };
    session.run(drain).await
}

struct Session<Io, Handler> {
    connection: Box<h2::server::Connection<Watched<Io>, Bytes>>,
    keepalive: Keepalive,
    turn: Turn,
    handlers: JoinSet<()>,
    on_tunnel: Handler,
    has_tunnelled: bool,
    idle_since: Instant,
}

enum End {
    Closed(Result<(), h2::Error>),
    Silent(&'static str),
    Forced,
}

impl<Io, Handler, Handling> Session<Io, Handler>
where
    Io: AsyncRead + AsyncWrite + Unpin,
    Handler: Fn(IncomingTunnel) -> Handling,
    Handling: Future<Output = ()> + Send + 'static,
{
    async fn run(mut self, drain: drain::Watch) -> Result<(), HboneError> {
        let end = {
            let mut graceful = pin!(drain.graceful());
            let mut forced = pin!(drain.forced());
            let mut is_draining = false;
            poll_fn(|cx| {
                if forced.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(End::Forced);
                }
                if !is_draining && graceful.as_mut().poll(cx).is_ready() {
                    is_draining = true;
                    self.connection.graceful_shutdown();
                }
                self.poll_end(cx)
            })
            .await
        };
        let Self { mut connection, mut handlers, .. } = self;
        match end {
            End::Closed(result) => {
                let had_handlers = !handlers.is_empty();
                drop(connection);
                let_finish(&mut handlers).await;
                match result {
                    // Many clients just close the socket. That cuts nobody off if there was no tunnel.
                    Err(error) if error.is_io() && !had_handlers => Ok(()),
                    result => result.map_err(|error| HboneError::Protocol(error.to_string())),
                }
            }
            End::Silent(what) => {
                say_goodbye(&mut connection).await;
                drop(connection);
                let_finish(&mut handlers).await;
                Err(HboneError::Silent(what))
            }
            End::Forced => {
                // Who forces a drain also aborts what the tunnels are joined to. Tunnels are reset as they are dropped,
                // and the resets leave before the goodbye.
                let_finish(&mut handlers).await;
                poll_fn(|cx| Poll::Ready(connection.poll_closed(cx).is_ready())).await;
                say_goodbye(&mut connection).await;
                Ok(())
            }
        }
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        ready!(self.turn.poll(cx));
        while let Poll::Ready(Some(result)) = self.handlers.poll_join_next(cx) {
            if let Err(error) = result {
                tracing::error!(%error, "a tunnel's handler ended abnormally");
            }
        }
        loop {
            match self.connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => self.take(request, respond),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(End::Closed(Err(error))),
                Poll::Ready(None) => return Poll::Ready(End::Closed(Ok(()))),
                Poll::Pending => break,
            }
        }
        loop {
            match self.keepalive.poll_beat(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Beat::Tick) if self.is_useless() => {
                    return Poll::Ready(End::Silent("tunnel"));
                }
                Poll::Ready(Beat::Tick) => {}
                Poll::Ready(Beat::Dead | Beat::NeverHeard) => {
                    return Poll::Ready(End::Silent("answer to a PING"));
                }
            }
        }
    }

    /// Open, but without a tunnel for longer than an honest client would keep it.
    fn is_useless(&mut self) -> bool {
        // A handler may have handed its tunnel to somebody else.
        if !self.handlers.is_empty() || self.connection.has_streams() {
            self.idle_since = Instant::now();
        }
        let patience = if self.has_tunnelled {
            limits::HBONE_SERVER_IDLE_MAX
        } else {
            limits::HBONE_FIRST_TUNNEL_DEADLINE
        };
        self.idle_since.elapsed() >= patience
    }

    fn take(&mut self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        match TunnelRequest::from_http(&request) {
            Ok(tunnel) => {
                self.has_tunnelled = true;
                let recv = request.into_body();
                let queued = self.turn.queued().clone();
                let incoming = IncomingTunnel { request: tunnel, respond, recv, queued };
                self.handlers.spawn((self.on_tunnel)(incoming));
            }
            Err(status) => refuse(&mut respond, status),
        }
    }
}

/// The handlers' tunnels are dead by now; this is their time to notice and to write their records.
async fn let_finish(handlers: &mut JoinSet<()>) {
    let finished = async { while handlers.join_next().await.is_some() {} };
    if timeout(limits::HBONE_HANDLERS_END_DEADLINE, finished).await.is_err() {
        handlers.shutdown().await;
    }
}

/// Sends GOAWAY, if the peer still takes bytes.
async fn say_goodbye<Io>(connection: &mut h2::server::Connection<Io, Bytes>)
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    connection.abrupt_shutdown(Reason::NO_ERROR);
    let closed = poll_fn(|cx| connection.poll_closed(cx));
    let _ = timeout(limits::HBONE_GOODBYE_DEADLINE, closed).await;
}

fn refuse(respond: &mut SendResponse<Bytes>, status: StatusCode) {
    let mut response = Response::new(());
    *response.status_mut() = status;
    // It fails if the client has gone already.
    let _ = respond.send_response(response, true);
}
