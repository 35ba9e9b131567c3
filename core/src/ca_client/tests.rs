use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Response;
use tonic::transport::Server;
use weft_proto::ca::istio_certificate_service_server::{
    IstioCertificateService, IstioCertificateServiceServer,
};

use super::*;
use crate::certs::{CertSettings, CertStore};
use crate::testing::{Leaf, TestCa, identity};
use crate::tls::{ControlSettings, RootSource, control_channel, control_server};

/// What the server saw of a call.
#[derive(Debug, Clone, Default, PartialEq)]
struct Seen {
    authorization: Option<String>,
    cluster: Option<String>,
    extra: Option<String>,
    impersonated: Option<String>,
    seconds: i64,
}

#[derive(Clone)]
struct CaServer {
    ca: Arc<TestCa>,
    seen: Arc<Mutex<Vec<Seen>>>,
    refusal: Arc<Mutex<Option<Status>>>,
}

#[tonic::async_trait]
impl IstioCertificateService for CaServer {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let header = |name: &str| {
            request.metadata().get(name).map(|value| value.to_str().unwrap().to_owned())
        };
        let message = request.get_ref();
        let impersonated = message.metadata.as_ref().and_then(|fields| {
            match fields.fields.get("ImpersonatedIdentity")?.kind.as_ref()? {
                Kind::StringValue(text) => Some(text.clone()),
                _ => None,
            }
        });
        self.seen.lock().push(Seen {
            authorization: header("authorization"),
            cluster: header("clusterid"),
            extra: header("x-extra"),
            impersonated: impersonated.clone(),
            seconds: message.validity_duration,
        });
        if let Some(status) = self.refusal.lock().clone() {
            return Err(status);
        }
        let wanted: SpiffeId = impersonated.unwrap().parse().unwrap();
        let chain = self.ca.sign_request(&message.csr, &Leaf::of(&wanted));
        let mut cert_chain: Vec<String> = chain.iter().map(pem).collect();
        cert_chain.push(format!("{}{}", pem(&self.ca.root_der()), TestCa::root("next").pem()));
        Ok(Response::new(IstioCertificateResponse { cert_chain }))
    }
}

fn pem(certificate: &rustls_pki_types::CertificateDer<'static>) -> String {
    use base64::Engine as _;

    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

/// The CA behind TLS, as a controller serves it. tonic's own TLS is not compiled in, so each connection goes through
/// a pipe.
async fn serve(server: CaServer, tls: &TestCa) -> SocketAddr {
    let issued = tls.issue(&Leaf::of_controller(&[]));
    let acceptor = TlsAcceptor::from(control_server(issued.chain, issued.key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (connections, incoming) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            if let Ok(mut stream) = acceptor.accept(tcp).await {
                let (mut near, far) = tokio::io::duplex(64 * 1024);
                tokio::spawn(async move {
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut near).await;
                });
                if connections.send(Ok::<_, std::io::Error>(far)).await.is_err() {
                    break;
                }
            }
        }
    });
    let service = IstioCertificateServiceServer::new(server);
    tokio::spawn(
        Server::builder().add_service(service).serve_with_incoming(ReceiverStream::new(incoming)),
    );
    address
}

struct Setup {
    server: CaServer,
    authority: Arc<GrpcAuthority>,
    token: PathBuf,
    _directory: tempfile::TempDir,
}

async fn setup(trusted: &TestCa, tls: &TestCa) -> Setup {
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("istio-token");
    std::fs::write(&token, "first\n").unwrap();
    let server = CaServer {
        ca: Arc::new(TestCa::root("mesh").intermediate("issuing")),
        seen: Arc::default(),
        refusal: Arc::default(),
    };
    let channel = control_channel(ControlSettings {
        address: format!("https://{}", serve(server.clone(), tls).await),
        roots: RootSource::Pem(trusted.pem().into()),
        server_name: Some("localhost".to_owned()),
    })
    .unwrap();
    let settings = CaSettings {
        token: TokenSource::File(token.clone()),
        cluster_id: "Kubernetes".to_owned(),
        is_impersonating: true,
        headers: vec![("X-Extra".to_owned(), "yes".to_owned())],
    };
    let authority = Arc::new(GrpcAuthority::new(channel, settings).unwrap());
    Setup { server, authority, token, _directory: directory }
}

#[tokio::test]
async fn certificate_comes_over_the_wire_with_its_intermediate_and_roots() {
    let tls = TestCa::root("tls");
    let setup = setup(&tls, &tls).await;
    let store = CertStore::spawn(
        Arc::clone(&setup.authority) as Arc<dyn Authority>,
        CertSettings::new(Duration::from_secs(86_400)),
    );
    let id = identity("shop", "cart");
    let certificate = store.certificate(&id).await.unwrap();
    assert_eq!(certificate.identity(), &id);
    assert_eq!(certificate.chain().len(), 2);
    assert_eq!(certificate.roots_der().len(), 2);
    certificate.leads_to_own_roots(crate::clock::now()).unwrap();
    let seen = setup.server.seen.lock().clone();
    let wanted = Seen {
        authorization: Some("Bearer first".to_owned()),
        cluster: Some("Kubernetes".to_owned()),
        extra: Some("yes".to_owned()),
        impersonated: Some(id.to_string()),
        seconds: 86_400,
    };
    assert_eq!(seen, [wanted]);
}

async fn ask(setup: &Setup) -> Result<SignedChain, CertError> {
    let key = rcgen::KeyPair::generate().unwrap();
    let csr = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
    setup
        .authority
        .sign(&identity("shop", "cart"), csr.pem().unwrap(), Duration::from_secs(60))
        .await
}

#[tokio::test]
async fn token_is_read_again_at_each_call() {
    let tls = TestCa::root("tls");
    let setup = setup(&tls, &tls).await;
    ask(&setup).await.unwrap();
    std::fs::write(&setup.token, "second").unwrap();
    ask(&setup).await.unwrap();
    std::fs::remove_file(&setup.token).unwrap();
    let error = ask(&setup).await.unwrap_err();
    assert!(matches!(error, CertError::Credentials(_)));
    assert!(error.to_string().contains("istio-token"), "{error}");
    std::fs::write(&setup.token, "secret\nheader").unwrap();
    let error = ask(&setup).await.unwrap_err().to_string();
    assert!(!error.contains("secret"), "the token is in the message: {error}");
    let tokens: Vec<_> =
        setup.server.seen.lock().iter().map(|seen| seen.authorization.clone().unwrap()).collect();
    assert_eq!(tokens, ["Bearer first", "Bearer second"]);
}

#[tokio::test]
async fn refusal_keeps_the_cas_words_and_says_what_to_check() {
    let tls = TestCa::root("tls");
    let setup = setup(&tls, &tls).await;
    let long = format!("pod is gone\n{}", "x".repeat(5_000));
    *setup.server.refusal.lock() = Some(Status::permission_denied(long));
    let error = ask(&setup).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, CertError::Refused(_)));
    assert!(text.contains("pod is gone") && text.contains("on this node"), "{text}");
    assert!(text.len() < 500 && !text.contains('\n'));
    *setup.server.refusal.lock() = Some(Status::unavailable("restarting"));
    assert!(matches!(ask(&setup).await.unwrap_err(), CertError::Unreachable(_)));
}

#[tokio::test]
async fn token_is_not_shown_to_an_impostor() {
    let setup = setup(&TestCa::root("mesh"), &TestCa::root("public")).await;
    let error = ask(&setup).await.unwrap_err();
    assert!(matches!(error, CertError::Unreachable(_)));
    assert!(error.to_string().contains("certificate"), "{error}");
    assert!(setup.server.seen.lock().is_empty());
}

#[test]
fn answer_without_a_leaf_or_roots_is_unusable() {
    let ca = TestCa::root("root");
    let leaf = pem(&ca.issue(&Leaf::of(&identity("a", "b"))).chain[0]);
    let root = pem(&ca.root_der());
    let (leaf, root) = (leaf.as_str(), root.as_str());
    let read = |elements: &[&str]| {
        let cert_chain = elements.iter().map(|&element| element.to_owned()).collect();
        chain_of(&IstioCertificateResponse { cert_chain })
    };
    for bad in [
        &[][..],
        &[leaf],
        &[leaf, ""],
        &["", root],
        &[leaf, "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n"],
    ] {
        assert!(matches!(read(bad), Err(CertError::Answer(_))), "{bad:?}");
    }
    let signed = read(&[leaf, root, &format!("{root}{root}")]).unwrap();
    assert_eq!((signed.chain.len(), signed.roots.len()), (2, 2));
}
