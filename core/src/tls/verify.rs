//! The verifiers: first that a trusted root signed the peer, then who it is.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{
    CertificateError as RustlsCertificateError, DistinguishedName, Error, OtherError, RootCertStore,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::error::PeerFault;
use super::provider::provider;
use crate::identity::{ExpectedPeers, TrustDomains};
use crate::x509::PeerCertificate;

/// Whom a side accepts, given that the chain is good.
#[derive(Debug, Clone)]
pub(super) enum Admission {
    /// A client dials one of these, exactly.
    OneOf(ExpectedPeers),
    /// A server takes anybody of these trust domains; policy decides afterwards.
    Domains(TrustDomains),
}

impl Admission {
    fn admit(&self, leaf: &CertificateDer<'_>) -> Result<PeerCertificate, PeerFault> {
        let peer = PeerCertificate::from_leaf(leaf)?;
        match self {
            Self::OneOf(expected) if !expected.contains(&peer.identity) => {
                Err(PeerFault::Unexpected { presented: peer.identity, expected: expected.clone() })
            }
            Self::Domains(domains) if !domains.accepts(peer.identity.trust_domain()) => {
                Err(PeerFault::ForeignTrustDomain {
                    presented: peer.identity,
                    own: domains.own().clone(),
                })
            }
            _ => Ok(peer),
        }
    }

    /// The check after a handshake. `certificates` are what the peer showed in it or, if it was resumed, in the one
    /// that the ticket came from; time has passed since.
    pub(super) fn confirm(
        &self,
        certificates: Option<&[CertificateDer<'_>]>,
        now: SystemTime,
    ) -> Result<PeerCertificate, PeerFault> {
        let leaf = certificates.and_then(|chain| chain.first()).ok_or(PeerFault::NoCertificate)?;
        let peer = self.admit(leaf)?;
        if peer.is_valid_at(now) { Ok(peer) } else { Err(PeerFault::Expired(peer.identity)) }
    }
}

/// The typed reason travels through rustls in the error, and comes back by `PeerFault::of`. The alert is
/// `certificate_unknown`: "some other issue arose in processing the certificate" (RFC 8446, section 6.2).
fn refusal(fault: PeerFault) -> Error {
    RustlsCertificateError::Other(OtherError(Arc::new(fault))).into()
}

/// That `leaf` chains to `roots` and may be a TLS server. Names are left to the caller.
pub(super) fn check_server_chain(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    roots: &RootCertStore,
    now: UnixTime,
) -> Result<(), Error> {
    let leaf = ParsedCertificate::try_from(leaf)?;
    let algorithms = provider().signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(&leaf, roots, intermediates, now, algorithms)
}

/// The methods of rustls's verifier traits that look at no identity: in TLS 1.3, every signature that the provider can
/// verify; in TLS 1.2, none. A macro, because the traits for clients and for servers share no part.
macro_rules! handshake_signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _cert: &rustls_pki_types::CertificateDer<'_>,
            _dss: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Err(rustls::Error::General("TLS 1.2 is never offered".to_owned()))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &rustls_pki_types::CertificateDer<'_>,
            dss: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            let algorithms = &$crate::tls::provider().signature_verification_algorithms;
            rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            $crate::tls::provider().signature_verification_algorithms.supported_schemes()
        }
    };
}
pub(super) use handshake_signatures;

/// What a client asks of a workload that it dials.
#[derive(Debug)]
pub(super) struct WorkloadServerVerifier {
    roots: Arc<RootCertStore>,
    admission: Admission,
}

impl WorkloadServerVerifier {
    pub(super) fn new(roots: Arc<RootCertStore>, expected: ExpectedPeers) -> Self {
        Self { roots, admission: Admission::OneOf(expected) }
    }
}

impl ServerCertVerifier for WorkloadServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        check_server_chain(end_entity, intermediates, &self.roots, now)?;
        self.admission.admit(end_entity).map_err(refusal)?;
        Ok(ServerCertVerified::assertion())
    }

    handshake_signatures!();
}

/// What a server asks of a workload that dials it.
#[derive(Debug)]
pub(super) struct WorkloadClientVerifier {
    chain: Arc<dyn ClientCertVerifier>,
    admission: Admission,
}

impl WorkloadClientVerifier {
    pub(super) fn new(
        roots: Arc<RootCertStore>,
        domains: TrustDomains,
    ) -> Result<Self, VerifierBuilderError> {
        // Clients have one certificate and ignore hints; left out, they do not tell strangers the mesh's CAs.
        let chain = WebPkiClientVerifier::builder_with_provider(roots, provider())
            .clear_root_hint_subjects()
            .build()?;
        Ok(Self { chain, admission: Admission::Domains(domains) })
    }
}

impl ClientCertVerifier for WorkloadClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now)?;
        self.admission.admit(end_entity).map_err(refusal)?;
        Ok(verified)
    }

    handshake_signatures!();
}
