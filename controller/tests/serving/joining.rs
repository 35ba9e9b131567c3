//! How a node becomes a member.

use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest as _, Sha256};
use tempfile::tempdir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::{Code, Request};
use weft_controller::tokens::Component::{Agent, Ztunnel};
use weft_core::join_token::JoinToken;
use weft_proto::node::issue_token_request::Component;
use weft_proto::node::node_service_client::NodeServiceClient;
use weft_proto::node::{IssueTokenRequest, JoinRequest};

use crate::mesh::{Mesh, PATIENCE, tls_connect, with_token};

fn pinned_root(mesh: &Mesh) -> Vec<u8> {
    CertificateDer::from_pem_slice(mesh.roots_pem.as_bytes()).unwrap().to_vec()
}

fn join_token(mesh: &Mesh, node: &str) -> JoinToken {
    let hour = Duration::from_secs(3600);
    mesh.tokens.join_token(&pinned_root(mesh), node, hour).unwrap()
}

#[tokio::test]
async fn node_joins_with_its_token_and_gets_tokens_for_its_parts() {
    let folder = tempdir().unwrap();
    let mesh = Mesh::start(folder.path(), Vec::new()).await;
    let text = join_token(&mesh, "node1").to_line();
    let mut client = NodeServiceClient::new(mesh.channel().await);
    let asked = JoinRequest { join_token: text, node: "node1".into() };
    let joined = client.join(asked).await.unwrap().into_inner();
    assert_eq!((joined.trust_domain.as_str(), &joined.roots), ("cluster", &mesh.roots_pem));
    let agent = mesh.tokens.verify(&joined.agent_token).unwrap();
    assert!(agent.is(Agent, "istio-system"));
    assert_eq!(agent.node.as_deref(), Some("node1"));

    for (asked, expected) in [(Component::Ztunnel, Ztunnel), (Component::Agent, Agent)] {
        let request = IssueTokenRequest { component: asked.into() };
        let request = with_token(request, &joined.agent_token);
        let issued = client.issue_token(request).await.unwrap().into_inner();
        let caller = mesh.tokens.verify(&issued.token).unwrap();
        assert!(caller.is(expected, "istio-system"));
        assert_eq!(caller.node.as_deref(), Some("node1"));
        assert_eq!(issued.roots, mesh.roots_pem);
    }
}

#[tokio::test]
async fn join_token_opens_nothing_but_its_own_nodes_join() {
    let folder = tempdir().unwrap();
    let mesh = Mesh::start(folder.path(), Vec::new()).await;
    let mut client = NodeServiceClient::new(mesh.channel().await);
    let join = join_token(&mesh, "node1");
    for (node, why) in [
        ("node2", "the join token is for node node1, and node2 asked to join"),
        ("Node 1\n", "\"Node 1\\n\" is no node name"),
    ] {
        let other = JoinRequest { join_token: join.to_line(), node: node.into() };
        let refusal = client.join(other).await.unwrap_err();
        assert_eq!(refusal.code(), Code::PermissionDenied);
        assert!(refusal.message().starts_with(why), "{}", refusal.message());
    }
    let ask = IssueTokenRequest { component: Component::Ztunnel.into() };
    let request = with_token(ask, join.token());
    assert_eq!(client.issue_token(request).await.unwrap_err().code(), Code::Unauthenticated);
    let agent_token = mesh.token(Agent, "node1");
    for token in [agent_token.as_str(), "", "weft1.x.y"] {
        let asked = JoinRequest { join_token: token.into(), node: "node1".into() };
        assert_eq!(client.join(asked).await.unwrap_err().code(), Code::Unauthenticated);
    }
}

#[tokio::test]
async fn only_agents_are_given_tokens() {
    let folder = tempdir().unwrap();
    let mesh = Mesh::start(folder.path(), Vec::new()).await;
    let mut client = NodeServiceClient::new(mesh.channel().await);
    let ask = IssueTokenRequest { component: Component::Ztunnel.into() };
    let refusal = client.issue_token(mesh.request(Ztunnel, "node1", ask)).await.unwrap_err();
    assert_eq!(refusal.code(), Code::PermissionDenied);
    let refusal = client.issue_token(Request::new(ask)).await.unwrap_err();
    assert_eq!(refusal.code(), Code::Unauthenticated);
    let unknown = IssueTokenRequest { component: 7 };
    let refusal = client.issue_token(mesh.request(Agent, "node1", unknown)).await.unwrap_err();
    assert_eq!(refusal.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn controller_is_recognised_by_its_own_root_alone() {
    let (folder, other_folder) = (tempdir().unwrap(), tempdir().unwrap());
    let mesh = Mesh::start(folder.path(), Vec::new()).await;
    let other = Mesh::start(other_folder.path(), Vec::new()).await;
    assert!(tls_connect(mesh.controller_address, &mesh.roots_pem).await.is_ok());
    assert!(tls_connect(mesh.controller_address, &other.roots_pem).await.is_err());
}

#[tokio::test]
async fn joining_node_finds_the_pinned_root_in_the_handshake() {
    let folder = tempdir().unwrap();
    let mesh = Mesh::start(folder.path(), Vec::new()).await;
    let join = join_token(&mesh, "node1");
    let stream = mesh.tls().await;
    let presented = stream.get_ref().1.peer_certificates().unwrap();
    assert!(presented.last().is_some_and(|root| *Sha256::digest(root) == join.root_hash()));
}

#[tokio::test]
async fn connection_that_does_not_speak_http2_is_closed() {
    let folder = tempdir().unwrap();
    let mesh = Mesh::start(folder.path(), Vec::new()).await;
    let mut stream = mesh.tls().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    // Closed, gracefully or not, and without an answer.
    assert!(read.is_ok() && answer.is_empty());
}
