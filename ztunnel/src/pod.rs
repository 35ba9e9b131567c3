//! One pod's proxy: its listeners inside the pod's namespace, its tunnels, its connections.
//!
//! Every worker listens on every port, and the kernel deals out what comes. A connection stays on the worker that it came to,
//! with a pool of tunnels that is that worker's own: nothing that belongs to it ever wakes another thread.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use weft_core::drain;
use weft_core::hbone::{Pool, PoolSettings};
use weft_core::identity::{IdentityError, SpiffeId};
use weft_core::limits::{POOL_CONNECTIONS_MAX, POOL_CONNECTIONS_PER_PEER_MAX};
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

/// A pod as one worker carries its connections.
pub(crate) struct Lane {
    /// The pod.
    pub pod: Arc<Pod>,
    /// The worker's tunnels of the pod.
    pub pool: Pool<PodConnector>,
}

/// A pod that is served.
pub(crate) struct PodProxy {
    pod: Arc<Pod>,
    lanes: Vec<Arc<Lane>>,
    drain: drain::Signal,
}

impl PodProxy {
    /// Listens in the pod and serves its connections on the workers; its look-ups, on the calling runtime.
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
        let dns = &shared.config.dns;
        let names = match dns.enabled {
            true => Some(name_sockets(&sockets, dns.address).await?),
            false => None,
        };
        let (drain, watch) = drain::pair();
        let pod = Arc::new(Pod {
            uid,
            workload_uid,
            identity,
            names: PodNames::new(shared, &named, &sockets),
            sockets,
            named,
            connections: Arc::default(),
            forced: watch.forced_token().clone(),
            keeps_source: shared.config.sockets.original_source.unwrap_or(true),
        });
        shared.certs.prefetch(&pod.identity);
        let lanes: Vec<_> = shared.workers.iter().map(|_| lane(shared, &pod)).collect();
        listeners.serve(shared, &lanes, &watch);
        if let Some(sockets) = names {
            sockets.serve(&pod.names, &watch);
        }
        shared.proxies.started.inc();
        tracing::info!(target: "pods", pod = pod.display(), "serving");
        Ok(Self { pod, lanes, drain })
    }

    /// The pod.
    pub(crate) fn pod(&self) -> &Arc<Pod> {
        &self.pod
    }

    /// Ends it and its connections now: the pod's network is gone or about to be.
    pub(crate) fn stop(self) {
        tracing::info!(target: "pods", pod = self.pod.display(), "no longer serving");
        self.drain.force();
        self.lanes.iter().for_each(|lane| lane.pool.close());
    }

    /// Takes no new connections; those that are open may end by themselves until `deadline`.
    pub(crate) async fn drain(&self, deadline: std::time::Duration) {
        self.lanes.iter().for_each(|lane| lane.pool.close());
        if self.drain.drain(deadline).await == drain::Outcome::Forced {
            // Those that are cut now still say goodbye to their peers and write their records.
            let _ = timeout(limits::GOODBYE_DEADLINE, self.drain.finished()).await;
        }
    }
}

/// The tunnels of one worker. What bounds a pod's is dealt out to the workers.
fn lane(shared: &Shared, pod: &Arc<Pod>) -> Arc<Lane> {
    let workers = shared.workers.len().max(1);
    let settings = PoolSettings {
        tunnels_per_connection: shared.config.pool.streams_max as usize,
        idle_max: shared.config.pool.idle,
        connections_per_key: POOL_CONNECTIONS_PER_PEER_MAX.div_ceil(workers),
        connections: POOL_CONNECTIONS_MAX.div_ceil(workers),
        ..PoolSettings::default()
    };
    let connector = PodConnector::new(pod.sockets.clone(), shared.certs.clone());
    Arc::new(Lane { pod: pod.clone(), pool: Pool::new(settings, connector) })
}

async fn name_sockets(sockets: &PodSockets, address: SocketAddr) -> Result<NameSockets, PodError> {
    let opened = NameSockets::open(sockets, address).await;
    opened.map_err(|error| PodError::Listen { port: address.port(), error })
}

/// What each worker listens on, in the workers' order.
struct Listeners(Vec<OfWorker>);

struct OfWorker {
    outbound: Vec<TcpListener>,
    plaintext: Vec<TcpListener>,
    hbone: Vec<TcpListener>,
}

impl Listeners {
    /// All or none: a pod that is half served would lose the other half's traffic.
    async fn open(shared: &Shared, sockets: &PodSockets) -> Result<Self, PodError> {
        let mut opened = Vec::with_capacity(shared.workers.len());
        for worker in &shared.workers {
            let listen = async |port, kind| {
                let bare = sockets.listen_any(port, kind).await;
                bare.and_then(|bare| on(worker, bare))
                    .map_err(|error| PodError::Listen { port, error })
            };
            opened.push(OfWorker {
                outbound: listen(port::OUTBOUND, Listening::FromPod).await?,
                plaintext: listen(port::INBOUND_PLAINTEXT, Listening::Transparent).await?,
                hbone: listen(port::HBONE, Listening::Transparent).await?,
            });
        }
        Ok(Self(opened))
    }

    fn serve(self, shared: &Arc<Shared>, lanes: &[Arc<Lane>], drain: &drain::Watch) {
        let permits = || Arc::new(Semaphore::new(limits::CONNECTIONS_PER_POD_MAX));
        let [outbound, plaintext, hbone] = [permits(), permits(), permits()];
        // The macro is there because each handler is a type of its own.
        macro_rules! accept {
            ($name:literal, $permits:expr, $listeners:expr, $to:expr, $serve:path) => {{
                let settings = AcceptSettings { name: $name, permits: $permits.clone() };
                let (shared, to, watch) = (shared.clone(), $to.clone(), drain.clone());
                let handle = move |tcp, from: SocketAddr| {
                    let from = SocketAddr::new(from.ip().to_canonical(), from.port());
                    $serve(shared.clone(), to.clone(), tcp, from, watch.clone())
                };
                for listener in $listeners {
                    let (settings, handle) = (settings.clone(), handle.clone());
                    tokio::spawn(accept_loop(listener, settings, drain.clone(), handle));
                }
            }};
        }
        for ((worker, listeners), lane) in shared.workers.iter().zip(self.0).zip(lanes) {
            let _on = worker.enter();
            accept!("outbound", outbound, listeners.outbound, lane, outbound::serve);
            let pod = &lane.pod;
            accept!("inbound plaintext", plaintext, listeners.plaintext, pod, passthrough::serve);
            accept!("inbound", hbone, listeners.hbone, pod, inbound::serve);
        }
    }
}

/// The same sockets, for that worker.
fn on(worker: &Handle, bare: Vec<std::net::TcpListener>) -> io::Result<Vec<TcpListener>> {
    let _on = worker.enter();
    bare.into_iter().map(TcpListener::from_std).collect()
}
