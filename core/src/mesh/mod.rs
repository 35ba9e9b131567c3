//! What the mesh looks like: workloads, services and policies as an immutable snapshot, and the one writer of it.
//!
//! ```text
//!  xds ──Update──▶ Store (the one writer) ──publish──▶ Arc<Snapshot> ◀──load── SnapshotReader (everybody else)
//!                    │                                   │
//!                    └──Rejection (by name)              └── balance, resolve, policy: pure functions over it
//! ```
//!
//! Invariants: a resource is taken entirely or rejected by name. The content of a snapshot depends on the last
//! update of each name, not on the order among names. A publication costs what changed, not what exists: snapshots share
//! all that they have in common. No lookup allocates.

mod balance;
mod describe;
mod edit;
mod endpoints;
mod extension;
mod feed;
mod few;
mod gateway;
mod intern;
mod memo;
mod network;
mod reader;
mod resolve;
mod service;
mod snapshot;
mod store;
#[cfg(test)]
pub(crate) mod testing;
mod workload;

/// A persistent map. Its keys are what the control plane says, so that nobody can choose them to collide, and they are looked
/// up several times for every connection and request: hashing is quick rather than hard to foresee.
type Map<K, V> =
    imbl::GenericHashMap<K, V, foldhash::fast::RandomState, imbl::shared_ptr::DefaultSharedPtr>;

#[cfg(test)]
mod balance_tests;
#[cfg(test)]
mod convergence_tests;
#[cfg(test)]
mod tests;

pub use balance::{BalanceError, Choice, Target, load_balance, target_address};
pub use describe::{answered_by, baggage, party, service_labels};
pub use endpoints::{Endpoint, Endpoints};
pub use gateway::{GatewayAddress, GatewayDestination};
pub use memo::Memo;
pub use reader::{DeadlinePassed, SnapshotReader};
pub use resolve::{
    ResolveError, Upstream, network_gateway_of, resolve_gateway, waypoint_of_service,
    waypoint_of_workload,
};
pub use service::{
    AppProtocol, HealthPolicy, IpFamilies, LoadBalancing, LoadBalancingMode, LoadBalancingScope,
    Port, Service, Vip, Visibility, WeightedWaypoint,
};
pub use snapshot::{Snapshot, StagedService, prefer_service};
pub use store::{Rejection, Store, StoreSettings, Update};
pub use workload::{
    AppTunnel, AppTunnelProtocol, Locality, NetworkMode, OwnLabels, TunnelProtocol, Workload,
    WorkloadServices, WorkloadStatus, WorkloadType, pod_uid,
};

/// Why a workload or service was rejected. The message goes back to the control plane.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No valid message at all.
    #[error("not a valid Address message: {0}")]
    Malformed(String),
    /// Neither workload nor service, or of a later kind.
    #[error("the address is neither a workload nor a service")]
    Kind,
    /// The content belongs under another name.
    #[error("the resource's name is not its content's, which is {0}")]
    Name(String),
    /// An IP address has neither 4 nor 16 bytes.
    #[error("an IP address has {0} bytes")]
    Address(usize),
    /// A prefix is longer than its address.
    #[error("a prefix length of {0} is longer than its address")]
    Prefix(u32),
    /// No port.
    #[error("{0} is no port")]
    Port(u32),
    /// The workload's trust domain, namespace or service account form no identity.
    #[error("no identity: {0}")]
    Identity(#[from] crate::identity::IdentityError),
}
