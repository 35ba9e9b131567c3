//! A peer that speaks TLS and HTTP/2 to a proxy, well or badly, from inside a pod.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request, StatusCode};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use weft_harness::Netns;

use super::SOON;

/// A certificate with its key, as a peer presents it.
pub(crate) struct Credential {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

/// Runs a peer's script.
pub(crate) fn run<T>(script: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { Box::pin(script).await })
}

/// Connects from a namespace.
pub(crate) async fn tcp(from: &Netns, to: SocketAddr) -> Result<TcpStream> {
    let stream = from.connect(to, SOON)?;
    stream.set_nonblocking(true)?;
    Ok(TcpStream::from_std(stream)?)
}

/// A TLS client that takes any server: what is under test is whom the server takes.
pub(crate) fn config(credential: Option<&Credential>, alpn: &[u8]) -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer(provider)));
    let mut config = match credential {
        Some(Credential { chain, key }) => {
            builder.with_client_auth_cert(chain.clone(), key.clone_key())?
        }
        None => builder.with_no_client_auth(),
    };
    config.enable_sni = false;
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(Arc::new(config))
}

/// Completes a handshake, as far as a client can tell.
pub(crate) async fn tls(
    from: &Netns,
    to: SocketAddr,
    credential: Option<&Credential>,
) -> Result<TlsStream<TcpStream>> {
    let connector = TlsConnector::from(config(credential, b"h2")?);
    let name = ServerName::IpAddress(to.ip().into());
    let tcp = tcp(from, to).await?;
    within("the TLS handshake", Box::pin(connector.connect(name, tcp))).await?.context("TLS")
}

/// An HTTP/2 connection.
pub(crate) async fn http2(
    from: &Netns,
    to: SocketAddr,
    credential: Option<&Credential>,
) -> Result<SendRequest<Bytes>> {
    let tls = Box::pin(tls(from, to, credential)).await?;
    let handshake = h2::client::Builder::new().max_header_list_size(1 << 20).handshake(tls);
    let (requests, connection) = within("the HTTP/2 handshake", Box::pin(handshake)).await??;
    // Its error shows at the requests.
    tokio::spawn(connection);
    Ok(requests)
}

/// What a request for a tunnel came to.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Answered.
    Status(StatusCode),
    /// The connection or the stream was ended instead, in these words.
    Ended(String),
}

/// CONNECT with headers, and what came of it.
pub(crate) async fn connect(
    requests: &SendRequest<Bytes>,
    authority: &str,
    headers: HeaderMap,
) -> Result<Outcome> {
    let mut request = Request::builder().method(Method::CONNECT).uri(authority).body(())?;
    *request.headers_mut() = headers;
    ask(requests, request).await
}

/// Any request, and what came of it.
pub(crate) async fn ask(requests: &SendRequest<Bytes>, request: Request<()>) -> Result<Outcome> {
    let answered = async {
        let mut ready = requests.clone().ready().await?;
        let (response, mut body) = ready.send_request(request, false)?;
        let status = response.await?.status();
        body.send_reset(h2::Reason::CANCEL);
        Ok::<_, h2::Error>(status)
    };
    match timeout(ANSWER_DEADLINE, answered).await {
        Ok(Ok(status)) => Ok(Outcome::Status(status)),
        Ok(Err(error)) => Ok(Outcome::Ended(error.to_string())),
        Err(_) => bail!("neither answered nor ended within {ANSWER_DEADLINE:?}"),
    }
}

/// The mesh's own deadline for an answer, and some.
const ANSWER_DEADLINE: Duration = Duration::from_secs(12);

/// One CONNECT on a connection of its own; a refused handshake is an end like any other.
pub(crate) async fn try_connect(
    from: &Netns,
    to: SocketAddr,
    credential: Option<&Credential>,
    authority: &str,
) -> Result<Outcome> {
    match http2(from, to, credential).await {
        Ok(requests) => connect(&requests, authority, HeaderMap::new()).await,
        Err(error) => Ok(Outcome::Ended(format!("{error:#}"))),
    }
}

/// `GET /health` through a tunnel with these headers: the whole way, to the application and back.
pub(crate) async fn health_through_tunnel(
    requests: &SendRequest<Bytes>,
    authority: &str,
    headers: HeaderMap,
) -> Result<String> {
    let mut request = Request::builder().method(Method::CONNECT).uri(authority).body(())?;
    *request.headers_mut() = headers;
    let exchange = async {
        let mut ready = requests.clone().ready().await?;
        let (response, mut body) = ready.send_request(request, false)?;
        let response = response.await?;
        if response.status() != StatusCode::OK {
            bail!("the tunnel was refused: {}", response.status());
        }
        let get = format!("GET /health HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
        // Not the end of what is sent: many servers take that for the end of the client.
        body.send_data(get.into(), false)?;
        let mut answer = Vec::new();
        let mut data = response.into_body();
        while let Some(piece) = poll_fn(|cx| data.poll_data(cx)).await {
            let piece = piece?;
            data.flow_control().release_capacity(piece.len())?;
            answer.extend_from_slice(&piece);
        }
        body.send_data(Bytes::new(), true)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    within("an answer through the tunnel", exchange).await?
}

/// A network await under the tests' deadline.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    timeout(ANSWER_DEADLINE, future)
        .await
        .map_err(|_| anyhow!("{what}: nothing within {ANSWER_DEADLINE:?}"))
}

/// Takes any certificate that the server can prove the key of.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 was not offered".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A call of gRPC, and the status that it ends with.
pub(crate) async fn grpc_status(
    requests: &SendRequest<Bytes>,
    path: &str,
    token: Option<&str>,
    message: Vec<u8>,
) -> Result<String> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(format!("https://weft-controller{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if let Some(token) = token {
        request = request.header("authorization", token);
    }
    let request = request.body(())?;
    let exchange = async {
        let mut ready = requests.clone().ready().await?;
        let (response, mut body) = ready.send_request(request, false)?;
        body.send_data(message.into(), true)?;
        let response = response.await?;
        let of = |headers: &HeaderMap| {
            headers.get("grpc-status").and_then(|it| it.to_str().ok()).map(str::to_owned)
        };
        if let Some(status) = of(response.headers()) {
            return Ok(status);
        }
        let mut body = response.into_body();
        while let Some(piece) = poll_fn(|cx| body.poll_data(cx)).await {
            piece?;
        }
        let trailers = poll_fn(|cx| body.poll_trailers(cx)).await?.context("no trailers")?;
        of(&trailers).context("no status")
    };
    within("an answer of gRPC", exchange).await?
}
