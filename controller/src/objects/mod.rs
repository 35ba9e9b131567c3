//! Kubernetes and Istio objects, trimmed to what the mesh reads of them.
//!
//! A full Pod costs ten times as much memory as what is kept here, and the controller holds ten thousand of them.
//! Every type is built by one strict reader ([`read`]): names, addresses, ports, blocks and selectors are typed
//! values afterwards, so nothing behind this module checks them again. Texts that repeat (namespaces, nodes,
//! label sets) are shared through a [`Pool`].

mod backend_tls_policy;
mod certificates;
mod core;
mod destination_rule;
mod duration;
mod fields;
mod gateway;
mod istio;
pub mod key_set;
pub mod limits;
mod locate;
mod mesh_config;
mod mesh_providers;
mod mesh_raw;
mod meta;
mod peer;
mod policy;
mod policy_rules;
mod pool;
mod read;
mod request_authentication;
mod route;
mod secret;
mod selector;
mod service;
mod slice;
mod target;
mod telemetry;
mod virtual_service;

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

pub use self::backend_tls_policy::{BackendTlsPolicy, CaRef, TlsTarget, TlsTrust, TlsValidation};
pub use self::certificates::{CA_KEY, CaBundle};
pub use self::core::{Namespace, Node, Phase, Pod, ServiceAccount};
pub use destination_rule::{DestinationRule, PolicyParts, RuleSubset, TrafficPolicy};
pub(crate) use duration::parse as parse_duration;
pub use fields::FieldError;
pub use gateway::{Admission, Gateway, GatewayClass, Listener};
pub use istio::{EntryPort, Host, Resolution, ServiceEntry, WorkloadEntry, WorkloadEntrySpec};
pub use mesh_config::{
    AskedService, CheckedBody, ExtensionChecker, ExtensionLimiter, HttpChecker, MESH_CONFIG,
    MeshConfig, Normalisation, OutboundMode,
};
pub use mesh_providers::{MeshTelemetry, OtlpProvider, Provider};
pub use meta::{Labels, Meta, Owner, Timestamp};
pub use peer::{MtlsMode, PeerAuthentication};
pub use policy::{
    Action, AuthorizationPolicy, Block, Both, Condition, L7When, Operation, PathPattern, Pattern,
    PolicyBody, Rule, ServiceAccountName, Source, WhenKey,
};
pub use pool::Pool;
pub use read::{Header, ReadError, header, items, read, read_item, sniff, unreadable};
pub use request_authentication::{ClaimPath, JwtRule, KeySource, RequestAuthentication};
pub(crate) use route::check_session_name;
pub use route::{
    BackendRef, CorsRule, GrantFrom, GrantTo, HeaderEdit, MirrorRule, NamedMatch, ParentKind,
    ParentRef, PathChange, RedirectRule, ReferenceGrant, RetryRule, RewriteRule, Route,
    RouteBackend, RouteFilter, RouteKind, RouteMatch, RoutePath, RouteRule, SessionRule, TextMatch,
};
pub use secret::{ClientPair, PrivateKey, Secret};
pub use selector::LabelSelector;
pub use service::{AppProtocol, Distribution, IpFamilies, Service, ServicePort, TargetPort};
pub use slice::{Endpoint, EndpointSlice, PodReference, SlicePort};
pub use target::{PolicyTarget, TargetKind};
pub use telemetry::{
    Ignored, LogChange, MetricChange, MetricValue, TagSource, Tags, Telemetry, TelemetryScope,
    TracingChange,
};
pub use virtual_service::{
    AbortAnswer, ClaimMatch, ConnectionMatch, LabelPair, RedirectPort, RetryCondition, Share,
    VirtualConnection, VirtualCors, VirtualDestination, VirtualFault, VirtualHeaders, VirtualHttp,
    VirtualMatch, VirtualOutcome, VirtualRedirect, VirtualRetry, VirtualRewrite, VirtualRoute,
    VirtualService,
};

/// What an object is. The order is that in which kinds are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Kind {
    /// `v1`
    Namespace,
    /// `v1`
    ServiceAccount,
    /// `v1`
    Node,
    /// `v1`
    Pod,
    /// `v1`
    Service,
    /// `discovery.k8s.io`
    EndpointSlice,
    /// `networking.istio.io`
    WorkloadEntry,
    /// `networking.istio.io`
    ServiceEntry,
    /// `gateway.networking.k8s.io`
    GatewayClass,
    /// `gateway.networking.k8s.io`
    Gateway,
    /// `gateway.networking.k8s.io`
    HTTPRoute,
    /// `gateway.networking.k8s.io`
    GRPCRoute,
    /// `gateway.networking.k8s.io`
    TLSRoute,
    /// `gateway.networking.k8s.io`
    TCPRoute,
    /// `gateway.networking.k8s.io`
    ReferenceGrant,
    /// `networking.istio.io`
    VirtualService,
    /// `networking.istio.io`
    DestinationRule,
    /// `gateway.networking.k8s.io`
    BackendTLSPolicy,
    /// `security.istio.io`
    AuthorizationPolicy,
    /// `security.istio.io`
    PeerAuthentication,
    /// `security.istio.io`
    RequestAuthentication,
    /// `v1`; only the mesh's own, and those with certificates.
    ConfigMap,
    /// `v1`; only those with certificates.
    Secret,
    /// `telemetry.istio.io`
    Telemetry,
}

impl Kind {
    /// The kind that `apiVersion` and `kind` name, or nothing where the mesh doesn't read it. The version is not
    /// looked at: those that exist of these kinds have the same fields.
    pub fn of(api_version: &str, kind: &str) -> Option<Self> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        Some(match (group, kind) {
            ("", "Namespace") => Self::Namespace,
            ("", "ServiceAccount") => Self::ServiceAccount,
            ("", "Node") => Self::Node,
            ("", "Pod") => Self::Pod,
            ("", "Service") => Self::Service,
            ("discovery.k8s.io", "EndpointSlice") => Self::EndpointSlice,
            ("networking.istio.io", "WorkloadEntry") => Self::WorkloadEntry,
            ("networking.istio.io", "ServiceEntry") => Self::ServiceEntry,
            ("gateway.networking.k8s.io", "GatewayClass") => Self::GatewayClass,
            ("gateway.networking.k8s.io", "Gateway") => Self::Gateway,
            ("gateway.networking.k8s.io", "HTTPRoute") => Self::HTTPRoute,
            ("gateway.networking.k8s.io", "GRPCRoute") => Self::GRPCRoute,
            ("gateway.networking.k8s.io", "TLSRoute") => Self::TLSRoute,
            ("gateway.networking.k8s.io", "TCPRoute") => Self::TCPRoute,
            ("gateway.networking.k8s.io", "ReferenceGrant") => Self::ReferenceGrant,
            ("networking.istio.io", "VirtualService") => Self::VirtualService,
            ("networking.istio.io", "DestinationRule") => Self::DestinationRule,
            ("gateway.networking.k8s.io", "BackendTLSPolicy") => Self::BackendTLSPolicy,
            ("security.istio.io", "AuthorizationPolicy") => Self::AuthorizationPolicy,
            ("security.istio.io", "PeerAuthentication") => Self::PeerAuthentication,
            ("security.istio.io", "RequestAuthentication") => Self::RequestAuthentication,
            ("", "ConfigMap") => Self::ConfigMap,
            ("", "Secret") => Self::Secret,
            ("telemetry.istio.io", "Telemetry") => Self::Telemetry,
            _ => return None,
        })
    }

    /// Whether some kinds of the group of `apiVersion` are read. A nameless object of such a group and of no kind that
    /// is known is a document that was cut short within the kind's name.
    pub fn is_group_read(api_version: &str) -> bool {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        matches!(
            group,
            "" | "discovery.k8s.io"
                | "gateway.networking.k8s.io"
                | "networking.istio.io"
                | "security.istio.io"
                | "telemetry.istio.io"
        )
    }

    /// Whether objects of this kind live in no namespace.
    pub fn is_cluster_scoped(self) -> bool {
        matches!(self, Self::Namespace | Self::Node | Self::GatewayClass)
    }

    /// Whether a field that isn't understood makes the whole object unreadable. Elsewhere such a field costs a
    /// feature; in a policy it may be the matcher that keeps it narrow.
    pub fn is_security(self) -> bool {
        matches!(
            self,
            Self::AuthorizationPolicy | Self::PeerAuthentication | Self::RequestAuthentication
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// An object's name in the mesh: one key, one object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct ObjectKey {
    /// What it is.
    pub kind: Kind,
    /// Its namespace; empty for kinds without.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl ObjectKey {
    /// A key from its parts.
    pub fn new(kind: Kind, namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { kind, namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

/// One object. Cloning shares it.
#[derive(Debug, Clone, PartialEq)]
pub enum Object {
    /// A namespace.
    Namespace(Arc<Namespace>),
    /// A service account.
    ServiceAccount(Arc<ServiceAccount>),
    /// A node.
    Node(Arc<Node>),
    /// A pod.
    Pod(Arc<Pod>),
    /// A service.
    Service(Arc<Service>),
    /// Endpoints of a service.
    EndpointSlice(Arc<EndpointSlice>),
    /// A workload outside of the cluster.
    WorkloadEntry(Arc<WorkloadEntry>),
    /// A service outside of the cluster.
    ServiceEntry(Arc<ServiceEntry>),
    /// A class of gateways.
    GatewayClass(Arc<GatewayClass>),
    /// A waypoint, or a gateway that isn't the mesh's affair.
    Gateway(Arc<Gateway>),
    /// A route of the Gateway API.
    Route(Arc<Route>),
    /// A permission to refer across namespaces.
    ReferenceGrant(Arc<ReferenceGrant>),
    /// Istio's routes.
    VirtualService(Arc<VirtualService>),
    /// Subsets of a service.
    DestinationRule(Arc<DestinationRule>),
    /// TLS to a service's endpoints.
    BackendTlsPolicy(Arc<BackendTlsPolicy>),
    /// An authorisation policy.
    AuthorizationPolicy(Arc<AuthorizationPolicy>),
    /// Whether plaintext is taken.
    PeerAuthentication(Arc<PeerAuthentication>),
    /// Which issuers' tokens are taken.
    RequestAuthentication(Arc<RequestAuthentication>),
    /// The mesh's configuration.
    MeshConfig(Arc<MeshConfig>),
    /// Certificates that others may trust.
    CaBundle(Arc<CaBundle>),
    /// What waypoints prove themselves with to endpoints.
    Secret(Arc<Secret>),
    /// What is told of requests.
    Telemetry(Arc<Telemetry>),
}

impl Object {
    /// What it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Namespace(_) => Kind::Namespace,
            Self::ServiceAccount(_) => Kind::ServiceAccount,
            Self::Node(_) => Kind::Node,
            Self::Pod(_) => Kind::Pod,
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::WorkloadEntry(_) => Kind::WorkloadEntry,
            Self::ServiceEntry(_) => Kind::ServiceEntry,
            Self::GatewayClass(_) => Kind::GatewayClass,
            Self::Gateway(_) => Kind::Gateway,
            Self::Route(route) => route.kind.kind(),
            Self::ReferenceGrant(_) => Kind::ReferenceGrant,
            Self::VirtualService(_) => Kind::VirtualService,
            Self::DestinationRule(_) => Kind::DestinationRule,
            Self::BackendTlsPolicy(_) => Kind::BackendTLSPolicy,
            Self::AuthorizationPolicy(_) => Kind::AuthorizationPolicy,
            Self::PeerAuthentication(_) => Kind::PeerAuthentication,
            Self::RequestAuthentication(_) => Kind::RequestAuthentication,
            Self::MeshConfig(_) | Self::CaBundle(_) => Kind::ConfigMap,
            Self::Secret(_) => Kind::Secret,
            Self::Telemetry(_) => Kind::Telemetry,
        }
    }

    /// Name, labels and so on.
    pub fn meta(&self) -> &Meta {
        match self {
            Self::Namespace(object) => &object.meta,
            Self::ServiceAccount(object) => &object.meta,
            Self::Node(object) => &object.meta,
            Self::Pod(object) => &object.meta,
            Self::Service(object) => &object.meta,
            Self::EndpointSlice(object) => &object.meta,
            Self::WorkloadEntry(object) => &object.meta,
            Self::ServiceEntry(object) => &object.meta,
            Self::GatewayClass(object) => &object.meta,
            Self::Gateway(object) => &object.meta,
            Self::Route(object) => &object.meta,
            Self::ReferenceGrant(object) => &object.meta,
            Self::VirtualService(object) => &object.meta,
            Self::DestinationRule(object) => &object.meta,
            Self::BackendTlsPolicy(object) => &object.meta,
            Self::AuthorizationPolicy(object) => &object.meta,
            Self::PeerAuthentication(object) => &object.meta,
            Self::RequestAuthentication(object) => &object.meta,
            Self::MeshConfig(object) => &object.meta,
            Self::CaBundle(object) => &object.meta,
            Self::Secret(object) => &object.meta,
            Self::Telemetry(object) => &object.meta,
        }
    }

    /// Its name in the mesh.
    pub fn key(&self) -> ObjectKey {
        let meta = self.meta();
        ObjectKey::new(self.kind(), meta.namespace.clone(), meta.name.clone())
    }
}

/// One step of a source: an object as it is now, or its end.
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectChange {
    /// Which object.
    pub key: ObjectKey,
    /// As it is now; nothing if it is gone.
    pub object: Option<Object>,
}
