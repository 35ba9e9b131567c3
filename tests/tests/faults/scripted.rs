//! A controller played by the test: discovery and certificates as the script says.

use std::net::TcpListener as StdListener;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::{Context, Result};
use futures::Stream;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use weft_proto::ca::istio_certificate_service_server::{
    IstioCertificateService, IstioCertificateServiceServer,
};
use weft_proto::ca::{IstioCertificateRequest, IstioCertificateResponse};
use weft_proto::discovery::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use weft_proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};

/// Connections and responses that wait; far more than a test makes.
const QUEUE: usize = 64;

/// The authority of the scripted mesh.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) root_pem: String,
}

impl Authority {
    pub(crate) fn new() -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let root_pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), root_pem })
    }

    /// A certificate with these names.
    pub(crate) fn issue(&self, names: Vec<SanType>) -> Result<crate::support::peer::Credential> {
        let key = KeyPair::generate()?;
        let mut params = leaf();
        params.subject_alt_names = names;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(crate::support::peer::Credential {
            chain: vec![certificate.der().clone()],
            key: PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
        })
    }

    fn sign(&self, csr_pem: &str) -> Result<String> {
        let mut request = CertificateSigningRequestParams::from_pem(csr_pem)?;
        let names = std::mem::take(&mut request.params.subject_alt_names);
        request.params = leaf();
        request.params.subject_alt_names = names;
        Ok(request.signed_by(&self.issuer)?.pem())
    }
}

fn leaf() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// What a stream of discovery is told, in order; it stays open after that.
type Script = mpsc::Receiver<DeltaDiscoveryResponse>;

/// Sends resources to the ztunnel that is connected, or that will be.
#[derive(Clone)]
pub(crate) struct Voice(mpsc::Sender<DeltaDiscoveryResponse>);

impl Voice {
    /// Says that these resources of a type are there.
    pub(crate) fn say(&self, type_url: &str, resources: &[(&str, Vec<u8>)]) -> Result<()> {
        let resources = resources
            .iter()
            .map(|(name, value)| Resource {
                name: (*name).to_owned(),
                version: "1".to_owned(),
                resource: Some(prost_types::Any {
                    type_url: type_url.to_owned(),
                    value: value.clone(),
                }),
                aliases: Vec::new(),
            })
            .collect();
        let response = DeltaDiscoveryResponse {
            resources,
            type_url: type_url.to_owned(),
            nonce: "1".to_owned(),
            ..DeltaDiscoveryResponse::default()
        };
        self.0.try_send(response).context("the script is too long")
    }
}

/// Serves until the program ends.
pub(crate) fn serve(
    listener: StdListener,
    authority: Authority,
    names: Vec<SanType>,
) -> Result<Voice> {
    let credential = authority.issue(names)?;
    let mut tls = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(credential.chain, credential.key)?;
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let (voice, script) = mpsc::channel(QUEUE);
    let discovery = AggregatedDiscoveryServiceServer::new(Discovery(Mutex::new(Some(script))));
    let certificates = IstioCertificateServiceServer::new(Certificates(authority));
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("controller".into()).spawn(move || {
        runtime.block_on(async move {
            let (connections, incoming) = mpsc::channel(QUEUE);
            let listener = TcpListener::from_std(listener)?;
            tokio::spawn(accept(listener, acceptor, connections));
            let server = tonic::transport::Server::builder()
                .add_service(discovery)
                .add_service(certificates)
                .serve_with_incoming(ReceiverStream::new(incoming));
            Box::pin(server).await.context("the scripted controller")
        })
    })?;
    Ok(Voice(voice))
}

/// An end of an in-process pipe: the server's library knows such as connections, and TLS streams it doesn't.
type Connection = Result<tokio::io::DuplexStream, std::io::Error>;

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    connections: mpsc::Sender<Connection>,
) {
    while let Ok((tcp, _)) = listener.accept().await {
        tokio::spawn(one(acceptor.clone(), tcp, connections.clone()));
    }
}

async fn one(acceptor: TlsAcceptor, tcp: TcpStream, connections: mpsc::Sender<Connection>) {
    let Ok(mut tls) = acceptor.accept(tcp).await else { return };
    let (mut near, far) = tokio::io::duplex(64 << 10);
    if connections.send(Ok(far)).await.is_ok() {
        // Whichever end goes takes the other along.
        let _ended = tokio::io::copy_bidirectional(&mut tls, &mut near).await;
    }
}

/// The first stream is told the script; a second means that the first was given up.
struct Discovery(Mutex<Option<Script>>);

#[tonic::async_trait]
impl AggregatedDiscoveryService for Discovery {
    type DeltaAggregatedResourcesStream =
        Pin<Box<dyn Stream<Item = Result<DeltaDiscoveryResponse, Status>> + Send>>;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let Some(mut script) = self.0.lock().await.take() else {
            return Err(Status::unavailable("the script is being told on another stream"));
        };
        let mut requests = request.into_inner();
        let (answers, stream) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            // Acknowledgements are of no interest to the script.
            let heard = async { while let Ok(Some(_)) = requests.message().await {} };
            let told = async {
                while let Some(response) = script.recv().await {
                    if answers.send(Ok(response)).await.is_err() {
                        return;
                    }
                }
                std::future::pending().await
            };
            tokio::select! {
                () = heard => {}
                () = told => {}
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

struct Certificates(Authority);

#[tonic::async_trait]
impl IstioCertificateService for Certificates {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let leaf = self.0.sign(&request.into_inner().csr);
        let leaf = leaf.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let cert_chain = vec![leaf, self.0.root_pem.clone()];
        Ok(Response::new(IstioCertificateResponse { cert_chain }))
    }
}
