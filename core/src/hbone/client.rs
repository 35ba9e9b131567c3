//! The client's end of one HTTP/2 connection.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::client::SendRequest;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::error::HboneError;
use super::keepalive::{Beat, Keepalive, Watched};
use super::message::{TunnelRequest, TunnelResponse};
use super::pool::Slot;
use super::settings::{self, KeepaliveSettings};
use super::stream::TunnelStream;
use super::turn::{Queued, Turn};
use crate::limits;

/// A connection on which tunnels can be opened. It ends after the last handle and the last tunnel are gone.
#[derive(Clone)]
pub struct Connection {
    requests: SendRequest<Bytes>,
    queued: Arc<Queued>,
    ending: Arc<Ending>,
}

/// Why the driver ended, for those whose tunnel it took along.
#[derive(Debug, Default)]
struct Ending(Mutex<Option<HboneError>>);

impl Connection {
    /// Starts HTTP/2 on an authenticated stream, and drives it in a task of its own. For connections outside a pool,
    /// such as the inner one of a tunnel between networks.
    pub async fn start<Io>(io: Io, keepalive: KeepaliveSettings) -> Result<Self, HboneError>
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (connection, driver) = Self::handshake(io, keepalive).await?;
        tokio::spawn(driver.run(|| {}));
        Ok(connection)
    }

    /// The connection, and what must run for it to live. The peer's own preface is due after it, under the same
    /// deadline: waiting for it here would cost each cold connection a round trip.
    pub(super) async fn handshake<Io>(
        io: Io,
        keepalive: KeepaliveSettings,
    ) -> Result<(Self, Driver<Io>), HboneError>
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (io, heard) = Watched::new(io);
        let handshake = settings::client().handshake::<_, Bytes>(io);
        let (requests, mut connection) = timeout(limits::HBONE_HANDSHAKE_DEADLINE, handshake)
            .await
            .map_err(|_| HboneError::Handshake("the peer takes no bytes".into()))?
            .map_err(|error| HboneError::Handshake(error.to_string()))?;
        let keepalive = Keepalive::new(heard, connection.ping_pong(), keepalive);
        let ending = Arc::<Ending>::default();
        let turn = Turn::new();
        let queued = turn.queued().clone();
        let driver = Driver { connection, keepalive, turn, ending: ending.clone() };
        Ok((Self { requests, queued, ending }, driver))
    }

    /// Opens a tunnel. The peer answers when it has reached its target.
    pub async fn open(
        &self,
        request: &TunnelRequest,
    ) -> Result<(TunnelStream, TunnelResponse), HboneError> {
        self.open_in(request, None).await
    }

    pub(super) async fn open_in(
        &self,
        request: &TunnelRequest,
        slot: Option<Slot>,
    ) -> Result<(TunnelStream, TunnelResponse), HboneError> {
        let message = request.to_http()?;
        let (answer, send) = self
            .requests
            .clone()
            .send_request(message, false)
            .map_err(|error| self.unanswered(&error))?;
        let response = timeout(limits::HBONE_REPLY_DEADLINE, answer)
            .await
            .map_err(|_| HboneError::ReplyTimeout)?
            .map_err(|error| self.unanswered(&error))?;
        let read = TunnelResponse::from_http(&response)?;
        Ok((TunnelStream::new(send, response.into_body(), self.queued.clone(), slot), read))
    }

    /// Whether the peer still takes new tunnels.
    pub(super) fn is_usable(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        // A clone waits for nothing, so that it is never pending.
        matches!(self.requests.clone().poll_ready(&mut cx), Poll::Ready(Ok(())))
    }

    /// How many tunnels may be open at a time: ours, or the peer's number once it is known.
    pub(super) fn tunnels_max(&self) -> usize {
        self.requests.current_max_send_streams().min(limits::HBONE_CLIENT_STREAMS_MAX as usize)
    }

    fn unanswered(&self, error: &h2::Error) -> HboneError {
        let ending = self.ending.0.lock().clone();
        ending.unwrap_or_else(|| HboneError::unanswered(error))
    }
}

/// Moves a connection's frames.
pub(super) struct Driver<Io> {
    connection: h2::client::Connection<Watched<Io>, Bytes>,
    keepalive: Keepalive,
    turn: Turn,
    ending: Arc<Ending>,
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Driver<Io> {
    /// Until the connection ends. `on_tick` is called every few seconds.
    pub(super) async fn run(mut self, mut on_tick: impl FnMut()) {
        let end = poll_fn(|cx| self.poll_end(cx, &mut on_tick)).await;
        // Before the connection is dropped, which wakes those who ask why.
        if let Err(error) = end {
            *self.ending.0.lock() = Some(error);
        }
    }

    fn poll_end(
        &mut self,
        cx: &mut Context<'_>,
        on_tick: &mut impl FnMut(),
    ) -> Poll<Result<(), HboneError>> {
        ready!(self.turn.poll(cx));
        if let Poll::Ready(result) = Pin::new(&mut self.connection).poll(cx) {
            return Poll::Ready(result.map_err(|error| HboneError::Lost(error.to_string())));
        }
        loop {
            match self.keepalive.poll_beat(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Beat::Tick) => on_tick(),
                Poll::Ready(Beat::NeverHeard) => {
                    let silent = "the peer sent nothing after TLS".into();
                    return Poll::Ready(Err(HboneError::Handshake(silent)));
                }
                Poll::Ready(Beat::Dead) => {
                    let silent = "the peer fell silent and left a PING without answer".into();
                    return Poll::Ready(Err(HboneError::Lost(silent)));
                }
            }
        }
    }
}
