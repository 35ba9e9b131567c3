//! Connections that aren't HTTP: one endpoint a connection.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use rand::Rng;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use weft_core::drain;
use weft_core::hbone::IncomingTunnel;
use weft_core::mesh::IpFamilies;

use super::stream::Inner;
use super::target::Target;
use super::tunnel::{Tunnel, UNREACHED};
use crate::access::{AccessConnection, Verdict};
use crate::limits;
use crate::route::{Connection, ConnectionRoutes, RouteSet, Source, Target as Backend};
use crate::upstream::{DialError, Endpoint, EndpointError, Io, endpoint};

/// An application that was connected to.
#[derive(Debug)]
pub(super) struct Reached {
    io: Io,
    /// What it said already.
    seen: Bytes,
}

/// Why none was.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreached {
    #[error("{0}")]
    Denied(String),
    #[error("the policies of the service haven't arrived")]
    NoPolicies,
    #[error("no route matches the connection")]
    NoRoute,
    #[error("the route leads nowhere")]
    Nowhere,
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error(transparent)]
    Dial(#[from] DialError),
}

impl Reached {
    /// Waits for the application to say something. `false`: it ended the connection.
    pub(super) async fn look(&mut self) -> bool {
        let mut more = BytesMut::with_capacity(limits::LOOK_BYTES);
        let read = self.io.read_buf(&mut more).await;
        self.seen = more.freeze();
        read.is_ok_and(|count| count > 0)
    }
}

/// A port that declares TCP: the caller's proxy is told only when the application is reached.
pub(super) async fn serve(tunnel: Arc<Tunnel>, mut incoming: IncomingTunnel, drain: drain::Watch) {
    let reached = tokio::select! {
        reached = reach(&tunnel, None) => reached,
        () = incoming.abandoned() => return,
    };
    match reached {
        Ok(reached) => {
            let Ok(stream) = incoming.accept(None) else { return };
            join(tunnel, Inner::new(stream), Some(Box::new(reached)), drain).await;
        }
        Err(error) => {
            let service = tunnel.target.name();
            tracing::info!(target: "tcp", %service, %error, "a connection failed");
            incoming.refuse(match error {
                Unreached::Denied(_) => StatusCode::FORBIDDEN,
                _ => UNREACHED,
            });
        }
    }
}

/// Joins the client to the application until both have ended.
pub(super) async fn join(
    tunnel: Arc<Tunnel>,
    client: Inner,
    reached: Option<Box<Reached>>,
    drain: drain::Watch,
) {
    let reached = match reached {
        Some(reached) => *reached,
        None => match reach(&tunnel, None).await {
            Ok(reached) => reached,
            Err(error) => {
                let service = tunnel.target.name();
                return tracing::info!(target: "tcp", %service, %error, "a connection failed");
            }
        },
    };
    let joined = relay(client, reached);
    tokio::select! {
        ended = joined => if let Err(error) = ended {
            tracing::debug!(target: "tcp", service = %tunnel.target.name(), %error, "cut");
        },
        () = drain.forced() => {}
    }
}

async fn relay(mut client: Inner, reached: Reached) -> std::io::Result<()> {
    let Reached { mut io, seen } = reached;
    if !seen.is_empty() {
        client.write_all(&seen).await?;
        client.flush().await?;
    }
    copy_both(&mut client, &mut io).await
}

async fn copy_both(
    a: &mut (impl AsyncRead + AsyncWrite + Unpin),
    b: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> std::io::Result<()> {
    tokio::io::copy_bidirectional_with_sizes(a, b, limits::TCP_BUFFER, limits::TCP_BUFFER).await?;
    Ok(())
}

/// Connects to an endpoint that the routes allow.
pub(super) async fn reach(
    tunnel: &Tunnel,
    server_name: Option<&str>,
) -> Result<Reached, Unreached> {
    authorise(tunnel, server_name)?;
    let to = choose(tunnel, server_name, &mut rand::rng())?;
    let baggage = tunnel.worker.baggage();
    let io = tunnel.worker.shelf.dialer().dial(&to, baggage, tunnel.trace).await?;
    Ok(Reached { io, seen: Bytes::new() })
}

/// By the service's policies, as far as they can be asked about connections.
fn authorise(tunnel: &Tunnel, sni: Option<&str>) -> Result<(), Unreached> {
    let rules = tunnel.rules();
    let access = rules.access().ok_or(Unreached::NoPolicies)?;
    let own = tunnel.worker.shared.own.address;
    let connection = AccessConnection {
        source: Some(&tunnel.caller.identity),
        source_ip: tunnel.caller.address.ip(),
        destination_ip: tunnel.target.address().map_or(own, |it| it.ip()),
        destination_port: tunnel.target.port(),
        sni,
    };
    match access.evaluate_connection(&connection, &mut Vec::new()) {
        Verdict::Allow => Ok(()),
        Verdict::Deny(denial) => Err(Unreached::Denied(denial.to_string())),
        // Nobody can be asked about a connection.
        Verdict::Check { policy, .. } => Err(Unreached::Denied(policy.to_string())),
    }
}

fn choose(
    tunnel: &Tunnel,
    server_name: Option<&str>,
    rng: &mut impl Rng,
) -> Result<Endpoint, Unreached> {
    let snapshot = tunnel.mesh().load();
    let (service, port, address) = match &tunnel.target {
        Target::Workload { workload, address } => {
            let (families, asked) = (IpFamilies::Automatic, Some(*address));
            return Ok(Endpoint::of(workload.clone(), address.port(), families, asked)?);
        }
        Target::Service { service, port, address } => (service, *port, *address),
    };
    let own = tunnel.worker.own_workload();
    let rules = tunnel.rules();
    let set = rules
        .table()
        .and_then(|table| table.select(port, Some(tunnel.caller.identity.namespace())));
    let Some(routes) = set.and_then(|set| routes_of(set, server_name.is_some())) else {
        return Ok(endpoint(&snapshot, service, port, own.as_deref(), address, rng)?);
    };
    let connection = Connection {
        server_name,
        source: Source {
            principal: Some(tunnel.caller.identity.principal()),
            namespace: Some(tunnel.caller.identity.namespace()),
            labels: None,
        },
        destination: address.unwrap_or_else(|| ([0, 0, 0, 0], port).into()),
    };
    let rule = routes.find(&connection).ok_or(Unreached::NoRoute)?;
    let backend = rule.backends.choose(rng.next_u64()).ok_or(Unreached::Nowhere)?;
    let Backend::To(to) = &backend.target else { return Err(Unreached::Nowhere) };
    let service = snapshot.service(&to.namespace, &to.hostname).ok_or(Unreached::Nowhere)?;
    Ok(endpoint(&snapshot, service, to.port.unwrap_or(port), own.as_deref(), address, rng)?)
}

/// TLS without rules of its own goes as TCP does.
fn routes_of(set: &RouteSet, is_tls: bool) -> Option<&ConnectionRoutes> {
    set.tls.as_ref().filter(|_| is_tls).or(set.tcp.as_ref())
}
