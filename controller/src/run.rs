//! Puts the parts together.
//!
//! ```text
//! Inputs.changes ─▶ Log ─▶ Discovery ┐
//! Inputs.pods ───▶ CertificateService ┼─▶ tonic ◀─ listen (TLS)      Admin (loopback)
//!                  Nodes             ┘
//! ```
//!
//! A part that ends by itself ends the controller: half a controller is worse than none, which a supervisor replaces.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use weft_core::identity::{IdentityError, SpiffeId};
use weft_proto::ca::istio_certificate_service_server::IstioCertificateServiceServer;
use weft_proto::node::node_service_server::NodeServiceServer;

use crate::admin::{self, Admin, AdminSecret, ModelStatus, NoModel};
use crate::ca::{Authority, CaError, CertificateService, LivePods, Root};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::nodes::{MeshNames, Nodes};
use crate::serving_limits::{
    CHANGE_QUEUE, HEADER_LIST_BYTES_MAX, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, SHUTDOWN_DEADLINE,
    STREAMS_PER_CONNECTION, UNARY_REQUEST_BYTES_MAX,
};
use crate::state_dir::{StateDir, StateError};
use crate::tls::{self, ServingCertificate, ServingError};
use crate::tokens::{TokenError, TokenIssuer};
use crate::xds::{Clients, Discovery, DiscoveryService, Log, ResourceChange};

/// Service account in the controller's own identity.
const CONTROLLER_ACCOUNT: &str = "istiod";

/// What the controller serves: the side that reads objects hands it over.
pub struct Inputs {
    /// Changes, batch by batch; each is applied as one step. The first batch is all that there is at the start, and
    /// comes even if it is empty: until then no client is served. When the sender goes, the controller stops.
    pub changes: mpsc::Receiver<Vec<ResourceChange>>,
    /// Which pods live where.
    pub pods: Arc<dyn LivePods>,
    /// What to show of the objects.
    pub model: Arc<dyn ModelStatus>,
}

/// The sending side of [`Inputs`].
pub type ChangeSender = mpsc::Sender<Vec<ResourceChange>>;

impl Inputs {
    /// Inputs whose changes come through the returned sender.
    pub fn channel(pods: Arc<dyn LivePods>, model: Arc<dyn ModelStatus>) -> (ChangeSender, Self) {
        let (sender, changes) = mpsc::channel(CHANGE_QUEUE);
        (sender, Self { changes, pods, model })
    }

    /// No objects at all.
    pub fn none() -> (ChangeSender, Self) {
        Self::channel(Arc::new(NoPods), Arc::new(NoModel))
    }
}

/// No pod lives anywhere.
struct NoPods;

impl LivePods for NoPods {
    fn node_hosts(&self, _: &str, _: &str, _: &str) -> bool {
        false
    }
}

/// Why the controller did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The state folder.
    #[error(transparent)]
    State(#[from] StateError),
    /// The authority.
    #[error(transparent)]
    Authority(#[from] CaError),
    /// The token key.
    #[error(transparent)]
    Tokens(#[from] TokenError),
    /// The serving certificate.
    #[error(transparent)]
    Serving(#[from] ServingError),
    /// The controller's own identity.
    #[error("the root namespace gives no identity: {0}")]
    Identity(#[from] IdentityError),
    /// A port.
    #[error("can't listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A part ended that should not have.
    #[error("{0} ended")]
    PartEnded(&'static str),
}

/// A running controller.
pub struct Controller {
    address: SocketAddr,
    admin_address: SocketAddr,
    authority: Arc<Authority>,
    tokens: Arc<TokenIssuer>,
    metrics: Arc<Metrics>,
    log: Log,
    stop: CancellationToken,
    parts: JoinSet<&'static str>,
}

/// What several parts share.
struct Shared {
    names: MeshNames,
    log: Log,
    clients: Clients,
    metrics: Arc<Metrics>,
    authority: Arc<Authority>,
    tokens: Arc<TokenIssuer>,
    is_synced: watch::Receiver<bool>,
    stop: CancellationToken,
}

impl Controller {
    /// Starts everything; ports are open on return.
    pub async fn start(config: &Config, inputs: Inputs) -> Result<Self, RunError> {
        let state = StateDir::open(&config.state)?;
        let tokens = TokenIssuer::open(&state, &config.token_issuer, &config.root_namespace)?;
        let authority = Arc::new(open_authority(config, &state)?);
        let (synced, is_synced) = watch::channel(false);
        let shared = Shared {
            names: MeshNames {
                trust_domain: config.trust_domain.clone(),
                cluster_id: config.cluster_id.clone(),
                root_namespace: config.root_namespace.clone(),
            },
            log: Log::new(),
            clients: Clients::default(),
            metrics: Arc::new(Metrics::new()),
            authority,
            tokens: Arc::new(tokens),
            is_synced,
            stop: CancellationToken::new(),
        };
        let expiry = admin::unix_seconds(shared.authority.roots_not_after());
        shared.metrics.root_expiry.set(expiry);
        let secret = AdminSecret::open(&state)?;
        let (listener, address) = bind(config.listen).await?;
        let (admin_listener, admin_address) = bind(config.admin).await?;

        let mut parts = JoinSet::new();
        spawn_feed(&mut parts, &shared, inputs.changes, synced);
        spawn_serving(&mut parts, config, &shared, listener, inputs.pods)?;
        spawn_admin(&mut parts, &shared, admin_listener, (inputs.model, secret));
        tracing::info!(%address, admin = %admin_address, trust_domain = %config.trust_domain,
            "controller started");
        Ok(Self {
            address,
            admin_address,
            authority: shared.authority,
            tokens: shared.tokens,
            metrics: shared.metrics,
            log: shared.log,
            stop: shared.stop,
            parts,
        })
    }

    /// Where nodes connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where status and metrics are served.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// The certificate authority.
    pub fn authority(&self) -> &Arc<Authority> {
        &self.authority
    }

    /// The issuer of tokens.
    pub fn tokens(&self) -> &Arc<TokenIssuer> {
        &self.tokens
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The log of resources.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Serves until `stop` is done or a part ends, then lets open calls end for a while.
    pub async fn run_until(mut self, stop: impl Future<Output = ()>) -> Result<(), RunError> {
        let outcome = tokio::select! {
            () = stop => Ok(()),
            ended = self.parts.join_next() => {
                Err(RunError::PartEnded(ended.and_then(Result::ok).unwrap_or("a part")))
            }
        };
        self.stop.cancel();
        let rest = async { while self.parts.join_next().await.is_some() {} };
        if tokio::time::timeout(SHUTDOWN_DEADLINE, rest).await.is_err() {
            tracing::warn!("calls were still open and are cut");
        }
        self.parts.shutdown().await;
        outcome
    }
}

fn open_authority(config: &Config, state: &StateDir) -> Result<Authority, CaError> {
    let root = match &config.ca_dir {
        Some(folder) => Root::plugged_in(folder)?,
        None => Root::self_signed(state, &config.trust_domain)?,
    };
    Authority::new(root, config.cert_ttl)
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), RunError> {
    let failed = |source| RunError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

fn spawn_feed(
    parts: &mut JoinSet<&'static str>,
    shared: &Shared,
    mut changes: mpsc::Receiver<Vec<ResourceChange>>,
    synced: watch::Sender<bool>,
) {
    let (log, stop) = (shared.log.clone(), shared.stop.clone());
    parts.spawn(async move {
        loop {
            let batch = tokio::select! {
                () = stop.cancelled() => break,
                batch = changes.recv() => batch,
            };
            let Some(batch) = batch else { break };
            let count = log.apply(batch);
            tracing::debug!(count, "resources changed");
            synced.send_if_modified(|synced| !std::mem::replace(synced, true));
        }
        "the source of objects"
    });
}

fn spawn_serving(
    parts: &mut JoinSet<&'static str>,
    config: &Config,
    shared: &Shared,
    listener: TcpListener,
    pods: Arc<dyn LivePods>,
) -> Result<(), RunError> {
    let domain = config.trust_domain.clone();
    let identity = SpiffeId::new(domain, &config.root_namespace, CONTROLLER_ACCOUNT)?;
    let certificate =
        ServingCertificate::issue(shared.authority.clone(), identity, config.advertise.clone())?;
    let tls = certificate.server_config()?;
    let router = services(shared, pods);
    // Established connections are handed over one at a time; tonic takes them at once.
    let (established, incoming) = mpsc::channel(1);
    let (metrics, stop) = (shared.metrics.clone(), shared.stop.clone());
    parts.spawn(async move {
        tls::listen(listener, tls, metrics, established, stop).await;
        "the listener"
    });
    let stop = shared.stop.clone();
    parts.spawn(async move {
        let incoming = ReceiverStream::new(incoming);
        let stopped = stop.cancelled_owned();
        let serving = Box::pin(router.serve_with_incoming_shutdown(incoming, stopped));
        if let Err(error) = serving.await {
            tracing::error!(%error, "the services failed");
        }
        "the services"
    });
    let stop = shared.stop.clone();
    parts.spawn(async move {
        tokio::select! {
            () = certificate.keep_fresh() => {}
            () = stop.cancelled() => {}
        }
        "the renewal of the serving certificate"
    });
    Ok(())
}

fn services(shared: &Shared, pods: Arc<dyn LivePods>) -> tonic::transport::server::Router {
    let (tokens, authority) = (shared.tokens.clone(), shared.authority.clone());
    let names = shared.names.clone();
    let discovery = Discovery::new(
        shared.log.clone(),
        shared.clients.clone(),
        shared.metrics.clone(),
        (tokens.clone(), &names.root_namespace),
        (shared.is_synced.clone(), shared.stop.clone()),
    );
    let mesh = (names.trust_domain.clone(), names.root_namespace.clone());
    let certificates = CertificateService::new(
        authority.clone(),
        tokens.clone(),
        pods,
        shared.metrics.clone(),
        mesh,
    );
    let certificates = IstioCertificateServiceServer::new(certificates)
        .max_decoding_message_size(UNARY_REQUEST_BYTES_MAX);
    let nodes = NodeServiceServer::new(Nodes::new(tokens, authority, names))
        .max_decoding_message_size(UNARY_REQUEST_BYTES_MAX);
    Server::builder()
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .http2_max_header_list_size(HEADER_LIST_BYTES_MAX)
        .add_service(DiscoveryService::new(Arc::new(discovery)))
        .add_service(certificates)
        .add_service(nodes)
}

fn spawn_admin(
    parts: &mut JoinSet<&'static str>,
    shared: &Shared,
    listener: TcpListener,
    (model, secret): (Arc<dyn ModelStatus>, AdminSecret),
) {
    let admin = Arc::new(Admin {
        names: shared.names.clone(),
        log: shared.log.clone(),
        clients: shared.clients.clone(),
        metrics: shared.metrics.clone(),
        authority: shared.authority.clone(),
        tokens: shared.tokens.clone(),
        model,
        is_synced: shared.is_synced.clone(),
        secret,
    });
    let stop = shared.stop.clone();
    parts.spawn(async move {
        if let Err(error) = admin::serve(listener, admin, stop).await {
            tracing::error!(%error, "the admin server failed");
        }
        "the admin server"
    });
}
