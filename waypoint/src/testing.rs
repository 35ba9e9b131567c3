//! A waypoint in this process, a mesh that is told to it message by message, and proxies that call it.
//!
//! Behind the feature `testing`; production builds do not contain it. It panics where a test would.
#![allow(clippy::unwrap_used, reason = "a part of tests")]

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;
use weft_core::certs::{CertSettings, CertStore};
use weft_core::clock;
use weft_core::config::{Config, Env};
use weft_core::drain;
use weft_core::hbone::{
    self, Authority, Connect, ConnectError, Established, HboneError, Pool, PoolKey, PoolSettings,
    TunnelRequest, TunnelStream,
};
use weft_core::identity::ExpectedPeers;
use weft_core::mesh::{SnapshotReader, Store, StoreSettings};
use weft_core::seal;
use weft_core::telemetry::{Build, Exposition, LogGuard, LogLines, Registry, TrafficMetrics};
use weft_core::testing::{TestAuthority, TestCa, identity};
use weft_core::tls;
use weft_core::x509::PeerCertificate;
use weft_core::xds::{Change, Handler};
use weft_proto::contract::{extension, type_url};
use weft_proto::{route, workload as proto};

use crate::dump::dump;
use crate::http::Copies;
use crate::resources::Feed;
use crate::serve::{Own, Workers};
use crate::shared::Shared;
use crate::telemetry::metrics::RequestMetrics;
use crate::telemetry::trace::{Dial, Io, SpanMetrics};
use crate::telemetry::{Hub, HubParts};
use crate::upstream::Names;

/// The host of the service that most tests are about.
pub const WEB: &str = "web.shop.svc.cluster.local";
/// Its address.
pub const WEB_VIP: &str = "10.96.0.1";
const OWN: &str = "127.0.0.1";

struct Pairs(HashMap<&'static str, &'static str>);

impl Env for Pairs {
    fn get(&self, key: &str) -> Option<String> {
        self.0.get(key).map(|value| (*value).to_owned())
    }

    fn with_prefix(&self, _: &str) -> Vec<(String, String)> {
        Vec::new()
    }

    fn processors(&self) -> usize {
        1
    }
}

/// The whole of it.
pub struct Stage {
    feed: parking_lot::Mutex<Feed>,
    /// What its threads share.
    pub(crate) shared: Arc<Shared>,
    at: SocketAddr,
    _drain: drain::Signal,
    clients: Pool<Client>,
    registry: Registry,
    written: Written,
    _log: LogGuard,
}

/// What the access log has written.
#[derive(Clone, Default)]
struct Written(Arc<parking_lot::Mutex<Vec<u8>>>);

impl std::io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Stage {
    /// A waypoint that knows itself and nothing else.
    pub async fn new() -> Self {
        let ca = Arc::new(TestCa::root("mesh"));
        let authority = Arc::new(TestAuthority::new(ca.clone(), clock::now));
        let certs = CertStore::spawn(authority, CertSettings::new(Duration::from_secs(3600)));
        let env = Pairs(HashMap::from([("XDS_ROOT_CA", "/nowhere"), ("AUTH_TOKEN", "/nowhere")]));
        let config = Config::from_env(&env).unwrap();
        let store = Store::new(&StoreSettings::default());
        let mesh = store.reader();
        let mut registry = Registry::new(&Build { component: "test".into(), tag: "0".into() });
        let written = Written::default();
        let (lines, log) = LogLines::start(written.clone()).unwrap();
        let hub = Arc::new(Hub::new(HubParts {
            metrics: RequestMetrics::new(&mut registry),
            connections: TrafficMetrics::new(&mut registry),
            lines,
            spans: SpanMetrics::new(&mut registry),
            origin: Arc::default(),
            runtime: Handle::current(),
            dialler: Box::new(|_| Arc::new(NoCollector)),
            environment: Box::new(|_| None),
        }));
        let (feed, rules) = Feed::new(store, hub.clone());
        let own = Own {
            identity: identity("shop", "waypoint"),
            address: OWN.parse().unwrap(),
            network: "".into(),
        };
        let shared = Arc::new(Shared {
            hub,
            copies: Copies::new(&mut registry),
            tunnels: Default::default(),
            names: scripted(mesh.clone()),
            server_first: Default::default(),
            backends: Default::default(),
            config,
            own,
            mesh,
            rules,
            certs,
        });
        let listener = TcpListener::bind((OWN, 0)).await.unwrap();
        let at = listener.local_addr().unwrap();
        let (drain, watch) = drain::pair();
        let workers = Workers::new(&shared, &[Handle::current()]);
        tokio::spawn(async move {
            while let Ok((tcp, from)) = listener.accept().await {
                tokio::spawn(workers.clone().serve(tcp, from, watch.clone()));
            }
        });
        let clients = Pool::new(PoolSettings::default(), Client { ca });
        let feed = parking_lot::Mutex::new(feed);
        let stage = Self { feed, shared, at, _drain: drain, clients, registry, written, _log: log };
        stage.workload("waypoint", OWN, &[("waypoint.shop.svc.cluster.local", 15008, 15008)]);
        stage.service(
            "waypoint",
            "10.96.0.2",
            &[(15008, 15008, proto::AppProtocol::Unknown)],
            false,
        );
        stage
    }

    /// A mesh with the service `web`, at port 80, of one application.
    pub async fn with_web(app: SocketAddr) -> Self {
        let stage = Self::new().await;
        stage.web(&[app], proto::AppProtocol::Http11);
        stage
    }

    /// The service `web`, at port 80, of these applications.
    pub fn web(&self, apps: &[SocketAddr], protocol: proto::AppProtocol) {
        for (number, app) in apps.iter().enumerate() {
            let name = format!("web-{number}");
            self.workload(&name, &app.ip().to_string(), &[(WEB, 80, app.port())]);
        }
        self.service("web", WEB_VIP, &[(80, 80, protocol)], true);
    }

    /// A workload without a proxy, so that it is spoken to in plain.
    pub fn workload(&self, name: &str, address: &str, behind: &[(&str, u16, u16)]) {
        self.labelled(name, address, behind, &[]);
    }

    /// The same with labels that some route names.
    pub fn labelled(
        &self,
        name: &str,
        address: &str,
        behind: &[(&str, u16, u16)],
        labels: &[(&str, &str)],
    ) {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let labels = route::WorkloadLabels { labels: labels.collect() };
        let config = prost_types::Any {
            type_url: extension::LABELS.to_owned(),
            value: labels.encode_to_vec(),
        };
        let labels = proto::Extension { name: extension::LABELS.to_owned(), config: Some(config) };
        let workload = proto::Workload {
            addresses: vec![bytes_of(address)],
            extensions: vec![labels],
            ..workload(name, behind)
        };
        self.tell_workload(workload);
    }

    /// A workload that is known by its name.
    pub fn named(&self, name: &str, hostname: &str, behind: &[(&str, u16, u16)]) {
        let hostname = hostname.to_owned();
        self.tell_workload(proto::Workload { hostname, ..workload(name, behind) });
    }

    fn tell_workload(&self, workload: proto::Workload) {
        let name = workload.uid.clone();
        let address = proto::Address { r#type: Some(proto::address::Type::Workload(workload)) };
        self.tell(type_url::ADDRESS, &name, Some(address.encode_to_vec()));
    }

    /// A service at port, target port and protocol, and whether this waypoint stands before it.
    pub fn service(
        &self,
        name: &str,
        vip: &str,
        ports: &[(u16, u16, proto::AppProtocol)],
        is_bound: bool,
    ) {
        let hostname = format!("{name}.shop.svc.cluster.local");
        let waypoint = proto::NamespacedHostname {
            namespace: "shop".to_owned(),
            hostname: "waypoint.shop.svc.cluster.local".to_owned(),
        };
        let waypoint = proto::GatewayAddress {
            destination: Some(proto::gateway_address::Destination::Hostname(waypoint)),
            hbone_mtls_port: 15008,
        };
        let ports = ports.iter().map(|(port, target, protocol)| proto::Port {
            service_port: (*port).into(),
            target_port: (*target).into(),
            app_protocol: (*protocol).into(),
        });
        let service = proto::Service {
            name: name.to_owned(),
            namespace: "shop".to_owned(),
            hostname: hostname.clone(),
            addresses: vec![proto::NetworkAddress {
                network: String::new(),
                address: bytes_of(vip),
                length: None,
            }],
            ports: ports.collect(),
            waypoint: is_bound.then_some(waypoint),
            ..Default::default()
        };
        let address = proto::Address { r#type: Some(proto::address::Type::Service(service)) };
        let name = format!("shop/{hostname}");
        self.tell(type_url::ADDRESS, &name, Some(address.encode_to_vec()));
        if is_bound {
            self.access(&hostname, route::AccessPolicy::default());
        }
    }

    /// Returns once the metrics have a text: a request is counted after its answer was sent.
    pub async fn counts(&self, text: &str) {
        let metrics = || self.registry.encode(Exposition::accepted(None)).unwrap();
        let counted = async {
            while !metrics().contains(text) {
                tokio::task::yield_now().await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(10), counted).await;
        in_time.unwrap_or_else(|_| panic!("no {text} in:\n{}", metrics()));
    }

    /// Who may do what with a service.
    pub fn access(&self, hostname: &str, policy: route::AccessPolicy) {
        let policy = route::AccessPolicy {
            namespace: "shop".to_owned(),
            hostname: hostname.to_owned(),
            ..policy
        };
        let name = format!("shop/{hostname}");
        self.tell(type_url::ACCESS_POLICY, &name, Some(seal::seal(policy.encode_to_vec())));
    }

    /// How the endpoints of a service are treated.
    pub fn backends(&self, hostname: &str, policy: route::BackendPolicy) {
        let policy = route::BackendPolicy {
            namespace: "shop".to_owned(),
            hostname: hostname.to_owned(),
            ..policy
        };
        let name = format!("shop/{hostname}");
        self.tell(type_url::BACKEND_POLICY, &name, Some(policy.encode_to_vec()));
    }

    /// What the waypoint proves itself with to the endpoints of a service, by `namespace/name` of Secrets.
    pub fn credentials(&self, hostname: &str, secrets: &[(&str, route::Credential)]) {
        let secrets = secrets.iter().map(|(name, it)| ((*name).to_owned(), it.clone()));
        let message = route::ServiceCredentials {
            namespace: "shop".to_owned(),
            hostname: hostname.to_owned(),
            secrets: secrets.collect(),
        };
        let name = format!("shop/{hostname}");
        self.tell(type_url::CREDENTIALS, &name, Some(message.encode_to_vec()));
    }

    /// What the admin server shows of it, and all that its parts show of themselves.
    pub fn shown(&self) -> String {
        let dump = serde_json::to_string(&dump(&self.shared)).unwrap();
        let rules = self.shared.rules.of(&format!("shop/{WEB}"));
        format!("{dump} {rules:?} {:?}", self.shared.backends)
    }

    /// Has a line of this format written for every request and connection of a service.
    pub fn logs(&self, hostname: &str, format: &str) {
        let format = Some(route::access_log_rule::Format::Text(format.to_owned()));
        let policy = route::TelemetryPolicy {
            namespace: "shop".to_owned(),
            hostname: hostname.to_owned(),
            access_logs: vec![route::AccessLogRule { format, ..Default::default() }],
            ..Default::default()
        };
        let name = format!("shop/{hostname}");
        self.tell(type_url::TELEMETRY_POLICY, &name, Some(policy.encode_to_vec()));
    }

    /// What the access log has written, once it has so many lines.
    pub async fn lines(&self, count: usize) -> Vec<String> {
        let read = || String::from_utf8(self.written.0.lock().clone()).unwrap();
        until(|| read().lines().count() >= count).await;
        read().lines().map(ToOwned::to_owned).collect()
    }

    /// The sum of a metric over those of its series whose labels have this text, as a scrape shows it.
    pub fn metric(&self, name: &str, label: &str) -> u64 {
        let text = self.registry.encode(Exposition::Text).unwrap();
        let of = |line: &str| {
            let rest = line.strip_prefix(name)?.strip_prefix('{')?;
            let (labels, value) = rest.rsplit_once("} ")?;
            labels.contains(label).then(|| value.parse::<u64>().unwrap())
        };
        text.lines().filter_map(of).sum()
    }

    /// Routes of `web`, for everybody and all ports.
    pub fn routes(&self, rules: Vec<route::HttpRule>, actions: Vec<route::HttpAction>) {
        self.route_set(route::RouteSet {
            http: Some(route::HttpRoutes { rules, actions }),
            ..route::RouteSet::default()
        });
    }

    /// The only set of routes of `web`.
    pub fn route_set(&self, set: route::RouteSet) {
        let table = route::RouteTable {
            namespace: "shop".to_owned(),
            hostname: WEB.to_owned(),
            sets: vec![set],
        };
        let name = format!("shop/{WEB}");
        self.tell(type_url::ROUTE_TABLE, &name, Some(table.encode_to_vec()));
    }

    /// A resource as discovery brings it; nothing: it is gone. It has to be taken.
    pub fn tell(&self, type_url: &str, name: &str, resource: Option<Vec<u8>>) {
        let change = Change {
            name: name.into(),
            version: String::new(),
            resource: resource.map(Into::into),
        };
        let rejected = self.feed.lock().apply(type_url, vec![change]);
        assert_eq!(rejected, []);
    }

    /// A tunnel of `shop/client` to an authority.
    pub async fn tunnel(&self, authority: &str) -> Result<TunnelStream, HboneError> {
        self.tunnel_of("shop", authority).await
    }

    /// The same by a client of another namespace.
    pub async fn tunnel_of(
        &self,
        namespace: &str,
        authority: &str,
    ) -> Result<TunnelStream, HboneError> {
        self.tunnel_from(OWN, namespace, authority).await
    }

    /// The same from an address of this machine.
    pub async fn tunnel_from(
        &self,
        address: &str,
        namespace: &str,
        authority: &str,
    ) -> Result<TunnelStream, HboneError> {
        let key = PoolKey {
            source: identity(namespace, "client"),
            source_ip: address.parse().unwrap(),
            expected: ExpectedPeers::one(identity("shop", "waypoint")),
            address: self.at,
            uid: "waypoint".into(),
        };
        let authority: Authority = authority.parse().unwrap();
        Ok(self.clients.open(&key, &TunnelRequest::new(authority)).await?.stream)
    }

    /// A tunnel to `web`.
    pub async fn to_web(&self) -> TunnelStream {
        self.tunnel(&format!("{WEB_VIP}:80")).await.unwrap()
    }

    /// One request to `web` on a connection of its own.
    pub async fn ask(&self, request: http::Request<Full<Bytes>>) -> Answered {
        let tunnel = self.to_web().await;
        let (mut sender, connection) = http1::handshake(TokioIo::new(tunnel)).await.unwrap();
        tokio::spawn(connection);
        let response = sender.send_request(request).await.unwrap();
        Answered::of(response).await
    }

    /// GET of a path of `web`.
    pub async fn get(&self, path: &str) -> Answered {
        self.ask(request("GET", path, "")).await
    }
}

/// Waits until something holds, and fails if that takes too long.
pub async fn until(mut holds: impl FnMut() -> bool) {
    let polling = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), polling).await.expect("it holds in time");
}

/// A request to the host `web.shop`.
pub fn request(method: &str, path: &str, body: &str) -> http::Request<Full<Bytes>> {
    let builder = http::Request::builder().method(method).uri(path).header("host", "web.shop");
    builder.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap()
}

/// A response, whole.
#[derive(Debug)]
pub struct Answered {
    /// Its code.
    pub status: u16,
    /// Its headers.
    pub headers: http::HeaderMap,
    /// Its body, which has to be text.
    pub body: String,
}

impl Answered {
    /// Reads it to its end.
    pub async fn of(response: http::Response<hyper::body::Incoming>) -> Self {
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Self {
            status: head.status.as_u16(),
            headers: head.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }
}

fn workload(name: &str, behind: &[(&str, u16, u16)]) -> proto::Workload {
    let services = behind.iter().map(|(host, port, target)| {
        let port = proto::Port {
            service_port: (*port).into(),
            target_port: (*target).into(),
            app_protocol: 0,
        };
        (format!("shop/{host}"), proto::PortList { ports: vec![port] })
    });
    proto::Workload {
        uid: format!("Kubernetes//Pod/shop/{name}"),
        name: name.to_owned(),
        namespace: "shop".to_owned(),
        service_account: name.split('-').next().unwrap().to_owned(),
        services: services.collect(),
        ..Default::default()
    }
}

fn bytes_of(address: &str) -> Vec<u8> {
    match address.parse().unwrap() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// A collector that can't be reached.
struct NoCollector;

impl Dial for NoCollector {
    fn dial(&self) -> BoxFuture<'static, std::io::Result<Box<dyn Io>>> {
        Box::pin(std::future::pending())
    }
}

/// Another proxy's way to the waypoint.
struct Client {
    ca: Arc<TestCa>,
}

impl Connect for Client {
    type Io = tls::ClientStream<TcpStream>;
    type Peer = PeerCertificate;

    async fn connect(
        &self,
        key: &PoolKey,
    ) -> Result<Established<Self::Io, PeerCertificate>, ConnectError> {
        let certificate = self.ca.workload(&key.source);
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((key.source_ip, 0).into()).unwrap();
        let tcp = socket.connect(key.address).await.unwrap();
        Ok(hbone::secure(&certificate, key, tcp).await.unwrap())
    }
}

/// Names of these tests, for as long as they are asked for.
fn scripted(mesh: SnapshotReader) -> Arc<Names> {
    let lookup = |name: Arc<str>| {
        // `127-0-1-9.and-127-0-1-10.example` has these two addresses.
        let labels = name.split('.').filter(|label| label.contains("127-"));
        let addresses = labels.map(|label| label.trim_start_matches("and-").replace('-', "."));
        let found: Vec<IpAddr> = addresses.map(|it| it.parse().unwrap()).collect();
        async move { Ok(found) }.boxed()
    };
    Arc::new(Names::new(mesh, "".into(), Box::new(lookup)))
}
