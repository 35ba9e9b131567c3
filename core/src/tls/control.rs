//! TLS towards the controller, which authenticates itself by certificate and us by token.
//!
//! The controller's certificate comes from the mesh's own roots and must hold the dialled name literally: no
//! wildcard, and no public CA, counts. There is no plaintext.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use rustls::client::Resumption;
use rustls::version::TLS13;
use rustls::{ClientConfig, Error, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};

use super::certificate::root_store;
use super::config::ALPN_H2;
use super::provider::{WallClock, provider};
use crate::limits;

mod dial;
mod verifier;

use verifier::{Anchors, ControllerVerifier};

/// Why there is no connection to the controller.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The configured address is no `https://host:port`.
    #[error("controller address {0:?} is not of the form https://host:port")]
    Address(String),
    /// The name to verify is no DNS name and no IP address.
    #[error("{0:?} is neither a DNS name nor an IP address")]
    ServerName(String),
    /// The roots cannot be read.
    #[error("root certificates {path}: {source}; is the mesh's root mounted there?")]
    RootFile {
        /// The file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// There is no usable certificate among them.
    #[error("{0} holds no usable root certificate")]
    NoRoots(String),
    /// TLS does not accept the material.
    #[error("TLS to the controller could not be set up: {0}")]
    Setup(#[from] Error),
    /// No address of it answers.
    #[error("controller {address} cannot be reached: {source}")]
    Connect {
        /// Host and port.
        address: String,
        /// The last address's error.
        source: io::Error,
    },
    /// It answers, but not as the controller.
    #[error("controller {address} failed the TLS handshake: {source}; compare its root with ours")]
    Handshake {
        /// Host and port.
        address: String,
        /// What rustls says.
        source: io::Error,
    },
}

/// What the controller's certificate must lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootSource {
    /// A file of PEM certificates, read again at each connect, so that a rotated root is picked up.
    File(PathBuf),
    /// PEM certificates.
    Pem(Arc<str>),
    /// One root, of which only the SHA-256 of its DER form is known: the first contact of a node that joins. The
    /// server must send that root along in its chain.
    Pinned([u8; 32]),
}

/// Where the controller is, and how to know it.
#[derive(Debug, Clone)]
pub struct ControlSettings {
    /// `https://host:port`; without a scheme, https is meant.
    pub address: String,
    /// What its certificate must lead to.
    pub roots: RootSource,
    /// The name that its certificate must hold, if it is not the address's host.
    pub server_name: Option<String>,
}

/// A configuration for connections to the controller: TLS 1.3, ALPN `h2`, chain to `roots`, exact name.
pub async fn control_client(roots: &RootSource) -> Result<Arc<ClientConfig>, ControlError> {
    let anchors = match roots {
        RootSource::File(path) => {
            let shown = path.display().to_string();
            let bytes = read_bounded(path)
                .await
                .map_err(|source| ControlError::RootFile { path: shown.clone(), source })?;
            Anchors::Known(roots_from_pem(&bytes, &shown)?)
        }
        RootSource::Pem(pem) => Anchors::Known(roots_from_pem(pem.as_bytes(), "given text")?),
        RootSource::Pinned(hash) => Anchors::Pinned(*hash),
    };
    let verifier = ControllerVerifier::new(anchors);
    let mut config = ClientConfig::builder_with_details(provider(), Arc::new(WallClock))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    // Connects are minutes apart and each reads the roots anew; a session would only outlive them.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// The controller's end: TLS 1.3, ALPN `h2`, no client certificates (tokens authenticate callers). For
/// [`RootSource::Pinned`] to work, `chain` ends with the root.
pub fn control_server(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, ControlError> {
    let mut config = ServerConfig::builder_with_details(provider(), Arc::new(WallClock))
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    // Clients do not resume; see `control_client`.
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// A gRPC channel to the controller. It connects at first use and again whenever it broke, each time with the
/// roots as they are then: TCP within [`limits::CONNECT_DEADLINE`], TLS within [`limits::TLS_DEADLINE`].
pub fn control_channel(settings: ControlSettings) -> Result<Channel, ControlError> {
    let target = Arc::new(Target::parse(settings)?);
    // tonic itself is given http, because TLS is the connector's; the request's own scheme stays https.
    let endpoint = Endpoint::from(target.uri("http")?)
        .origin(target.uri("https")?)
        .http2_keep_alive_interval(limits::CONTROL_PING_INTERVAL)
        .keep_alive_timeout(limits::CONTROL_PING_DEADLINE)
        .keep_alive_while_idle(true);
    Ok(endpoint.connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
        let target = Arc::clone(&target);
        async move { target.connect().await.map(TokioIo::new) }
    })))
}

struct Target {
    host: String,
    port: u16,
    server_name: ServerName<'static>,
    roots: RootSource,
}

impl Target {
    fn parse(settings: ControlSettings) -> Result<Self, ControlError> {
        let invalid = || ControlError::Address(settings.address.clone());
        let text = match settings.address.split_once("://") {
            Some(("https", rest)) => rest,
            None => settings.address.as_str(),
            Some(_) => return Err(invalid()),
        };
        let authority: http::uri::Authority =
            text.trim_end_matches('/').parse().map_err(|_| invalid())?;
        let port = authority.port_u16().ok_or_else(invalid)?;
        // An IPv6 address is bracketed in a URI and nowhere else.
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = settings.server_name.unwrap_or_else(|| host.clone());
        let server_name =
            ServerName::try_from(name.clone()).map_err(|_| ControlError::ServerName(name))?;
        Ok(Self { host, port, server_name, roots: settings.roots })
    }

    fn uri(&self, scheme: &str) -> Result<Uri, ControlError> {
        let authority = self.to_string();
        Uri::builder()
            .scheme(scheme)
            .authority(authority.as_str())
            .path_and_query("/")
            .build()
            .map_err(|_| ControlError::Address(authority))
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>, ControlError> {
        let config = control_client(&self.roots).await?;
        let tcp = dial::dial(&self.host, self.port)
            .await
            .map_err(|source| ControlError::Connect { address: self.to_string(), source })?;
        let handshake = TlsConnector::from(config).connect(self.server_name.clone(), tcp);
        tokio::time::timeout(limits::TLS_DEADLINE, handshake)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|source| ControlError::Handshake { address: self.to_string(), source })
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// All certificates of a PEM text; other sections are passed over.
pub(crate) fn certificates_from_pem(
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, rustls_pki_types::pem::Error> {
    CertificateDer::pem_slice_iter(pem).collect()
}

fn roots_from_pem(pem: &[u8], source: &str) -> Result<RootCertStore, ControlError> {
    certificates_from_pem(pem)
        .ok()
        .and_then(|roots| root_store(&roots))
        .ok_or_else(|| ControlError::NoRoots(source.to_owned()))
}

/// Reads roots, at most [`limits::ROOTS_FILE_BYTES_MAX`] of it.
async fn read_bounded(path: &std::path::Path) -> io::Result<Vec<u8>> {
    use tokio::io::AsyncReadExt as _;

    let mut bytes = Vec::new();
    let mut file = tokio::fs::File::open(path).await?.take(limits::ROOTS_FILE_BYTES_MAX + 1);
    file.read_to_end(&mut bytes).await?;
    if u64::try_from(bytes.len()).is_ok_and(|read| read <= limits::ROOTS_FILE_BYTES_MAX) {
        Ok(bytes)
    } else {
        Err(io::Error::new(io::ErrorKind::FileTooLarge, "longer than any bundle of roots"))
    }
}

#[cfg(test)]
mod tests;
