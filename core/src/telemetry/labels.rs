//! The labels of traffic metrics, in the order and with the words that Istio's dashboards expect.

use std::fmt::{self, Write as _};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use xxhash_rust::xxh3::Xxh3Default;

/// What a label says when nothing is known.
pub(super) const UNKNOWN: &str = "unknown";

/// One end of a connection, as the mesh's configuration describes it. An empty text is shown as `unknown`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Party {
    /// The workload's owner (a Deployment, say).
    pub workload: Arc<str>,
    /// Canonical service.
    pub canonical_service: Arc<str>,
    /// Canonical revision.
    pub canonical_revision: Arc<str>,
    /// Kubernetes namespace.
    pub namespace: Arc<str>,
    /// SPIFFE ID with its scheme; empty if the party wasn't authenticated.
    pub principal: Arc<str>,
    /// The `app` label's value, which is the canonical service where there is none.
    pub app: Arc<str>,
    /// The `version` label's value, which is the canonical revision where there is none.
    pub version: Arc<str>,
    /// Cluster.
    pub cluster: Arc<str>,
    /// Region of its node; the label is left out if empty.
    pub region: Arc<str>,
    /// Zone of its node; the label is left out if empty.
    pub zone: Arc<str>,
}

impl Party {
    /// Makes it cheap to clone, hash and compare. Do this once a workload, not once a connection.
    pub fn share(self) -> SharedParty {
        let mut hasher = Xxh3Default::new();
        self.hash(&mut hasher);
        SharedParty(Arc::new((hasher.finish(), self)))
    }
}

/// A [`Party`] with its hash, behind one pointer.
#[derive(Debug, Clone)]
pub struct SharedParty(Arc<(u64, Party)>);

impl SharedParty {
    /// The labels.
    pub fn party(&self) -> &Party {
        &self.0.1
    }
}

impl Default for SharedParty {
    fn default() -> Self {
        Party::default().share()
    }
}

impl PartialEq for SharedParty {
    fn eq(&self, other: &Self) -> bool {
        // Connections of one workload share the pointer; the rest is for a workload that was pushed again unchanged.
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for SharedParty {}

impl Hash for SharedParty {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.0);
    }
}

/// The service that a client addressed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ServiceLabels {
    /// Full host name.
    pub host: Arc<str>,
    /// Kubernetes namespace.
    pub namespace: Arc<str>,
    /// Short name.
    pub name: Arc<str>,
}

/// Which side of a connection reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reporter {
    /// The client's proxy.
    Source,
    /// The server's proxy.
    Destination,
    /// The L7 proxy between the two.
    Waypoint,
}

impl Reporter {
    /// As the label says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Waypoint => "waypoint",
        }
    }
}

/// How the bytes were protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Security {
    /// Mutual TLS between two proxies.
    MutualTls,
    /// Both ends on this node: identity and policy as with mutual TLS, but the bytes never left its kernel.
    Local,
    /// Not at all, as far as the mesh knows.
    None,
}

impl Security {
    /// As the label says it. `local` is Weft's own; the others are Istio's.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MutualTls => "mutual_tls",
            Self::Local => "local",
            Self::None => UNKNOWN,
        }
    }
}

/// Why a connection ended, in the words of Envoy's response flags as ztunnel uses them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ResponseFlag {
    /// Nothing went wrong.
    #[default]
    None,
    /// A policy refused it.
    Deny,
    /// The destination couldn't be reached.
    Connect,
    /// The TLS handshake failed.
    TlsFailure,
    /// The HTTP/2 handshake failed.
    H2HandshakeFailure,
    /// No answer on the HBONE port: often a NetworkPolicy.
    NetworkPolicy,
    /// No certificate for the workload.
    IdentityError,
    /// The peer's certificate is revoked.
    CertRevoked,
    /// One of Envoy's own flags, of a waypoint.
    Envoy(&'static str),
}

impl ResponseFlag {
    /// As the label says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "-",
            Self::Deny => "DENY",
            Self::Connect => "CONNECT",
            Self::TlsFailure => "TLS_FAILURE",
            Self::H2HandshakeFailure => "H2_HANDSHAKE_FAILURE",
            Self::NetworkPolicy => "NETWORK_POLICY",
            Self::IdentityError => "IDENTITY_ERROR",
            Self::CertRevoked => "CERT_REVOKED",
            Self::Envoy(flag) => flag,
        }
    }
}

/// The whole label set of a connection. Hashing and comparing it costs a few words, not twenty-five texts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TrafficLabels {
    /// Which side reports.
    pub reporter: Reporter,
    /// The client.
    pub source: SharedParty,
    /// The server.
    pub destination: SharedParty,
    /// The service addressed, if any.
    pub service: Option<Arc<ServiceLabels>>,
    /// How the bytes were protected.
    pub security: Security,
    /// Why it ended.
    pub flag: ResponseFlag,
}

impl TrafficLabels {
    /// Labels of a connection on which nothing went wrong yet.
    pub fn new(reporter: Reporter, source: SharedParty, destination: SharedParty) -> Self {
        let (security, flag) = (Security::None, ResponseFlag::None);
        Self { reporter, source, destination, service: None, security, flag }
    }

    /// With the service that the client addressed.
    #[must_use]
    pub fn service(mut self, service: Option<Arc<ServiceLabels>>) -> Self {
        self.service = service;
        self
    }

    /// With how the bytes are protected.
    #[must_use]
    pub fn security(mut self, security: Security) -> Self {
        self.security = security;
        self
    }

    /// With the reason of its end.
    #[must_use]
    pub fn flag(mut self, flag: ResponseFlag) -> Self {
        self.flag = flag;
        self
    }

    /// What is left of the labels when there are too many series: everything that has few values.
    pub(super) fn overflow(&self) -> Self {
        Self::new(self.reporter, SharedParty::default(), SharedParty::default())
            .security(self.security)
            .flag(self.flag)
    }
}

/// Between whom something happened: the labels that metrics of connections and of requests share.
#[derive(Debug, Clone, Copy)]
pub struct Edge<'a> {
    /// Which side reports.
    pub reporter: Reporter,
    /// The client.
    pub source: &'a Party,
    /// The server.
    pub destination: &'a Party,
    /// The service addressed, if any.
    pub service: Option<&'a ServiceLabels>,
}

impl Edge<'_> {
    /// Hands each label to `write`, in Istio's order: those before the protocol.
    pub fn parties<E>(
        &self,
        write: &mut dyn FnMut(&'static str, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        let Self { source, destination, .. } = self;
        let no_service = ServiceLabels::default();
        let service = self.service.unwrap_or(&no_service);
        for (key, value) in [
            ("reporter", self.reporter.as_str()),
            ("source_workload", &source.workload),
            ("source_canonical_service", &source.canonical_service),
            ("source_canonical_revision", &source.canonical_revision),
            ("source_workload_namespace", &source.namespace),
            ("source_principal", &source.principal),
            ("source_app", &source.app),
            ("source_version", &source.version),
            ("source_cluster", &source.cluster),
            ("destination_service", &service.host),
            ("destination_service_namespace", &service.namespace),
            ("destination_service_name", &service.name),
            ("destination_workload", &destination.workload),
            ("destination_canonical_service", &destination.canonical_service),
            ("destination_canonical_revision", &destination.canonical_revision),
            ("destination_workload_namespace", &destination.namespace),
            ("destination_principal", &destination.principal),
            ("destination_app", &destination.app),
            ("destination_version", &destination.version),
            ("destination_cluster", &destination.cluster),
        ] {
            write(key, value)?;
        }
        Ok(())
    }

    /// Hands each label of place to `write`; what isn't known is left out.
    pub fn places<E>(
        &self,
        write: &mut dyn FnMut(&'static str, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        for (key, value) in [
            ("source_region", &self.source.region),
            ("source_zone", &self.source.zone),
            ("destination_region", &self.destination.region),
            ("destination_zone", &self.destination.zone),
        ] {
            if !value.is_empty() {
                write(key, value)?;
            }
        }
        Ok(())
    }
}

impl EncodeLabelSet for TrafficLabels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let edge = Edge {
            reporter: self.reporter,
            source: self.source.party(),
            destination: self.destination.party(),
            service: self.service.as_deref(),
        };
        let mut write = |key: &'static str, value: &str| label(encoder, key, value);
        edge.parties(&mut write)?;
        write("request_protocol", "tcp")?;
        write("response_flags", self.flag.as_str())?;
        write("connection_security_policy", self.security.as_str())?;
        edge.places(&mut write)
    }
}

/// Writes one label; an empty value as `unknown`.
pub fn label(encoder: &mut LabelSetEncoder<'_>, key: &str, value: &str) -> fmt::Result {
    let mut label = encoder.encode_label();
    let mut key_encoder = label.encode_label_key()?;
    key_encoder.write_str(key)?;
    let mut value_encoder = key_encoder.encode_label_value()?;
    value_encoder.write_str(if value.is_empty() { UNKNOWN } else { value })?;
    value_encoder.finish()
}
