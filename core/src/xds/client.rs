//! The client: one session after the other.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::transport::Channel;
use weft_proto::envoy::config::core::v3::Node;

use super::backoff::Backoff;
use super::session::{self, Ended};
use super::{Handler, State, StateReader};
use crate::limits;
use crate::token::TokenSource;

/// Makes a channel to the control plane; called for every connection, so that roots are read anew.
///
/// The channel's own h2 keepalive is what notices a silent peer: a stream of changes may be quiet for hours.
pub type ChannelFactory = Box<
    dyn Fn() -> BoxFuture<'static, Result<Channel, Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + Sync,
>;

/// What a client has to be told.
#[derive(Debug, Clone)]
pub struct XdsSettings {
    /// Who it is; see [`super::node`].
    pub node: Node,
    /// The types to subscribe to, all resources of each.
    pub type_urls: Vec<Arc<str>>,
    /// How it proves that.
    pub token: TokenSource,
    /// Sent as `clusterid`.
    pub cluster_id: String,
    /// Sent besides. Names are lower case.
    pub headers: Vec<(String, String)>,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Termination {
    /// The control plane could not be reached, or would not open a stream.
    ConnectionError,
    /// The stream broke.
    Error,
    /// The control plane, or something in between, asked for a new connection.
    Reconnect,
    /// The stream ended.
    Complete,
}

impl Termination {
    /// The metric's label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConnectionError => "ConnectionError",
            Self::Error => "Error",
            Self::Reconnect => "Reconnect",
            Self::Complete => "Complete",
        }
    }
}

/// Counts what happens.
pub trait Observer: Send + Sync + 'static {
    /// A session ended.
    fn terminated(&self, reason: Termination);
    /// A response came, of this many bytes when encoded.
    fn received(&self, type_url: &str, bytes: usize);
}

/// Counts nothing.
#[derive(Debug, Clone, Copy)]
pub struct NoObserver;

impl Observer for NoObserver {
    fn terminated(&self, _: Termination) {}
    fn received(&self, _: &str, _: usize) {}
}

/// What the handler holds, by type.
pub(super) type Held = BTreeMap<Arc<str>, HeldResources>;

/// The resources of one type.
#[derive(Debug, Default)]
pub(super) struct HeldResources {
    /// Name to version.
    pub(super) versions: HashMap<Arc<str>, Box<str>>,
    /// Those that were rejected in the form last sent.
    pub(super) rejected: HashSet<Arc<str>>,
}

/// Keeps a handler in step with the control plane, for as long as [`Client::run`] is polled.
pub struct Client<H> {
    pub(super) settings: XdsSettings,
    pub(super) channel: ChannelFactory,
    pub(super) handler: Arc<Mutex<H>>,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) state: watch::Sender<State>,
    pub(super) held: Held,
}

impl<H> fmt::Debug for Client<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl<H: Handler> Client<H> {
    /// A client that has not begun, and a look at its state.
    pub fn new(
        settings: XdsSettings,
        channel: ChannelFactory,
        handler: H,
        observer: Arc<dyn Observer>,
    ) -> (Self, StateReader) {
        let (state, reader) = watch::channel(State::new(&settings.type_urls));
        let held = settings
            .type_urls
            .iter()
            .map(|url| (Arc::clone(url), HeldResources::default()))
            .collect();
        let handler = Arc::new(Mutex::new(handler));
        let client = Self { settings, channel, handler, observer, state, held };
        (client, StateReader::new(reader))
    }

    /// Runs until it is dropped, which is safe at any point. It never gives up: what was received stays in force.
    pub async fn run(mut self) -> std::convert::Infallible {
        let mut backoff = Backoff::new(limits::XDS_BACKOFF_MIN, limits::XDS_BACKOFF_MAX);
        loop {
            let began = Instant::now();
            let ended = Box::pin(session::run(&mut self)).await;
            self.observer.terminated(ended.reason);
            self.report(&ended);
            if is_fresh_start(&ended, began) {
                backoff.reset();
            }
            let wait = backoff.wait(&mut rand::rng());
            tokio::time::sleep(wait).await;
        }
    }

    fn report(&self, ended: &Ended) {
        let reason = ended.reason.as_str();
        let error = &ended.error;
        match ended.reason {
            Termination::Reconnect | Termination::Complete => {
                tracing::info!(reason, %error, "discovery stream ended, reconnecting");
            }
            Termination::ConnectionError | Termination::Error => {
                tracing::warn!(reason, %error, "discovery stream failed, working on with what is known");
            }
        }
        self.state.send_modify(|state| state.disconnected(error.clone()));
    }
}

/// An orderly end of a session that worked is no sign of trouble, and after a long one earlier trouble is over.
/// A server that ends each stream without a response, or breaks each soon after, is approached ever more slowly.
fn is_fresh_start(ended: &Ended, began: Instant) -> bool {
    let is_orderly = matches!(ended.reason, Termination::Reconnect | Termination::Complete);
    ended.had_response && (is_orderly || began.elapsed() >= limits::XDS_BACKOFF_MAX)
}
