//! Where the authority's key and certificates come from: made on the first start, or plugged in by the operator.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use weft_core::clock;
use weft_core::identity::TrustDomain;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::CaError;
use crate::serving_limits::{BACKDATE_MAX, ROOT_TTL};
use crate::state_dir::{StateDir, read_private, read_public};

const CERTIFICATE_FILE: &str = "ca-cert.pem";
const KEY_FILE: &str = "ca-key.pem";
const ROOT_FILE: &str = "root-cert.pem";
const CHAIN_FILE: &str = "cert-chain.pem";

/// A self-signed root is signed anew, by the same key, in the last fifth of its time: proxies that hold either of
/// the two certificates then verify what the key signed.
const RENEW_IN_LAST: u32 = 5;

/// The signing key, its certificate, and the roots that peers must hold.
pub struct Root {
    pub(super) issuer: Issuer<'static, KeyPair>,
    /// The signer and what lies between it and the roots; empty if the signer is the root.
    pub(super) intermediates: Vec<CertificateDer<'static>>,
    pub(super) roots: Vec<CertificateDer<'static>>,
    pub(super) signer_not_after: SystemTime,
    pub(super) roots_not_after: SystemTime,
}

impl Root {
    /// Reads the self-signed root from the state folder, and makes one on the first start.
    pub fn self_signed(state: &StateDir, domain: &TrustDomain) -> Result<Self, CaError> {
        let key = match state.read_text(KEY_FILE)? {
            Some(pem) => parse_key(&state.path().join(KEY_FILE), &pem)?,
            None => {
                let key = KeyPair::generate().map_err(signing)?;
                state.write(KEY_FILE, key.serialize_pem().as_bytes())?;
                key
            }
        };
        let path = state.path().join(CERTIFICATE_FILE);
        let kept = state.read(CERTIFICATE_FILE)?;
        let kept = kept.map(|pem| parse_certificates(&path, &pem)).transpose()?;
        match kept.and_then(|certificates| certificates.into_iter().next()) {
            Some(certificate) if !is_ending(&path, &certificate)? => {
                Self::assemble(&path, key, certificate.clone(), Vec::new(), vec![certificate])
            }
            _ => {
                let certificate = self_sign(&key, domain)?;
                state.write(CERTIFICATE_FILE, pem_of(&certificate).as_bytes())?;
                Self::assemble(&path, key, certificate.clone(), Vec::new(), vec![certificate])
            }
        }
    }

    /// Reads the root that a state folder already has; `None` if no controller has used it yet.
    pub fn existing_certificate(
        state: &StateDir,
    ) -> Result<Option<CertificateDer<'static>>, CaError> {
        let Some(pem) = state.read(CERTIFICATE_FILE)? else {
            return Ok(None);
        };
        let path = state.path().join(CERTIFICATE_FILE);
        Ok(parse_certificates(&path, &pem)?.into_iter().next())
    }

    /// Reads `ca-cert.pem`, `ca-key.pem`, `root-cert.pem` and `cert-chain.pem` of a folder, the form of Istio's
    /// `cacerts`. The chain may name the signer and the roots again, or be absent if the signer is a root.
    pub fn plugged_in(folder: &Path) -> Result<Self, CaError> {
        let path = |name: &str| folder.join(name);
        let key_path = path(KEY_FILE);
        let key_pem = String::from_utf8(read_private(&key_path)?)
            .map_err(|_| material(&key_path, "is not PEM"))?;
        let key = parse_key(&key_path, &key_pem)?;
        let read = |name: &str| parse_certificates(&path(name), &read_public(&path(name))?);
        let signers = read(CERTIFICATE_FILE)?;
        let roots = read(ROOT_FILE)?;
        let chain = if path(CHAIN_FILE).exists() { read(CHAIN_FILE)? } else { Vec::new() };
        let Some(signer) = signers.first().cloned() else {
            return Err(material(&path(CERTIFICATE_FILE), "holds no certificate"));
        };
        let mut between = Vec::new();
        for certificate in signers.into_iter().chain(chain) {
            if !roots.contains(&certificate) && !between.contains(&certificate) {
                between.push(certificate);
            }
        }
        Self::assemble(&path(CERTIFICATE_FILE), key, signer, between, roots)
    }

    fn assemble(
        path: &Path,
        key: KeyPair,
        signer: CertificateDer<'static>,
        intermediates: Vec<CertificateDer<'static>>,
        roots: Vec<CertificateDer<'static>>,
    ) -> Result<Self, CaError> {
        check_signer(path, &signer, &key)?;
        let mut roots_not_after = None;
        for root in &roots {
            let end = validity_of(path, root)?.1;
            roots_not_after = Some(roots_not_after.map_or(end, |first: SystemTime| first.min(end)));
        }
        let roots_not_after =
            roots_not_after.ok_or_else(|| material(path, "comes without a root"))?;
        let mut signer_not_after = validity_of(path, &signer)?.1;
        for certificate in &intermediates {
            signer_not_after = signer_not_after.min(validity_of(path, certificate)?.1);
        }
        let issuer = Issuer::from_ca_cert_der(&signer, key).map_err(signing)?;
        Ok(Self { issuer, intermediates, roots, signer_not_after, roots_not_after })
    }
}

/// PEM of one certificate.
pub(crate) fn pem_of(certificate: &CertificateDer<'_>) -> String {
    use base64::Engine;
    let encoded = base64::engine::general_purpose::STANDARD.encode(certificate);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        // RFC 7468 section 2: lines of 64 characters.
        let (line, after) = rest.split_at_checked(64).unwrap_or((rest, ""));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

/// A random serial number of 127 bits: positive, and never the same twice (RFC 5280 section 4.1.2.2).
pub(super) fn random_serial() -> SerialNumber {
    let value = rand::random::<u128>() >> 1;
    SerialNumber::from_slice(&value.to_be_bytes())
}

fn self_sign(key: &KeyPair, domain: &TrustDomain) -> Result<CertificateDer<'static>, CaError> {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, domain.as_str());
    name.push(DnType::CommonName, "Weft root");
    params.distinguished_name = name;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(random_serial());
    let now = clock::now();
    params.not_before = (now - BACKDATE_MAX).into();
    params.not_after = (now + ROOT_TTL).into();
    Ok(params.self_signed(key).map_err(signing)?.der().clone())
}

fn is_ending(path: &Path, certificate: &CertificateDer<'_>) -> Result<bool, CaError> {
    let (begin, end) = validity_of(path, certificate)?;
    let whole = end.duration_since(begin).unwrap_or_default();
    let left = end.duration_since(clock::now()).unwrap_or_default();
    Ok(left < whole / RENEW_IN_LAST)
}

fn check_signer(path: &Path, signer: &CertificateDer<'_>, key: &KeyPair) -> Result<(), CaError> {
    let certificate = parse(path, signer)?;
    if certificate.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
        return Err(material(path, "does not belong to the key beside it"));
    }
    if !certificate.is_ca() {
        return Err(material(path, "is not the certificate of an authority (CA:TRUE is missing)"));
    }
    let usage = certificate.key_usage().ok().flatten();
    if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err(material(path, "may not sign certificates (its key usage)"));
    }
    Ok(())
}

fn validity_of(
    path: &Path,
    certificate: &CertificateDer<'_>,
) -> Result<(SystemTime, SystemTime), CaError> {
    let validity = parse(path, certificate)?.validity().clone();
    let time = |seconds: i64| {
        let seconds = u64::try_from(seconds).unwrap_or_default();
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    };
    Ok((time(validity.not_before.timestamp()), time(validity.not_after.timestamp())))
}

fn parse<'a>(path: &Path, der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, CaError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(material(path, "holds something that is no certificate")),
    }
}

fn parse_certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CaError> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| material(path, &format!("is not PEM: {error}")))
}

fn parse_key(path: &Path, pem: &str) -> Result<KeyPair, CaError> {
    KeyPair::from_pem(pem).map_err(|error| material(path, &format!("is no usable key: {error}")))
}

fn material(path: &Path, reason: &str) -> CaError {
    CaError::Material { path: PathBuf::from(path), reason: reason.to_owned() }
}

fn signing(error: rcgen::Error) -> CaError {
    CaError::Signing(error.to_string())
}
