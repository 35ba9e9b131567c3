//! Against a controller that is scripted behind real TLS.

use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tonic::{Response, transport::Server};
use weft_core::tls::control_server;
use weft_proto::node::node_service_server::{NodeService, NodeServiceServer};
use weft_proto::node::{IssueTokenResponse, JoinResponse};

use super::*;

/// What the controller was asked, and how it answers.
#[derive(Debug, Default)]
struct Script {
    calls: Mutex<Vec<String>>,
    life_seconds: i64,
    accepts: Mutex<Option<String>>,
}

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
        unix_now() + self.script.life_seconds
    }
}

#[tonic::async_trait]
impl NodeService for Controller {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        let request = request.into_inner();
        if !request.join_token.starts_with("weft1.") || request.node != "node1" {
            return Err(Status::permission_denied("the join token is for another node"));
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
        let bearer = request.metadata().get("authorization").unwrap().to_str().unwrap();
        let accepted = self.script.accepts.lock().unwrap().clone();
        if bearer.strip_prefix("Bearer ") != accepted.as_deref() {
            return Err(Status::unauthenticated("the token has expired"));
        }
        let what = match request.get_ref().component() {
            Component::Agent => "agent",
            Component::Ztunnel => "ztunnel",
        };
        let (token, expires_at) = (self.token(what), self.expires_at());
        Ok(Response::new(IssueTokenResponse { token, expires_at, roots: self.roots.clone() }))
    }
}

/// A running controller, and what a node needs to find it.
struct Mesh {
    script: Arc<Script>,
    address: String,
    root_hash: String,
}

async fn mesh(life_seconds: i64) -> Mesh {
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
    let (streams, incoming) = tokio::sync::mpsc::channel(16);
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
    let server = Server::builder().add_service(NodeServiceServer::new(controller));
    tokio::spawn(server.serve_with_incoming(incoming));
    let root_hash = URL_SAFE_NO_PAD.encode(Sha256::digest(root_certificate.der()));
    Mesh { script, address, root_hash }
}

impl Mesh {
    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.script.calls.lock().unwrap())
    }

    fn write_token(&self, folder: &tempfile::TempDir, secret: &str) -> PathBuf {
        let path = folder.path().join("join");
        std::fs::write(&path, format!("weft1.{}.{secret}\n", self.root_hash)).unwrap();
        path
    }

    fn member(&self, folder: &tempfile::TempDir, token: Option<PathBuf>) -> Member {
        self.try_member("node1", folder, token).unwrap()
    }

    fn try_member(
        &self,
        node: &str,
        folder: &tempfile::TempDir,
        join_token_file: Option<PathBuf>,
    ) -> Result<Member, MemberError> {
        let state = Arc::new(StateDir::open(&folder.path().join("state")).unwrap());
        let settings = MemberSettings {
            node: node.into(),
            controller: self.address.clone(),
            controller_name: None,
            join_token_file,
        };
        Member::new(settings, state)
    }
}

fn read(folder: &tempfile::TempDir, name: &str) -> String {
    std::fs::read_to_string(folder.path().join("state").join(name)).unwrap()
}

#[tokio::test]
async fn node_joins_once_and_a_restart_needs_no_join_token() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = mesh(3600).await;
    let token = mesh.write_token(&folder, "aa.bb.cc");
    let member = mesh.member(&folder, Some(token));
    assert!(!member.subscribe().borrow().is_joined);
    let pause = member.refresh().await.unwrap();
    assert!(pause <= limits::RENEWAL_CHECK && pause >= limits::RENEWAL_INTERVAL_MIN);
    assert_eq!(mesh.calls(), ["join", "ztunnel"]);
    assert!(member.subscribe().borrow().is_joined);
    assert_eq!(read(&folder, state::AGENT_TOKEN), "join-1");
    assert_eq!(read(&folder, state::ZTUNNEL_TOKEN), "ztunnel-2");
    assert!(read(&folder, state::ROOTS).contains("BEGIN CERTIFICATE"));
    drop(member);
    let member = mesh.member(&folder, None);
    assert!(member.subscribe().borrow().is_joined);
    member.refresh().await.unwrap();
    assert!(mesh.calls().is_empty(), "nothing was due");
}

#[tokio::test]
async fn tokens_are_renewed_when_they_are_due_and_another_join_token_joins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = mesh(0).await;
    let token = mesh.write_token(&folder, "aa.bb.cc");
    let member = mesh.member(&folder, Some(token));
    member.refresh().await.unwrap();
    mesh.calls();
    let pause = member.refresh().await.unwrap();
    assert_eq!(mesh.calls(), ["agent", "ztunnel"]);
    assert_eq!(
        pause,
        limits::RENEWAL_INTERVAL_MIN,
        "tokens without life are not asked for in a loop"
    );
    mesh.write_token(&folder, "dd.ee.ff");
    member.refresh().await.unwrap();
    assert_eq!(mesh.calls().first().unwrap(), "join");
}

#[tokio::test]
async fn refused_agent_token_leads_to_a_new_join() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = mesh(0).await;
    let token = mesh.write_token(&folder, "aa.bb.cc");
    let member = mesh.member(&folder, Some(token));
    member.refresh().await.unwrap();
    mesh.calls();
    *mesh.script.accepts.lock().unwrap() = None;
    member.refresh().await.unwrap();
    assert_eq!(mesh.calls().first().unwrap(), "join");
    // Without a join token it is an error, and what is there stays.
    *mesh.script.accepts.lock().unwrap() = None;
    std::fs::remove_file(folder.path().join("join")).unwrap();
    let before = read(&folder, state::ZTUNNEL_TOKEN);
    let error = member.refresh().await.unwrap_err().to_string();
    assert!(error.contains("the token has expired"), "{error}");
    assert_eq!(read(&folder, state::ZTUNNEL_TOKEN), before);
}

#[tokio::test]
async fn controller_with_another_root_is_not_joined_and_told_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (mesh, other) = (mesh(3600).await, mesh(3600).await);
    let token = other.write_token(&folder, "aa.bb.cc");
    let member = mesh.member(&folder, Some(token));
    let error = member.refresh().await.unwrap_err().to_string();
    assert!(error.contains("TLS"), "{error}");
    assert!(mesh.calls().is_empty());
    assert!(!folder.path().join("state").join(state::ROOTS).exists());
}

#[tokio::test]
async fn what_can_not_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = mesh(3600).await;
    let member = mesh.member(&folder, None);
    assert!(matches!(member.refresh().await, Err(MemberError::NoJoinToken)));
    drop(member);
    let garbage = folder.path().join("garbage");
    std::fs::write(&garbage, "hello").unwrap();
    let member = mesh.member(&folder, Some(garbage));
    assert!(matches!(member.refresh().await, Err(MemberError::JoinToken { .. })));
    drop(member);
    let token = mesh.write_token(&folder, "aa.bb.cc");
    let member = mesh.try_member("node2", &folder, Some(token.clone())).unwrap();
    let error = member.refresh().await.unwrap_err().to_string();
    assert!(error.contains("another node"), "{error}");
    drop(member);
    let member = mesh.member(&folder, Some(token));
    member.refresh().await.unwrap();
    drop(member);
    assert!(matches!(mesh.try_member("node2", &folder, None), Err(MemberError::OtherNode(_))));
}
