//! The way to services that are asked about requests, and to collectors: as to any service of the mesh.

use std::io;
use std::sync::Arc;

use futures::future::BoxFuture;
use http::uri::Authority;
use tokio::net::TcpStream;
use weft_core::hbone::TraceParent;
use weft_core::mesh::{SnapshotReader, baggage};

use super::dial::{Dialer, Io, straight};
use super::endpoint::endpoint;
use crate::access::Dial;
use crate::access::check::Target;
use crate::serve::Own;
use crate::telemetry::trace;

/// Reaches services by name, as the waypoint itself.
#[derive(Clone)]
pub(crate) struct ByName {
    mesh: SnapshotReader,
    own: Own,
    dialer: Arc<Dialer>,
}

impl ByName {
    /// Within that mesh.
    pub(crate) fn new(mesh: SnapshotReader, own: Own, dialer: Arc<Dialer>) -> Self {
        Self { mesh, own, dialer }
    }

    /// A stream to an endpoint of a service. `namespace` empty: whichever has the name.
    pub(crate) async fn reach(&self, namespace: &str, host: &str, port: u16) -> io::Result<Io> {
        let snapshot = self.mesh.load();
        let service = match namespace {
            "" => snapshot.services_named(host).first(),
            namespace => snapshot.service(namespace, host),
        };
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("no service {host}"));
        let service = service.ok_or_else(missing)?;
        let own = snapshot.workload_at(&self.own.network, self.own.address);
        let to = endpoint(&snapshot, service, port, own.map(|it| &**it), None, &mut rand::rng());
        let to = to.map_err(io::Error::other)?;
        let baggage = own.map(|it| baggage(it)).unwrap_or_default();
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

/// The way to a collector, which may also be outside of the mesh.
pub(crate) struct ToCollector {
    /// Within the mesh.
    pub by_name: ByName,
    /// Where it is.
    pub authority: Authority,
}

impl trace::Dial for ToCollector {
    fn dial(&self) -> BoxFuture<'static, io::Result<Box<dyn trace::Io>>> {
        let (by_name, authority) = (self.by_name.clone(), self.authority.clone());
        Box::pin(async move {
            let (host, port) = (authority.host(), authority.port_u16().unwrap_or(OTLP_PORT));
            match by_name.reach("", host, port).await {
                Ok(stream) => Ok(Box::new(stream) as Box<dyn trace::Io>),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    Ok(Box::new(outside(host, port).await?) as Box<dyn trace::Io>)
                }
                Err(error) => Err(error),
            }
        })
    }
}

/// A name or an address outside of the mesh.
async fn outside(host: &str, port: u16) -> io::Result<TcpStream> {
    let to = tokio::net::lookup_host((host, port)).await?.next();
    let to = to
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address")))?;
    straight(to).await.map_err(io::Error::other)
}

/// OTLP over gRPC (OpenTelemetry protocol, section "Default port").
const OTLP_PORT: u16 = 4317;
