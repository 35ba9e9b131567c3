//! A controller that does as it is told, behind real TLS.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use prost::Message as _;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_stream::StreamExt as _;
use tonic::{Request, Response, Status, Streaming, transport::Server};
use weft_core::clock;
use weft_core::join_token::JoinToken;
use weft_core::tls::control_server;
use weft_proto::contract::type_url::ENROLLED_POD;
use weft_proto::discovery::aggregated_discovery_service_server as ads;
use weft_proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};
use weft_proto::node::issue_token_request::Component;
use weft_proto::node::node_service_server::{NodeService, NodeServiceServer};
use weft_proto::node::{
    EnrolledPod, IssueTokenRequest, IssueTokenResponse, JoinRequest, JoinResponse,
};

/// What the controller was asked, and how it answers.
#[derive(Debug, Default)]
pub(crate) struct Script {
    pub(crate) calls: Mutex<Vec<String>>,
    pub(crate) requests: Mutex<Vec<DeltaDiscoveryRequest>>,
    pub(crate) accepts: Mutex<Option<String>>,
    life_seconds: i64,
    /// What the next stream of changes says.
    responses: Mutex<Option<mpsc::Receiver<DeltaDiscoveryResponse>>>,
}

#[derive(Clone)]
struct Controller {
    script: Arc<Script>,
    roots: String,
}

impl Controller {
    /// The next token of this kind; the agent's is the only one accepted from now on.
    fn token(&self, what: &str) -> String {
        let mut calls = self.script.calls.lock().unwrap();
        calls.push(what.to_owned());
        let token = format!("{what}-{}", calls.len());
        if what != "ztunnel" {
            *self.script.accepts.lock().unwrap() = Some(token.clone());
        }
        token
    }

    fn expires_at(&self) -> i64 {
        i64::try_from(clock::unix_seconds()).unwrap() + self.script.life_seconds
    }

    fn authenticate<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let bearer = request.metadata().get("authorization").unwrap().to_str().unwrap();
        let accepted = self.script.accepts.lock().unwrap().clone();
        if bearer.strip_prefix("Bearer ") == accepted.as_deref() {
            Ok(())
        } else {
            Err(Status::unauthenticated("the token has expired"))
        }
    }
}

#[tonic::async_trait]
impl ads::AggregatedDiscoveryService for Controller {
    type DeltaAggregatedResourcesStream =
        tokio_stream::wrappers::ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        self.authenticate(&request)?;
        let mut requests = request.into_inner();
        let script = self.script.clone();
        tokio::spawn(async move {
            while let Some(Ok(request)) = requests.next().await {
                script.requests.lock().unwrap().push(request);
            }
        });
        let (sender, stream) = mpsc::channel(1);
        let responses = self.script.responses.lock().unwrap().take();
        let mut responses = responses.ok_or_else(|| Status::unavailable("not now"))?;
        tokio::spawn(async move {
            while let Some(response) = responses.recv().await {
                let _ = sender.send(Ok(response)).await;
            }
        });
        Ok(Response::new(stream.into()))
    }
}

#[tonic::async_trait]
impl NodeService for Controller {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        let request = request.into_inner();
        if !request.join_token.starts_with("weft1.") || request.node != "node1" {
            let reason = format!("the join token is for node node1, and {} asked", request.node);
            return Err(Status::permission_denied(reason));
        }
        Ok(Response::new(JoinResponse {
            roots: self.roots.clone(),
            agent_token: self.token("join"),
            expires_at: self.expires_at(),
            trust_domain: "cluster.local".into(),
            cluster_id: "Kubernetes".into(),
        }))
    }

    async fn issue_token(
        &self,
        request: Request<IssueTokenRequest>,
    ) -> Result<Response<IssueTokenResponse>, Status> {
        self.authenticate(&request)?;
        let what = match request.get_ref().component() {
            Component::Agent => "agent",
            Component::Ztunnel => "ztunnel",
            Component::Waypoint => "waypoint",
        };
        let (token, expires_at) = (self.token(what), self.expires_at());
        Ok(Response::new(IssueTokenResponse { token, expires_at, roots: self.roots.clone() }))
    }
}

/// A response that adds these pods (with the namespaces of these names) and removes those.
pub(crate) fn response(
    version: &str,
    pods: &[(&str, &str)],
    removed: &[&str],
) -> DeltaDiscoveryResponse {
    let resource = |(uid, netns): &(&str, &str)| {
        let pod = EnrolledPod {
            uid: (*uid).into(),
            namespace: "shop".into(),
            name: (*uid).into(),
            service_account: "cart".into(),
            node: "node1".into(),
            netns: (*netns).into(),
            ..EnrolledPod::default()
        };
        let value = pod.encode_to_vec();
        Resource {
            name: (*uid).into(),
            version: "1".into(),
            resource: Some(prost_types::Any { type_url: ENROLLED_POD.into(), value }),
            ..Resource::default()
        }
    };
    DeltaDiscoveryResponse {
        system_version_info: version.into(),
        resources: pods.iter().map(resource).collect(),
        type_url: ENROLLED_POD.into(),
        nonce: version.into(),
        removed_resources: removed.iter().map(|uid| (*uid).into()).collect(),
    }
}

/// A running controller, and what a node needs to find it.
pub(crate) struct Mesh {
    pub(crate) script: Arc<Script>,
    pub(crate) address: String,
    root: Vec<u8>,
}

impl Mesh {
    /// Writes a join token for node1; where.
    pub(crate) fn write_token(&self, folder: &tempfile::TempDir, secret: &str) -> PathBuf {
        let path = folder.path().join("join");
        let token = JoinToken::new(&self.root, secret.into()).unwrap();
        std::fs::write(&path, token.to_line() + "\n").unwrap();
        path
    }

    /// What the next stream of changes says.
    pub(crate) fn responses(&self) -> mpsc::Sender<DeltaDiscoveryResponse> {
        let (sender, responses) = mpsc::channel(16);
        *self.script.responses.lock().unwrap() = Some(responses);
        sender
    }
}

/// Starts a controller whose tokens live for this long.
pub(crate) async fn mesh(life_seconds: i64) -> Mesh {
    let root_key = KeyPair::generate().unwrap();
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root_certificate = root.self_signed(&root_key).unwrap();
    let issuer = Issuer::new(root, root_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let chain = vec![leaf.der().clone(), root_certificate.der().clone()];
    let key = tokio_rustls::rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let acceptor = TlsAcceptor::from(control_server(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let script = Arc::new(Script { life_seconds, ..Script::default() });
    let controller = Controller { script: script.clone(), roots: root_certificate.pem() };
    let (streams, incoming) = mpsc::channel(16);
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let Ok(mut tls) = acceptor.accept(tcp).await else { continue };
            // The server takes any stream that tonic knows; a pipe is one, a TLS stream without its feature isn't.
            let (outer, mut inner) = tokio::io::duplex(64 << 10);
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut tls, &mut inner).await });
            let _ = streams.send(std::io::Result::Ok(outer)).await;
        }
    });
    let incoming = tokio_stream::wrappers::ReceiverStream::new(incoming);
    let server = Server::builder()
        .add_service(NodeServiceServer::new(controller.clone()))
        .add_service(ads::AggregatedDiscoveryServiceServer::new(controller));
    tokio::spawn(server.serve_with_incoming(incoming));
    Mesh { script, address, root: root_certificate.der().to_vec() }
}
