//! A scripted world for tests: connects that a test answers one by one, and raw h2 peers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Response, StatusCode};
use parking_lot::Mutex;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;

use super::connect::{Connect, ConnectError, Established, PoolKey};
use super::{Connection, KeepaliveSettings, TunnelRequest, TunnelStream};
use crate::identity::{ExpectedPeers, SpiffeId};
use crate::{clock, drain};

pub(super) type ServerConnection = h2::server::Connection<DuplexStream, Bytes>;
pub(super) type Respond = h2::server::SendResponse<Bytes>;

/// Answers connects with pipes, whose other ends the test takes.
pub(super) struct Scripted {
    ends: mpsc::Sender<DuplexStream>,
    pub(super) script: Arc<Script>,
}

#[derive(Default)]
pub(super) struct Script {
    pub(super) connects: AtomicUsize,
    /// Connects that fail, counted down.
    pub(super) failures: AtomicUsize,
    pub(super) panics: AtomicUsize,
    /// How long a connect takes.
    pub(super) delay: Mutex<Duration>,
    pub(super) validity: Mutex<Option<Duration>>,
}

impl Script {
    pub(super) fn connects(&self) -> usize {
        self.connects.load(Ordering::SeqCst)
    }
}

pub(super) fn scripted() -> (Scripted, Arc<Script>, mpsc::Receiver<DuplexStream>) {
    let (ends, taken) = mpsc::channel(1000);
    let script = Arc::<Script>::default();
    (Scripted { ends, script: script.clone() }, script, taken)
}

fn count_down(counter: &AtomicUsize) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

impl Connect for Scripted {
    type Io = DuplexStream;
    type Peer = SocketAddr;

    async fn connect(
        &self,
        key: &PoolKey,
    ) -> Result<Established<DuplexStream, SocketAddr>, ConnectError> {
        self.script.connects.fetch_add(1, Ordering::SeqCst);
        let delay = *self.script.delay.lock();
        tokio::time::sleep(delay).await;
        assert!(!count_down(&self.script.panics), "scripted");
        if count_down(&self.script.failures) {
            let error = Arc::new(std::io::ErrorKind::ConnectionRefused.into());
            return Err(ConnectError::Tcp { address: key.address, error });
        }
        let (near, far) = tokio::io::duplex(1 << 20);
        self.ends.send(far).await.expect("the test takes the other ends");
        let validity = self.script.validity.lock().unwrap_or(Duration::from_secs(86_400));
        let valid_until: SystemTime = clock::now() + validity;
        Ok(Established { io: near, peer: Arc::new(key.address), valid_until })
    }
}

pub(super) fn identity(name: &str) -> SpiffeId {
    format!("spiffe://cluster.local/ns/demo/sa/{name}").parse().unwrap()
}

pub(super) fn key(uid: &str) -> PoolKey {
    PoolKey {
        source: identity("client"),
        source_ip: "10.0.0.1".parse().unwrap(),
        expected: ExpectedPeers::one(identity("server")),
        address: "10.0.0.2:15008".parse().unwrap(),
        uid: uid.into(),
    }
}

pub(super) fn request() -> TunnelRequest {
    TunnelRequest::new("10.0.0.2:80".parse().unwrap())
}

pub(super) async fn h2_server(io: DuplexStream) -> ServerConnection {
    h2::server::handshake(io).await.unwrap()
}

/// Answers 200 to every stream and holds on to it, until the test drops what it gets.
pub(super) fn hold_all(io: DuplexStream, streams_max: u32) -> mpsc::Receiver<TunnelStream> {
    let (held, taken) = mpsc::channel(1000);
    tokio::spawn(async move {
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(streams_max);
        let mut connection = builder.handshake::<_, Bytes>(io).await.unwrap();
        while let Some(Ok((request, respond))) = connection.accept().await {
            let _ = held.send(accept(request, respond)).await;
        }
    });
    taken
}

pub(super) fn accept(request: http::Request<h2::RecvStream>, mut respond: Respond) -> TunnelStream {
    let send = respond.send_response(Response::new(()), false).unwrap();
    TunnelStream::new(send, request.into_body(), Arc::default(), None)
}

pub(super) fn status(respond: &mut Respond, status: StatusCode) {
    let mut response = Response::new(());
    *response.status_mut() = status;
    respond.send_response(response, true).unwrap();
}

/// A client of ours connected to a server of ours, which hands accepted tunnels to the test.
pub(crate) async fn pair() -> (Connection, mpsc::Receiver<TunnelStream>, drain::Signal) {
    let (near, far) = tokio::io::duplex(1 << 20);
    let (signal, watch) = drain::pair();
    let (accepted, taken) = mpsc::channel(1000);
    tokio::spawn(async move {
        let settings = super::ServerSettings::default();
        let _ = super::serve(far, &settings, watch, move |incoming| {
            let accepted = accepted.clone();
            async move {
                let stream = incoming.accept(None).unwrap();
                let _ = accepted.send(stream).await;
            }
        })
        .await;
    });
    let connection = Connection::start(near, KeepaliveSettings::default()).await.unwrap();
    (connection, taken, signal)
}

/// One tunnel, by both of its ends. The connection under it goes on in tasks of its own.
pub(crate) async fn tunnel() -> (TunnelStream, TunnelStream) {
    let (connection, mut accepted, _signal) = pair().await;
    let (near, _) = connection.open(&request()).await.unwrap();
    let far = accepted.recv().await.unwrap();
    (near, far)
}

/// Polls a condition until it holds; fails after a while.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{what}: not within 10 s");
}
