//! Names that a certificate may be for.

use rustls_pki_types::{CertificateDer, ServerName};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::error::OriginationError;

/// Names of which a certificate must have one.
#[derive(Debug, Default)]
pub(super) struct AltNames {
    /// Host names and addresses, which fit as RFC 6125 has it: a certificate's wildcard stands for a label.
    pub(super) hosts: Box<[ServerName<'static>]>,
    /// These fit only what is written the same, and is of the same sort.
    uris: Box<[Box<str>]>,
    wildcards: Box<[Box<str>]>,
}

impl AltNames {
    pub(super) fn read(texts: &[Box<str>]) -> Result<Self, OriginationError> {
        let (uris, others): (Vec<_>, Vec<_>) = texts.iter().partition(|it| it.contains("://"));
        let (wildcards, hosts): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|it| it.starts_with("*."));
        let hosts = hosts.into_iter().map(|text| {
            let parsed = ServerName::try_from(text.to_string());
            parsed.map_err(|_| OriginationError::AltName(text.clone()))
        });
        Ok(Self {
            hosts: hosts.collect::<Result<_, _>>()?,
            uris: uris.into_iter().cloned().collect(),
            wildcards: wildcards.into_iter().cloned().collect(),
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.hosts.is_empty() && !self.has_written()
    }

    /// Whether some of them fit only what is written the same.
    pub(super) fn has_written(&self) -> bool {
        !(self.uris.is_empty() && self.wildcards.is_empty())
    }

    /// Whether a certificate has one of those that have to be written the same. Whether it is to be trusted is another
    /// question.
    pub(super) fn is_written_in(&self, leaf: &CertificateDer<'_>) -> bool {
        if !self.has_written() {
            return false;
        }
        let Ok((_, certificate)) = X509Certificate::from_der(leaf) else {
            return false;
        };
        let Ok(Some(held)) = certificate.subject_alternative_name() else {
            return false;
        };
        let is_wanted = |name: &GeneralName<'_>| match name {
            GeneralName::URI(uri) => self.uris.iter().any(|it| **it == **uri),
            // Names of hosts don't differ in case (RFC 4343).
            GeneralName::DNSName(name) => {
                self.wildcards.iter().any(|it| it.eq_ignore_ascii_case(name))
            }
            _ => false,
        };
        held.value.general_names.iter().any(is_wanted)
    }
}
