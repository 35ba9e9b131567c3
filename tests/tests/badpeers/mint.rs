//! Certificates as an attacker may have them: of the mesh's own authority, and of others.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use weft_harness::Mesh;

use crate::support::peer::Credential;

/// An authority.
pub(crate) struct Authority(Issuer<'static, KeyPair>);

/// What a certificate says.
#[derive(Debug, Clone)]
pub(crate) struct Claims {
    /// Its URI names.
    pub(crate) uris: Vec<String>,
    /// Valid from so long ago.
    pub(crate) since: Duration,
    /// Valid for so long in all.
    pub(crate) life: Duration,
}

impl Claims {
    /// One identity, valid now.
    pub(crate) fn of(identity: &str) -> Self {
        Self {
            uris: vec![identity.to_owned()],
            since: Duration::from_secs(60),
            life: Duration::from_secs(3600),
        }
    }

    fn params(&self) -> Result<CertificateParams> {
        // The tests' own wall time; the mesh's programs have theirs from a clock that tests can move.
        #[expect(clippy::disallowed_methods, reason = "the certificates are for other processes")]
        let begin = SystemTime::now() - self.since;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.not_before = begin.into();
        params.not_after = (begin + self.life).into();
        for uri in &self.uris {
            params.subject_alt_names.push(SanType::URI(uri.as_str().try_into()?));
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        Ok(params)
    }
}

impl Authority {
    /// The mesh's own, by the key in the controller's state folder.
    pub(crate) fn of_mesh(mesh: &Mesh) -> Result<Self> {
        let read = |name: &str| {
            let path = mesh.folder().join("controller").join(name);
            std::fs::read_to_string(&path).with_context(|| path.display().to_string())
        };
        let key = KeyPair::from_pem(&read("ca-key.pem")?)?;
        Ok(Self(Issuer::from_ca_cert_pem(&read("ca-cert.pem")?, key)?))
    }

    /// Another one, of the same name.
    pub(crate) fn foreign() -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "cluster.local");
        params.distinguished_name.push(DnType::CommonName, "Weft root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Ok(Self(Issuer::new(params, key)))
    }

    /// A certificate of this authority.
    pub(crate) fn issue(&self, claims: &Claims) -> Result<Credential> {
        let key = KeyPair::generate()?;
        let certificate = claims.params()?.signed_by(&key, &self.0)?;
        Ok(credential(certificate.der().clone(), &key))
    }
}

/// A certificate that signed itself.
pub(crate) fn self_signed(claims: &Claims) -> Result<Credential> {
    let key = KeyPair::generate()?;
    let certificate = claims.params()?.self_signed(&key)?;
    Ok(credential(certificate.der().clone(), &key))
}

fn credential(leaf: CertificateDer<'static>, key: &KeyPair) -> Credential {
    Credential {
        chain: vec![leaf],
        key: PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
    }
}
