//! What all threads share.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use weft_core::certs::CertStore;
use weft_core::config::Config;
use weft_core::mesh::{SnapshotReader, Workload};

use crate::http::Copies;
use crate::limits;
use crate::resources::Rules;
use crate::serve::Own;
use crate::telemetry::Hub;
use crate::upstream::{Backends, Names};

/// Capabilities and configuration of the process. Nothing here is written to but through its own owner.
pub(crate) struct Shared {
    /// What the environment says.
    pub config: Config,
    /// Who this waypoint is.
    pub own: Own,
    /// The mesh as it is now.
    pub mesh: SnapshotReader,
    /// What is set for services.
    pub rules: Rules,
    /// Certificates.
    pub certs: CertStore,
    /// Where what is told of requests goes.
    pub hub: Arc<Hub>,
    /// Addresses of endpoints that are known by name.
    pub names: Arc<Names>,
    /// What requests go to.
    pub backends: Backends,
    /// Copies of requests.
    pub copies: Copies,
    /// Tunnels so far.
    pub tunnels: AtomicU64,
    /// Ports on which the application speaks first.
    pub server_first: ServerFirst,
}

impl Shared {
    /// Another number for a tunnel.
    pub(crate) fn number(&self) -> u64 {
        self.tunnels.fetch_add(1, Ordering::Relaxed)
    }

    /// This waypoint as the mesh knows it.
    pub(crate) fn own_workload(&self) -> Option<Arc<Workload>> {
        self.mesh.load().workload_at(&self.own.network, self.own.address).cloned()
    }
}

/// A service and its port.
pub(crate) type ServicePort = (Arc<str>, u16);

/// Ports on which an application was heard before its client.
#[derive(Debug, Default)]
pub(crate) struct ServerFirst(RwLock<HashSet<ServicePort>>);

impl ServerFirst {
    /// Whether it was.
    pub(crate) fn contains(&self, port: &ServicePort) -> bool {
        self.0.read().contains(port)
    }

    /// Remembers it.
    pub(crate) fn insert(&self, port: ServicePort) {
        let mut ports = self.0.write();
        if ports.len() < limits::SERVER_FIRST_MAX {
            ports.insert(port);
        }
    }
}
