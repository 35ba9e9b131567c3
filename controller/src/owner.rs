//! The model's one owner: takes in what the source sends, and passes on what follows from it.
//!
//! ```text
//!  source ──SourceEvent──▶ owner ──ResourceChange──▶ log
//!                            ├──▶ Hosted   (which service accounts live on which node; asked by the CA)
//!                            └──▶ Objects  (counts, refusals and statuses; asked by the admin server)
//! ```

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use prost::Message;
use tokio::sync::watch;
use weft_proto::contract::type_url;
use weft_proto::node::EnrolledPod;

use crate::admin::{ModelStatus, RejectedDocument};
use crate::ca::LivePods;
use crate::config::{Config, DefaultMtls};
use crate::run::{ChangeSender, Inputs};
use crate::sources::files::Folder;
use crate::sources::{Instead, Rejection, SourceEvent, SourceReport};
use crate::translate::{self, ObjectStatus, Settings, Translator};
use crate::xds::ResourceChange;

/// The settings of translation that the operator's configuration gives.
pub fn settings(config: &Config) -> Settings {
    Settings {
        cluster_id: config.cluster_id.as_str().into(),
        trust_domain: config.trust_domain.clone(),
        root_namespace: config.root_namespace.as_str().into(),
        default_mtls: match config.default_mtls {
            DefaultMtls::Permissive => translate::DefaultMtls::Permissive,
            DefaultMtls::Strict => translate::DefaultMtls::Strict,
        },
        ..Settings::standalone()
    }
}

/// Starts the owner of `folder`'s objects; what it gives is the controller's input.
pub fn spawn(folder: Folder, settings: Settings) -> Inputs {
    let translator = Arc::new(Mutex::new(Translator::new(settings)));
    let hosted = Arc::new(Hosted::default());
    let objects = Objects { report: folder.report.clone(), translator: translator.clone() };
    let (changes, inputs) = Inputs::channel(hosted.clone(), Arc::new(objects));
    tokio::spawn(own(folder, translator, hosted, changes));
    inputs
}

/// Runs until the source or the log ends; either ends the controller.
async fn own(
    mut folder: Folder,
    translator: Arc<Mutex<Translator>>,
    hosted: Arc<Hosted>,
    log: ChangeSender,
) {
    // The first batch has to be all that there is, so that nobody is served half of the mesh.
    let mut initial = Some(Vec::new());
    while let Some(event) = folder.events.recv().await {
        let changes = match event {
            SourceEvent::Changes(changes) => match &mut initial {
                Some(initial) => {
                    initial.extend(changes);
                    continue;
                }
                None => changes,
            },
            SourceEvent::Loaded => initial.take().unwrap_or_default(),
        };
        let resources = translator.lock().apply(changes);
        hosted.apply(&resources);
        if log.send(resources).await.is_err() {
            return;
        }
    }
}

/// Which service accounts have a live pod on which node.
#[derive(Default)]
struct Hosted(RwLock<Places>);

#[derive(Default)]
struct Places {
    by_uid: HashMap<Arc<str>, Place>,
    pods: HashMap<Place, usize>,
}

/// Node, namespace, service account.
type Place = (Arc<str>, Arc<str>, Arc<str>);

impl Hosted {
    fn apply(&self, resources: &[ResourceChange]) {
        let enrolled = |it: &&ResourceChange| it.type_url == type_url::ENROLLED_POD;
        let mut places = self.0.write();
        for change in resources.iter().filter(enrolled) {
            let place = change.resource.as_ref().and_then(place_of);
            places.put(&change.name, place);
        }
    }
}

/// Translation encoded it, so it decodes; if it did not, nobody would be vouched for.
fn place_of(resource: &Bytes) -> Option<Place> {
    let pod = EnrolledPod::decode(resource.clone()).ok()?;
    Some((pod.node.into(), pod.namespace.into(), pod.service_account.into()))
}

impl Places {
    fn put(&mut self, uid: &Arc<str>, place: Option<Place>) {
        let before = match &place {
            Some(place) => self.by_uid.insert(uid.clone(), place.clone()),
            None => self.by_uid.remove(uid),
        };
        if let Some(place) = place {
            *self.pods.entry(place).or_default() += 1;
        }
        if let Some(before) = before
            && let Some(count) = self.pods.get_mut(&before)
        {
            *count -= 1;
            if *count == 0 {
                self.pods.remove(&before);
            }
        }
    }
}

impl LivePods for Hosted {
    fn node_hosts(&self, node: &str, namespace: &str, service_account: &str) -> bool {
        let place = (node.into(), namespace.into(), service_account.into());
        self.0.read().pods.contains_key(&place)
    }
}

/// What the admin server shows.
struct Objects {
    report: watch::Receiver<Arc<SourceReport>>,
    translator: Arc<Mutex<Translator>>,
}

impl ModelStatus for Objects {
    fn rejected(&self) -> Vec<RejectedDocument> {
        self.report.borrow().rejections.iter().map(rejected).collect()
    }

    fn counts(&self) -> BTreeMap<String, usize> {
        let report = self.report.borrow();
        report.objects.iter().map(|(kind, count)| (kind.to_string(), *count)).collect()
    }

    fn statuses(&self) -> Vec<ObjectStatus> {
        self.translator.lock().statuses()
    }
}

fn rejected(rejection: &Rejection) -> RejectedDocument {
    let object = rejection.object.as_ref().map(|it| format!("{} {}/{}", it.kind, it.namespace, it.name));
    RejectedDocument {
        file: rejection.file.to_string(),
        line: rejection.line.and_then(|line| usize::try_from(line).ok()).unwrap_or_default(),
        object: object.unwrap_or_default(),
        field: rejection.field.clone().unwrap_or_default(),
        reason: rejection.reason.clone(),
        has_last_good: rejection.instead == Instead::LastGood,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str, node: &str, account: &str) -> ResourceChange {
        let pod = EnrolledPod {
            uid: uid.into(),
            namespace: "shop".into(),
            service_account: account.into(),
            node: node.into(),
            ..EnrolledPod::default()
        };
        let resource = Some(pod.encode_to_vec().into());
        ResourceChange { type_url: type_url::ENROLLED_POD, name: uid.into(), resource }
    }

    #[test]
    fn account_is_hosted_until_its_last_pod_leaves_the_node() {
        let hosted = Hosted::default();
        hosted.apply(&[pod("a", "node1", "web"), pod("b", "node1", "web")]);
        assert!(hosted.node_hosts("node1", "shop", "web"));
        assert!(!hosted.node_hosts("node2", "shop", "web"));
        hosted.apply(&[pod("a", "node2", "web")]);
        assert!(hosted.node_hosts("node1", "shop", "web") && hosted.node_hosts("node2", "shop", "web"));
        let gone = ResourceChange { resource: None, ..pod("b", "", "") };
        hosted.apply(&[gone]);
        assert!(!hosted.node_hosts("node1", "shop", "web"));
    }
}
