//! Two networks in one process: a pod of ours, an east-west gateway, and a workload behind it.
//!
//! ```text
//!  client ─TCP─▶ resolve, open, relay ═outer tunnel═▶ Gateway ─bytes─▶ Far ─▶ an application that answers at the end
//!                                     ══════inner tunnel, TLS to the end═════▶
//! ```

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::StatusCode;
use parking_lot::Mutex;
use prost::Message;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, copy, duplex, split};
use tokio::net::{TcpListener, TcpStream};
use weft_core::certs::{CertSettings, CertStore};
use weft_core::drain;
use weft_core::hbone::{
    self, Connect, ConnectError, Established, Forwarded, IncomingTunnel, Pool, PoolKey,
    PoolSettings, ServerSettings, TraceParent, TunnelRequest, TunnelStream,
};
use weft_core::identity::{SpiffeId, TrustDomains};
use weft_core::mesh::{Snapshot, Store, StoreSettings, Update, Workload, baggage, service_labels};
use weft_core::telemetry::Direction;
use weft_core::testing::{TestAuthority, TestCa, identity};
use weft_core::tls::{self, ClientStream};
use weft_core::x509::PeerCertificate;
use weft_proto::workload as proto;

use crate::double;
use crate::error::ConnectionError;
use crate::record::Record;
use crate::resolve::{Path, Question};

/// Where the gateway takes HBONE.
pub(super) const GATEWAY: &str = "10.9.9.9:15008";
/// What the client asks for: the address of `remote.shop`, port 80.
pub(super) const VIP: &str = "10.96.0.1:80";

pub(super) fn gateway_identity() -> SpiffeId {
    identity("istio-gateways", "east-west")
}

/// Whom `remote.shop` runs as, in every network.
pub(super) fn far_identity() -> SpiffeId {
    identity("shop", "remote")
}

/// What the gateway does with an outer tunnel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Conduct {
    Forward,
    Refuse(StatusCode),
    /// It answers 200, and swallows all that comes.
    Swallow,
    /// Nobody listens.
    Away,
}

/// The other network.
pub(super) struct Beyond {
    ca: Arc<TestCa>,
    pub(super) conduct: Mutex<Conduct>,
    /// Whose certificate the gateway shows.
    pub(super) gateway_shows: Mutex<SpiffeId>,
    /// Whose certificate the workload shows.
    pub(super) far_shows: Mutex<SpiffeId>,
    /// What the workload answers to a CONNECT.
    pub(super) far_answers: Mutex<StatusCode>,
    /// Whether it says what it is called.
    pub(super) far_has_baggage: Mutex<bool>,
    /// Outer connections, and inner ones.
    pub(super) outer_connections: AtomicUsize,
    pub(super) inner_connections: AtomicUsize,
    /// Tunnels through the gateway that haven't ended.
    pub(super) open: AtomicUsize,
    pub(super) outer: Mutex<Vec<TunnelRequest>>,
    pub(super) inner: Mutex<Vec<TunnelRequest>>,
    /// Who the callers proved to be.
    pub(super) callers: Mutex<HashSet<SpiffeId>>,
    /// All bytes that the gateway carried towards the workload.
    pub(super) carried: Mutex<Vec<u8>>,
}

impl Beyond {
    fn new(ca: Arc<TestCa>) -> Self {
        Self {
            ca,
            conduct: Mutex::new(Conduct::Forward),
            gateway_shows: Mutex::new(gateway_identity()),
            far_shows: Mutex::new(far_identity()),
            far_answers: Mutex::new(StatusCode::OK),
            far_has_baggage: Mutex::new(true),
            outer_connections: AtomicUsize::default(),
            inner_connections: AtomicUsize::default(),
            open: AtomicUsize::default(),
            outer: Mutex::default(),
            inner: Mutex::default(),
            callers: Mutex::default(),
            carried: Mutex::default(),
        }
    }

    async fn gateway(self: Arc<Self>, io: DuplexStream) {
        let shown = self.ca.workload(&self.gateway_shows.lock().clone());
        let Ok((io, peer)) = tls::accept(&shown, &TrustDomains::default(), io).await else {
            return;
        };
        self.outer_connections.fetch_add(1, Ordering::SeqCst);
        self.callers.lock().insert(peer.identity);
        serve(io, move |incoming| self.clone().forward(incoming)).await;
    }

    async fn forward(self: Arc<Self>, incoming: IncomingTunnel) {
        self.outer.lock().push(incoming.request().clone());
        let conduct = *self.conduct.lock();
        if let Conduct::Refuse(status) = conduct {
            return incoming.refuse(status);
        }
        let tunnel = incoming.accept(None).unwrap();
        if conduct == Conduct::Swallow {
            let (mut from, _kept) = split(tunnel);
            let _ = copy(&mut from, &mut tokio::io::sink()).await;
            return;
        }
        self.open.fetch_add(1, Ordering::SeqCst);
        let (near, far) = duplex(1 << 20);
        let workload = tokio::spawn(self.clone().far(far));
        self.carry(tunnel, near).await;
        workload.abort();
        self.open.fetch_sub(1, Ordering::SeqCst);
    }

    /// As a gateway does: an end in one direction is passed on, and the other direction goes on.
    async fn carry(&self, tunnel: TunnelStream, far: DuplexStream) {
        let ((mut from, mut to), (mut far_from, mut far_to)) = (split(tunnel), split(far));
        let forth = async {
            let mut buffer = vec![0; 16 << 10];
            while let Ok(read @ 1..) = from.read(&mut buffer).await {
                self.carried.lock().extend_from_slice(&buffer[..read]);
                if far_to.write_all(&buffer[..read]).await.is_err() {
                    break;
                }
            }
            let _ = far_to.shutdown().await;
        };
        let back = async {
            let _ = copy(&mut far_from, &mut to).await;
            let _ = to.shutdown().await;
        };
        tokio::join!(forth, back);
    }

    async fn far(self: Arc<Self>, io: DuplexStream) {
        let shown = self.ca.workload(&self.far_shows.lock().clone());
        let Ok((io, peer)) = tls::accept(&shown, &TrustDomains::default(), io).await else {
            return;
        };
        self.inner_connections.fetch_add(1, Ordering::SeqCst);
        self.callers.lock().insert(peer.identity);
        serve(io, move |incoming| self.clone().application(incoming)).await;
    }

    /// Greets, reads until the client's end, and only then answers.
    async fn application(self: Arc<Self>, incoming: IncomingTunnel) {
        self.inner.lock().push(incoming.request().clone());
        let status = *self.far_answers.lock();
        if status != StatusCode::OK {
            return incoming.refuse(status);
        }
        let own = mesh(&[]).workload("remote").unwrap().clone();
        let own = Workload { workload_name: "remote-v2".into(), ..Workload::clone(&own) };
        let baggage = self.far_has_baggage.lock().then(|| baggage(&own));
        let mut tunnel = incoming.accept(baggage.as_ref()).unwrap();
        let mut asked = Vec::new();
        // A client that was cut gets no answer.
        if tunnel.write_all(b"hello ").await.is_ok() && tunnel.read_to_end(&mut asked).await.is_ok()
        {
            let _ = tunnel.write_all(&[b"you said ", &*asked].concat()).await;
            let _ = tunnel.shutdown().await;
        }
    }
}

async fn serve<Io, Handling>(io: Io, on_tunnel: impl Fn(IncomingTunnel) -> Handling)
where
    Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    Handling: Future<Output = ()> + Send + 'static,
{
    let (_signal, watch) = drain::pair();
    let _ = hbone::serve(io, &ServerSettings::default(), watch, on_tunnel).await;
}

/// Reaches the gateway, as a pod's connector would.
pub(super) struct Dial {
    beyond: Arc<Beyond>,
    certs: CertStore,
}

impl Connect for Dial {
    type Io = ClientStream<DuplexStream>;
    type Peer = PeerCertificate;

    async fn connect(
        &self,
        key: &PoolKey,
    ) -> Result<Established<Self::Io, PeerCertificate>, ConnectError> {
        assert_eq!(key.address.to_string(), GATEWAY);
        if *self.beyond.conduct.lock() == Conduct::Away {
            let error = Arc::new(std::io::ErrorKind::ConnectionRefused.into());
            return Err(ConnectError::Tcp { address: key.address, error });
        }
        let certificate = hbone::certificate(&self.certs, key).await?;
        let (near, far) = duplex(1 << 20);
        tokio::spawn(self.beyond.clone().gateway(far));
        let shaken = tls::connect_to(&certificate, &key.expected, key.address.ip(), near).await;
        let (io, peer) = shaken
            .map_err(|error| ConnectError::Tls { address: key.address, error: Arc::new(error) })?;
        let valid_until: SystemTime = peer.not_after;
        Ok(Established { io, peer: Arc::new(peer), valid_until })
    }
}

/// What the mesh's configuration says, with `changes` to it: pod `client`, workload `remote` of network `there`, behind
/// the gateway, and their services.
pub(super) fn mesh(changes: &[proto::Address]) -> Arc<Snapshot> {
    use proto::address::Type;
    let gateway = proto::Workload {
        service_account: "east-west".to_owned(),
        network: "there".to_owned(),
        ..workload("istio-gateways", "gateway", [10, 9, 9, 9])
    };
    let mut remote = proto::Workload {
        network: "there".to_owned(),
        network_gateway: Some(gateway_at([10, 9, 9, 9])),
        canonical_name: "remote".to_owned(),
        canonical_revision: "v2".to_owned(),
        workload_name: "remote-of-all".to_owned(),
        cluster_id: "cluster-there".to_owned(),
        addresses: Vec::new(),
        ..workload("shop", "remote", [0; 4])
    };
    remote.services.insert("shop/remote.shop".to_owned(), proto::PortList { ports: ports() });
    let client = proto::Workload {
        network: "here".to_owned(),
        canonical_name: "client".to_owned(),
        ..workload("shop", "client", [10, 0, 0, 1])
    };
    let service = service("remote", [10, 96, 0, 1], &[&far_identity()]);
    let all = [Type::Workload(gateway), Type::Workload(remote), Type::Workload(client)]
        .into_iter()
        .chain([Type::Service(service)])
        .map(|it| proto::Address { r#type: Some(it) })
        .chain(changes.iter().cloned());
    let mut store = Store::new(&StoreSettings::default());
    for address in all {
        let name = match address.r#type.as_ref().unwrap() {
            Type::Workload(workload) => workload.uid.clone(),
            Type::Service(service) => format!("{}/{}", service.namespace, service.hostname),
        };
        let resource = Some(Bytes::from(address.encode_to_vec()));
        let update = Update::Address { name: name.as_str().into(), resource };
        assert_eq!(store.apply(vec![update]), []);
    }
    store.reader().load()
}

/// Of a workload that speaks HBONE.
pub(super) fn workload(namespace: &str, name: &str, address: [u8; 4]) -> proto::Workload {
    proto::Workload {
        uid: name.to_owned(),
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        addresses: vec![address.to_vec()],
        service_account: name.to_owned(),
        tunnel_protocol: proto::TunnelProtocol::Hbone.into(),
        ..Default::default()
    }
}

/// Of `<name>.shop`, port 80.
pub(super) fn service(name: &str, address: [u8; 4], sans: &[&SpiffeId]) -> proto::Service {
    let length = None;
    let address = proto::NetworkAddress { network: "here".into(), address: address.into(), length };
    proto::Service {
        name: name.to_owned(),
        namespace: "shop".to_owned(),
        hostname: format!("{name}.shop"),
        addresses: vec![address],
        ports: ports(),
        subject_alt_names: sans.iter().map(ToString::to_string).collect(),
        ..Default::default()
    }
}

/// Port 80 of a service, 8080 of its workloads.
pub(super) fn ports() -> Vec<proto::Port> {
    vec![proto::Port { service_port: 80, target_port: 8080, ..Default::default() }]
}

pub(super) fn gateway_at(address: [u8; 4]) -> proto::GatewayAddress {
    let (network, length) = ("there".to_owned(), None);
    let address = proto::NetworkAddress { network, address: address.into(), length };
    let destination = Some(proto::gateway_address::Destination::Address(address));
    proto::GatewayAddress { destination, hbone_mtls_port: 15008 }
}

/// The whole of it.
pub(super) struct World {
    pub(super) beyond: Arc<Beyond>,
    pub(super) pool: Pool<Dial>,
    snapshot: Arc<Snapshot>,
    certs: CertStore,
}

impl World {
    pub(super) fn new() -> Self {
        let ca = Arc::new(TestCa::root("both networks' root"));
        let authority = Arc::new(TestAuthority::new(ca.clone(), weft_core::clock::now));
        let certs = CertStore::spawn(authority, CertSettings::new(Duration::from_secs(3600)));
        let beyond = Arc::new(Beyond::new(ca));
        let dial = Dial { beyond: beyond.clone(), certs: certs.clone() };
        let pool = Pool::new(PoolSettings::default(), dial);
        Self { beyond, pool, snapshot: mesh(&[]), certs }
    }

    /// What `outbound` does for a connection of the client to [`VIP`], up to the relay; and its record, however it went.
    pub(super) async fn open(&self) -> (Result<TunnelStream, ConnectionError>, Record) {
        let (from, destination) = ("10.0.0.1:40000".parse().unwrap(), VIP.parse().unwrap());
        let source = self.snapshot.workload("client").unwrap().clone();
        let mut record = Record::new(Direction::Outbound, from, destination);
        record.source.identity = Some(source.identity.clone());
        record.source.workload = Some(source.clone());
        let question = Question {
            snapshot: &self.snapshot,
            source: &source,
            destination,
            is_local: &|_| false,
            unreached: &[],
        };
        let route = question.resolve(&mut rand::rng()).unwrap();
        record.service = route.service.as_deref().map(service_labels);
        record.destination.workload = route.destination;
        let Path::DoubleHbone { outer, inner, authority } = route.path else {
            panic!("{:?}", route.path)
        };
        let key = PoolKey {
            source: source.identity.clone(),
            source_ip: from.ip(),
            expected: outer.expected,
            address: outer.address,
            uid: outer.uid,
        };
        let request = TunnelRequest {
            authority,
            baggage: baggage(&source),
            forwarded: Some(Forwarded::new(from, "remote.shop".parse().ok())),
            traceparent: TraceParent::random(),
            forwarded_network: None,
        };
        let opened =
            double::open(&self.pool, &self.certs, &key, &inner, request, &mut record).await;
        (opened, record)
    }
}

/// A client's socket, and the proxy's end of it.
#[expect(clippy::disallowed_methods, reason = "a test's own client")]
pub(super) async fn socket() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    (client.unwrap(), accepted.unwrap().0)
}

/// Polls a condition until it holds; fails after a while.
pub(super) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{what}: not within 10 s");
}
