//! Connections to applications that are open, by endpoint.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::time::Instant;
use weft_core::hbone::{Baggage, TraceParent};

use super::connection::{Exchange, One, RequestBody, Two};
use super::dial::{DialError, Dialer};
use super::endpoint::Endpoint;
use crate::limits;

/// What is spoken to an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Spoken {
    /// HTTP/1.1
    Http1,
    /// HTTP/2
    Http2,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    uid: Arc<str>,
    address: SocketAddr,
}

/// The connections of one worker thread.
pub struct Shelf {
    dialer: Dialer,
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
    pub fn new(dialer: Dialer) -> Self {
        Self { dialer, places: Mutex::default() }
    }

    /// Makes streams.
    pub fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// A connection for one exchange. The flag says whether it was made for it.
    pub async fn take(
        &self,
        to: &Endpoint,
        spoken: Spoken,
        baggage: &Baggage,
        trace: TraceParent,
    ) -> Result<(Exchange, bool), DialError> {
        let key = Key { uid: to.workload.uid.clone(), address: to.address };
        if let Some(exchange) = self.find(&key, spoken) {
            return Ok((exchange, false));
        }
        let io = self.dialer.dial(to, baggage, trace).await?;
        let made = match spoken {
            Spoken::Http1 => One::open(io).await.map(|one| Exchange::One(Box::new(one))),
            Spoken::Http2 => self.open_shared(key, io).await.map(Exchange::Two),
        };
        made.map(|exchange| (exchange, true)).map_err(|error| DialError::Http(Arc::new(error)))
    }

    /// Puts a connection back whose exchange ended. One that can't serve another goes.
    pub fn give_back(&self, to: &Endpoint, exchange: Exchange) {
        let Exchange::One(mut one) = exchange else { return };
        if !one.is_ready() {
            return;
        }
        let key = Key { uid: to.workload.uid.clone(), address: to.address };
        let mut places = self.places.lock();
        let idle = &mut places.entry(key).or_default().idle;
        if idle.len() < limits::UPSTREAM_IDLE_MAX {
            idle.push((one, Instant::now()));
        }
    }

    /// Lets go of what has been idle for long, or has ended.
    pub fn sweep(&self, now: Instant) {
        let is_old = |since: Instant| now.duration_since(since) >= limits::UPSTREAM_IDLE_TIME;
        self.places.lock().retain(|_, place| {
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

    /// Lets go of the connections to a workload that is gone.
    pub fn evict(&self, uid: &str) {
        self.places.lock().retain(|key, _| &*key.uid != uid);
        self.dialer.evict(uid);
    }

    fn find(&self, key: &Key, spoken: Spoken) -> Option<Exchange> {
        let mut places = self.places.lock();
        let place = places.get_mut(key)?;
        match spoken {
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
                let has_room = |shared: &&mut Shared| {
                    Arc::strong_count(&shared.streams) <= limits::UPSTREAM_STREAMS_MAX
                };
                let shared = place.shared.iter_mut().find(has_room)?;
                shared.idle_since = Instant::now();
                Some(Exchange::Two(Two::new(shared.sender.clone(), shared.streams.clone())))
            }
        }
    }

    async fn open_shared(&self, key: Key, io: super::Io) -> Result<Two, hyper::Error> {
        let (sender, driver) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(limits::HTTP2_STREAM_WINDOW)
            .initial_connection_window_size(limits::HTTP2_CONNECTION_WINDOW)
            .max_header_list_size(limits::HEADER_LIST_BYTES_MAX)
            .keep_alive_interval(Some(Duration::from_secs(30)))
            .handshake(TokioIo::new(io))
            .await?;
        tokio::spawn(async move {
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
