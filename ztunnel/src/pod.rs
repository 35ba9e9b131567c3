//! One pod's proxy: its listeners inside the pod's namespace, its pool, its connections.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use weft_core::drain;
use weft_core::hbone::{Pool, PoolSettings};
use weft_core::identity::{IdentityError, SpiffeId};
use weft_core::mesh::pod_uid;
use weft_core::serve::{AcceptSettings, accept_loop};
use weft_core::zds::{PodIdentity, PodUid};
use weft_proto::contract::port;

use crate::connections::Connections;
use crate::dial::PodConnector;
use crate::names::{NameSockets, PodNames};
use crate::netns::{Listening, Netns, PodSockets};
use crate::shared::Shared;
use crate::{inbound, limits, outbound, passthrough};

/// Why a pod is not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PodError {
    /// Its listeners could not be made.
    #[error("listening on port {port} in the pod's namespace: {error}")]
    Listen {
        /// The port.
        port: u16,
        /// Why not.
        error: io::Error,
    },
    /// Its name makes no identity.
    #[error("{0}")]
    Identity(#[from] IdentityError),
}

/// What connections of a pod need to know of it.
pub(crate) struct Pod {
    /// The agent's name for it.
    pub uid: PodUid,
    /// Its name, namespace and service account.
    pub named: PodIdentity,
    /// The controller's name for it.
    pub workload_uid: Arc<str>,
    /// Who it is.
    pub identity: SpiffeId,
    /// Its sockets.
    pub sockets: Arc<PodSockets>,
    /// Its tunnels.
    pub pool: Pool<PodConnector>,
    /// Its name look-ups.
    pub names: Arc<PodNames>,
    /// Its open connections.
    pub connections: Arc<Connections>,
    /// Cancelled when the pod's connections must end. No [`drain::Watch`]: that would be waited for.
    pub forced: CancellationToken,
    /// Whether connections to the application keep the client's address.
    keeps_source: bool,
}

impl Pod {
    /// `namespace/name`, for logs.
    pub(crate) fn display(&self) -> String {
        format!("{}/{}", self.named.namespace, self.named.name)
    }

    /// The address to connect to the application from: the client's own, unless the client is the pod itself.
    pub(crate) fn spoofed_source(&self, client: IpAddr, target: SocketAddr) -> Option<IpAddr> {
        let client = client.to_canonical();
        let is_possible = client != target.ip() && client.is_ipv4() == target.is_ipv4();
        (self.keeps_source && is_possible).then_some(client)
    }
}

/// A pod that is served.
pub(crate) struct PodProxy {
    pod: Arc<Pod>,
    drain: drain::Signal,
}

impl PodProxy {
    /// Listens in the pod and serves its connections on the calling runtime.
    pub(crate) async fn start(
        shared: &Arc<Shared>,
        uid: PodUid,
        named: PodIdentity,
        netns: Netns,
    ) -> Result<Self, PodError> {
        let mesh = &shared.config.mesh;
        let own_domain = mesh.trust_domains.own().clone();
        let identity = SpiffeId::new(own_domain, &named.namespace, &named.service_account)?;
        let workload_uid = pod_uid(&mesh.cluster_id, &named.namespace, &named.name).into();
        let sockets = Arc::new(PodSockets::new(shared.broker.clone(), netns));
        let listeners = Listeners::open(shared, &sockets).await?;
        let connector = PodConnector::new(sockets.clone(), shared.certs.clone());
        let pool = PoolSettings {
            tunnels_per_connection: shared.config.pool.streams_max as usize,
            idle_max: shared.config.pool.idle,
            ..PoolSettings::default()
        };
        let names = PodNames::new(shared, &named, &sockets);
        let (drain, watch) = drain::pair();
        let pod = Arc::new(Pod {
            uid,
            named,
            workload_uid,
            identity,
            sockets,
            pool: Pool::new(pool, connector),
            names,
            connections: Arc::default(),
            forced: watch.forced_token().clone(),
            keeps_source: shared.config.sockets.original_source.unwrap_or(true),
        });
        shared.certs.prefetch(&pod.identity);
        listeners.serve(shared, &pod, &watch);
        shared.proxies.started.inc();
        tracing::info!(target: "pods", pod = pod.display(), "serving");
        Ok(Self { pod, drain })
    }

    /// The pod.
    pub(crate) fn pod(&self) -> &Arc<Pod> {
        &self.pod
    }

    /// Ends it and its connections now: the pod's network is gone or about to be.
    pub(crate) fn stop(self) {
        tracing::info!(target: "pods", pod = self.pod.display(), "no longer serving");
        self.drain.force();
        self.pod.pool.close();
    }

    /// Takes no new connections; those that are open may end by themselves until `deadline`.
    pub(crate) async fn drain(&self, deadline: std::time::Duration) {
        self.pod.pool.close();
        if self.drain.drain(deadline).await == drain::Outcome::Forced {
            // Those that are cut now still say goodbye to their peers and write their records.
            let _ = timeout(limits::GOODBYE_DEADLINE, self.drain.finished()).await;
        }
    }
}

struct Listeners {
    outbound: Vec<TcpListener>,
    plaintext: Vec<TcpListener>,
    hbone: Vec<TcpListener>,
    names: Option<NameSockets>,
}

impl Listeners {
    /// All or none: a pod that is half served would lose the other half's traffic.
    async fn open(shared: &Shared, sockets: &PodSockets) -> Result<Self, PodError> {
        let listen = async |port, kind| {
            let opened = sockets.listen_any(port, kind).await;
            opened.map_err(|error| PodError::Listen { port, error })
        };
        let dns = &shared.config.dns;
        Ok(Self {
            outbound: listen(port::OUTBOUND, Listening::FromPod).await?,
            plaintext: listen(port::INBOUND_PLAINTEXT, Listening::Transparent).await?,
            hbone: listen(port::HBONE, Listening::Transparent).await?,
            names: match dns.enabled {
                true => Some(
                    NameSockets::open(sockets, dns.address)
                        .await
                        .map_err(|error| PodError::Listen { port: dns.address.port(), error })?,
                ),
                false => None,
            },
        })
    }

    fn serve(self, shared: &Arc<Shared>, pod: &Arc<Pod>, drain: &drain::Watch) {
        let permits = || Arc::new(Semaphore::new(limits::CONNECTIONS_PER_POD_MAX));
        // The macro is there because each handler is a type of its own.
        macro_rules! accept {
            ($name:literal, $listener:expr, $serve:path) => {{
                let settings = AcceptSettings { name: $name, permits: permits() };
                let (shared, pod, watch) = (shared.clone(), pod.clone(), drain.clone());
                let handle = move |tcp, from: SocketAddr| {
                    let from = SocketAddr::new(from.ip().to_canonical(), from.port());
                    $serve(shared.clone(), pod.clone(), tcp, from, watch.clone())
                };
                for listener in $listener {
                    let (settings, handle) = (settings.clone(), handle.clone());
                    tokio::spawn(accept_loop(listener, settings, drain.clone(), handle));
                }
            }};
        }
        accept!("outbound", self.outbound, outbound::serve);
        accept!("inbound plaintext", self.plaintext, passthrough::serve);
        accept!("inbound", self.hbone, inbound::serve);
        if let Some(sockets) = self.names {
            sockets.serve(&pod.names, drain);
        }
    }
}
