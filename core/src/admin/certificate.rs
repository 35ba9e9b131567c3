//! Certificates of a store, as dumps have them: without keys.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::dump::{Cert, Certificate};
use crate::certs::CertEntry;
use crate::clock;
use crate::telemetry::rfc3339;
use crate::tls::WorkloadCertificate;

impl Certificate {
    /// Of one identity of a store.
    pub fn of(entry: &CertEntry) -> Self {
        let valid = entry.certificate.as_ref().filter(|it| it.is_valid_at(clock::now()));
        let state = match (valid, &entry.last_error) {
            (Some(_), _) => "Available".into(),
            (None, Some(error)) => format!("Unavailable: {error}"),
            (None, None) => "Initializing".into(),
        };
        Self {
            identity: entry.identity.to_string(),
            state,
            cert_chain: entry.certificate.iter().map(|it| leaf(it)).collect(),
            root_certs: entry.certificate.iter().map(|it| roots(it)).collect(),
        }
    }
}

fn leaf(certificate: &WorkloadCertificate) -> Cert {
    Cert {
        pem: twice_encoded(&certificate.chain_pem()),
        serial_number: certificate.serial().into(),
        valid_from: rfc3339(certificate.not_before()),
        expiration_time: rfc3339(certificate.not_after()),
    }
}

/// The first of the roots speaks for the bundle.
fn roots(certificate: &WorkloadCertificate) -> Cert {
    let pem = twice_encoded(&certificate.roots_pem());
    let first = certificate.roots_der().first();
    let Some((_, root)) = first.and_then(|der| X509Certificate::from_der(der).ok()) else {
        return Cert { pem, ..Cert::default() };
    };
    let time = |seconds: i64| {
        let seconds = u64::try_from(seconds).unwrap_or_default();
        rfc3339(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
    };
    Cert {
        pem,
        serial_number: root.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect(),
        valid_from: time(root.validity().not_before.timestamp()),
        expiration_time: time(root.validity().not_after.timestamp()),
    }
}

/// The incumbent's dump has PEM in base64 once more.
fn twice_encoded(pem: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(pem)
}
