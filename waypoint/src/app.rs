//! Puts the process together, and takes it apart in order.
//!
//! ```text
//!  control thread: accept, discovery client, certificate store, admin + metrics + readiness servers
//!  workers:        connections, each thread with a runtime of its own
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use http::StatusCode;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use weft_core::admin::{self, ChangeAccess, Hosts, Response, Router};
use weft_core::certs::CertStore;
use weft_core::config::{Config, Env, ProcessEnv};
use weft_core::control_plane::{self, Role};
use weft_core::identity::SpiffeId;
use weft_core::mesh::{Snapshot, SnapshotReader, Store, StoreSettings, WorkloadStatus};
use weft_core::serve::{AcceptSettings, accept_loop};
use weft_core::signals::Signals;
use weft_core::socket::{self, ListenSettings};
use weft_core::telemetry::{
    Build, LogControl, Registry, RuntimeMetrics, TrafficMetrics, XdsMetrics,
};
use weft_core::{drain, xds};
use weft_proto::contract::{port, type_url};

use crate::dump::dump;
use crate::explain::{Asked, ExplainError, explain};
use crate::http::Copies;
use crate::limits;
use crate::renewal;
use crate::resources::Feed;
use crate::serve::{Own, Workers};
use crate::shared::Shared;
use crate::telemetry::metrics::RequestMetrics;
use crate::telemetry::trace::{Origin, SpanMetrics};
use crate::telemetry::{Hub, HubParts};
use crate::upstream::{ByName, Dialer, Names, ToCollector};

/// What this proxy is to the controller.
const ROLE: Role = Role {
    kind: "waypoint",
    type_urls: &[
        type_url::ADDRESS,
        type_url::AUTHORIZATION,
        type_url::ROUTE_TABLE,
        type_url::CREDENTIALS,
        type_url::BACKEND_POLICY,
        type_url::ACCESS_POLICY,
        type_url::TELEMETRY_POLICY,
    ],
    is_impersonating: false,
};

/// Runs until a signal or a request ends it. Called on the control runtime; each of `workers` serves connections on a
/// thread of its own.
pub async fn run(config: Config, workers: Vec<Handle>, log: LogControl) -> anyhow::Result<()> {
    let own = own(&config)?;
    let mut registry =
        Registry::new(&Build { component: "waypoint".into(), tag: config.version.clone() });
    RuntimeMetrics::register(&mut registry, &workers);
    log.register(&mut registry);
    let store = Store::new(&StoreSettings::default());
    let mesh = store.reader();
    let certs = CertStore::spawn(
        control_plane::authority(&config, ROLE)?,
        control_plane::cert_settings(&config),
    );
    certs.prefetch(&own.identity);
    let (names, by_name) = names(&own, &mesh, &certs);
    let hub = Arc::new(hub(&config, &own, by_name, &log, &mut registry));
    let copies = Copies::new(&mut registry);
    let (feed, rules) = Feed::new(store, hub.clone());
    let token_of = config.xds.endpoint.clone();
    let (discovery, state) =
        control_plane::discovery(&config, ROLE, feed, XdsMetrics::new(&mut registry))?;
    let shared = Arc::new(Shared {
        config,
        own,
        mesh,
        rules,
        certs: certs.clone(),
        hub,
        copies,
        tunnels: Default::default(),
        names,
        backends: Default::default(),
        server_first: Default::default(),
    });
    let (quit, mut quitting) = mpsc::channel(1);
    let mut parts = JoinSet::new();
    let servers =
        Servers { shared: &shared, registry: Arc::new(registry), state: state.clone(), log, quit };
    servers.spawn(&mut parts)?;
    parts.spawn(async move { match discovery.run().await {} });
    parts.spawn(async move { match renewal::keep(token_of).await {} });
    parts.spawn(async move {
        certs.stopped().await;
        "certificate store"
    });
    let (drain, watch) = drain::pair();
    let listening = listen(shared.clone(), workers, state, watch)?;

    let mut accepting = tokio::spawn(listening);
    let mut signals = Signals::new()?;
    tokio::select! {
        () = signals.next() => {}
        _ = quitting.recv() => {}
        ended = parts.join_next() => anyhow::bail!("a part of the proxy ended: {ended:?}"),
        ended = &mut accepting => anyhow::bail!("the listener ended: {ended:?}"),
    }
    let deadline = shared.config.drain_deadline;
    tracing::info!(?deadline, "draining; a second signal ends at once");
    let ending = async {
        let waited = until_known(&shared, deadline).await;
        drain.drain(deadline.saturating_sub(waited)).await
    };
    tokio::select! {
        _ = ending => {}
        () = signals.next() => {}
    }
    Ok(())
}

/// Waits until the mesh was told that this instance leaves, and says for how long. Before that its ztunnels go on choosing
/// it, so that it goes on serving: a platform signals the process and marks its pod at the same moment.
async fn until_known(shared: &Shared, deadline: Duration) -> Duration {
    let (own, started) = (&shared.own, Instant::now());
    let is_leaving = |snapshot: &Arc<Snapshot>| {
        let workload = snapshot.workload_at(&own.network, own.address);
        let is_chosen = workload.is_some_and(|it| it.status == WorkloadStatus::Healthy);
        (!is_chosen).then_some(())
    };
    let patience = limits::DRAIN_NOTICE_MAX.min(deadline);
    if shared.mesh.wait_for(patience, is_leaving).await.is_err() {
        tracing::info!(?patience, "the mesh doesn't know yet that this waypoint leaves");
    }
    started.elapsed()
}

/// Who this waypoint is: the environment says it, as it does to a pod of a Gateway's Deployment.
fn own(config: &Config) -> anyhow::Result<Own> {
    let pod = config.own_pod.as_ref();
    let pod =
        pod.context("POD_NAME, POD_NAMESPACE and SERVICE_ACCOUNT say who this waypoint is")?;
    let domain = config.mesh.trust_domains.own().clone();
    let identity = SpiffeId::new(domain, &pod.namespace, &pod.service_account)?;
    let address = config.mesh.instance_ip;
    let address = address.context("INSTANCE_IP says at which address the mesh finds it")?;
    Ok(Own { identity, address, network: config.mesh.network.clone() })
}

/// Where what is told of requests goes. Collectors are reached as the waypoint reaches any service.
fn hub(
    config: &Config,
    own: &Own,
    by_name: ByName,
    log: &LogControl,
    registry: &mut Registry,
) -> Hub {
    let environment = ProcessEnv::read();
    Hub::new(HubParts {
        metrics: RequestMetrics::new(registry),
        connections: TrafficMetrics::new(registry),
        lines: log.lines(),
        spans: SpanMetrics::new(registry),
        origin: Arc::new(origin(config, own)),
        runtime: Handle::current(),
        dialler: Box::new(move |to| {
            Arc::new(ToCollector { by_name: by_name.clone(), authority: to.authority.clone() })
        }),
        environment: Box::new(move |key| environment.get(key)),
    })
}

/// Addresses of names, and the way to what isn't on a request's own.
fn names(own: &Own, mesh: &SnapshotReader, certs: &CertStore) -> (Arc<Names>, ByName) {
    let names = Arc::new(Names::of_system(mesh.clone(), own.network.clone()));
    let dialer = Dialer::new(own.identity.clone(), own.address, certs.clone(), names.clone());
    (names, ByName::new(mesh.clone(), own.clone(), Arc::new(dialer)))
}

/// Who sends spans.
fn origin(config: &Config, own: &Own) -> Origin {
    let (namespace, account) = (own.identity.namespace(), own.identity.service_account());
    Origin {
        service: format!("{account}.{namespace}"),
        canonical_service: account.to_owned(),
        canonical_revision: "latest".to_owned(),
        namespace: namespace.to_owned(),
        mesh: own.identity.trust_domain().to_string(),
        cluster: config.mesh.cluster_id.to_string(),
    }
}

/// Listens once there is something to serve by: a proxy without its rules would let through what they forbid.
fn listen(
    shared: Arc<Shared>,
    runtimes: Vec<Handle>,
    mut state: xds::StateReader,
    drain: drain::Watch,
) -> anyhow::Result<impl Future<Output = ()>> {
    let any: IpAddr = match shared.own.address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let at = SocketAddr::new(any, port::HBONE);
    let permits = Arc::new(Semaphore::new(limits::CONNECTIONS_MAX));
    let accepting = AcceptSettings { name: "hbone", permits };
    Ok(async move {
        let synced = state.wait_for(xds::State::is_synced).await;
        if synced.is_none() {
            return;
        }
        let workers = Workers::new(&shared, &runtimes);
        let listener = match socket::listen(at, &ListenSettings::default()) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%at, %error, "can't listen"),
        };
        tracing::info!(%at, identity = %shared.own.identity, "serving");
        accept_loop(listener, accepting, drain.clone(), move |tcp, from| {
            workers.clone().serve(tcp, from, drain.clone())
        })
        .await;
    })
}

/// The three servers beside the data path.
struct Servers<'a> {
    shared: &'a Arc<Shared>,
    registry: Arc<Registry>,
    state: xds::StateReader,
    log: LogControl,
    quit: mpsc::Sender<()>,
}

impl Servers<'_> {
    fn spawn(self, parts: &mut JoinSet<&'static str>) -> anyhow::Result<()> {
        let config = &self.shared.config.admin;
        let mut ready = Router::new(Hosts::Any, ChangeAccess::Closed);
        let state = self.state.clone();
        admin::add_ready(&mut ready, move || pending(&state.state()));
        admin::spawn(parts, "readiness server", config.ready, ready)?;

        let mut metrics = Router::new(Hosts::Any, ChangeAccess::Closed);
        admin::add_metrics(&mut metrics, &self.registry);
        admin::spawn(parts, "metrics server", config.metrics, metrics)?;

        let mut router = Router::new(Hosts::Loopback, ChangeAccess::of(config));
        admin::add_logging(&mut router, &self.log);
        admin::add_metrics(&mut router, &self.registry);
        let shared = self.shared.clone();
        admin::add_dump(&mut router, move || dump(&shared));
        add_explain(&mut router, self.shared);
        let quit = self.quit;
        admin::add_quit(&mut router, move || {
            // A full queue means that somebody asked already.
            let _ = quit.try_send(());
        });
        Ok(admin::spawn(parts, "admin server", config.address, router)?)
    }
}

/// `/explain?source=…&service=…`: what would become of a request or a connection.
fn add_explain(router: &mut Router, shared: &Arc<Shared>) {
    let shared = shared.clone();
    let help =
        "?source=NAMESPACE/NAME&service=HOST[&port=][&method=][&path=][&header=NAME:VALUE][&sni=]";
    router.get("/explain", help, move |request| {
        let asked = Asked::read(&request.query);
        let told = asked.and_then(|asked| explain(&shared, &asked));
        let response = match told {
            Ok(told) => Response::json(&told),
            Err(error @ ExplainError::Question(_)) => {
                Response::text(StatusCode::BAD_REQUEST, format!("{error}\n"))
            }
            Err(error) => Response::text(StatusCode::NOT_FOUND, format!("{error}\n")),
        };
        async move { response }
    });
}

/// What readiness waits for.
fn pending(discovery: &xds::State) -> Vec<String> {
    if discovery.is_synced() {
        return Vec::new();
    }
    vec![match &discovery.last_error {
        Some(error) => format!("first state of the controller ({error})"),
        None => "first state of the controller".into(),
    }]
}
