//! Reading the certificate that a peer presents.
//!
//! Everything here comes from a stranger. The profile is SPIFFE's (X.509-SVID, sections 2 to 5): a leaf that signs
//! nothing else and names exactly one identity. Whether anybody trustworthy signed it is asked elsewhere (`tls`).

use std::time::{Duration, SystemTime};

use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use crate::identity::{IdentityError, SpiffeId};
use crate::limits;

/// Why a certificate is no mesh certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Longer than any certificate of a mesh.
    #[error("certificate has {0} bytes, over {max}", max = limits::LEAF_BYTES_MAX)]
    TooLong(usize),
    /// No X.509, or an extension occurs twice or cannot be read.
    #[error("certificate cannot be read ({0})")]
    Malformed(&'static str),
    /// It names nobody.
    #[error("certificate has no SPIFFE ID; is its issuer this mesh's CA?")]
    NoIdentity,
    /// It names several, and which one counts would be a guess.
    #[error("certificate has {0} URI names where a mesh certificate has exactly one")]
    SeveralIdentities(usize),
    /// The one name is no mesh identity.
    #[error("the certificate's URI name is no mesh identity: {0}")]
    Identity(#[from] IdentityError),
    /// It may sign certificates, and so is none for a workload.
    #[error("certificate is a CA's, not a workload's")]
    Authority,
    /// Its key may not sign a handshake.
    #[error("certificate is not for TLS (key usage or extended key usage)")]
    Usage,
}

/// What a leaf certificate says about its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// The one identity.
    pub identity: SpiffeId,
    /// Valid from.
    pub not_before: SystemTime,
    /// Valid until, that second included (RFC 5280, section 4.1.2.5).
    pub not_after: SystemTime,
    /// Serial number, lower-case hexadecimal without separators.
    pub serial: String,
}

impl PeerCertificate {
    /// Reads a leaf certificate. It says nothing about signatures, and compares validity with no clock.
    pub fn from_leaf(leaf: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        if leaf.len() > limits::LEAF_BYTES_MAX {
            return Err(CertificateError::TooLong(leaf.len()));
        }
        let (rest, certificate) = X509Certificate::from_der(leaf)
            .map_err(|_| CertificateError::Malformed("no X.509 certificate"))?;
        if !rest.is_empty() {
            return Err(CertificateError::Malformed("bytes after its end"));
        }
        check_usage(&certificate)?;
        Ok(Self {
            identity: sole_identity(&certificate)?,
            not_before: system_time(certificate.validity().not_before)?,
            not_after: system_time(certificate.validity().not_after)?,
            serial: hexadecimal(certificate.raw_serial()),
        })
    }

    /// Whether `time` lies within its validity.
    pub fn is_valid_at(&self, time: SystemTime) -> bool {
        self.not_before <= time && time <= self.not_after
    }
}

/// SPIFFE X.509-SVID, sections 4.1 (`CA:FALSE`), 4.3 (`digitalSignature`, and neither `keyCertSign` nor `cRLSign`)
/// and 4.4 (extended key usage, if there, for TLS). Which role it must allow depends on the handshake and is
/// checked with the chain.
fn check_usage(certificate: &X509Certificate<'_>) -> Result<(), CertificateError> {
    let constraints = certificate
        .basic_constraints()
        .map_err(|_| CertificateError::Malformed("basic constraints"))?;
    if constraints.is_some_and(|extension| extension.value.ca) {
        return Err(CertificateError::Authority);
    }
    let usage = certificate.key_usage().map_err(|_| CertificateError::Malformed("key usage"))?;
    if let Some(usage) = usage {
        if usage.value.key_cert_sign() || usage.value.crl_sign() {
            return Err(CertificateError::Authority);
        }
        if !usage.value.digital_signature() {
            return Err(CertificateError::Usage);
        }
    }
    let extended = certificate
        .extended_key_usage()
        .map_err(|_| CertificateError::Malformed("extended key usage"))?;
    match extended {
        Some(usage) if !(usage.value.client_auth || usage.value.server_auth) => {
            Err(CertificateError::Usage)
        }
        _ => Ok(()),
    }
}

/// The identity of the only URI name. Names of other kinds (DNS, IP) are allowed and mean nothing here.
fn sole_identity(certificate: &X509Certificate<'_>) -> Result<SpiffeId, CertificateError> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| CertificateError::Malformed("subject alternative name"))?
        .ok_or(CertificateError::NoIdentity)?;
    let mut uris = 0_usize;
    let mut identity = None;
    for name in &names.value.general_names {
        match name {
            GeneralName::URI(uri) => {
                uris += 1;
                identity = Some(*uri);
            }
            GeneralName::Invalid(..) => {
                return Err(CertificateError::Malformed("a name of another encoding"));
            }
            _ => {}
        }
    }
    match identity {
        None => Err(CertificateError::NoIdentity),
        Some(_) if uris > 1 => Err(CertificateError::SeveralIdentities(uris)),
        Some(uri) => Ok(uri.parse()?),
    }
}

fn system_time(time: ASN1Time) -> Result<SystemTime, CertificateError> {
    let seconds = time.timestamp();
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds >= 0 {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    }
    .ok_or(CertificateError::Malformed("validity"))
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
