//! One tunnel: from its CONNECT to what is spoken inside.

use std::net::SocketAddr;
use std::sync::Arc;

use http::StatusCode;
use weft_core::drain;
use weft_core::hbone::{IncomingTunnel, TraceParent};
use weft_core::identity::SpiffeId;
use weft_core::mesh::{AppProtocol, OwnLabels, SnapshotReader};
use weft_core::telemetry::SharedParty;

use super::accept::Worker;
use super::sniff::{self, Spoken};
use super::stream::Inner;
use super::target::Target;
use super::tcp;
use crate::http::{serve_one, serve_two};
use crate::resources::ServiceRules;
use crate::route::Source;
use crate::shared::ServicePort;

/// The far end of an HBONE connection.
#[derive(Debug)]
pub(crate) struct Caller {
    /// Who it proved to be.
    pub identity: SpiffeId,
    /// Its address.
    pub address: SocketAddr,
    /// Its labels in metrics.
    pub labels: SharedParty,
}

/// A caller as routing sees it, with the labels of its workload.
pub(crate) fn source<'a>(caller: &'a SpiffeId, labels: Option<&'a Arc<OwnLabels>>) -> Source<'a> {
    Source {
        principal: Some(caller.principal()),
        namespace: Some(caller.namespace()),
        labels: labels.map(|it| &**it),
    }
}

/// A tunnel that is served.
pub(crate) struct Tunnel {
    /// Who serves it.
    pub worker: Arc<Worker>,
    /// Who opened it.
    pub caller: Arc<Caller>,
    /// What for.
    pub target: Target,
    /// The trace that it belongs to.
    pub trace: TraceParent,
    /// Numbers it within this process.
    pub number: u64,
}

impl Tunnel {
    /// The mesh as it is now.
    pub(crate) fn mesh(&self) -> &SnapshotReader {
        &self.worker.shared.mesh
    }

    /// Labels of the workload with its caller's address and identity, as far as routes name them. As of now: the caller's
    /// connection may be older than the routes.
    pub(crate) fn caller_labels(&self) -> Option<Arc<OwnLabels>> {
        let (own, caller) = (&self.worker.shared.own, &self.caller);
        let snapshot = self.mesh().load();
        let mut at = snapshot.workloads_at(&own.network, caller.address.ip()).iter();
        at.find(|it| it.identity == caller.identity)?.own_labels.clone()
    }

    /// Its service and port; a workload's own stand for themselves.
    pub(crate) fn service_port(&self) -> ServicePort {
        (self.target.name().clone(), self.target.port())
    }

    /// What is set for its service now.
    pub(crate) fn rules(&self) -> Arc<ServiceRules> {
        match &self.target {
            Target::Service { service, .. } => self.worker.shared.rules.of(&service.key),
            Target::Workload { .. } => self.worker.shared.rules.of_workloads(),
        }
    }
}

/// Serves a CONNECT until its tunnel ends.
pub(super) async fn serve(
    worker: Arc<Worker>,
    caller: Arc<Caller>,
    incoming: IncomingTunnel,
    drain: drain::Watch,
) {
    let snapshot = worker.shared.mesh.load();
    let request = incoming.request();
    let own = &worker.shared.own;
    let target = match Target::find(&snapshot, own, &caller.identity, &request.authority) {
        Ok(target) => target,
        Err(refusal) => {
            let (from, caller) = (caller.address, &caller.identity);
            tracing::info!(target: "tunnel", %from, %caller, %refusal, "a tunnel was refused");
            return incoming.refuse(refusal.status());
        }
    };
    let trace = request.traceparent;
    let number = worker.shared.number();
    let tunnel = Arc::new(Tunnel { worker, caller, target, trace, number });
    match tunnel.target.declared() {
        AppProtocol::Tcp => Box::pin(tcp::serve(tunnel, incoming, drain)).await,
        AppProtocol::Tls => {
            // The client says whom it wants only once it is let in.
            let Ok(stream) = incoming.accept(None) else { return };
            Box::pin(tcp::join(tunnel, Inner::new(stream), None, drain)).await;
        }
        declared => {
            let Ok(stream) = incoming.accept(None) else { return };
            let is_declared = declared != AppProtocol::Unknown;
            Box::pin(speak(tunnel, Inner::new(stream), is_declared, drain)).await;
        }
    }
}

async fn speak(tunnel: Arc<Tunnel>, stream: Inner, is_http: bool, drain: drain::Watch) {
    let Some((stream, spoken)) = sniff::sniff(&tunnel, stream, is_http, &drain).await else {
        return;
    };
    match spoken {
        Spoken::Http1 => Box::pin(serve_one(tunnel, stream, drain)).await,
        Spoken::Http2 => serve_two(tunnel, stream, drain).await,
        Spoken::Other(upstream) => tcp::join(tunnel, stream, upstream, drain).await,
    }
}

/// What a caller's proxy is told if the application isn't reached.
pub(super) const UNREACHED: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
