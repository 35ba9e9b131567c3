//! `/weft/status`: all that an operator asks first.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use weft_core::clock;

use super::Admin;
use crate::metrics::resident_bytes;
use crate::objects::Kind;
use crate::translate::{Explanation, ObjectStatus, WaypointStatus};
use crate::xds::ClientStatus;

/// What the model tells about its objects.
pub trait ModelStatus: Send + Sync + 'static {
    /// Documents that are left out.
    fn rejected(&self) -> Vec<RejectedDocument>;
    /// Objects in force, by kind.
    fn counts(&self) -> BTreeMap<String, usize>;
    /// What became of each object that there is something to say about.
    fn statuses(&self) -> Vec<ObjectStatus>;
    /// Every waypoint.
    fn waypoints(&self) -> Vec<WaypointStatus>;
    /// Why a service, a service entry or a pod has the waypoint that it has; nothing if there is no such object.
    fn explain(&self, kind: Kind, namespace: &str, name: &str) -> Option<Explanation>;
}

/// No model at all.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoModel;

impl ModelStatus for NoModel {
    fn rejected(&self) -> Vec<RejectedDocument> {
        Vec::new()
    }

    fn counts(&self) -> BTreeMap<String, usize> {
        BTreeMap::new()
    }

    fn statuses(&self) -> Vec<ObjectStatus> {
        Vec::new()
    }

    fn waypoints(&self) -> Vec<WaypointStatus> {
        Vec::new()
    }

    fn explain(&self, _: Kind, _: &str, _: &str) -> Option<Explanation> {
        None
    }
}

/// A document that is left out, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedDocument {
    /// The file, relative to the folder.
    pub file: String,
    /// The line at fault within the file, from 1; 0 where none is known.
    pub line: usize,
    /// `<kind> <namespace>/<name>`, as far as it could be read.
    pub object: String,
    /// Path of the field at fault, or empty.
    pub field: String,
    /// What is wrong.
    pub reason: String,
    /// Whether an earlier version stays in force.
    pub has_last_good: bool,
}

/// Resources of one type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeCount {
    /// The type URL.
    pub type_url: String,
    /// Resources present.
    pub resources: usize,
    /// Clients that subscribed to it.
    pub clients: usize,
    /// Of those, the ones that have acknowledged everything.
    pub in_sync: usize,
}

/// The whole answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControllerStatus {
    /// The controller's version.
    pub version: String,
    /// Whether all objects were read once.
    pub ready: bool,
    /// The trust domain.
    pub trust_domain: String,
    /// The cluster.
    pub cluster_id: String,
    /// When the first root expires, Unix seconds.
    pub root_expires_at: u64,
    /// Now by the controller's clock, Unix seconds: compare with your own.
    pub now: u64,
    /// Resident memory of the controller, bytes.
    pub resident_bytes: Option<u64>,
    /// Objects in force, by kind.
    pub objects: BTreeMap<String, usize>,
    /// Resources, by type.
    pub types: Vec<TypeCount>,
    /// Connected clients.
    pub clients: Vec<ClientStatus>,
    /// Documents that are left out.
    pub rejected: Vec<RejectedDocument>,
}

/// Gathers the status as of now.
pub(super) fn gather(admin: &Admin) -> ControllerStatus {
    let clients = admin.clients.list();
    let types = admin
        .log
        .counts()
        .into_iter()
        .map(|(type_url, resources)| type_count(type_url, resources, &clients))
        .collect();
    ControllerStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ready: *admin.is_synced.borrow(),
        trust_domain: admin.names.trust_domain.to_string(),
        cluster_id: admin.names.cluster_id.clone(),
        root_expires_at: unix_seconds(admin.authority.roots_not_after()),
        now: clock::unix_seconds(),
        resident_bytes: resident_bytes(),
        objects: admin.model.counts(),
        types,
        clients,
        rejected: admin.model.rejected(),
    }
}

fn type_count(type_url: &str, resources: usize, clients: &[ClientStatus]) -> TypeCount {
    let subscribed = clients.iter().filter_map(|client| client.types.get(type_url));
    TypeCount {
        type_url: type_url.to_owned(),
        resources,
        clients: subscribed.clone().count(),
        in_sync: subscribed.filter(|status| status.is_in_sync()).count(),
    }
}

/// Unix seconds of a time.
pub(crate) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
