//! Puts the process together, and takes it apart in order.
//!
//! ```text
//!  control thread: discovery client, certificate store, admin + metrics + readiness servers
//!  workers:        pods' connections, each of which stays on one of them from its first byte to its last;
//!                  the first one has the agent's session and the recheck of open connections besides
//! ```
//!
//! They don't share a runtime, so that a large push or scrape takes no time from connections.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use weft_core::admin::{self, ChangeAccess, Hosts, Router};
use weft_core::certs::CertStore;
use weft_core::config::Config;
use weft_core::control_plane::{self, Role};
use weft_core::mesh::{Store, StoreSettings};
use weft_core::signals::Signals;
use weft_core::telemetry::{
    Build, CertificateMetrics, CertificateStates, DnsMetrics, LogControl, ProxyMetrics, Registry,
    RuntimeMetrics, SocketMetrics, TrafficMetrics, XdsMetrics,
};
use weft_core::{clock, xds};
use weft_proto::contract::type_url;

use crate::dns::name_servers;
use crate::dump;
use crate::netns::Broker;
use crate::pods::{Pods, Running};
use crate::recheck;
use crate::shared::Shared;
use crate::zds::{self, AgentState};

/// What this proxy is to the controller.
const ROLE: Role = Role {
    kind: "ztunnel",
    type_urls: &[type_url::ADDRESS, type_url::AUTHORIZATION],
    is_impersonating: true,
};

/// Runs until a signal or a request ends it. Called on the control runtime; each of `workers` carries connections on a thread
/// of its own.
pub async fn run(config: Config, workers: Vec<Handle>, log: LogControl) -> anyhow::Result<()> {
    let first = workers.first().context("no thread for connections")?.clone();
    let mut registry =
        Registry::new(&Build { component: "ztunnel".into(), tag: config.version.clone() });
    RuntimeMetrics::register(&mut registry, &workers);
    log.register(&mut registry);

    let store = store(&config);
    let mesh = store.reader();
    let certs = CertStore::spawn(
        control_plane::authority(&config, ROLE)?,
        control_plane::cert_settings(&config),
    );
    register_certificates(&mut registry, &certs);
    let (discovery, discovery_state) =
        control_plane::discovery(&config, ROLE, store, XdsMetrics::new(&mut registry))?;

    let running = Running::default();
    let shared = Arc::new(Shared {
        mesh: mesh.clone(),
        certs: certs.clone(),
        broker: Broker::spawn(config.inpod.mark).context("starting the namespace broker")?,
        running: running.clone(),
        workers,
        name_servers: system_name_servers(),
        traffic: TrafficMetrics::new(&mut registry),
        sockets: SocketMetrics::new(&mut registry),
        proxies: ProxyMetrics::new(&mut registry),
        dns: DnsMetrics::new(&mut registry),
        config,
    });
    let pods = Arc::new(Pods::new(shared.clone()));
    let (agent, agent_state) = watch::channel(AgentState::default());
    let (quit, mut quitting) = mpsc::channel(1);
    let servers = Servers {
        shared: &shared,
        pods: &pods,
        registry: Arc::new(registry),
        discovery: discovery_state,
        agent: agent_state,
        log,
        quit,
    };
    let mut parts = JoinSet::new();
    servers.spawn(&mut parts)?;
    parts.spawn(async move { match discovery.run().await {} });
    parts.spawn(async move {
        certs.stopped().await;
        "certificate store"
    });
    let agent_socket = shared.config.inpod.socket.clone();
    let session = first.spawn(zds::run(agent_socket, pods.clone(), agent));
    let rechecking = first.spawn(recheck::run(mesh, running));
    let mut signals = Signals::new()?;
    tokio::select! {
        () = signals.next() => {}
        _ = quitting.recv() => {}
        ended = parts.join_next() => anyhow::bail!("a part of the proxy ended: {ended:?}"),
        ended = session => anyhow::bail!("the agent's session ended: {ended:?}"),
        ended = rechecking => anyhow::bail!("the recheck of open connections ended: {ended:?}"),
    }
    let deadline = shared.config.drain_deadline;
    tracing::info!(?deadline, "draining; a second signal ends at once");
    let draining = first.spawn(async move { pods.drain(deadline).await });
    tokio::select! {
        _ = draining => {}
        () = signals.next() => {}
    }
    Ok(())
}

/// The mesh, as this node's proxy sees it.
fn store(config: &Config) -> Store {
    Store::new(&StoreSettings {
        local_node: config.mesh.node.as_deref().map(ToOwned::to_owned),
        ..StoreSettings::default()
    })
}

/// Of the machine that the proxy runs on.
fn system_name_servers() -> Vec<SocketAddr> {
    let resolv_conf = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    name_servers(&resolv_conf)
}

fn register_certificates(registry: &mut Registry, certs: &CertStore) {
    let store = certs.clone();
    CertificateMetrics::new(registry, move || {
        let mut states = CertificateStates::default();
        for entry in store.entries() {
            match &entry.certificate {
                Some(certificate) if certificate.is_valid_at(clock::now()) => {
                    states.available += 1;
                    let expires = certificate.not_after();
                    let first = states.expires_first.map_or(expires, |first| first.min(expires));
                    states.expires_first = Some(first);
                }
                _ if entry.last_error.is_some() => states.unavailable += 1,
                _ => states.initializing += 1,
            }
        }
        states
    });
}

/// The three servers beside the data path.
struct Servers<'a> {
    shared: &'a Arc<Shared>,
    pods: &'a Arc<Pods>,
    registry: Arc<Registry>,
    discovery: xds::StateReader,
    agent: watch::Receiver<AgentState>,
    log: LogControl,
    quit: mpsc::Sender<()>,
}

impl Servers<'_> {
    fn spawn(self, parts: &mut JoinSet<&'static str>) -> anyhow::Result<()> {
        let config = &self.shared.config.admin;
        let (discovery, agent) = (self.discovery.clone(), self.agent.clone());
        let mut ready = Router::new(Hosts::Any, ChangeAccess::Closed);
        admin::add_ready(&mut ready, move || pending(&discovery.state(), &agent.borrow()));
        admin::spawn(parts, "readiness server", config.ready, ready)?;

        let mut metrics = Router::new(Hosts::Any, ChangeAccess::Closed);
        admin::add_metrics(&mut metrics, &self.registry);
        admin::spawn(parts, "metrics server", config.metrics, metrics)?;

        let mut router = Router::new(Hosts::Loopback, ChangeAccess::of(config));
        let (shared, pods) = (self.shared.clone(), self.pods.clone());
        admin::add_dump(&mut router, move || dump::dump(&shared, &pods));
        admin::add_logging(&mut router, &self.log);
        admin::add_metrics(&mut router, &self.registry);
        let quit = self.quit;
        admin::add_quit(&mut router, move || {
            // A full queue means that somebody asked already.
            let _ = quit.try_send(());
        });
        Ok(admin::spawn(parts, "admin server", config.address, router)?)
    }
}

/// What readiness waits for. A pod that can't be served is not among it: one broken pod must not hold up a node.
fn pending(discovery: &xds::State, agent: &AgentState) -> Vec<String> {
    let mut pending = Vec::new();
    if !discovery.is_synced() {
        pending.push(match &discovery.last_error {
            Some(error) => format!("first state of the controller ({error})"),
            None => "first state of the controller".into(),
        });
    }
    if !agent.connected {
        pending.push("connection to the node agent".into());
    } else if !agent.snapshot_received {
        pending.push("the node agent's list of pods".into());
    }
    pending
}
