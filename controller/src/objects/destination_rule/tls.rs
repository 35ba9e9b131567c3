//! `tls`: what endpoints are spoken to with, inside of the mesh's own.

use serde::Deserialize;
use weft_proto::route as proto;

use crate::objects::fields::{self, FieldError};
use crate::objects::route::{check_count, check_length};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawTls {
    mode: Option<Mode>,
    #[serde(default, deserialize_with = "fields::or_default")]
    client_certificate: String,
    #[serde(default, deserialize_with = "fields::or_default")]
    private_key: String,
    #[serde(default, deserialize_with = "fields::or_default")]
    ca_certificates: String,
    #[serde(default, deserialize_with = "fields::or_default")]
    credential_name: String,
    #[serde(default, deserialize_with = "fields::or_default")]
    subject_alt_names: Vec<String>,
    #[serde(default, deserialize_with = "fields::or_default")]
    sni: String,
    insecure_skip_verify: Option<bool>,
    #[serde(default, deserialize_with = "fields::or_default")]
    ca_crl: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Mode {
    Disable,
    Simple,
    Mutual,
    IstioMutual,
}

impl RawTls {
    pub(super) fn build(&self, field: &str) -> Result<proto::UpstreamTls, FieldError> {
        let at = |name: &str| format!("{field}.{name}");
        let mode = self.mode.unwrap_or(Mode::Disable);
        let files = [
            ("clientCertificate", &self.client_certificate),
            ("privateKey", &self.private_key),
            ("caCertificates", &self.ca_certificates),
        ];
        let texts = files.into_iter().chain([
            ("credentialName", &self.credential_name),
            ("sni", &self.sni),
            ("caCrl", &self.ca_crl),
        ]);
        for (name, text) in texts.clone() {
            check_length(text, &at(name))?;
        }
        let given = texts.clone().find(|(_, text)| !text.is_empty()).map(|(name, _)| name);
        if mode == Mode::IstioMutual
            && let Some(name) = given
        {
            return Err(FieldError::new(at(name), "has no meaning with ISTIO_MUTUAL"));
        }
        let with_file = files.into_iter().find(|(_, text)| !text.is_empty());
        if let Some((name, _)) = with_file.filter(|_| !self.credential_name.is_empty()) {
            return Err(FieldError::new(at(name), "is given, and credentialName too"));
        }
        let has_pair = [&self.client_certificate, &self.private_key].map(|it| !it.is_empty());
        let is_complete = !self.credential_name.is_empty() || has_pair == [true, true];
        if (mode == Mode::Mutual && !is_complete) || has_pair == [true, false] {
            let reason = "MUTUAL needs credentialName, or clientCertificate and privateKey";
            return Err(FieldError::new(at("clientCertificate"), reason));
        }
        if !self.sni.is_empty() && !fields::is_dns_subdomain(&self.sni.to_ascii_lowercase()) {
            return Err(FieldError::new(at("sni"), format!("{:?} is no host's name", self.sni)));
        }
        check_count(self.subject_alt_names.len(), 64, &at("subjectAltNames"))?;
        for (place, name) in self.subject_alt_names.iter().enumerate() {
            check_length(name, &format!("{field}.subjectAltNames[{place}]"))?;
        }
        let mut built = proto::UpstreamTls::default();
        built.set_mode(match mode {
            Mode::Disable => proto::TlsMode::Disabled,
            Mode::Simple => proto::TlsMode::Simple,
            Mode::Mutual => proto::TlsMode::Mutual,
            Mode::IstioMutual => proto::TlsMode::Mesh,
        });
        if mode == Mode::Disable {
            return Ok(built);
        }
        Ok(proto::UpstreamTls {
            server_name: self.sni.clone(),
            subject_alt_names: self.subject_alt_names.clone(),
            ca_file: self.ca_certificates.clone(),
            client_certificate_file: self.client_certificate.clone(),
            private_key_file: self.private_key.clone(),
            credential: self.credential_name.clone(),
            revocation_file: self.ca_crl.clone(),
            is_unverified: self.insecure_skip_verify.unwrap_or(false),
            ..built
        })
    }
}
