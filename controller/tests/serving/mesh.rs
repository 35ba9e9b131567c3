//! A controller in this process, and what it takes to call it.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use hyper_util::rt::TokioIo;
use prost::Message;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};
use weft_controller::admin::{ModelStatus, NoModel};
use weft_controller::ca::LivePods;
use weft_controller::config::{Cli, Config};
use weft_controller::owner;
use weft_controller::run::{ChangeSender, Controller, Inputs};
use weft_controller::sources::files::{FolderSettings, watch_folder};
use weft_controller::tokens::Component;
use weft_controller::xds::{Audience, ResourceChange};
use weft_proto::contract::type_url;
use weft_proto::node::EnrolledPod;
use weft_proto::security::Authorization;
use weft_proto::workload::address::Type;
use weft_proto::workload::{Address, NetworkAddress, Service, Workload};

/// Longest wait for anything; a test that gets there has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Pods that the certificate authority is told of: node, namespace, service account.
#[derive(Default)]
pub struct Pods(pub Mutex<HashSet<(String, String, String)>>);

impl LivePods for Pods {
    fn node_hosts(&self, node: &str, namespace: &str, service_account: &str) -> bool {
        let key = (node.to_owned(), namespace.to_owned(), service_account.to_owned());
        self.0.lock().unwrap().contains(&key)
    }
}

impl Pods {
    pub fn add(&self, node: &str, namespace: &str, account: &str) {
        self.0.lock().unwrap().insert((node.into(), namespace.into(), account.into()));
    }

    pub fn clear(&self) {
        self.0.lock().unwrap().clear();
    }
}

fn config(state: &Path, more: &[&str]) -> Config {
    let state = state.join("state");
    let mut args = vec!["weft-controller", "--listen", "127.0.0.1:0"];
    args.extend(["--admin", "127.0.0.1:0", "--trust-domain", "cluster", "--state"]);
    args.push(state.to_str().unwrap());
    args.extend(more);
    Config::try_from(Cli::try_parse_from(args).unwrap().run).unwrap()
}

/// A running controller.
pub struct Mesh {
    pub controller_address: std::net::SocketAddr,
    pub admin_address: std::net::SocketAddr,
    pub feed: ChangeSender,
    pub pods: Arc<Pods>,
    pub roots_pem: String,
    pub tokens: Arc<weft_controller::tokens::TokenIssuer>,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

impl Mesh {
    /// A controller with the given state folder, whose first batch is `objects`.
    pub async fn start(state: &Path, objects: Vec<ResourceChange>) -> Self {
        let mesh = Self::start_unfed(state, &[]).await;
        mesh.feed(objects).await;
        mesh.until_ready().await;
        mesh
    }

    /// A controller that has been told nothing yet.
    pub async fn start_unfed(state: &Path, more: &[&str]) -> Self {
        Self::start_with(state, more, Arc::new(NoModel)).await
    }

    /// The same with something to show.
    pub async fn start_with(state: &Path, more: &[&str], model: Arc<dyn ModelStatus>) -> Self {
        let config = config(state, more);
        let pods = Arc::new(Pods::default());
        let (feed, inputs) = Inputs::channel(pods.clone(), model);
        Self::serve(&config, inputs, (feed, pods)).await
    }

    /// A controller of a folder of manifests.
    pub async fn start_folder(state: &Path, folder: &Path) -> Self {
        let config = config(state, &["--manifests", folder.to_str().unwrap()]);
        let folder = watch_folder(FolderSettings::new(&config.manifests)).unwrap();
        let inputs = owner::spawn(folder, owner::settings(&config));
        // Nobody feeds it but the folder.
        let (feed, _) = Inputs::none();
        let mesh = Self::serve(&config, inputs, (feed, Arc::default())).await;
        mesh.until_ready().await;
        mesh
    }

    async fn serve(
        config: &Config,
        inputs: Inputs,
        (feed, pods): (ChangeSender, Arc<Pods>),
    ) -> Self {
        let controller = Controller::start(config, inputs).await.unwrap();
        let (stop, stopped) = oneshot::channel();
        let (controller_address, admin_address) =
            (controller.address(), controller.admin_address());
        let roots_pem = controller.authority().roots_pem().to_string();
        let tokens = controller.tokens().clone();
        let running = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            controller.run_until(stopped).await.unwrap();
        });
        Self { controller_address, admin_address, feed, pods, roots_pem, tokens, stop, running }
    }

    pub async fn feed(&self, changes: Vec<ResourceChange>) {
        self.feed.send(changes).await.unwrap();
    }

    pub async fn until_ready(&self) {
        until("the controller is ready", async || self.get("/ready").await.0 == 200).await;
    }

    pub async fn stop(self) {
        self.stop.send(()).unwrap();
        self.running.await.unwrap();
    }

    /// A connection to the controller, by the mesh's roots and one of its names.
    pub async fn tls(&self) -> TlsStream<TcpStream> {
        tls_connect(self.controller_address, &self.roots_pem).await.unwrap()
    }

    /// A channel over one such connection.
    pub async fn channel(&self) -> Channel {
        let mut stream = Some(self.tls().await);
        let connector = tower::service_fn(move |_| {
            let stream = stream.take();
            async move { stream.map(TokioIo::new).ok_or_else(|| std::io::Error::other("closed before")) }
        });
        Endpoint::from_static("http://weft-controller:15012")
            .initial_connection_window_size(16 * 1024 * 1024)
            .initial_stream_window_size(4 * 1024 * 1024)
            .connect_with_connector(connector)
            .await
            .unwrap()
    }

    pub fn token(&self, component: Component, node: &str) -> String {
        self.tokens.issue(component, node).unwrap().token
    }

    /// A request with the token of `component` on `node`.
    pub fn request<T>(&self, component: Component, node: &str, message: T) -> Request<T> {
        with_token(message, &self.token(component, node))
    }

    /// `GET` of the admin server: status code and body.
    pub async fn get(&self, path: &str) -> (u16, String) {
        self.http(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
            .await
    }

    /// Any request to the admin server, verbatim.
    #[expect(clippy::disallowed_methods, reason = "a test's own client")]
    pub async fn http(&self, text: &str) -> (u16, String) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = TcpStream::connect(self.admin_address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// The controller's status.
    pub async fn status(&self) -> weft_controller::admin::ControllerStatus {
        serde_json::from_str(&self.get("/weft/status").await.1).unwrap()
    }
}

/// TLS to a controller whose root is in `roots_pem`.
#[expect(clippy::disallowed_methods, reason = "a test's own client")]
pub async fn tls_connect(
    address: std::net::SocketAddr,
    roots_pem: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(roots_pem.as_bytes()) {
        roots.add(root.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("istiod.istio-system.svc").unwrap();
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

pub fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

/// Polls a condition until it holds.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Name of the workload `index`.
pub fn workload_name(index: usize) -> String {
    format!("Kubernetes//Pod/default/pod-{index}")
}

/// The workload `index` on `node`, in the service `default/svc.example`; `revision` tells versions apart.
pub fn workload(index: usize, node: &str, revision: &str) -> ResourceChange {
    let [_, high, mid, low] = u32::try_from(index).unwrap().to_be_bytes();
    let workload = Workload {
        uid: workload_name(index),
        name: format!("pod-{index}"),
        namespace: "default".into(),
        addresses: vec![vec![10, high, mid, low]],
        node: node.into(),
        service_account: "app".into(),
        canonical_name: "app".into(),
        canonical_revision: revision.into(),
        workload_name: "app".into(),
        trust_domain: "cluster".into(),
        cluster_id: "Kubernetes".into(),
        services: [("default/svc.example".to_owned(), Default::default())].into(),
        ..Default::default()
    };
    address(workload_name(index), Type::Workload(workload))
}

pub fn service() -> ResourceChange {
    let service = Service {
        name: "svc".into(),
        namespace: "default".into(),
        hostname: "svc.example".into(),
        addresses: vec![NetworkAddress { address: vec![240, 240, 0, 1], ..Default::default() }],
        ..Default::default()
    };
    address("default/svc.example".to_owned(), Type::Service(service))
}

fn address(name: String, inner: Type) -> ResourceChange {
    let content = Address { r#type: Some(inner) }.encode_to_vec();
    change(type_url::ADDRESS, &name, Some(content))
}

pub fn policy(name: &str) -> ResourceChange {
    let content =
        Authorization { name: name.into(), namespace: "default".into(), ..Default::default() };
    change(type_url::AUTHORIZATION, &format!("default/{name}"), Some(content.encode_to_vec()))
}

pub fn pod(uid: &str, node: &str) -> ResourceChange {
    let content = EnrolledPod { uid: uid.into(), node: node.into(), ..Default::default() };
    change(type_url::ENROLLED_POD, uid, Some(content.encode_to_vec()))
}

pub fn removal(change: &ResourceChange) -> ResourceChange {
    ResourceChange { resource: None, ..change.clone() }
}

pub fn change(type_url: &'static str, name: &str, content: Option<Vec<u8>>) -> ResourceChange {
    let resource = content.map(Bytes::from);
    ResourceChange { type_url, name: name.into(), resource, audience: Audience::default() }
}
