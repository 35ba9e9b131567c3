//! What all pods' proxies share.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::runtime::Handle;
use weft_core::certs::CertStore;
use weft_core::config::Config;
use weft_core::mesh::SnapshotReader;
use weft_core::telemetry::{DnsMetrics, ProxyMetrics, SocketMetrics, TrafficMetrics};

use crate::netns::Broker;
use crate::pod::Pod;
use crate::pods::Running;

/// Capabilities and configuration of the process. Nothing here is written to but through its own owner.
pub(crate) struct Shared {
    /// What the environment says.
    pub config: Config,
    /// The mesh as it is now.
    pub mesh: SnapshotReader,
    /// Certificates of this node's pods.
    pub certs: CertStore,
    /// Makes sockets in pods.
    pub broker: Broker,
    /// The pods of this node.
    pub running: Running,
    /// The threads that carry connections.
    pub workers: Vec<Handle>,
    /// Name servers for what is no name of the mesh.
    pub name_servers: Vec<SocketAddr>,
    /// Counters a pair of workloads.
    pub traffic: TrafficMetrics,
    /// Counters of open sockets.
    pub sockets: SocketMetrics,
    /// Counters of pods.
    pub proxies: ProxyMetrics,
    /// Counters of look-ups.
    pub dns: DnsMetrics,
}

impl Shared {
    /// Lets go of the certificates of which no pod is left. Pods of one service account share theirs.
    pub(crate) fn keep_certificates_of(&self, running: &HashMap<Arc<str>, Arc<Pod>>) {
        for entry in self.certs.entries() {
            if !running.values().any(|pod| pod.identity == entry.identity) {
                self.certs.forget(&entry.identity);
            }
        }
    }
}
