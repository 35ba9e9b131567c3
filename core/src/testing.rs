//! Certificates for tests: a CA that signs anything, proper or not, and an [`Authority`] that fails on demand.
//!
//! Behind the feature `testing`; production builds do not contain it. It panics where a test would.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateSigningRequestParams,
    CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::sync::Notify;

use crate::certs::{Authority, CertError, SignedChain};
use crate::clock;
use crate::identity::SpiffeId;
use crate::tls::WorkloadCertificate;

/// `spiffe://cluster.local/ns/<namespace>/sa/<account>`.
pub fn identity(namespace: &str, account: &str) -> SpiffeId {
    SpiffeId::new(Default::default(), namespace, account).expect("valid names")
}

/// What a leaf says. [`Leaf::of`] is a proper one; tests spoil it.
#[derive(Clone)]
pub struct Leaf {
    /// URI names.
    pub uris: Vec<String>,
    /// DNS names.
    pub dns_names: Vec<String>,
    /// IP addresses.
    pub addresses: Vec<IpAddr>,
    /// Valid from.
    pub not_before: SystemTime,
    /// Valid until.
    pub not_after: SystemTime,
    /// Whether it is a CA's.
    pub is_ca: bool,
    /// Key usages; none leaves the extension out.
    pub key_usages: Vec<KeyUsagePurpose>,
    /// Extended key usages; none leaves the extension out.
    pub usages: Vec<ExtendedKeyUsagePurpose>,
    /// Anything else.
    pub extensions: Vec<CustomExtension>,
}

impl Leaf {
    /// A workload's certificate as a mesh CA issues it: an hour from now, dated back two minutes.
    pub fn of(identity: &SpiffeId) -> Self {
        Self { uris: vec![identity.to_string()], ..Self::nameless() }
    }

    /// A controller's certificate for `localhost`, 127.0.0.1 and `names`.
    pub fn of_controller(names: &[&str]) -> Self {
        let names = names.iter().copied().chain(["localhost"]).map(str::to_owned).collect();
        let addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
        Self { dns_names: names, addresses, ..Self::nameless() }
    }

    /// Valid between these.
    #[must_use]
    pub fn valid(mut self, not_before: SystemTime, not_after: SystemTime) -> Self {
        (self.not_before, self.not_after) = (not_before, not_after);
        self
    }

    fn nameless() -> Self {
        Self {
            uris: Vec::new(),
            dns_names: Vec::new(),
            addresses: Vec::new(),
            not_before: clock::now() - Duration::from_secs(120),
            not_after: clock::now() + Duration::from_secs(3600),
            is_ca: false,
            key_usages: vec![KeyUsagePurpose::DigitalSignature],
            usages: vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
            extensions: Vec::new(),
        }
    }

    /// For rcgen.
    pub fn params(&self) -> CertificateParams {
        let text = |text: &String| Ia5String::try_from(text.as_str()).expect("ASCII");
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.not_before = self.not_before.into();
        params.not_after = self.not_after.into();
        params.subject_alt_names = (self.uris.iter().map(text).map(SanType::URI))
            .chain(self.dns_names.iter().map(text).map(SanType::DnsName))
            .chain(self.addresses.iter().copied().map(SanType::IpAddress))
            .collect();
        params.key_usages.clone_from(&self.key_usages);
        if self.is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages.push(KeyUsagePurpose::KeyCertSign);
        }
        params.extended_key_usages.clone_from(&self.usages);
        params.custom_extensions.clone_from(&self.extensions);
        params
    }
}

/// A certificate with its key.
pub struct Issued {
    /// The leaf, then intermediates.
    pub chain: Vec<CertificateDer<'static>>,
    /// PKCS#8.
    pub key: PrivateKeyDer<'static>,
}

/// A CA, root or intermediate.
pub struct TestCa {
    issuer: Issuer<'static, KeyPair>,
    certificate: Certificate,
    /// From this CA, if it is no root, up to below the root.
    intermediates: Vec<CertificateDer<'static>>,
    root: CertificateDer<'static>,
}

impl TestCa {
    /// A root.
    pub fn root(name: &str) -> Self {
        let (params, key) = Self::params(name);
        let certificate = params.self_signed(&key).expect("self-signed");
        let root = certificate.der().clone();
        Self { issuer: Issuer::new(params, key), certificate, intermediates: Vec::new(), root }
    }

    /// A CA below this one.
    pub fn intermediate(&self, name: &str) -> Self {
        let (params, key) = Self::params(name);
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let mut intermediates = vec![certificate.der().clone()];
        intermediates.extend(self.intermediates.iter().cloned());
        let issuer = Issuer::new(params, key);
        Self { issuer, certificate, intermediates, root: self.root.clone() }
    }

    /// The root of its chain.
    pub fn root_der(&self) -> CertificateDer<'static> {
        self.root.clone()
    }

    /// Its own certificate as PEM.
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// Signs a new key.
    pub fn issue(&self, leaf: &Leaf) -> Issued {
        let key = KeyPair::generate().expect("key");
        let certificate = leaf.params().signed_by(&key, &self.issuer).expect("signed");
        self.with_chain(&certificate, &key)
    }

    /// Signs what a request asks for, but with `leaf`'s validity and usages.
    pub fn sign_request(&self, csr_pem: &str, leaf: &Leaf) -> Vec<CertificateDer<'static>> {
        let mut request = CertificateSigningRequestParams::from_pem(csr_pem).expect("request");
        let mut params = leaf.params();
        params.subject_alt_names = std::mem::take(&mut request.params.subject_alt_names);
        request.params = params;
        let certificate = request.signed_by(&self.issuer).expect("signed");
        let mut chain = vec![certificate.der().clone()];
        chain.extend(self.intermediates.iter().cloned());
        chain
    }

    /// A forgery: this CA signs `signer`, a workload, which in turn signs `leaf`.
    pub fn sign_as_workload(&self, signer: &Leaf, leaf: &Leaf) -> Issued {
        let (signer_key, key) =
            (KeyPair::generate().expect("key"), KeyPair::generate().expect("key"));
        let mut params = signer.params();
        params.distinguished_name.push(DnType::CommonName, "workload");
        let certificate = params.signed_by(&signer_key, &self.issuer).expect("signed");
        let forged =
            leaf.params().signed_by(&key, &Issuer::new(params, signer_key)).expect("signed");
        let mut issued = self.with_chain(&forged, &key);
        issued.chain.insert(1, certificate.der().clone());
        issued
    }

    /// A workload's certificate as the mesh's own CA would issue it.
    pub fn workload(&self, identity: &SpiffeId) -> Arc<WorkloadCertificate> {
        self.workload_with(identity, &Leaf::of(identity))
    }

    /// A workload's certificate of that shape, which must still name `identity`.
    pub fn workload_with(&self, identity: &SpiffeId, leaf: &Leaf) -> Arc<WorkloadCertificate> {
        let issued = self.issue(leaf);
        let roots = vec![self.root_der()];
        let certificate =
            WorkloadCertificate::new(identity.clone(), issued.key, issued.chain, roots);
        Arc::new(certificate.expect("usable certificate"))
    }

    fn params(name: &str) -> (CertificateParams, KeyPair) {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params, KeyPair::generate().expect("key"))
    }

    fn with_chain(&self, certificate: &Certificate, key: &KeyPair) -> Issued {
        let mut chain = vec![certificate.der().clone()];
        chain.extend(self.intermediates.iter().cloned());
        Issued { chain, key: PrivatePkcs8KeyDer::from(key.serialize_der()).into() }
    }
}

/// What a [`TestAuthority`] does with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behaviour {
    /// Signs.
    Sign,
    /// Refuses with this text.
    Refuse(String),
    /// Never answers, until the behaviour changes.
    Hang,
}

/// An [`Authority`] in this process.
pub struct TestAuthority {
    ca: Arc<TestCa>,
    behaviour: Mutex<Behaviour>,
    changed: Notify,
    wall: Box<dyn Fn() -> SystemTime + Send + Sync>,
    backdate: Duration,
    asked: Mutex<Vec<SpiffeId>>,
    in_flight: AtomicUsize,
    in_flight_max: AtomicUsize,
}

impl TestAuthority {
    /// Signs by `ca`, with lifetimes counted from `wall`'s time and dated back two minutes.
    pub fn new(
        ca: impl Into<Arc<TestCa>>,
        wall: impl Fn() -> SystemTime + Send + Sync + 'static,
    ) -> Self {
        Self {
            ca: ca.into(),
            behaviour: Mutex::new(Behaviour::Sign),
            changed: Notify::new(),
            wall: Box::new(wall),
            backdate: Duration::from_secs(120),
            asked: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            in_flight_max: AtomicUsize::new(0),
        }
    }

    /// From now on, and for requests that hang.
    pub fn set(&self, behaviour: Behaviour) {
        *self.behaviour.lock() = behaviour;
        self.changed.notify_waiters();
    }

    /// Every identity that was asked for, in order.
    pub fn asked(&self) -> Vec<SpiffeId> {
        self.asked.lock().clone()
    }

    /// Most requests that were in flight at a time.
    pub fn in_flight_max(&self) -> usize {
        self.in_flight_max.load(Ordering::Relaxed)
    }

    async fn answer(
        &self,
        identity: SpiffeId,
        csr_pem: String,
        ttl: Duration,
    ) -> Result<SignedChain, CertError> {
        self.asked.lock().push(identity.clone());
        let in_flight = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        self.in_flight_max.fetch_max(in_flight, Ordering::Relaxed);
        let _leave = InFlight(&self.in_flight);
        loop {
            let changed = self.changed.notified();
            let behaviour = self.behaviour.lock().clone();
            match behaviour {
                Behaviour::Hang => changed.await,
                Behaviour::Refuse(reason) => return Err(CertError::Refused(reason)),
                Behaviour::Sign => {
                    let now = (self.wall)();
                    let leaf = Leaf::of(&identity).valid(now - self.backdate, now + ttl);
                    let chain = self.ca.sign_request(&csr_pem, &leaf);
                    return Ok(SignedChain { chain, roots: vec![self.ca.root_der()] });
                }
            }
        }
    }
}

struct InFlight<'a>(&'a AtomicUsize);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Authority for TestAuthority {
    fn sign(
        &self,
        identity: &SpiffeId,
        csr_pem: String,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<SignedChain, CertError>> {
        self.answer(identity.clone(), csr_pem, ttl).boxed()
    }
}
