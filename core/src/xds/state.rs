//! What others may see of the client: readiness and the admin server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;

use crate::clock;

/// Where the client stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Whether a stream is open.
    pub is_connected: bool,
    /// Since when, if it is.
    pub connected_since: Option<SystemTime>,
    /// Since when none is open, if there is none.
    pub disconnected_since: Option<SystemTime>,
    /// What ended the last stream or kept one from being opened.
    pub last_error: Option<String>,
    /// Each subscribed type.
    pub types: BTreeMap<Arc<str>, TypeState>,
}

/// One subscribed type.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TypeState {
    /// Whether a first load was ever applied to its end, be it with rejections: from then on there is all to work by. Our
    /// controller marks the responses before the last (`MORE_OF_LOAD_FOLLOWS`); others send a load in one.
    pub is_loaded: bool,
    /// When a response was last acknowledged without rejections.
    pub last_ack: Option<SystemTime>,
    /// When resources of a response were last rejected.
    pub last_nack: Option<SystemTime>,
    /// The control plane's mark of the last response.
    pub version: String,
    /// How many resources are held, rejected ones included.
    pub resources: usize,
    /// How many of them were rejected in the form last sent.
    pub rejected: usize,
}

impl State {
    pub(super) fn new(type_urls: &[Arc<str>]) -> Self {
        let types = type_urls.iter().map(|url| (Arc::clone(url), TypeState::default()));
        Self {
            is_connected: false,
            connected_since: None,
            disconnected_since: Some(clock::now()),
            last_error: None,
            types: types.collect(),
        }
    }

    /// Whether every type has been received whole. An outage afterwards changes nothing about that.
    pub fn is_synced(&self) -> bool {
        self.types.values().all(|it| it.is_loaded)
    }

    pub(super) fn connected(&mut self) {
        self.is_connected = true;
        self.connected_since = Some(clock::now());
        self.disconnected_since = None;
    }

    pub(super) fn disconnected(&mut self, error: String) {
        self.last_error = Some(error);
        self.connected_since = None;
        // A failed attempt to reconnect does not begin a new outage.
        if self.is_connected || self.disconnected_since.is_none() {
            self.disconnected_since = Some(clock::now());
        }
        self.is_connected = false;
    }
}

/// A look at the client's state, and changes of it.
#[derive(Debug, Clone)]
pub struct StateReader(watch::Receiver<State>);

impl StateReader {
    pub(super) fn new(receiver: watch::Receiver<State>) -> Self {
        Self(receiver)
    }

    /// The state now.
    pub fn state(&self) -> State {
        self.0.borrow().clone()
    }

    /// Waits for a state that `is_wanted`, the present one included. `None` once the client is gone.
    pub async fn wait_for(&mut self, is_wanted: impl FnMut(&State) -> bool) -> Option<State> {
        self.0.wait_for(is_wanted).await.ok().map(|state| state.clone())
    }
}
