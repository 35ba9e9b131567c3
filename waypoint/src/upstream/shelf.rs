//! Connections to applications that are open, by endpoint.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use weft_core::hbone::{Baggage, TraceParent};
use weft_core::mesh::Snapshot;

use super::backends::{Backend, Held};
use super::connection::{Exchange, One, RequestBody, Two};
use super::dial::{DialError, Dialer};
use super::endpoint::{Endpoint, Name};
use super::origination::Origin;
use crate::balance::Overflow;
use crate::limits;

/// What is spoken to an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Spoken {
    /// HTTP/1.1
    Http1,
    /// HTTP/2
    Http2,
}

/// Where a request goes, and what bounds there are.
#[derive(Clone)]
pub(crate) struct Way<'a> {
    /// The endpoint.
    pub to: &'a Endpoint,
    /// What is spoken to it.
    pub spoken: Spoken,
    /// What this waypoint says of itself.
    pub baggage: &'a Baggage,
    /// The trace that the request belongs to.
    pub trace: TraceParent,
    /// Of which backend it is an endpoint; connections to others are not counted.
    pub backend: Option<&'a Arc<Backend>>,
    /// The other threads' connections.
    pub others: &'a [Arc<Shelf>],
    /// From the beginning of connecting to its end.
    pub connect_timeout: Duration,
    /// Requests that one connection takes.
    pub requests_max: Option<u32>,
    /// Concurrent requests of one HTTP/2 connection.
    pub streams_max: Option<usize>,
    /// TLS that is asked for.
    pub origin: Option<Origin>,
}

impl<'a> Way<'a> {
    /// Without bounds of its own.
    pub(crate) fn plain(
        to: &'a Endpoint,
        spoken: Spoken,
        baggage: &'a Baggage,
        trace: TraceParent,
    ) -> Self {
        Self {
            to,
            spoken,
            baggage,
            trace,
            backend: None,
            others: &[],
            connect_timeout: limits::CONNECT_TIMEOUT,
            requests_max: None,
            streams_max: None,
            origin: None,
        }
    }

    /// As the settings of its backend say.
    pub(crate) fn bounded(mut self, backend: &'a Arc<Backend>, others: &'a [Arc<Shelf>]) -> Self {
        let pool = &backend.cluster().settings().pool;
        (self.backend, self.others) = (Some(backend), others);
        self.connect_timeout = pool.connect_timeout;
        self.requests_max = pool.requests_per_connection_max;
        self.streams_max = pool.concurrent_streams_max.and_then(|it| usize::try_from(it).ok());
        self
    }

    /// With the TLS that its backend's settings ask for; `host`: whom the request is for.
    pub(crate) fn secured(mut self, backend: &Backend, host: &str) -> Self {
        let tls = backend.cluster().settings().tls.clone();
        self.origin = tls.map(|tls| Origin::new(tls, host));
        self
    }

    /// The address of a request as this connection has it: HTTP/2 tells the scheme (RFC 9113, section 8.3.1), and servers
    /// compare it with what they are spoken to by.
    pub(crate) fn address(&self, uri: Uri) -> Uri {
        if !self.origin.as_ref().is_some_and(Origin::has_own_tls) || uri.authority().is_none() {
            return uri;
        }
        let mut parts = uri.clone().into_parts();
        parts.scheme = Some(Scheme::HTTPS);
        Uri::from_parts(parts).unwrap_or(uri)
    }

    fn key(&self) -> Key {
        let uid = self.to.workload.uid.clone();
        let name = self.to.name.clone();
        Key { uid, address: self.to.address, name, origin: self.origin.clone() }
    }
}

/// Why there is no connection.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum TakeError {
    /// None could be made.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// It took longer than it may.
    #[error("no connection within {} ms", .0.as_millis())]
    Slow(Duration),
    /// The circuit breaker is open.
    #[error("too many requests wait for a connection")]
    Overflow(#[from] Overflow),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    uid: Arc<str>,
    address: SocketAddr,
    /// One workload may stand for many names.
    name: Option<Name>,
    /// Connections with other TLS, or to another name, are others.
    origin: Option<Origin>,
}

/// The connections of one worker thread.
pub(crate) struct Shelf {
    dialer: Arc<Dialer>,
    places: Mutex<HashMap<Key, Place>>,
}

#[derive(Default)]
struct Place {
    /// The one used last comes last, and is used next: in quiet times the others fall idle and go.
    idle: Vec<(Box<One>, Instant)>,
    shared: Vec<Shared>,
}

struct Shared {
    sender: http2::SendRequest<RequestBody>,
    /// One clone a stream.
    streams: Arc<()>,
    idle_since: Instant,
}

impl Shelf {
    /// Empty.
    pub(crate) fn new(dialer: Arc<Dialer>) -> Self {
        Self { dialer, places: Mutex::default() }
    }

    /// Makes streams.
    pub(crate) fn dialer(&self) -> &Arc<Dialer> {
        &self.dialer
    }

    /// A connection for one exchange.
    pub(crate) async fn take(&self, way: &Way<'_>) -> Result<Exchange, TakeError> {
        let key = way.key();
        loop {
            if let Some(exchange) = self.find(&key, way) {
                return Ok(exchange);
            }
            let held = match way.backend.map(Backend::hold).transpose() {
                Ok(held) => held,
                // HTTP/2 needs one connection however many requests there are.
                Err(_) => {
                    self.wait(way).await?;
                    continue;
                }
            };
            let opening = self.open(key.clone(), way, held);
            let opened = timeout(way.connect_timeout, Box::pin(opening)).await;
            return opened.map_err(|_| TakeError::Slow(way.connect_timeout))?;
        }
    }

    async fn wait(&self, way: &Way<'_>) -> Result<(), TakeError> {
        let Some(backend) = way.backend else { return Ok(()) };
        let _pending = backend.cluster().admit_pending()?;
        // Idle connections of other threads, or to other endpoints, stand in the way.
        for shelf in way.others {
            shelf.release(backend);
        }
        backend.freed().await;
        Ok(())
    }

    fn release(&self, backend: &Backend) {
        let mut places = self.places.lock();
        for (key, place) in places.iter_mut() {
            if backend.has(&key.uid) {
                place.idle.clear();
            }
        }
    }

    async fn open(
        &self,
        key: Key,
        way: &Way<'_>,
        held: Option<Held>,
    ) -> Result<Exchange, TakeError> {
        let (told, origin) = ((way.baggage, way.trace), way.origin.as_ref());
        let dialling = self.dialer.dial_secured(way.to, told, origin, Some(way.spoken));
        let io = Box::pin(dialling).await?;
        let made = match way.spoken {
            Spoken::Http1 => One::open(io, held).await.map(|one| Exchange::One(Box::new(one))),
            Spoken::Http2 => self.open_shared(key, io, held).await.map(Exchange::Two),
        };
        made.map_err(|error| DialError::Http(Arc::new(error)).into())
    }

    /// Puts a connection back whose exchange ended. One that can't serve another goes.
    pub(crate) fn give_back(&self, way: &Way<'_>, exchange: Exchange) {
        let Exchange::One(mut one) = exchange else { return };
        let is_spent = way.requests_max.is_some_and(|most| one.served() >= most);
        let is_wanted = way.backend.is_some_and(|it| it.is_waited_for());
        if is_spent || is_wanted || !one.is_ready() {
            return;
        }
        let key = way.key();
        let mut places = self.places.lock();
        let idle = &mut places.entry(key).or_default().idle;
        if idle.len() < limits::UPSTREAM_IDLE_MAX {
            idle.push((one, Instant::now()));
        }
    }

    /// Lets go of what has been idle for long, has ended, or led to a workload that is gone.
    pub(crate) fn sweep(&self, now: Instant, mesh: &Snapshot) {
        let is_old = |since: Instant| now.duration_since(since) >= limits::UPSTREAM_IDLE_TIME;
        self.places.lock().retain(|key, place| {
            if mesh.workload(&key.uid).is_none() {
                self.dialer.evict(&key.uid);
                return false;
            }
            place.idle.retain_mut(|(one, since)| !is_old(*since) && one.is_ready());
            place.shared.retain_mut(|shared| {
                if Arc::strong_count(&shared.streams) > 1 {
                    shared.idle_since = now;
                }
                !is_old(shared.idle_since) && !shared.sender.is_closed()
            });
            !place.idle.is_empty() || !place.shared.is_empty()
        });
    }

    fn find(&self, key: &Key, way: &Way<'_>) -> Option<Exchange> {
        let mut places = self.places.lock();
        let place = places.get_mut(key)?;
        match way.spoken {
            Spoken::Http1 => {
                while let Some((mut one, _)) = place.idle.pop() {
                    if one.is_ready() {
                        return Some(Exchange::One(one));
                    }
                }
                None
            }
            Spoken::Http2 => {
                place.shared.retain(|shared| !shared.sender.is_closed());
                let most = way.streams_max.unwrap_or(limits::UPSTREAM_STREAMS_MAX);
                // One clone is the shelf's own.
                let has_room = |shared: &&mut Shared| Arc::strong_count(&shared.streams) <= most;
                let shared = place.shared.iter_mut().find(has_room)?;
                shared.idle_since = Instant::now();
                Some(Exchange::Two(Two::new(shared.sender.clone(), shared.streams.clone())))
            }
        }
    }

    async fn open_shared(
        &self,
        key: Key,
        io: super::Io,
        held: Option<Held>,
    ) -> Result<Two, hyper::Error> {
        let (sender, driver) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(limits::HTTP2_STREAM_WINDOW)
            .initial_connection_window_size(limits::HTTP2_CONNECTION_WINDOW)
            .max_header_list_size(limits::HEADER_LIST_BYTES_MAX)
            .keep_alive_interval(Some(Duration::from_secs(30)))
            .handshake(TokioIo::new(io))
            .await?;
        tokio::spawn(async move {
            let _held = held;
            // Each exchange is told by itself what ended it.
            let _ended = driver.await;
        });
        let streams = Arc::new(());
        let shared =
            Shared { sender: sender.clone(), streams: streams.clone(), idle_since: Instant::now() };
        self.places.lock().entry(key).or_default().shared.push(shared);
        Ok(Two::new(sender, streams))
    }
}
