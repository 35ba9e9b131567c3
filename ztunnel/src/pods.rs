//! The pods that this proxy serves: which there are, and the proxy of each.
//!
//! Only the node agent's session changes the table; connections look pods up in it without a lock, to find out
//! whether their destination is on this node too.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Mutex;
use weft_core::zds::{PodIdentity, PodUid};

use crate::limits;
use crate::netns::Netns;
use crate::pod::{Pod, PodProxy};
use crate::shared::Shared;

/// A pod that the agent named, with its proxy or the reason why there is none yet.
struct Entry {
    name: PodIdentity,
    netns: Netns,
    proxy: Result<PodProxy, String>,
}

/// How a pod stands, for the status page.
#[derive(Debug, Clone)]
pub(crate) struct PodState {
    /// The agent's name for it.
    pub uid: PodUid,
    /// Name, namespace and service account.
    pub name: PodIdentity,
    /// Why it is not served, if it isn't.
    pub pending: Option<String>,
}

/// All pods of this node.
pub(crate) struct Pods {
    shared: Arc<Shared>,
    entries: Mutex<HashMap<PodUid, Entry>>,
    running: Running,
}

/// The pods that are served, by the workload's uid as the controller names it.
#[derive(Clone, Default)]
pub(crate) struct Running(Arc<ArcSwap<HashMap<Arc<str>, Arc<Pod>>>>);

impl Running {
    /// The pod of that workload, if it is on this node.
    pub(crate) fn find(&self, workload_uid: &str) -> Option<Arc<Pod>> {
        self.0.load().get(workload_uid).cloned()
    }

    /// Every pod that is served.
    pub(crate) fn all(&self) -> Vec<Arc<Pod>> {
        self.0.load().values().cloned().collect()
    }
}

impl Pods {
    /// No pods yet. What runs is to be seen in `shared.running`.
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { running: shared.running.clone(), entries: Mutex::default(), shared }
    }

    /// Serves a pod. The same pod in the same namespace is left alone; in another, its old proxy makes room.
    ///
    /// An error is told to the agent; the pod stays known and is tried again.
    pub(crate) async fn add(
        &self,
        uid: PodUid,
        name: PodIdentity,
        netns: Netns,
    ) -> Result<(), String> {
        let mut entries = self.entries.lock().await;
        if let Some(entry) = entries.get(&uid)
            && entry.netns == netns
            && entry.name == name
            && entry.proxy.is_ok()
        {
            return Ok(());
        }
        if entries.len() >= limits::PODS_MAX && !entries.contains_key(&uid) {
            return Err(format!("this node serves {} pods already", limits::PODS_MAX));
        }
        if let Some(Entry { proxy: Ok(old), .. }) = entries.remove(&uid) {
            old.stop();
        }
        let proxy = PodProxy::start(&self.shared, uid.clone(), name.clone(), netns.clone()).await;
        let proxy = proxy.map_err(|error| error.to_string());
        let outcome = proxy.as_ref().map(|_| ()).map_err(Clone::clone);
        entries.insert(uid, Entry { name, netns, proxy });
        self.publish(&entries);
        outcome
    }

    /// Stops serving a pod. Its connections end: the pod's network is gone or about to be.
    pub(crate) async fn remove(&self, uid: &PodUid) {
        let mut entries = self.entries.lock().await;
        if let Some(entry) = entries.remove(uid) {
            self.end(entry);
            self.publish(&entries);
        }
    }

    /// Drops every pod that is not in `named`.
    pub(crate) async fn retain(&self, named: &HashSet<PodUid>) {
        let mut entries = self.entries.lock().await;
        let gone: Vec<PodUid> =
            entries.keys().filter(|uid| !named.contains(*uid)).cloned().collect();
        for uid in gone {
            if let Some(entry) = entries.remove(&uid) {
                self.end(entry);
            }
        }
        self.publish(&entries);
    }

    /// Tries again to serve the pods whose proxy could not start.
    pub(crate) async fn retry_pending(&self) {
        let mut entries = self.entries.lock().await;
        for (uid, entry) in entries.iter_mut().filter(|(_, entry)| entry.proxy.is_err()) {
            let (name, netns) = (entry.name.clone(), entry.netns.clone());
            let proxy = PodProxy::start(&self.shared, uid.clone(), name, netns).await;
            entry.proxy = proxy.map_err(|error| error.to_string());
        }
        self.publish(&entries);
    }

    /// How every pod stands, in the order of their names. Never on a runtime's thread: it waits for the table.
    pub(crate) fn states(&self) -> Vec<PodState> {
        let entries = self.entries.blocking_lock();
        let mut states: Vec<_> = entries
            .iter()
            .map(|(uid, entry)| PodState {
                uid: uid.clone(),
                name: entry.name.clone(),
                pending: entry.proxy.as_ref().err().cloned(),
            })
            .collect();
        states.sort_by(|a, b| a.uid.cmp(&b.uid));
        states
    }

    /// Takes no new connections, and returns when all have ended or `deadline` has cut them.
    pub(crate) async fn drain(&self, deadline: Duration) {
        let entries = std::mem::take(&mut *self.entries.lock().await);
        let proxies = entries.values().filter_map(|entry| entry.proxy.as_ref().ok());
        futures::future::join_all(proxies.map(|proxy| proxy.drain(deadline))).await;
    }

    fn end(&self, entry: Entry) {
        if let Ok(proxy) = entry.proxy {
            self.shared.proxies.stopped.inc();
            proxy.stop();
        }
    }

    fn publish(&self, entries: &HashMap<PodUid, Entry>) {
        let running: HashMap<_, _> = entries
            .values()
            .filter_map(|entry| entry.proxy.as_ref().ok())
            .map(|proxy| (proxy.pod().workload_uid.clone(), proxy.pod().clone()))
            .collect();
        let pending = entries.len() - running.len();
        self.shared.proxies.active.set(count(running.len()));
        self.shared.proxies.pending.set(count(pending));
        self.shared.keep_certificates_of(&running);
        self.running.0.store(Arc::new(running));
    }
}

/// Gauges are signed; a table never gets near their end.
fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
