//! The model's one owner: takes in what the source sends, and passes on what follows from it.
//!
//! ```text
//!  source ──SourceEvent──▶ owner ──ResourceChange──▶ log
//!                            ├──▶ Residents (which service accounts live on which node; asked by the CA)
//!                            ├──▶ Objects  (counts, refusals and statuses; asked by the admin server)
//!                            └──▶ jwks ──Update──▶ owner  (keys of token issuers)
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::admin::{ModelStatus, RejectedDocument};
use crate::ca::LivePods;
use crate::config::{Config, DefaultMtls, WaypointEnforcement};
use crate::jwks::{self, Keys, Web};
use crate::objects::{Kind, ObjectKey};
use crate::run::{ChangeSender, Inputs};
use crate::sources::files::Folder;
use crate::sources::{Instead, Rejection, SourceEvent, SourceReport};
use crate::translate::{
    self, Explanation, ObjectStatus, Residents, Settings, Translator, WaypointStatus,
};

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
        waypoint_enforcement: match config.waypoint_enforcement {
            WaypointEnforcement::Automatic => translate::WaypointEnforcement::Automatic,
            WaypointEnforcement::Enforced => translate::WaypointEnforcement::Enforced,
            WaypointEnforcement::Permissive => translate::WaypointEnforcement::Permissive,
        },
        ..Settings::standalone()
    }
}

/// Starts the owner of `folder`'s objects; what it gives is the controller's input.
pub fn spawn(folder: Folder, settings: Settings) -> Inputs {
    let translator = Arc::new(Mutex::new(Translator::new(settings)));
    let residents = Residents::default();
    let objects = Objects { report: folder.report.clone(), translator: translator.clone() };
    let (changes, inputs) = Inputs::channel(Arc::new(residents.clone()), Arc::new(objects));
    let keys = jwks::spawn(Web::default());
    tokio::spawn(own(folder, keys, translator, (residents, changes)));
    inputs
}

/// Runs until the source or the log ends; either ends the controller.
async fn own(
    mut folder: Folder,
    mut keys: Keys,
    translator: Arc<Mutex<Translator>>,
    (residents, log): (Residents, ChangeSender),
) {
    // The first batch has to be all that there is, so that nobody is served half of the mesh.
    let mut initial = Some(Vec::new());
    loop {
        let resources = tokio::select! {
            event = folder.events.recv() => {
                let changes = match event {
                    None => return,
                    Some(SourceEvent::Changes(changes)) => match &mut initial {
                        Some(initial) => {
                            initial.extend(changes);
                            continue;
                        }
                        None => changes,
                    },
                    Some(SourceEvent::Loaded) => initial.take().unwrap_or_default(),
                };
                let mut translator = translator.lock();
                let resources = translator.apply(changes);
                want(&keys, &translator);
                resources
            }
            Some((source, fetched)) = keys.updates.recv() => {
                translator.lock().set_keys(source, fetched)
            }
        };
        residents.apply(&resources);
        if log.send(resources).await.is_err() {
            return;
        }
    }
}

/// Says which keys are in use, if those are others than before.
fn want(keys: &Keys, translator: &Translator) {
    let sources = translator.key_sources().into_iter();
    let sources = sources.map(|(source, time)| (source, time.unwrap_or(jwks::limits::TIMEOUT)));
    let sources: jwks::Wanted = sources.collect();
    keys.wanted.send_if_modified(|old| {
        let is_news = *old != sources;
        *old = sources;
        is_news
    });
}

impl LivePods for Residents {
    fn node_hosts(&self, node: &str, namespace: &str, service_account: &str) -> bool {
        self.is_on_node(node, namespace, service_account)
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

    fn waypoints(&self) -> Vec<WaypointStatus> {
        translate::waypoint_statuses(&self.translator.lock().view())
    }

    fn explain(&self, kind: Kind, namespace: &str, name: &str) -> Option<Explanation> {
        let key = ObjectKey::new(kind, namespace, name);
        translate::explain(&self.translator.lock().view(), &key)
    }
}

fn rejected(rejection: &Rejection) -> RejectedDocument {
    let object =
        rejection.object.as_ref().map(|it| format!("{} {}/{}", it.kind, it.namespace, it.name));
    RejectedDocument {
        file: rejection.file.to_string(),
        line: rejection.line.and_then(|line| usize::try_from(line).ok()).unwrap_or_default(),
        object: object.unwrap_or_default(),
        field: rejection.field.clone().unwrap_or_default(),
        reason: rejection.reason.clone(),
        has_last_good: rejection.instead == Instead::LastGood,
    }
}
