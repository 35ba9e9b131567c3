//! HBONE: connections that other proxies bring to a pod.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::StatusCode;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use weft_core::drain;
use weft_core::hbone::{self, Authority, IncomingTunnel, ServerSettings, TunnelRequest};
use weft_core::mesh::{self, AppTunnelProtocol, Endpoint, Snapshot, Workload, prefer_service};
use weft_core::policy::Connection;
use weft_core::telemetry::{Direction, EarlyFailure, Reporter, Security};
use weft_core::x509::PeerCertificate;

use crate::authorise;
use crate::connections::{Carrier, OpenConnection, Tracked};
use crate::describe;
use crate::error::ConnectionError;
use crate::pod::Pod;
use crate::record::Record;
use crate::relaying::{self, Joined, Keep, Ready};
use crate::resolve::is_own_port;
use crate::shared::Shared;

/// The far end of one HBONE connection.
struct Caller {
    address: SocketAddr,
    /// The pod's address that the caller connected to.
    local: IpAddr,
    peer: PeerCertificate,
}

/// Serves one HBONE connection, with all the tunnels on it, until it ends.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    pod: Arc<Pod>,
    tcp: TcpStream,
    from: SocketAddr,
    drain: drain::Watch,
) {
    let _open = shared.sockets.open(Reporter::Destination);
    let local = tcp.local_addr().ok();
    let early = |error: &dyn std::fmt::Display| {
        let direction = Direction::Inbound;
        EarlyFailure { direction, source: Some(from), destination: local }.log(error);
    };
    let Some(local) = local else { return };
    let domains = &shared.config.mesh.trust_domains;
    let accepting = hbone::accept(&shared.certs, &pod.identity, domains, tcp);
    let (io, peer) = match Box::pin(accepting).await {
        Ok(accepted) => accepted,
        Err(error) => return early(&error),
    };
    let local = local.ip().to_canonical();
    let caller = Arc::new(Caller { address: from, local, peer });
    let settings = ServerSettings::default();
    let tunnels = drain.clone();
    let on_tunnel = move |incoming| {
        serve_tunnel(shared.clone(), pod.clone(), caller.clone(), incoming, tunnels.clone())
    };
    if let Err(error) = Box::pin(hbone::serve(io, &settings, drain, on_tunnel)).await {
        tracing::debug!(target: "inbound", %from, %error, "HBONE connection ended");
    }
}

fn serve_tunnel(
    shared: Arc<Shared>,
    pod: Arc<Pod>,
    caller: Arc<Caller>,
    incoming: IncomingTunnel,
    drain: drain::Watch,
) -> impl Future<Output = ()> + Send {
    let forced = drain.forced_token().clone();
    let preparing = Box::pin(prepare(shared.clone(), pod, caller, incoming, forced));
    relaying::serve(Keep::new(shared, drain, None), preparing)
}

async fn prepare(
    shared: Arc<Shared>,
    pod: Arc<Pod>,
    caller: Arc<Caller>,
    incoming: IncomingTunnel,
    forced: CancellationToken,
) -> Option<Ready> {
    let local = SocketAddr::new(caller.local, incoming.request().authority.port());
    let mut record = Record::new(Direction::Inbound, caller.address, local);
    record.security = Security::MutualTls;
    record.source.identity = Some(caller.peer.identity.clone());
    record.destination.identity = Some(pod.identity.clone());
    let inbound = Inbound { shared: &shared, pod: &pod, caller: &caller, forced: &forced };
    let outcome = inbound.admit(incoming, &mut record).await;
    Ready::open(outcome, record, &shared)
}

struct Inbound<'a> {
    shared: &'a Shared,
    pod: &'a Arc<Pod>,
    caller: &'a Caller,
    forced: &'a CancellationToken,
}

impl Inbound<'_> {
    async fn admit(
        self,
        mut incoming: IncomingTunnel,
        record: &mut Record,
    ) -> Result<Joined, ConnectionError> {
        let request = incoming.request().clone();
        let reached = tokio::select! {
            reached = self.reach(&request, record) => reached,
            () = incoming.abandoned() => return Err(ConnectionError::Abandoned),
        };
        let (upstream, tracked, workload) = match reached {
            Ok(reached) => reached,
            Err(error) => {
                incoming.refuse(status(&error));
                return Err(error);
            }
        };
        let baggage = mesh::baggage(&workload);
        let says_baggage = self.shared.config.hbone.response_baggage;
        let tunnel = incoming.accept(says_baggage.then_some(&baggage))?;
        let (downstream, upstream) = (tunnel.into(), upstream.into());
        Ok(Joined { downstream, upstream, tracked, other_pod: None })
    }

    /// Target, verdict, connection to the application.
    async fn reach(
        &self,
        request: &TunnelRequest,
        record: &mut Record,
    ) -> Result<(TcpStream, Tracked, Arc<Workload>), ConnectionError> {
        let (snapshot, workload) = authorise::own_workload(&self.shared.mesh, self.pod).await?;
        let target = target(&snapshot, &workload, self.caller.local, &request.authority)?;
        record.destination.address = Some(target);
        record.destination.workload = Some(workload.clone());
        record.source.workload = self.source_workload(&snapshot, &workload);
        let named = request.forwarded.as_ref().and_then(|forwarded| forwarded.host.as_ref());
        let service = describe::own_service(&snapshot, &workload, named.map(|it| it.as_str()));
        record.service = service.map(mesh::service_labels);
        let tracked = self.pod.connections.track(
            OpenConnection {
                direction: Direction::Inbound,
                source: self.caller.address,
                source_identity: Some(self.caller.peer.identity.clone()),
                original_destination: target,
                destination: target,
                carrier: Carrier::Hbone,
            },
            self.forced,
        );
        let connection = Connection {
            source_identity: Some(&self.caller.peer.identity),
            source_ip: self.caller.address.ip(),
            destination: target,
        };
        let workload = authorise::authorise(&self.shared.mesh, self.pod, &connection).await?;
        let source = self.pod.spoofed_source(self.caller.address.ip(), target);
        let upstream = self.pod.sockets.connect_to_application(target, source).await?;
        Ok((upstream, tracked, workload))
    }

    /// What the mesh knows of the caller: by its address, and only if its certificate agrees.
    fn source_workload(&self, snapshot: &Snapshot, own: &Workload) -> Option<Arc<Workload>> {
        let at = snapshot.workloads_at(&own.network, self.caller.address.ip());
        at.iter().find(|workload| workload.identity == self.caller.peer.identity).cloned()
    }
}

/// Where a tunnel leads: this pod, whatever the authority says.
///
/// The authority's address is the address that the caller connected to, or that of something whose waypoint this
/// pod is. A name is one of the pod's own services.
fn target(
    snapshot: &Snapshot,
    workload: &Arc<Workload>,
    local: IpAddr,
    authority: &Authority,
) -> Result<SocketAddr, ConnectionError> {
    let port = match authority {
        Authority::Address(asked) if asked.ip() == local => asked.port(),
        Authority::Address(asked) if workload.application_tunnel.is_some() => asked.port(),
        Authority::Address(asked) => {
            return Err(ConnectionError::NotHere { asked: *asked, local });
        }
        Authority::Name { host, port } => {
            let candidates = snapshot.services_named(host.as_str());
            let service = prefer_service(candidates, &workload.namespace, None);
            let port = service.and_then(|service| {
                // Its health doesn't matter: somebody chose it already.
                let ports = workload.ports_of(&service.key)?;
                Endpoint { workload, ports }.target_port(service, *port)
            });
            port.ok_or_else(|| ConnectionError::NoSuchName(authority.to_string()))?
        }
    };
    let target = match workload.application_tunnel {
        None => SocketAddr::new(local, port),
        Some(tunnel) if tunnel.protocol == AppTunnelProtocol::None => {
            SocketAddr::new(local, if tunnel.port == 0 { port } else { tunnel.port })
        }
        Some(_) => return Err(ConnectionError::Unreachable(workload.uid.clone())),
    };
    if is_own_port(target.port()) {
        return Err(ConnectionError::Loop(target));
    }
    Ok(target)
}

/// What the caller is told; the incumbent's numbers.
fn status(error: &ConnectionError) -> StatusCode {
    match error {
        ConnectionError::Denied(_) => StatusCode::UNAUTHORIZED,
        ConnectionError::NotHere { .. } | ConnectionError::NoSuchName(_) => StatusCode::BAD_REQUEST,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}
