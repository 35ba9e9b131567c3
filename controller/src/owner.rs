//! The model's one owner: takes in what the source sends, and passes on what follows from it.
//!
//! ```text
//!  source ──SourceEvent──▶ owner ──ResourceChange──▶ log
//!                            ├──▶ Residents (which service accounts live on which node; asked by the CA)
//!                            ├──▶ Objects  (counts, refusals and statuses; asked by the admin server)
//!                            └──▶ jwks ──Update──▶ owner  (keys of token issuers)
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use crate::admin::{ModelStatus, RejectedDocument};
use crate::ca::LivePods;
use crate::config::{Config, DefaultMtls, WaypointEnforcement};
use crate::jwks::{self, Keys, Web};
use crate::objects::{Kind, ObjectChange, ObjectKey};
use crate::run::{ChangeSender, Inputs};
use crate::sources::files::Folder;
use crate::sources::{Instead, Rejection, SourceEvent, SourceReport};
use crate::translate::{
    self, Explanation, ObjectStatus, Residents, Settings, Translator, WaypointStatus,
};
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
        waypoint_enforcement: match config.waypoint_enforcement {
            WaypointEnforcement::Automatic => translate::WaypointEnforcement::Automatic,
            WaypointEnforcement::Enforced => translate::WaypointEnforcement::Enforced,
            WaypointEnforcement::Permissive => translate::WaypointEnforcement::Permissive,
        },
        ..Settings::standalone()
    }
}

/// Starts the owner of `folder`'s objects; what it gives is the controller's input.
pub fn spawn(mut folder: Folder, settings: Settings) -> Inputs {
    let translator = Arc::new(Mutex::new(Translator::new(settings)));
    let residents = Residents::default();
    let objects = Objects { report: folder.report.clone(), translator: translator.clone() };
    let (changes, inputs) = Inputs::channel(Arc::new(residents.clone()), Arc::new(objects));
    let keys = jwks::spawn(Web::default());
    tokio::spawn(async move {
        own(&mut folder.events, keys, translator, (residents, changes)).await;
    });
    inputs
}

/// Runs until the source or the log ends; either ends the controller.
async fn own(
    events: &mut mpsc::Receiver<SourceEvent>,
    mut keys: Keys,
    translator: Arc<Mutex<Translator>>,
    (residents, log): (Residents, ChangeSender),
) {
    // The first batch has to be all that there is, so that nobody is served half of the mesh.
    let mut initial = Some(Vec::new());
    loop {
        let resources = tokio::select! {
            event = events.recv() => match event {
                None => return,
                Some(SourceEvent::Changes(changes)) => match &mut initial {
                    Some(initial) => {
                        initial.extend(changes);
                        continue;
                    }
                    None => apply(&translator, &keys, changes),
                },
                Some(SourceEvent::Loaded) => {
                    let changes = initial.take().unwrap_or_default();
                    let mut resources = apply(&translator, &keys, changes);
                    resources.extend(first_keys(&translator, &mut keys).await);
                    resources
                }
            },
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

/// Takes in changes of objects, and says which keys are in use if those are others than before.
fn apply(
    translator: &Mutex<Translator>,
    keys: &Keys,
    changes: Vec<ObjectChange>,
) -> Vec<ResourceChange> {
    let mut translator = translator.lock();
    let resources = translator.apply(changes);
    let sources = translator.key_sources().into_iter();
    let sources = sources.map(|(source, time)| (source, time.unwrap_or(jwks::limits::TIMEOUT)));
    let sources: jwks::Wanted = sources.collect();
    keys.wanted.send_if_modified(|old| {
        let is_news = *old != sources;
        *old = sources;
        is_news
    });
    resources
}

/// What the first keys change, so far as they come in time.
async fn first_keys(translator: &Mutex<Translator>, keys: &mut Keys) -> Vec<ResourceChange> {
    let mut awaited: BTreeSet<_> = translator.lock().key_sources().into_keys().collect();
    let deadline = tokio::time::Instant::now() + jwks::limits::FIRST;
    let mut changes = Vec::new();
    while !awaited.is_empty() {
        let update = tokio::time::timeout_at(deadline, keys.updates.recv()).await;
        let Ok(Some((source, fetched))) = update else { break };
        awaited.remove(&source);
        changes.extend(translator.lock().set_keys(source, fetched));
    }
    changes
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weft_proto::contract::type_url;

    use super::*;
    use crate::objects::{self, KeySource, Pool};
    use crate::translate::FetchedKeys;

    const YAML: &str = "apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, labels: {istio.io/use-waypoint: wp}}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: wp, namespace: shop}
spec: {gatewayClassName: weft-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: jwt, namespace: shop}
spec:
  targetRefs: [{group: '', kind: Service, name: web}]
  jwtRules: [{issuer: i, jwksUri: 'http://i.example/keys'}]
";

    /// An owner that has loaded the objects: where keys are wanted, where they come from, and what goes to the log.
    async fn loaded() -> (
        watch::Receiver<jwks::Wanted>,
        mpsc::Sender<jwks::Update>,
        mpsc::Receiver<Vec<ResourceChange>>,
    ) {
        let (source, mut events) = mpsc::channel(4);
        let (wanted, in_use) = watch::channel(jwks::Wanted::new());
        let (fetched, updates) = mpsc::channel(1);
        let (log, changes) = mpsc::channel(1);
        let mut pool = Pool::default();
        let documents = YAML.split("---\n").map(|text| {
            let kind = objects::header(text).unwrap().kind().unwrap();
            let object = objects::read(kind, text, &mut pool).unwrap();
            ObjectChange { key: object.key(), object: Some(object) }
        });
        source.send(SourceEvent::Changes(documents.collect())).await.unwrap();
        source.send(SourceEvent::Loaded).await.unwrap();
        let translator = Arc::new(Mutex::new(Translator::new(Settings::standalone())));
        tokio::spawn(async move {
            let _source = source;
            let keys = Keys { wanted, updates };
            own(&mut events, keys, translator, (Residents::default(), log)).await;
        });
        (in_use, fetched, changes)
    }

    fn holds(changes: &[ResourceChange], text: &str) -> bool {
        let policies = changes.iter().filter(|it| it.type_url == type_url::ACCESS_POLICY);
        let last = policies.last().and_then(|it| it.resource.clone()).expect("a policy");
        last.windows(text.len()).any(|window| window == text.as_bytes())
    }

    #[tokio::test(start_paused = true)]
    async fn first_batch_has_the_keys_that_come_in_time() {
        let (mut in_use, fetched, mut log) = loaded().await;
        let wanted = in_use.wait_for(|wanted| !wanted.is_empty()).await.unwrap().clone();
        let source = KeySource::Uri("http://i.example/keys".into());
        assert_eq!(wanted.into_keys().collect::<Vec<_>>(), std::slice::from_ref(&source));
        let keys = |text: &str| FetchedKeys { keys: Some(text.into()), error: None };
        fetched.send((source.clone(), keys("first-keys"))).await.unwrap();
        assert!(holds(&log.recv().await.unwrap(), "first-keys"));
        fetched.send((source, keys("later-keys"))).await.unwrap();
        assert!(holds(&log.recv().await.unwrap(), "later-keys"));
    }

    #[tokio::test(start_paused = true)]
    async fn keys_that_do_not_come_hold_up_the_first_batch_for_seconds_only() {
        let start = tokio::time::Instant::now();
        let (_in_use, _fetched, mut log) = loaded().await;
        assert!(!holds(&log.recv().await.unwrap(), "keys"));
        assert!(start.elapsed() <= jwks::limits::FIRST + Duration::from_millis(1));
    }
}
