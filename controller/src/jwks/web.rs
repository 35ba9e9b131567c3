//! GET by HTTP/1.1, with TLS by the system's own roots.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;

use super::limits;
use super::source::FetchError;

/// What fetches.
pub trait Get: Send + Sync + 'static {
    /// The body behind an http or https address. The caller sets the deadline.
    fn get(&self, uri: &Uri) -> impl Future<Output = Result<Bytes, FetchError>> + Send;
}

/// The network.
#[derive(Debug, Default)]
pub struct Web {
    /// Read when first needed: most meshes fetch nothing.
    tls: OnceCell<Arc<ClientConfig>>,
}

impl Web {
    /// Trusts `roots` instead of the system's.
    pub fn with_roots(roots: RootCertStore) -> Self {
        Self { tls: OnceCell::new_with(Some(Arc::new(client_config(roots)))) }
    }
}

impl Get for Web {
    async fn get(&self, uri: &Uri) -> Result<Bytes, FetchError> {
        let host = uri.host().unwrap_or_default();
        let is_tls = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        // An address in a URI has brackets that nobody else wants.
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let stream = dial(name, port).await.map_err(|error| failed("connecting", &error))?;
        if !is_tls {
            return exchange(stream, uri).await;
        }
        let name =
            ServerName::try_from(name.to_owned()).map_err(|it| failed("the host's name", &it))?;
        let tls = self.tls.get_or_try_init(system_roots).await?.clone();
        let stream = TlsConnector::from(tls).connect(name, stream).await;
        Box::pin(exchange(stream.map_err(|error| failed("TLS", &error))?, uri)).await
    }
}

fn failed(what: &str, error: &impl std::fmt::Display) -> FetchError {
    FetchError::Exchange(format!("{what}: {error}"))
}

async fn system_roots() -> Result<Arc<ClientConfig>, FetchError> {
    let loaded = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
    let loaded = loaded.map_err(|error| failed("the system's root certificates", &error))?;
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(loaded.certs);
    if added == 0 {
        return Err(FetchError::Exchange("the system has no root certificates".to_owned()));
    }
    Ok(Arc::new(client_config(roots)))
}

fn client_config(roots: RootCertStore) -> ClientConfig {
    ClientConfig::builder_with_provider(weft_core::tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has suites of TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

async fn dial(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses = tokio::net::lookup_host((host, port)).await?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses.take(limits::ADDRESSES_MAX) {
        match connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.connect(address).await
}

async fn exchange<S>(stream: S, uri: &Uri) -> Result<Bytes, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| failed("HTTP", &error);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let exchange = async {
        let response = sender.send_request(request(uri)?).await.map_err(broken)?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        let (mut body, mut bytes) = (response.into_body(), BytesMut::new());
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.map_err(broken)?.into_data() {
                if bytes.len() + data.len() > limits::ANSWER_BYTES_MAX {
                    return Err(FetchError::TooLong);
                }
                bytes.extend_from_slice(&data);
            }
        }
        Ok(bytes.freeze())
    };
    tokio::pin!(exchange, connection);
    tokio::select! {
        // The answer's last bytes may end the connection too.
        biased;
        outcome = &mut exchange => outcome,
        ended = &mut connection => {
            ended.map_err(broken)?;
            exchange.await
        }
    }
}

fn request(uri: &Uri) -> Result<Request<Empty<Bytes>>, FetchError> {
    let path = uri.path_and_query().map_or("/", |it| it.as_str());
    let authority = uri.authority().map(|it| it.as_str()).unwrap_or_default();
    // Names and passwords in addresses are for nobody.
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = HeaderValue::from_str(host).map_err(|error| failed("the host's name", &error))?;
    let built = Request::builder()
        .uri(path)
        .header(header::HOST, host)
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, "weft-controller")
        .body(Empty::new());
    built.map_err(|error| failed("the address", &error))
}
