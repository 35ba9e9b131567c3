//! Files and settings become what rustls wants. Everything here may block.

use std::io::Read;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use weft_core::tls::provider;

use super::error::{OriginationError, Secret};
use super::names::AltNames;
use super::verify::{Verifier, Wanted};
use crate::balance::{TlsMode, UpstreamTls};
use crate::limits;
use crate::upstream::shelf::Spoken;

/// HTTP/2 in ALPN (RFC 9113, section 3.2).
pub(super) const H2: &[u8] = b"h2";
/// HTTP/1.1 in ALPN (RFC 7301, section 6).
const HTTP1: &[u8] = b"http/1.1";

/// Whether reading it again may give something else.
pub(super) fn has_files(settings: &UpstreamTls) -> bool {
    settings.ca_file.is_some()
        || settings.client_files.is_some()
        || settings.revocation_file.is_some()
}

/// All that a handshake needs. TLS 1.3, as everywhere in the mesh.
pub(super) fn read(
    settings: &UpstreamTls,
    spoken: Option<Spoken>,
) -> Result<Arc<ClientConfig>, OriginationError> {
    let setup = |error: rustls::Error| OriginationError::Setup(error.to_string());
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(setup)?
        .dangerous()
        .with_custom_certificate_verifier(verifier(settings)?);
    let mut config = match (&settings.client_files, &settings.mode) {
        (Some((certificate, key)), _) => {
            let bytes = file(Secret::Certificate, certificate)?;
            let chain = certificates(Secret::Certificate, certificate, &bytes)?;
            let bytes = file(Secret::Key, key)?;
            let private = PrivateKeyDer::from_pem_slice(&bytes)
                .map_err(|error| unreadable(Secret::Key, key, &error))?;
            config.with_client_auth_cert(chain, private).map_err(setup)?
        }
        (None, TlsMode::Mutual) => return Err(OriginationError::NoCertificate),
        (None, _) => config.with_no_client_auth(),
    };
    config.alpn_protocols = match spoken {
        Some(Spoken::Http1) => vec![HTTP1.to_vec()],
        Some(Spoken::Http2) => vec![H2.to_vec()],
        None => Vec::new(),
    };
    Ok(Arc::new(config))
}

fn verifier(settings: &UpstreamTls) -> Result<Arc<dyn ServerCertVerifier>, OriginationError> {
    if settings.is_unverified {
        return Ok(Arc::new(Verifier::new(provider(), Wanted::Anybody)));
    }
    let names = AltNames::read(&settings.subject_alt_names)?;
    if names.has_written() && settings.revocation_file.is_some() {
        // What compares hosts' names looks at revocations too; for other names nothing does.
        let reason = "caCrl can't be had together with subjectAltNames that are URIs or wildcards";
        return Err(OriginationError::Setup(reason.to_owned()));
    }
    let roots = Arc::new(roots(settings)?);
    let built = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider());
    let built = built.with_crls(revocations(settings)?).build();
    let chain = built.map_err(|error| OriginationError::Setup(error.to_string()))?;
    Ok(Arc::new(Verifier::new(provider(), Wanted::Named { chain, names, roots })))
}

/// The system's own unless others are given: its owner keeps them up to date and may add a company's, as the
/// controller reads them too.
fn roots(settings: &UpstreamTls) -> Result<RootCertStore, OriginationError> {
    let (given, place) = match (&settings.ca_pem, &settings.ca_file) {
        (Some(pem), _) => {
            let place = "the policy";
            (certificates(Secret::Roots, place, pem.as_bytes())?, place)
        }
        (None, Some(path)) => {
            (certificates(Secret::Roots, path, &file(Secret::Roots, path)?)?, &**path)
        }
        (None, None) => (rustls_native_certs::load_native_certs().certs, "the system"),
    };
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(given);
    if added == 0 {
        return Err(unreadable(Secret::Roots, place, &"there are none"));
    }
    Ok(roots)
}

fn revocations(
    settings: &UpstreamTls,
) -> Result<Vec<CertificateRevocationListDer<'static>>, OriginationError> {
    let Some(path) = &settings.revocation_file else { return Ok(Vec::new()) };
    let bytes = file(Secret::Revocations, path)?;
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
    let lists = lists.map_err(|error| unreadable(Secret::Revocations, path, &error))?;
    if lists.is_empty() {
        return Err(unreadable(Secret::Revocations, path, &"there is none"));
    }
    Ok(lists)
}

fn certificates(
    what: Secret,
    place: &str,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, OriginationError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    found.map_err(|error| unreadable(what, place, &error))
}

fn file(what: Secret, path: &str) -> Result<Vec<u8>, OriginationError> {
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(path).map_err(|error| unreadable(what, path, &error))?;
    let read = opened.take(limits::UPSTREAM_TLS_FILE_BYTES_MAX).read_to_end(&mut bytes);
    read.map_err(|error| unreadable(what, path, &error))?;
    Ok(bytes)
}

fn unreadable(what: Secret, place: &str, reason: &dyn std::fmt::Display) -> OriginationError {
    OriginationError::Unreadable { what, place: place.into(), reason: reason.to_string() }
}
