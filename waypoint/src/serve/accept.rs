//! Connections of other proxies, and the threads that serve them.
//!
//! Each worker is a thread with a runtime of its own: a request stays on one thread from its first byte to its last,
//! so that handing it from task to task wakes nobody. A new connection goes to the worker that has fewest.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{Instant, interval};
use weft_core::drain;
use weft_core::hbone::{self, Baggage, ServerSettings};
use weft_core::mesh::{Workload, baggage, party};

use super::tunnel::{self, Caller};
use crate::access::CheckClient;
use crate::limits;
use crate::shared::Shared;
use crate::upstream::{ByName, Dialer, Shelf};

/// What one thread has for itself.
pub(crate) struct Worker {
    /// What all threads share.
    pub shared: Arc<Shared>,
    /// Connections to applications.
    pub shelf: Arc<Shelf>,
    /// Those of all threads.
    pub shelves: Arc<[Arc<Shelf>]>,
    /// Asks services about requests.
    pub checks: CheckClient<ByName>,
    /// Copies of requests under way.
    pub mirrors: Arc<Semaphore>,
    baggage: Baggage,
}

impl Worker {
    fn new(shared: Arc<Shared>, shelf: Arc<Shelf>, shelves: Arc<[Arc<Shelf>]>) -> Self {
        let own = &shared.own;
        let checks =
            CheckClient::new(ByName::new(shared.mesh.clone(), own.clone(), shelf.dialer().clone()));
        let snapshot = shared.mesh.load();
        let workload = snapshot.workload_at(&own.network, own.address);
        let baggage = workload.map(|it| baggage(it)).unwrap_or_default();
        let mirrors = Arc::new(Semaphore::new(limits::MIRRORS_MAX));
        Self { shelf, shelves, checks, mirrors, baggage, shared }
    }

    /// What this waypoint says of itself to other proxies.
    pub(crate) fn baggage(&self) -> &Baggage {
        &self.baggage
    }

    /// This waypoint as the mesh knows it.
    pub(crate) fn own_workload(&self) -> Option<Arc<Workload>> {
        self.shared.own_workload()
    }
}

/// The threads that serve.
#[derive(Clone)]
pub(crate) struct Workers(Arc<[Seat]>);

struct Seat {
    runtime: Handle,
    worker: Arc<Worker>,
    open: AtomicUsize,
}

impl Workers {
    /// One for each runtime.
    pub(crate) fn new(shared: &Arc<Shared>, runtimes: &[Handle]) -> Self {
        let own = &shared.own;
        let shelf = |_: &Handle| {
            let (certs, names) = (shared.certs.clone(), shared.names.clone());
            let dialer = Dialer::new(own.identity.clone(), own.address, certs, names);
            Arc::new(Shelf::new(Arc::new(dialer)))
        };
        let shelves: Arc<[_]> = runtimes.iter().map(shelf).collect();
        let seat = |(runtime, shelf): (&Handle, &Arc<Shelf>)| {
            let worker = Worker::new(shared.clone(), shelf.clone(), shelves.clone());
            let worker = Arc::new(worker);
            runtime.spawn(sweep(worker.clone()));
            Seat { runtime: runtime.clone(), worker, open: AtomicUsize::new(0) }
        };
        Self(runtimes.iter().zip(shelves.iter()).map(seat).collect())
    }

    /// Serves a connection on the thread that has fewest, until it ends.
    pub(crate) async fn serve(self, tcp: TcpStream, from: SocketAddr, drain: drain::Watch) {
        let Some(seat) = self.0.iter().min_by_key(|seat| seat.open.load(Ordering::Relaxed)) else {
            return;
        };
        // A socket belongs to the runtime that made it; this one has to change over.
        let Ok(tcp) = tcp.into_std() else { return };
        let worker = seat.worker.clone();
        seat.open.fetch_add(1, Ordering::Relaxed);
        let serving = seat.runtime.spawn(async move {
            let Ok(tcp) = TcpStream::from_std(tcp) else { return };
            connection(worker, tcp, from, drain).await;
        });
        let _ended = serving.await;
        seat.open.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn sweep(worker: Arc<Worker>) {
    let mut ticks = interval(limits::SWEEP_INTERVAL);
    loop {
        ticks.tick().await;
        let snapshot = worker.shared.mesh.load();
        worker.shelf.sweep(Instant::now(), &snapshot);
        worker.shared.backends.retain(&snapshot);
    }
}

async fn connection(worker: Arc<Worker>, tcp: TcpStream, from: SocketAddr, drain: drain::Watch) {
    let shared = &worker.shared;
    let early = |error: &dyn std::fmt::Display| {
        tracing::info!(target: "inbound", %from, %error, "no HBONE connection");
    };
    let domains = &shared.config.mesh.trust_domains;
    let accepting = hbone::accept(&shared.certs, &shared.own.identity, domains, tcp);
    let (io, peer) = match Box::pin(accepting).await {
        Ok(accepted) => accepted,
        Err(error) => return early(&error),
    };
    let snapshot = shared.mesh.load();
    let at = snapshot.workloads_at(&shared.own.network, from.ip());
    let workload = at.iter().find(|workload| workload.identity == peer.identity);
    let labels = party(workload.map(|it| &**it), Some(&peer.identity));
    let caller = Arc::new(Caller { identity: peer.identity, address: from, labels });
    let tunnels = drain.clone();
    let on_tunnel = move |incoming| {
        Box::pin(tunnel::serve(worker.clone(), caller.clone(), incoming, tunnels.clone()))
    };
    let settings = ServerSettings::default();
    if let Err(error) = Box::pin(hbone::serve(io, &settings, drain, on_tunnel)).await {
        tracing::debug!(target: "inbound", %from, %error, "HBONE connection ended");
    }
}
