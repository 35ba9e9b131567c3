//! What the mesh is, apart from its objects.

use std::sync::Arc;

use weft_core::identity::TrustDomain;
use weft_proto::contract;

/// What holds where no PeerAuthentication says anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DefaultMtls {
    /// Plaintext is taken too: joining the mesh cuts nobody off.
    #[default]
    Permissive,
    /// mTLS only.
    Strict,
}

/// Whether calls may go round a waypoint, where neither the service nor its namespace says anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WaypointEnforcement {
    /// Not as soon as a security policy applies there.
    #[default]
    Automatic,
    /// Never.
    Enforced,
    /// Always: as in Istio.
    Permissive,
}

/// Who sees service entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EntryVisibility {
    /// Everybody.
    #[default]
    Public,
    /// Their own namespace.
    Namespace,
    /// Nobody: they aren't published.
    None,
}

/// What the mesh is, apart from its objects.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// In names of workloads.
    pub cluster_id: Arc<str>,
    /// Of the identities that the mesh issues.
    pub trust_domain: TrustDomain,
    /// Behind `<service>.<namespace>.svc.`
    pub dns_domain: Arc<str>,
    /// Where mesh-wide policy lives.
    pub root_namespace: Arc<str>,
    /// What holds where no PeerAuthentication says anything.
    pub default_mtls: DefaultMtls,
    /// Namespaces whose pods never join.
    pub excluded_namespaces: Box<[Arc<str>]>,
    /// No Kubernetes runs the pods: one without conditions is ready, one that is to join counts as joined (in
    /// Kubernetes the node agent annotates it), and services without an address are given one.
    pub is_standalone: bool,
    /// Whether calls may go round a waypoint.
    pub waypoint_enforcement: WaypointEnforcement,
    /// Who sees service entries.
    pub entry_visibility: EntryVisibility,
    /// Send dry-run policies. Only where every proxy knows the field: an old one would enforce them.
    pub sends_dry_run: bool,
    /// Give services an IPv6 address besides the IPv4 one. Off, because clients would try it first.
    pub allocates_v6: bool,
}

impl Settings {
    /// The usual settings of a mesh without Kubernetes.
    pub fn standalone() -> Self {
        Self {
            cluster_id: contract::DEFAULT_CLUSTER_ID.into(),
            trust_domain: TrustDomain::default(),
            dns_domain: "cluster.local".into(),
            root_namespace: contract::SYSTEM_NAMESPACE.into(),
            default_mtls: DefaultMtls::default(),
            excluded_namespaces: Box::new(["kube-system".into()]),
            is_standalone: true,
            waypoint_enforcement: WaypointEnforcement::default(),
            entry_visibility: EntryVisibility::default(),
            sends_dry_run: false,
            allocates_v6: false,
        }
    }

    /// The usual settings in Kubernetes.
    pub fn kubernetes() -> Self {
        Self { is_standalone: false, ..Self::standalone() }
    }
}
