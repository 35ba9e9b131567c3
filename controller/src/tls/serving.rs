//! The certificate by which the controller is recognised: signed by its own authority, renewed while it serves.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rcgen::KeyPair;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivateKeyDer;
use weft_core::clock;
use weft_core::identity::SpiffeId;

use crate::ca::{Authority, CaError};
use crate::serving_limits::SERVING_TTL;

/// Between attempts to renew.
const RENEWAL_WAIT_MIN: Duration = Duration::from_secs(10);

/// Why there is no serving certificate.
#[derive(Debug, thiserror::Error)]
pub enum ServingError {
    /// The authority did not sign it.
    #[error("the controller's own certificate: {0}")]
    Authority(#[from] CaError),
    /// Key or configuration.
    #[error("the controller's own certificate: {0}")]
    Tls(String),
}

/// The present certificate, and how to get the next.
pub struct ServingCertificate {
    authority: Arc<Authority>,
    identity: SpiffeId,
    names: Vec<String>,
    current: ArcSwap<Current>,
}

struct Current {
    key: Arc<CertifiedKey>,
    issued: SystemTime,
    not_after: SystemTime,
}

impl ServingCertificate {
    /// Issues the first one. `names` are the host names and addresses by which clients reach the controller.
    pub fn issue(
        authority: Arc<Authority>,
        identity: SpiffeId,
        names: Vec<String>,
    ) -> Result<Arc<Self>, ServingError> {
        let current = ArcSwap::from_pointee(sign(&authority, &identity, &names)?);
        Ok(Arc::new(Self { authority, identity, names, current }))
    }

    /// TLS as the controller serves it. Clients authenticate by token, so none is asked for a certificate.
    pub fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, ServingError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| ServingError::Tls(error.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Resolver(self.clone())));
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }

    /// Renews for ever, at half of each certificate's life.
    pub async fn keep_fresh(self: Arc<Self>) {
        loop {
            tokio::time::sleep(self.until_half_life()).await;
            match self.renew() {
                Ok(()) => tracing::info!("serving certificate renewed"),
                // The old one still serves; the next attempt comes soon enough.
                Err(error) => tracing::error!(%error, "serving certificate not renewed"),
            }
        }
    }

    /// Replaces the certificate for handshakes from now on.
    pub fn renew(&self) -> Result<(), ServingError> {
        let next = sign(&self.authority, &self.identity, &self.names)?;
        self.current.store(Arc::new(next));
        Ok(())
    }

    fn until_half_life(&self) -> Duration {
        let current = self.current.load();
        let life = current.not_after.duration_since(current.issued).unwrap_or_default();
        let left = (current.issued + life / 2).duration_since(clock::now()).unwrap_or_default();
        left.max(RENEWAL_WAIT_MIN)
    }
}

struct Resolver(Arc<ServingCertificate>);

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("names", &self.0.names).finish()
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Every client is told the same: nothing is chosen by a name that a stranger sends.
        Some(self.0.current.load().key.clone())
    }
}

fn sign(
    authority: &Authority,
    identity: &SpiffeId,
    names: &[String],
) -> Result<Current, ServingError> {
    let tls = |error: &dyn std::fmt::Display| ServingError::Tls(error.to_string());
    let key = KeyPair::generate().map_err(|error| tls(&error))?;
    let issued = authority.sign_server(identity, names, &key, SERVING_TTL)?;
    // Verifiers don't need the root in the chain. A node that joins does: it knows no more than the root's hash.
    let mut chain = issued.chain;
    if !chain.contains(authority.anchor()) {
        chain.push(authority.anchor().clone());
    }
    let der = PrivateKeyDer::try_from(key.serialize_der()).map_err(|error| tls(&error))?;
    let signer = aws_lc_rs::sign::any_supported_type(&der).map_err(|error| tls(&error))?;
    Ok(Current {
        key: Arc::new(CertifiedKey::new(chain, signer)),
        issued: clock::now(),
        not_after: issued.not_after,
    })
}
