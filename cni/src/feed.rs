//! The stream of changes: the discovery client, subscribed to this node's pods, at the reconciler's door.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use weft_core::tls::{ControlSettings, control_channel};
use weft_core::token::TokenSource;
use weft_core::xds::{
    Change, ChannelFactory, Client, Handler, NoObserver, NodeSettings, Rejected, State,
    StateReader, XdsSettings, node,
};
use weft_proto::contract::type_url::ENROLLED_POD;

use crate::limits;
use crate::reconciler::Reconciler;
use crate::status::{Discovery, Membership};

/// What the stream needs.
#[derive(Debug)]
pub struct FeedSettings {
    /// This node.
    pub node: String,
    /// Where the controller is.
    pub control: ControlSettings,
    /// Where the agent's token is.
    pub token: PathBuf,
    /// The stream is opened once the node is a member.
    pub membership: watch::Receiver<Membership>,
}

/// The control plane takes this for what the client is.
const KIND: &str = "agent";

struct Door(Arc<Mutex<Reconciler>>);

impl Handler for Door {
    fn apply(&mut self, type_url: &str, changes: Vec<Change>) -> Vec<Rejected> {
        if type_url == ENROLLED_POD {
            return self.0.lock().apply(changes);
        }
        let refuse = |change: Change| Rejected {
            name: change.name,
            reason: format!("a node agent has no use for {type_url}"),
        };
        changes.into_iter().map(refuse).collect()
    }
}

/// Feeds the reconciler for as long as it is polled, and says how the stream stands.
pub async fn run(
    mut settings: FeedSettings,
    reconciler: Reconciler,
    discovery: watch::Sender<Discovery>,
) -> Infallible {
    let joined = settings.membership.wait_for(|membership| membership.is_joined).await;
    let Ok(cluster_id) = joined.map(|membership| membership.cluster_id.clone()) else {
        // The member ended before it joined: the process is going down.
        return std::future::pending().await;
    };
    let control = settings.control;
    let channel: ChannelFactory = Box::new(move || {
        let channel = control_channel(control.clone());
        Box::pin(async move { Ok(channel?) })
    });
    let described = node(&NodeSettings {
        kind: KIND.to_owned(),
        instance_ip: None,
        pod_name: settings.node.clone(),
        // The token says which; the agent has no word of its own about it.
        namespace: String::new(),
        node_name: settings.node,
        cluster_domain: "cluster.local".to_owned(),
        // Status pages show it.
        metadata: [("ISTIO_VERSION".to_owned(), env!("CARGO_PKG_VERSION").into())].into(),
    });
    let xds = XdsSettings {
        node: described,
        type_urls: vec![ENROLLED_POD.into()],
        token: TokenSource::File(settings.token),
        cluster_id: cluster_id.unwrap_or_default(),
        headers: Vec::new(),
    };
    let reconciler = Arc::new(Mutex::new(reconciler));
    let door = Door(reconciler.clone());
    let (client, state) = Client::new(xds, channel, door, Arc::new(NoObserver));
    let (ended, (), ()) = tokio::join!(
        client.run(),
        finish_first_load(state.clone(), &reconciler),
        report(state, discovery)
    );
    ended
}

async fn finish_first_load(mut state: StateReader, reconciler: &Mutex<Reconciler>) {
    if state.wait_for(State::is_synced).await.is_some() {
        reconciler.lock().first_load_done();
    }
}

async fn report(mut state: StateReader, discovery: watch::Sender<Discovery>) {
    let mut last = discovery.borrow().clone();
    while let Some(state) = state.wait_for(|state| summary(state) != last).await {
        last = summary(&state);
        discovery.send_replace(last.clone());
    }
}

fn summary(state: &State) -> Discovery {
    let clip = |text: &String| text.chars().take(limits::REASON_BYTES_MAX).collect();
    Discovery {
        is_connected: state.is_connected,
        is_loaded: state.is_synced(),
        problem: state.last_error.as_ref().map(clip),
    }
}

#[cfg(test)]
mod tests;
