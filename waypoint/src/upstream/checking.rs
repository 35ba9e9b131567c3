//! The way to services that are asked about requests: as to any service of the mesh.

use std::io;
use std::sync::Arc;

use weft_core::hbone::TraceParent;
use weft_core::mesh::baggage;

use super::dial::{Dialer, Io};
use super::endpoint::endpoint;
use crate::access::Dial;
use crate::access::check::Target;
use crate::shared::Shared;

/// Reaches services by name.
pub struct ByName {
    shared: Arc<Shared>,
    dialer: Arc<Dialer>,
}

impl ByName {
    /// As the waypoint itself.
    pub fn new(shared: Arc<Shared>, dialer: Arc<Dialer>) -> Self {
        Self { shared, dialer }
    }

    /// A stream to an endpoint of a service. `namespace` empty: whichever has the name.
    pub async fn reach(&self, namespace: &str, host: &str, port: u16) -> io::Result<Io> {
        let snapshot = self.shared.mesh.load();
        let service = match namespace {
            "" => snapshot.services_named(host).first(),
            namespace => snapshot.service(namespace, host),
        };
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("no service {host}"));
        let service = service.ok_or_else(missing)?;
        let own = self.shared.own_workload();
        let to = endpoint(&snapshot, service, port, own.as_deref(), None, &mut rand::rng());
        let to = to.map_err(io::Error::other)?;
        let baggage = own.as_deref().map(baggage).unwrap_or_default();
        let dialled = self.dialer.dial(&to, &baggage, TraceParent::random()).await;
        dialled.map_err(io::Error::other)
    }
}

impl Dial for ByName {
    type Stream = Io;

    async fn dial(&self, target: &Target) -> io::Result<Io> {
        self.reach(&target.namespace, &target.hostname, target.port).await
    }
}
