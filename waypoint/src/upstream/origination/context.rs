//! Files, Secrets and settings become what rustls wants. Everything here may block.

use std::io::Read;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use weft_core::tls::provider;
use zeroize::Zeroizing;

use super::error::{OriginationError, Secret};
use super::names::AltNames;
use super::verify::{Verifier, Wanted};
use crate::balance::{Credential, Material, TlsMode, UpstreamTls};
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
    let mut config = match client(settings)? {
        Some((chain, key)) => config.with_client_auth_cert(chain, key).map_err(setup)?,
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = match spoken {
        Some(Spoken::Http1) => vec![HTTP1.to_vec()],
        Some(Spoken::Http2) => vec![H2.to_vec()],
        None => Vec::new(),
    };
    Ok(Arc::new(config))
}

/// Certificates and their key.
type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Whom this side proves to be, if anybody.
fn client(settings: &UpstreamTls) -> Result<Option<Pair>, OriginationError> {
    let is_mutual = settings.mode == TlsMode::Mutual;
    let (chain, key, places) = match (secret(settings)?, &settings.client_files) {
        // Where the endpoint alone proves who it is, a Secret says only whom to trust.
        (Some(_), _) if !is_mutual => return Ok(None),
        (Some((name, secret)), _) => {
            let bytes = |text: &str| text.as_bytes().to_vec();
            (bytes(&secret.chain), bytes(secret.key()), [name, name])
        }
        (None, Some((certificate, key))) => {
            let chain = file(Secret::Certificate, certificate)?;
            (chain, file(Secret::Key, key)?, [&**certificate, &**key])
        }
        (None, None) if is_mutual => return Err(OriginationError::NoCertificate),
        (None, None) => return Ok(None),
    };
    let key = Zeroizing::new(key);
    let [of_chain, of_key] = places;
    let chain = certificates(Secret::Certificate, of_chain, &chain)?;
    let key = PrivateKeyDer::from_pem_slice(&key);
    // What the parser says may quote the key.
    let key = key.map_err(|_| unreadable(Secret::Key, of_key, &"it is no private key in PEM"))?;
    Ok(Some((chain, key)))
}

/// Name and content of the Secret that is asked for.
fn secret(settings: &UpstreamTls) -> Result<Option<(&str, &Material)>, OriginationError> {
    match &settings.credential {
        None => Ok(None),
        Some(Credential { name, material: Some(material) }) => Ok(Some((name, material))),
        Some(Credential { name, material: None }) => {
            Err(OriginationError::Credential(name.clone()))
        }
    }
}

fn verifier(settings: &UpstreamTls) -> Result<Arc<dyn ServerCertVerifier>, OriginationError> {
    if settings.is_unverified {
        return Ok(Arc::new(Verifier::new(provider(), Wanted::Anybody)));
    }
    let names = AltNames::read(&settings.subject_alt_names)?;
    let revocations = revocations(settings)?;
    if names.has_written() && !revocations.is_empty() {
        // What compares hosts' names looks at revocations too; for other names nothing does.
        let reason =
            "revocations can't be had together with subjectAltNames that are URIs or wildcards";
        return Err(OriginationError::Setup(reason.to_owned()));
    }
    let roots = Arc::new(roots(settings)?);
    let built = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider());
    let built = built.with_crls(revocations).build();
    let chain = built.map_err(|error| OriginationError::Setup(error.to_string()))?;
    Ok(Arc::new(Verifier::new(provider(), Wanted::Named { chain, names, roots })))
}

/// The system's own unless others are given: its owner keeps them up to date and may add a company's, as the
/// controller reads them too.
fn roots(settings: &UpstreamTls) -> Result<RootCertStore, OriginationError> {
    let (given, place) = match (secret(settings)?, &settings.ca_pem, &settings.ca_file) {
        (Some((name, secret)), _, _) => {
            (certificates(Secret::Roots, name, secret.authorities.as_bytes())?, name)
        }
        (None, Some(pem), _) => {
            let place = "the policy";
            (certificates(Secret::Roots, place, pem.as_bytes())?, place)
        }
        (None, None, Some(path)) => {
            (certificates(Secret::Roots, path, &file(Secret::Roots, path)?)?, &**path)
        }
        (None, None, None) => (rustls_native_certs::load_native_certs().certs, "the system"),
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
    let (bytes, path) = match (&settings.revocation_file, secret(settings)?) {
        (Some(path), _) => (file(Secret::Revocations, path)?, &**path),
        (None, Some((name, secret))) if !secret.revoked.is_empty() => {
            (secret.revoked.as_bytes().to_vec(), name)
        }
        _ => return Ok(Vec::new()),
    };
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
