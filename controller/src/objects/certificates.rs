//! ConfigMaps with certificates that others may trust (`ca.crt`).

use std::sync::Arc;

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::limits::CA_BYTES_MAX;
use super::meta::Meta;
use super::pool::Pool;
use crate::ca::pem_of;

/// Where a ConfigMap has them, as the Gateway API says.
pub const CA_KEY: &str = "ca.crt";

/// A ConfigMap with certificates.
#[derive(Debug, Clone, PartialEq)]
pub struct CaBundle {
    /// Name, labels and so on.
    pub meta: Meta,
    /// PEM, and nothing but certificates: of what else stands there nothing is kept, for it may be a key. Or why there are
    /// none.
    pub certificates: Result<Arc<str>, String>,
}

/// Whoever refers to what can't be read has to learn why, so that it isn't refused as an object.
pub(super) fn ca_bundle(meta: Meta, text: &str, pool: &mut Pool) -> CaBundle {
    CaBundle { meta, certificates: certificates(text).map(|pem| pool.text(&pem)) }
}

fn certificates(text: &str) -> Result<String, String> {
    if text.len() > CA_BYTES_MAX {
        return Err(format!("{CA_KEY} is longer than {CA_BYTES_MAX} bytes"));
    }
    let mut pem = String::new();
    let mut roots = RootCertStore::empty();
    for (at, found) in CertificateDer::pem_slice_iter(text.as_bytes()).enumerate() {
        let wrong = |error: &dyn std::fmt::Display| {
            format!("certificate {} of {CA_KEY} can't be read: {error}", at + 1)
        };
        let certificate = found.map_err(|error| wrong(&error))?;
        pem.push_str(&pem_of(&certificate));
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    match pem.is_empty() {
        true => Err(format!("{CA_KEY} has no certificate in PEM")),
        false => Ok(pem),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Valid until the year 2126.
    const CA: &str = include_str!("ca.test.pem");

    #[test]
    fn nothing_but_certificates_is_kept() {
        let key = "-----BEGIN PRIVATE KEY-----\nMTIz\n-----END PRIVATE KEY-----\n";
        let found = certificates(&format!("# ours\n{key}{CA}{CA}")).unwrap();
        assert_eq!(found, format!("{CA}{CA}"));
    }

    #[test]
    fn what_are_no_certificates_has_its_reason() {
        let broken = "-----BEGIN CERTIFICATE-----\nMTIz\n-----END CERTIFICATE-----\n";
        for (text, wanted) in [
            (String::new(), "no certificate"),
            ("ca".to_owned(), "no certificate"),
            (format!("{CA}{broken}"), "certificate 2 of ca.crt"),
            (CA.replace("-----END", "-----"), "certificate 1 of ca.crt"),
            (CA.repeat(600), "longer than"),
        ] {
            let reason = certificates(&text).unwrap_err();
            assert!(reason.contains(wanted), "{reason}");
        }
    }
}
