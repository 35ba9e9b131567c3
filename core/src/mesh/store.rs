//! The one writer of snapshots.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use tokio::sync::watch;
use weft_proto::{contract, workload as proto};

use super::intern::Interner;
use super::reader::{SnapshotReader, Versions};
use super::{DecodeError, Service, Snapshot, Workload};
use crate::policy::{self, PolicyEntry, PolicyName};

/// What a store has to be told about its place in the mesh.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// Where mesh-wide policies live.
    pub root_namespace: String,
    /// The node whose workloads [`Snapshot::local_workloads`] lists.
    pub local_node: Option<String>,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self { root_namespace: contract::SYSTEM_NAMESPACE.to_owned(), local_node: None }
    }
}

/// One change, as the control plane sent it. Without a resource, what has the name is removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// A workload or service (`istio.workload.Address`).
    Address {
        /// The workload's uid, or the service's `<namespace>/<hostname>`.
        name: Arc<str>,
        /// The encoded message.
        resource: Option<Bytes>,
    },
    /// A policy (`istio.security.Authorization`).
    Authorization {
        /// `<namespace>/<name>`.
        name: Arc<str>,
        /// The encoded message.
        resource: Option<Bytes>,
    },
}

/// A resource that was not taken as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Its name.
    pub name: Arc<str>,
    /// Why.
    pub reason: String,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.reason)
    }
}

/// The one writer. Readers are made from it and outlive it.
#[derive(Debug)]
pub struct Store {
    next: Snapshot,
    interner: Interner,
    versions: watch::Sender<u64>,
    reader: SnapshotReader,
}

impl Store {
    /// A store that knows nothing yet.
    pub fn new(settings: &StoreSettings) -> Self {
        let next = Snapshot::empty(&settings.root_namespace, settings.local_node.as_deref());
        let (versions, changes): (_, Versions) = watch::channel(next.version);
        let reader = SnapshotReader::new(next.clone(), changes);
        Self { next, interner: Interner::default(), versions, reader }
    }

    /// A reader of everything that this store will publish.
    pub fn reader(&self) -> SnapshotReader {
        self.reader.clone()
    }

    /// Applies changes in order and publishes one snapshot with all of them, unless nothing changed.
    ///
    /// A workload or service that is not understood leaves what was known by that name. A policy that is not
    /// understood replaces what was known, and denies what it covers. Either way it is among the rejections.
    pub fn apply(&mut self, updates: Vec<Update>) -> Vec<Rejection> {
        let mut rejections = Vec::new();
        let mut has_changed = false;
        for update in updates {
            let (name, outcome) = match update {
                Update::Address { name, resource } => {
                    let outcome = self.address(&name, resource).map_err(|it| it.to_string());
                    (name, outcome)
                }
                Update::Authorization { name, resource } => {
                    let (changed, rejected) = self.authorization(&name, resource);
                    has_changed |= changed;
                    (name, rejected.map_or(Ok(false), Err))
                }
            };
            match outcome {
                Ok(changed) => has_changed |= changed,
                Err(reason) => rejections.push(Rejection { name, reason }),
            }
        }
        if has_changed {
            self.publish();
        }
        rejections
    }

    fn address(&mut self, name: &Arc<str>, resource: Option<Bytes>) -> Result<bool, DecodeError> {
        use proto::address::Type;
        let Some(bytes) = resource else {
            // A name does not tell the kind. Only one of them can have it.
            return Ok(self.next.remove_workload(name) | self.next.remove_service(name));
        };
        let message = proto::Address::decode(bytes)
            .map_err(|error| DecodeError::Malformed(error.to_string()))?;
        Ok(match &message.r#type {
            Some(Type::Workload(message)) => {
                let workload = Workload::decode(name, message, &mut self.interner)?;
                self.next.put_workload(workload)
            }
            Some(Type::Service(message)) => {
                let service = Service::decode(name, message, &mut self.interner)?;
                self.next.put_service(service)
            }
            None => return Err(DecodeError::Kind),
        })
    }

    fn authorization(
        &mut self,
        name: &Arc<str>,
        resource: Option<Bytes>,
    ) -> (bool, Option<String>) {
        let Some(bytes) = resource else {
            return (self.next.policies.remove(name), None);
        };
        let entry = policy::decode(&PolicyName::new(Arc::clone(name)), &bytes);
        let rejected = match &entry {
            PolicyEntry::Policy(_) => None,
            PolicyEntry::Undecodable(undecodable) => Some(undecodable.reason.to_string()),
        };
        (self.next.policies.put(entry), rejected)
    }

    fn publish(&mut self) {
        self.interner.bound_identities(self.next.workload_count());
        self.next.version += 1;
        self.reader.publish(self.next.clone());
        // Readers look at the snapshot when woken, so it is there before they are.
        self.versions.send_replace(self.next.version);
    }
}
