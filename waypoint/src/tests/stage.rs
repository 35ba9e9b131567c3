//! A waypoint in this process, a mesh that is told to it message by message, and proxies that call it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use weft_core::certs::{CertSettings, CertStore};
use weft_core::clock;
use weft_core::config::{Config, Env};
use weft_core::drain;
use weft_core::hbone::{
    Authority, Connect, ConnectError, Established, HboneError, Pool, PoolKey, PoolSettings,
    TunnelRequest, TunnelStream,
};
use weft_core::identity::{ExpectedPeers, SpiffeId};
use weft_core::mesh::{Store, StoreSettings};
use weft_core::seal;
use weft_core::telemetry::{Build, LogLines, Registry};
use weft_core::testing::{TestAuthority, TestCa, identity};
use weft_core::tls;
use weft_core::x509::PeerCertificate;
use weft_core::xds::{Change, Handler};
use weft_proto::contract::type_url;
use weft_proto::{route, workload as proto};

use crate::resources::Feed;
use crate::serve::{Own, Workers};
use crate::shared::Shared;
use crate::telemetry::metrics::RequestMetrics;
use crate::telemetry::trace::SpanMetrics;
use crate::telemetry::{Hub, HubParts};

pub(super) const WEB: &str = "web.shop.svc.cluster.local";
pub(super) const WEB_VIP: &str = "10.96.0.1";
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
pub(super) struct Stage {
    feed: parking_lot::Mutex<Feed>,
    at: SocketAddr,
    _drain: drain::Signal,
    clients: Pool<Client>,
}

impl Stage {
    /// A waypoint that knows itself and nothing else.
    pub(super) async fn new() -> Self {
        let ca = Arc::new(TestCa::root("mesh"));
        let authority = Arc::new(TestAuthority::new(ca.clone(), clock::now));
        let certs = CertStore::spawn(authority, CertSettings::new(Duration::from_secs(3600)));
        let env = Pairs(HashMap::from([("XDS_ROOT_CA", "/nowhere"), ("AUTH_TOKEN", "/nowhere")]));
        let config = Config::from_env(&env).unwrap();
        let store = Store::new(&StoreSettings::default());
        let mesh = store.reader();
        let mut registry = Registry::new(&Build { component: "test".into(), tag: "0".into() });
        let (lines, _guard) = LogLines::start(std::io::sink()).unwrap();
        let hub = Arc::new(Hub::new(HubParts {
            metrics: RequestMetrics::new(&mut registry),
            lines,
            spans: SpanMetrics::new(&mut registry),
            origin: Arc::default(),
            runtime: Handle::current(),
            dialler: Box::new(|_| panic!("no test has a collector")),
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
            tunnels: Default::default(),
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
        let stage = Self { feed: parking_lot::Mutex::new(feed), at, _drain: drain, clients };
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
    pub(super) async fn with_web(app: SocketAddr) -> Self {
        let stage = Self::new().await;
        stage.web(&[app], proto::AppProtocol::Http11);
        stage
    }

    /// The service `web`, at port 80, of these applications.
    pub(super) fn web(&self, apps: &[SocketAddr], protocol: proto::AppProtocol) {
        for (number, app) in apps.iter().enumerate() {
            let name = format!("web-{number}");
            self.workload(&name, &app.ip().to_string(), &[(WEB, 80, app.port())]);
        }
        self.service("web", WEB_VIP, &[(80, 80, protocol)], true);
    }

    /// A workload without a proxy, so that it is spoken to in plain.
    pub(super) fn workload(&self, name: &str, address: &str, behind: &[(&str, u16, u16)]) {
        let services = behind.iter().map(|(host, port, target)| {
            let port = proto::Port {
                service_port: (*port).into(),
                target_port: (*target).into(),
                app_protocol: 0,
            };
            (format!("shop/{host}"), proto::PortList { ports: vec![port] })
        });
        let workload = proto::Workload {
            uid: format!("Kubernetes//Pod/shop/{name}"),
            name: name.to_owned(),
            namespace: "shop".to_owned(),
            service_account: name.split('-').next().unwrap().to_owned(),
            addresses: vec![bytes_of(address)],
            services: services.collect(),
            ..Default::default()
        };
        let name = workload.uid.clone();
        let address = proto::Address { r#type: Some(proto::address::Type::Workload(workload)) };
        self.tell(type_url::ADDRESS, &name, Some(address.encode_to_vec()));
    }

    pub(super) fn service(
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

    /// Who may do what with a service.
    pub(super) fn access(&self, hostname: &str, policy: route::AccessPolicy) {
        let policy = route::AccessPolicy {
            namespace: "shop".to_owned(),
            hostname: hostname.to_owned(),
            ..policy
        };
        let name = format!("shop/{hostname}");
        self.tell(type_url::ACCESS_POLICY, &name, Some(seal::seal(policy.encode_to_vec())));
    }

    /// How the endpoints of a service are treated.
    pub(super) fn backends(&self, hostname: &str, policy: route::BackendPolicy) {
        let policy = route::BackendPolicy {
            namespace: "shop".to_owned(),
            hostname: hostname.to_owned(),
            ..policy
        };
        let name = format!("shop/{hostname}");
        self.tell(type_url::BACKEND_POLICY, &name, Some(policy.encode_to_vec()));
    }

    /// Routes of `web`, for everybody and all ports.
    pub(super) fn routes(&self, rules: Vec<route::HttpRule>, actions: Vec<route::HttpAction>) {
        let set = route::RouteSet {
            http: Some(route::HttpRoutes { rules, actions }),
            ..route::RouteSet::default()
        };
        let table = route::RouteTable {
            namespace: "shop".to_owned(),
            hostname: WEB.to_owned(),
            sets: vec![set],
        };
        let name = format!("shop/{WEB}");
        self.tell(type_url::ROUTE_TABLE, &name, Some(table.encode_to_vec()));
    }

    pub(super) fn tell(&self, type_url: &str, name: &str, resource: Option<Vec<u8>>) {
        let change = Change {
            name: name.into(),
            version: String::new(),
            resource: resource.map(Into::into),
        };
        let rejected = self.feed.lock().apply(type_url, vec![change]);
        assert_eq!(rejected, []);
    }

    /// A tunnel of `shop/client` to an authority.
    pub(super) async fn tunnel(&self, authority: &str) -> Result<TunnelStream, HboneError> {
        self.tunnel_of("shop", authority).await
    }

    /// The same by a client of another namespace.
    pub(super) async fn tunnel_of(
        &self,
        namespace: &str,
        authority: &str,
    ) -> Result<TunnelStream, HboneError> {
        let key = PoolKey {
            source: identity(namespace, "client"),
            source_ip: OWN.parse().unwrap(),
            expected: ExpectedPeers::one(identity("shop", "waypoint")),
            address: self.at,
            uid: "waypoint".into(),
        };
        let authority: Authority = authority.parse().unwrap();
        Ok(self.clients.open(&key, &TunnelRequest::new(authority)).await?.stream)
    }

    /// A tunnel to `web`.
    pub(super) async fn to_web(&self) -> TunnelStream {
        self.tunnel(&format!("{WEB_VIP}:80")).await.unwrap()
    }

    /// One request to `web` on a connection of its own.
    pub(super) async fn ask(&self, request: http::Request<Full<Bytes>>) -> Answered {
        let tunnel = self.to_web().await;
        let (mut sender, connection) = http1::handshake(TokioIo::new(tunnel)).await.unwrap();
        tokio::spawn(connection);
        let response = sender.send_request(request).await.unwrap();
        Answered::of(response).await
    }

    /// GET of a path of `web`.
    pub(super) async fn get(&self, path: &str) -> Answered {
        self.ask(request("GET", path, "")).await
    }
}

pub(super) fn request(method: &str, path: &str, body: &str) -> http::Request<Full<Bytes>> {
    let builder = http::Request::builder().method(method).uri(path).header("host", "web.shop");
    builder.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap()
}

/// A response, whole.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) headers: http::HeaderMap,
    pub(super) body: String,
}

impl Answered {
    pub(super) async fn of(response: http::Response<hyper::body::Incoming>) -> Self {
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Self {
            status: head.status.as_u16(),
            headers: head.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }
}

fn bytes_of(address: &str) -> Vec<u8> {
    match address.parse().unwrap() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
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
        let tcp = TcpStream::connect(key.address).await.unwrap();
        let (io, peer) = tls::connect(&certificate, &key.expected, tcp).await.unwrap();
        let valid_until = peer.not_after;
        Ok(Established { io, peer: Arc::new(peer), valid_until })
    }
}
