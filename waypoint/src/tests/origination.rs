//! TLS to endpoints that an object asks for, against scripted servers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use weft_core::testing::{Issued, Leaf, TestCa, identity};
use weft_core::tls::provider;
use weft_proto::contract::type_url;
use weft_proto::route::{self, TlsMode};
use weft_proto::workload::AppProtocol;

use super::app::{App, serve};
use super::stage::{Stage, WEB, WEB_VIP};

/// What a scripted server is like.
struct Server<'a> {
    ca: &'a TestCa,
    names: &'a [&'a str],
    alpn: &'a [&'a str],
    /// Clients must have a certificate of that CA.
    clients: Option<&'a TestCa>,
}

/// A server that answers who was asked for, and whether the client had a certificate. Counts connections.
async fn secure(server: Server<'_>) -> (SocketAddr, Arc<AtomicUsize>) {
    serve_as(&Leaf::of_controller(server.names), server).await
}

async fn serve_as(leaf: &Leaf, server: Server<'_>) -> (SocketAddr, Arc<AtomicUsize>) {
    let issued = server.ca.issue(leaf);
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap();
    let config = match server.clients {
        None => config.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            roots.add(ca.root_der()).unwrap();
            let roots = Arc::new(roots);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
            config.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let mut config = config.with_single_cert(issued.chain, issued.key).unwrap();
    config.alpn_protocols = server.alpn.iter().map(|it| it.as_bytes().to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let at = serve(move |tcp| {
        let (acceptor, count) = (acceptor.clone(), counted.clone());
        async move {
            let Ok(stream) = acceptor.accept(tcp).await else { return };
            count.fetch_add(1, Ordering::SeqCst);
            let session = stream.get_ref().1;
            let is_two = session.alpn_protocol() == Some(b"h2");
            let name = session.server_name().unwrap_or("nobody").to_owned();
            let client = session.peer_certificates().and_then(|chain| chain.first());
            let who = if client.is_some() { "known" } else { "unknown" };
            let client = client.map_or(0, |it| it.iter().map(|byte| u64::from(*byte)).sum());
            let text = Bytes::from(format!("{name} {who}"));
            let service = service_fn(move |request: Request<Incoming>| {
                let scheme = request.uri().scheme_str().unwrap_or("none");
                let answer = Response::builder().header("x-scheme", scheme);
                let answer = answer.header("x-client", client);
                let answer = answer.body(Full::new(text.clone())).unwrap();
                async move { Ok::<_, Infallible>(answer) }
            });
            let io = TokioIo::new(stream);
            if is_two {
                let serving = http2::Builder::new(TokioExecutor::new());
                let _ended = serving.serve_connection(io, service).await;
            } else {
                let _ended = http1::Builder::new().serve_connection(io, service).await;
            }
        }
    })
    .await;
    (at, count)
}

fn set(stage: &Stage, tls: route::UpstreamTls) {
    let settings = route::BackendSettings { tls: Some(tls), ..Default::default() };
    stage.backends(WEB, route::BackendPolicy { settings: Some(settings), ..Default::default() });
}

fn simple(ca: &TestCa) -> route::UpstreamTls {
    route::UpstreamTls { mode: TlsMode::Simple.into(), ca_pem: ca.pem(), ..Default::default() }
}

fn http1_of<'a>(ca: &'a TestCa, names: &'a [&'a str]) -> Server<'a> {
    Server { ca, names, alpn: &["http/1.1"], clients: None }
}

#[tokio::test]
async fn requests_share_a_connection_inside_of_the_tls_that_is_asked_for() {
    let ca = TestCa::root("outside");
    let (at, count) = secure(http1_of(&ca, &["web.shop", "api.example"])).await;
    let stage = Stage::with_web(at).await;
    set(&stage, simple(&ca));
    for _ in 0..3 {
        // The stage's requests have the host `web.shop`.
        let answered = stage.get("/").await;
        assert_eq!((answered.status, &*answered.body), (200, "web.shop unknown"));
    }
    assert_eq!(count.load(Ordering::SeqCst), 1);
    // Other settings never use the connections of these.
    set(&stage, route::UpstreamTls { server_name: "api.example".into(), ..simple(&ca) });
    assert_eq!(stage.get("/").await.body, "api.example unknown");
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn endpoint_that_is_not_who_it_should_be_gets_no_request() {
    let (ca, other) = (TestCa::root("outside"), TestCa::root("other"));
    let (at, _) = secure(http1_of(&ca, &["web.shop", "api.example"])).await;
    let stage = Stage::with_web(at).await;
    let names = |names: &[&str]| route::UpstreamTls {
        subject_alt_names: names.iter().map(|it| (*it).to_owned()).collect(),
        ..simple(&ca)
    };
    let named = |name: &str| route::UpstreamTls { server_name: name.into(), ..simple(&ca) };
    for (tls, wanted) in [
        (simple(&ca), 200),
        (simple(&other), 503),
        (named("stranger.example"), 503),
        (names(&["no.example", "api.example"]), 200),
        (names(&["no.example"]), 503),
        (names(&["spiffe://no/name"]), 503),
        (route::UpstreamTls { is_unverified: true, ..simple(&other) }, 200),
        // Public roots don't know this CA.
        (route::UpstreamTls { ca_pem: String::new(), ..simple(&ca) }, 503),
    ] {
        set(&stage, tls.clone());
        assert_eq!(stage.get("/").await.status, wanted, "{tls:?}");
    }
}

#[tokio::test]
async fn certificate_may_be_for_a_uri_or_a_wildcard_that_is_written_the_same() {
    let (ca, other) = (TestCa::root("outside"), TestCa::root("other"));
    let leaf = Leaf {
        uris: vec!["spiffe://bank.example/ns/pay/sa/pay".to_owned()],
        ..Leaf::of_controller(&["*.bank.example"])
    };
    let (at, _) = serve_as(&leaf, http1_of(&ca, &[])).await;
    let stage = Stage::with_web(at).await;
    let names = |ca: &TestCa, names: &[&str]| route::UpstreamTls {
        server_name: "no.matter".into(),
        subject_alt_names: names.iter().map(|it| (*it).to_owned()).collect(),
        ..simple(ca)
    };
    let uri = "spiffe://bank.example/ns/pay/sa/pay";
    for (tls, wanted) in [
        (names(&ca, &[uri]), 200),
        (names(&ca, &["no.example", "spiffe://bank.example/ns/pay/sa/x", uri]), 200),
        (names(&ca, &["*.bank.example"]), 200),
        (names(&ca, &["a.bank.example"]), 200),
        (names(&ca, &["*.example"]), 503),
        (names(&ca, &["spiffe://bank.example/ns/pay/sa/pa"]), 503),
        (names(&ca, &["spiffe://bank.example/ns/pay/sa/pay/"]), 503),
        // The right name, said by somebody whom nobody trusts.
        (names(&other, &[uri]), 503),
        (names(&other, &["*.bank.example"]), 503),
        // Nothing would look at what is revoked.
        (route::UpstreamTls { revocation_file: "/nowhere".into(), ..names(&ca, &[uri]) }, 503),
    ] {
        set(&stage, tls.clone());
        assert_eq!(stage.get("/").await.status, wanted, "{tls:?}");
    }
}

#[tokio::test]
async fn what_can_not_be_had_is_never_replaced_by_plaintext() {
    let app = App::named("plain").await;
    let stage = Stage::with_web(app.at).await;
    let ca = TestCa::root("outside");
    for tls in [
        simple(&ca),
        route::UpstreamTls { unavailable: "no".into(), ..simple(&ca) },
        route::UpstreamTls { mode: TlsMode::Mesh.into(), ..Default::default() },
        route::UpstreamTls { mode: TlsMode::Mutual.into(), ..simple(&ca) },
        route::UpstreamTls { mode: 77, ..simple(&ca) },
        route::UpstreamTls { credential: "shop/secret".into(), ..simple(&ca) },
        route::UpstreamTls { ca_pem: String::new(), ca_file: "/nowhere".into(), ..simple(&ca) },
        route::UpstreamTls { revocation_file: "/nowhere".into(), ..simple(&ca) },
    ] {
        set(&stage, tls.clone());
        assert_eq!(stage.get("/").await.status, 503, "{tls:?}");
    }
    assert_eq!(app.count(), 0);
    set(&stage, route::UpstreamTls { mode: TlsMode::Disabled.into(), ..Default::default() });
    assert_eq!(stage.get("/").await.body, "plain");
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

#[tokio::test]
async fn both_sides_prove_who_they_are_with_mutual() {
    let (ca, clients) = (TestCa::root("outside"), TestCa::root("clients"));
    let server = Server { clients: Some(&clients), ..http1_of(&ca, &["web.shop"]) };
    let (at, _) = secure(server).await;
    let stage = Stage::with_web(at).await;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let Issued { chain, key } = clients.issue(&Leaf::of(&identity("shop", "egress")));
    std::fs::write(at("cert.pem"), pem("CERTIFICATE", &chain[0])).unwrap();
    std::fs::write(at("key.pem"), pem("PRIVATE KEY", key.secret_der())).unwrap();
    std::fs::write(at("ca.pem"), ca.pem()).unwrap();
    set(&stage, simple(&ca));
    assert_eq!(stage.get("/").await.status, 503);
    let mutual = route::UpstreamTls {
        mode: TlsMode::Mutual.into(),
        client_certificate_file: at("cert.pem"),
        private_key_file: at("key.pem"),
        ca_file: at("ca.pem"),
        ..Default::default()
    };
    set(&stage, mutual);
    assert_eq!(stage.get("/").await.body, "web.shop known");
}

/// A Secret with a certificate of a CA's, its key, and whom it trusts; and what the server tells of that certificate.
fn secret(clients: &TestCa, trusted: &TestCa) -> (route::Credential, String) {
    let Issued { chain, key } = clients.issue(&Leaf::of(&identity("shop", "egress")));
    let mark: u64 = chain[0].iter().map(|byte| u64::from(*byte)).sum();
    let credential = route::Credential {
        chain_pem: pem("CERTIFICATE", &chain[0]),
        key_pem: pem("PRIVATE KEY", key.secret_der()),
        ca_pem: trusted.pem(),
        revoked_pem: String::new(),
    };
    (credential, mark.to_string())
}

fn by_secret(mode: TlsMode) -> route::UpstreamTls {
    route::UpstreamTls { mode: mode.into(), credential: "shop/bank".into(), ..Default::default() }
}

#[tokio::test]
async fn secret_says_who_the_waypoint_is_and_whom_it_trusts() {
    let (ca, clients) = (TestCa::root("outside"), TestCa::root("clients"));
    let server = Server { clients: Some(&clients), ..http1_of(&ca, &["web.shop"]) };
    let (at, count) = secure(server).await;
    let stage = Stage::with_web(at).await;
    let (first, of_first) = secret(&clients, &ca);
    // What is in the Secret may come before what names it, and after.
    stage.credentials(WEB, &[("shop/bank", first.clone()), ("shop/other", secret(&ca, &ca).0)]);
    set(&stage, by_secret(TlsMode::Mutual));
    for _ in 0..2 {
        let answered = stage.get("/").await;
        assert_eq!((answered.status, &*answered.body), (200, "web.shop known"));
        assert_eq!(answered.headers["x-client"], of_first);
    }
    assert_eq!(count.load(Ordering::SeqCst), 1);
    // Another Secret is another certificate, though connections with the old one are still there.
    let (second, of_second) = secret(&clients, &ca);
    assert_ne!(of_first, of_second);
    stage.credentials(WEB, &[("shop/bank", second.clone())]);
    assert_eq!(stage.get("/").await.headers["x-client"], of_second);
    assert_eq!(count.load(Ordering::SeqCst), 2);
    // Neither who asks nor who logs sees a key.
    let shown = stage.shown();
    assert!(shown.contains("mutual, with a Secret"), "{shown}");
    for credential in [&first, &second] {
        let key: String = credential.key_pem.lines().nth(1).unwrap().chars().take(32).collect();
        assert!(!shown.contains(&key) && !shown.contains("PRIVATE KEY"), "{shown}");
    }
    // Whom nobody vouches for is no endpoint.
    let stranger = route::Credential { ca_pem: clients.pem(), ..second.clone() };
    stage.credentials(WEB, &[("shop/bank", stranger)]);
    assert_eq!(stage.get("/").await.status, 503);
    // Without a certificate the server refuses.
    stage.credentials(WEB, &[("shop/bank", second)]);
    set(&stage, by_secret(TlsMode::Simple));
    assert_eq!(stage.get("/").await.status, 503);
}

#[tokio::test]
async fn secret_that_is_not_here_is_never_gone_without() {
    let app = App::named("plain").await;
    let stage = Stage::with_web(app.at).await;
    let ca = TestCa::root("outside");
    let (whole, _) = secret(&ca, &ca);
    let key = || whole.key_pem.clone();
    for (case, secrets) in [
        ("another", vec![("shop/other", whole.clone())]),
        (
            "no certificate",
            vec![("shop/bank", route::Credential { chain_pem: String::new(), ..whole.clone() })],
        ),
        (
            "no key",
            vec![("shop/bank", route::Credential { key_pem: "text".into(), ..whole.clone() })],
        ),
        (
            "nobody to trust",
            vec![("shop/bank", route::Credential { ca_pem: String::new(), ..whole.clone() })],
        ),
        ("no CRL", vec![("shop/bank", route::Credential { revoked_pem: key(), ..whole.clone() })]),
    ] {
        stage.credentials(WEB, &secrets);
        set(&stage, by_secret(TlsMode::Mutual));
        assert_eq!(stage.get("/").await.status, 503, "{case}");
    }
    stage.credentials(WEB, &[("shop/bank", whole.clone())]);
    stage.tell(type_url::CREDENTIALS, &format!("shop/{WEB}"), None);
    assert_eq!(stage.get("/").await.status, 503);
    assert!(stage.shown().contains("which isn't here"));
    assert_eq!(app.count(), 0);
}

#[tokio::test]
async fn http_2_is_spoken_only_with_endpoints_that_offer_it() {
    let ca = TestCa::root("outside");
    let server = Server { alpn: &["h2"], ..http1_of(&ca, &["web.shop"]) };
    for (server, wanted) in [(server, 200), (http1_of(&ca, &["web.shop"]), 503)] {
        let (at, _) = secure(server).await;
        let stage = Stage::new().await;
        stage.web(&[at], AppProtocol::Http2);
        set(&stage, simple(&ca));
        let answered = stage.get("/").await;
        assert_eq!(answered.status, wanted);
        assert!(wanted != 200 || answered.headers["x-scheme"] == "https");
    }
}

#[tokio::test]
async fn connections_that_are_not_http_are_secured_too() {
    let ca = TestCa::root("outside");
    let (at, count) = secure(http1_of(&ca, &[WEB])).await;
    let stage = Stage::new().await;
    stage.web(&[at], AppProtocol::Tcp);
    set(&stage, simple(&ca));
    let mut tunnel = stage.to_web().await;
    tunnel.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    tunnel.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with(&format!("{WEB} unknown")), "{answer}");
    set(&stage, route::UpstreamTls { server_name: "stranger.example".into(), ..simple(&ca) });
    assert!(stage.tunnel(&format!("{WEB_VIP}:80")).await.is_err());
    assert_eq!(count.load(Ordering::SeqCst), 1);
}
