//! Is that the controller?

use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::{CertificateError as RustlsCertificateError, Error, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::tls::verify::{check_server_chain, handshake_signatures};

/// What a chain must lead to.
#[derive(Debug)]
pub(super) enum Anchors {
    /// One of these.
    Known(RootCertStore),
    /// The certificate with this SHA-256, which the server sends along.
    Pinned([u8; 32]),
}

/// Chain first, then the literal name.
#[derive(Debug)]
pub(super) struct ControllerVerifier {
    anchors: Anchors,
}

impl ControllerVerifier {
    pub(super) fn new(anchors: Anchors) -> Self {
        Self { anchors }
    }
}

impl ServerCertVerifier for ControllerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.anchors {
            Anchors::Known(roots) => check_server_chain(end_entity, intermediates, roots, now)?,
            Anchors::Pinned(hash) => {
                let roots = pinned_root(hash, intermediates)?;
                check_server_chain(end_entity, intermediates, &roots, now)?;
            }
        }
        if holds_name(end_entity, server_name) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(RustlsCertificateError::NotValidForName.into())
        }
    }

    handshake_signatures!();
}

/// The certificate with that hash, among those that the server sent, as the only root.
fn pinned_root(
    hash: &[u8; 32],
    sent: &[CertificateDer<'_>],
) -> Result<RootCertStore, RustlsCertificateError> {
    let is_pinned =
        |certificate: &&CertificateDer<'_>| Sha256::digest(certificate.as_ref()).as_slice() == hash;
    let root = sent.iter().find(is_pinned).ok_or(RustlsCertificateError::UnknownIssuer)?;
    let mut store = RootCertStore::empty();
    store.add(root.clone().into_owned()).map_err(|_| RustlsCertificateError::BadEncoding)?;
    Ok(store)
}

/// Whether `leaf` holds exactly that name. DNS names differ not in case (RFC 4343); a wildcard equals only itself,
/// and no dialled name is one.
fn holds_name(leaf: &CertificateDer<'_>, wanted: &ServerName<'_>) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(leaf) else {
        return false;
    };
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return false;
    };
    names.value.general_names.iter().any(|name| match (name, wanted) {
        (GeneralName::DNSName(held), ServerName::DnsName(wanted)) => {
            held.eq_ignore_ascii_case(wanted.as_ref())
        }
        (GeneralName::IPAddress(held), ServerName::IpAddress(wanted)) => {
            match std::net::IpAddr::from(*wanted) {
                std::net::IpAddr::V4(wanted) => *held == wanted.octets(),
                std::net::IpAddr::V6(wanted) => *held == wanted.octets(),
            }
        }
        _ => false,
    })
}
