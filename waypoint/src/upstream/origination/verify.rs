//! Who an endpoint must prove to be.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::names::AltNames;

/// Whether an endpoint is who is wanted, and holds the key to its certificate.
#[derive(Debug)]
pub(super) struct Verifier {
    provider: Arc<CryptoProvider>,
    wanted: Wanted,
}

/// Who is wanted.
#[derive(Debug)]
pub(super) enum Wanted {
    /// One of several names, or if there are none the name that was asked for.
    Named {
        /// Of one name at a time.
        chain: Arc<WebPkiServerVerifier>,
        names: AltNames,
        /// The same as the chain's, for names that it doesn't know.
        roots: Arc<RootCertStore>,
    },
    /// Anybody, as `insecureSkipVerify` asks: against listeners, not against who stands between.
    Anybody,
}

impl Verifier {
    pub(super) fn new(provider: Arc<CryptoProvider>, wanted: Wanted) -> Self {
        Self { provider, wanted }
    }

    /// Whether the certificate comes from a root. Says nothing about names, nor about what is revoked.
    fn verify_chain(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        roots: &RootCertStore,
        now: UnixTime,
    ) -> Result<(), Error> {
        let parsed = ParsedCertificate::try_from(leaf)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, algorithms)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        asked: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let (chain, names, roots) = match &self.wanted {
            Wanted::Named { chain, names, roots } => (chain, names, roots),
            Wanted::Anybody => return Ok(ServerCertVerified::assertion()),
        };
        let verify = |name| chain.verify_server_cert(leaf, intermediates, name, ocsp, now);
        if names.is_empty() {
            return verify(asked);
        }
        let mut last = CertificateError::NotValidForName.into();
        for name in &names.hosts {
            match verify(name) {
                // Another of the names may fit; nothing else can change.
                Err(error) if is_about_name(&error) => last = error,
                verdict => return verdict,
            }
        }
        if names.is_written_in(leaf) {
            self.verify_chain(leaf, intermediates, roots, now)?;
            return Ok(ServerCertVerified::assertion());
        }
        Err(last)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, leaf, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, leaf, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn is_about_name(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        )
    )
}
