//! Who an endpoint must prove to be.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

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
    Named { chain: Arc<WebPkiServerVerifier>, names: Box<[ServerName<'static>]> },
    /// Anybody, as `insecureSkipVerify` asks: against listeners, not against who stands between.
    Anybody,
}

impl Verifier {
    pub(super) fn new(provider: Arc<CryptoProvider>, wanted: Wanted) -> Self {
        Self { provider, wanted }
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
        let (chain, names) = match &self.wanted {
            Wanted::Named { chain, names } => (chain, names),
            Wanted::Anybody => return Ok(ServerCertVerified::assertion()),
        };
        let verify = |name| chain.verify_server_cert(leaf, intermediates, name, ocsp, now);
        if names.is_empty() {
            return verify(asked);
        }
        let mut last = CertificateError::NotValidForName.into();
        for name in names {
            match verify(name) {
                // Another of the names may fit; nothing else can change.
                Err(error) if is_about_name(&error) => last = error,
                verdict => return verdict,
            }
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
