//! What an operator sees, and what nobody sees.

use tempfile::tempdir;
use weft_controller::tokens::Component::Ztunnel;
use weft_core::join_token::JoinToken;
use weft_proto::contract::type_url;

use crate::mesh::{Mesh, until, workload};
use crate::stream::{ADDRESS, Stream};

#[tokio::test]
async fn status_tells_who_is_connected_and_in_sync() {
    let folder = tempdir().unwrap();
    let mesh = Mesh::start(folder.path(), vec![workload(1, "node1", "v1")]).await;
    let mut stream = Stream::open(&mesh, Ztunnel, "node1").await;
    stream.subscribe(ADDRESS, &Default::default()).await;
    let response = stream.next().await;
    until("the response shows as sent", async || {
        mesh.status()
            .await
            .clients
            .iter()
            .any(|client| client.types.get(ADDRESS).is_some_and(|status| status.in_flight == 1))
    })
    .await;
    assert_eq!(mesh.status().await.types[0].in_sync, 0);
    stream.ack(&response).await;
    until("the client is in sync", async || mesh.status().await.types[0].in_sync == 1).await;

    let status = mesh.status().await;
    let client = &status.clients[0];
    assert_eq!((client.proxy.as_str(), client.node.as_deref()), ("a.istio-system", Some("node1")));
    assert_eq!(
        (client.kind.as_str(), client.account.as_str()),
        ("ztunnel", "istio-system/ztunnel")
    );
    assert_eq!(client.types[type_url::ADDRESS].resources_sent, 1);
    assert_eq!((status.trust_domain.as_str(), status.ready), ("cluster", true));
    assert!(status.root_expires_at > status.now);
    let syncz: serde_json::Value = serde_json::from_str(&mesh.get("/debug/syncz").await.1).unwrap();
    assert_eq!(syncz[0]["address_sent"], syncz[0]["address_acked"]);
    assert!(mesh.get("/metrics").await.1.contains("pilot_xds 1"));

    drop(stream);
    until("the client has left", async || mesh.status().await.clients.is_empty()).await;
}

#[tokio::test]
async fn join_token_is_given_only_for_the_admin_token() {
    let folder = tempdir().unwrap();
    let mesh = Mesh::start(folder.path(), Vec::new()).await;
    let post = async |authorization: &str, body: &str| {
        let length = body.len();
        mesh.http(&format!(
            "POST /weft/token HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             {authorization}Content-Length: {length}\r\n\r\n{body}"
        ))
        .await
    };
    let asked = r#"{"node":"node1"}"#;
    assert_eq!(post("", asked).await.0, 401);
    assert_eq!(post("Authorization: Bearer wrong\r\n", asked).await.0, 401);
    let secret = std::fs::read_to_string(folder.path().join("state/admin-token")).unwrap();
    let authorization = format!("Authorization: Bearer {secret}\r\n");
    assert_eq!(post(&authorization, r#"{"node":"Not A Node"}"#).await.0, 400);
    assert_eq!(post(&authorization, r#"{"node":"node1","ttl_seconds":1}"#).await.0, 400);
    let (code, body) = post(&authorization, asked).await;
    assert_eq!(code, 200);
    let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
    let token = answer["token"].as_str().unwrap();
    assert!(token.parse::<JoinToken>().is_ok());
    assert_eq!(mesh.tokens.joining_node(token).unwrap(), "node1");
}

#[tokio::test]
async fn nothing_that_is_shown_holds_a_secret() {
    let folder = tempdir().unwrap();
    let mesh = Mesh::start(folder.path(), vec![workload(1, "node1", "v1")]).await;
    let token = mesh.token(Ztunnel, "node1");
    let mut stream = Stream::open_with(&mesh, &token).await.unwrap();
    stream.subscribe(ADDRESS, &Default::default()).await;
    stream.take().await;
    let secret = std::fs::read_to_string(folder.path().join("state/admin-token")).unwrap();
    for path in ["/weft/status", "/debug/syncz", "/metrics", "/ready", "/version"] {
        let (code, body) = mesh.get(path).await;
        assert_eq!(code, 200, "{path}");
        for word in ["PRIVATE KEY", token.as_str(), secret.as_str(), "eyJ"] {
            assert!(!body.contains(word), "{path} shows {word}");
        }
    }
}

#[tokio::test]
async fn web_page_cannot_reach_in_by_another_host_name() {
    let folder = tempdir().unwrap();
    let mesh = Mesh::start(folder.path(), Vec::new()).await;
    for host in ["evil.example", "evil.example:15014"] {
        let text =
            format!("GET /weft/status HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(mesh.http(&text).await.0, 421);
    }
}
