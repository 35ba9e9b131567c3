//! From what users write to a TLS socket: the controller's translation told to a waypoint, and a server that it calls.
#![expect(clippy::unwrap_used, reason = "a test, helpers included")]

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256,
};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use weft_controller::objects::ObjectChange;
use weft_controller::translate::Translator;
use weft_core::tls::provider;
use weft_proto::contract::type_url;
use weft_waypoint::testing::{Stage, WEB};

use super::support::{objects, translated};

/// A service with its waypoint.
const SHOP: &str = "apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, labels: {istio.io/use-waypoint: waypoint}}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: shop}
spec: {gatewayClassName: weft-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
";

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for a name, and its key.
struct Leaf {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

fn leaf(by: &Authority, name: &str) -> Leaf {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    Leaf { certificate: params.signed_by(&key, by).unwrap(), key }
}

/// A server of one certificate, which answers how long that of its client is. `clients`: whose certificates they must have.
async fn server(own: &Leaf, clients: Option<&Authority>) -> SocketAddr {
    let config = ServerConfig::builder_with_provider(provider());
    let config = config.with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
    let config = match clients {
        None => config.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(clients.der().clone()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build();
            config.with_client_cert_verifier(verifier.unwrap())
        }
    };
    let key = PrivateKeyDer::try_from(own.key.serialize_der()).unwrap();
    let config = config.with_single_cert(vec![own.certificate.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let Ok(mut tls) = acceptor.accept(tcp).await else { continue };
            tokio::spawn(async move {
                let client = tls.get_ref().1.peer_certificates().and_then(|it| it.first().cloned());
                let body = mark(client.as_ref());
                let length = body.len();
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
                let mut head = Vec::new();
                // One answer a request; requests have no bodies.
                while let Ok(byte) = tls.read_u8().await {
                    head.push(byte);
                    if head.ends_with(b"\r\n\r\n") {
                        head.clear();
                        tls.write_all(answer.as_bytes()).await.unwrap();
                        tls.flush().await.unwrap();
                    }
                }
            });
        }
    });
    at
}

/// What tells one certificate from another.
fn mark(certificate: Option<&CertificateDer<'_>>) -> String {
    certificate.map_or("nobody".to_owned(), |it| {
        it.iter().rev().take(16).map(|byte| format!("{byte:02x}")).collect()
    })
}

/// Tells the waypoint all that is sent about `web` to waypoints.
fn tell(stage: &Stage, translator: &Translator) {
    let name = format!("shop/{WEB}");
    let resources = translator.resources();
    for of in [
        type_url::ACCESS_POLICY,
        type_url::CREDENTIALS,
        type_url::BACKEND_POLICY,
        type_url::ROUTE_TABLE,
    ] {
        let found = resources.get(&(of, name.as_str().into()));
        stage.tell(of, &name, found.map(|bytes| bytes.to_vec()));
    }
}

fn secret(leaf: &Leaf, trusted: &Authority) -> String {
    let entries = [
        ("tls.crt", leaf.certificate.pem()),
        ("tls.key", leaf.key.serialize_pem()),
        ("ca.crt", trusted.pem()),
    ];
    let entries = entries.map(|(name, pem)| format!("{name}: {pem:?}")).join(", ");
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: bank, namespace: shop}}\nstringData: {{{entries}}}\n"
    )
}

fn change(document: &str) -> Vec<ObjectChange> {
    let objects = objects([document]).into_iter();
    objects.map(|it| ObjectChange { key: it.key(), object: Some(it) }).collect()
}

#[tokio::test]
async fn secret_that_a_rule_names_proves_who_the_waypoint_is() {
    const RULE: &str = "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec: {host: web, trafficPolicy: {tls: {mode: MUTUAL, credentialName: bank, sni: bank.example}}}
";
    let (outside, clients) = (authority("outside"), authority("clients"));
    let at = server(&leaf(&outside, "bank.example"), Some(&clients)).await;
    let stage = Stage::with_web(at).await;
    let (first, second) = (leaf(&clients, "first"), leaf(&clients, "second"));
    let documents = SHOP.split("---\n").chain([RULE]);
    let mut translator = translated(objects(documents));
    tell(&stage, &translator);
    assert_eq!(stage.get("/").await.status, 503, "there is no Secret yet");
    stage.counts("response_flags=\"UF").await;
    for client in [&first, &second] {
        translator.apply(change(&secret(client, &outside)));
        tell(&stage, &translator);
        let answered = stage.get("/").await;
        let wanted = mark(Some(client.certificate.der()));
        assert_eq!((answered.status, answered.body), (200, wanted));
    }
    let shown = format!("{} {translator:?}", stage.shown());
    for client in [&first, &second] {
        let pem = client.key.serialize_pem();
        assert!(!shown.contains(pem.lines().nth(1).unwrap()), "a key is shown");
    }
    // A server that the Secret's authority doesn't vouch for gets nothing.
    translator.apply(change(&secret(&second, &clients)));
    tell(&stage, &translator);
    assert_eq!(stage.get("/").await.status, 503);
    let mut gone = change(&secret(&second, &outside));
    gone.iter_mut().for_each(|it| it.object = None);
    translator.apply(gone);
    tell(&stage, &translator);
    assert_eq!(stage.get("/").await.status, 503);
}

#[tokio::test]
async fn certificates_of_a_config_map_decide_which_endpoints_get_requests() {
    const POLICY: &str = "apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: web, namespace: shop}
spec:
  targetRefs: [{group: '', kind: Service, name: web}]
  validation:
    hostname: bank.example
    caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]
";
    let (outside, other) = (authority("outside"), authority("other"));
    let at = server(&leaf(&outside, "bank.example"), None).await;
    let map = |trusted: &Authority| {
        let pem = trusted.pem();
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: ca, namespace: shop}}\ndata: {{ca.crt: {pem:?}}}\n"
        )
    };
    let stage = Stage::with_web(at).await;
    let right = map(&outside);
    let documents = SHOP.split("---\n").chain([POLICY, &right]);
    let mut translator = translated(objects(documents));
    tell(&stage, &translator);
    let answered = stage.get("/").await;
    assert_eq!((answered.status, &*answered.body), (200, "nobody"));
    translator.apply(change(&map(&other)));
    tell(&stage, &translator);
    assert_eq!(stage.get("/").await.status, 503);
    stage.counts("response_flags=\"UF").await;
}
