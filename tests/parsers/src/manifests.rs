//! What users write, from a file's text to what a proxy makes of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use weft_controller::objects::{self, Object, ObjectChange, ObjectKey, Pool};
use weft_controller::translate::{Settings, Translator};
use weft_core::mesh::{Store, StoreSettings, Update};
use weft_proto::contract::type_url;
use weft_proto::node::EnrolledPod;
use weft_waypoint::balance::Credentials;
use weft_waypoint::telemetry::policy;

use crate::{access, route};

/// A file's limit; the fuzzer finds nothing in longer ones.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// A file of manifests. Whatever is read of it, the proxies take every resource that becomes of it, the order of the
/// objects decides nothing, and a policy that can't be read has something to stand in for it.
pub fn manifests(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    if text.len() > TEXT_BYTES_MAX {
        return;
    }
    let mut pool = Pool::default();
    let objects: BTreeMap<ObjectKey, Object> =
        text.split("\n---").flat_map(|document| read(document, &mut pool)).collect();
    let changes = || {
        objects
            .iter()
            .map(|(key, object)| ObjectChange { key: key.clone(), object: Some(object.clone()) })
    };

    let mut at_once = Translator::new(Settings::standalone());
    let sent = at_once.apply(changes().collect());
    let resources = at_once.resources();
    let sent: BTreeMap<_, _> =
        sent.into_iter().filter_map(|it| Some(((it.type_url, it.name), it.resource?))).collect();
    assert_eq!(sent, resources, "what was sent is not what there is");
    check_taken(&resources);

    let mut reverse = Translator::new(Settings::standalone());
    for change in changes().rev() {
        reverse.apply(vec![change]);
    }
    assert_eq!(reverse.resources(), resources, "the order decided");
    let _ = at_once.statuses();

    let gone = objects.keys().map(|key| ObjectChange { key: key.clone(), object: None });
    at_once.apply(gone.collect());
    let empty = Translator::new(Settings::standalone()).resources();
    assert_eq!(at_once.resources(), empty, "removed objects left a trace");
}

/// The objects of one document, as the folder's reader has them in force.
fn read(text: &str, pool: &mut Pool) -> Vec<(ObjectKey, Object)> {
    let header = match objects::header(text) {
        Ok(header) => header,
        Err(_) => return stand_in(objects::sniff(text).key(), text, pool),
    };
    if header.is_list() {
        let items = objects::items(text).unwrap_or_default();
        let objects = items.into_iter().map(|(_, item)| objects::read_item(item, pool).1);
        return objects.filter_map(|it| it?.ok()).map(|it| (it.key(), it)).collect();
    }
    let Some(kind) = header.kind() else {
        return Vec::new();
    };
    match objects::read(kind, text, pool) {
        Ok(object) => {
            assert_eq!(Some(object.key()), header.key(), "it is in force as something else");
            vec![(object.key(), object)]
        }
        Err(error) => {
            assert!(!error.reason.is_empty());
            stand_in(header.key(), text, pool)
        }
    }
}

fn stand_in(key: Option<ObjectKey>, text: &str, pool: &mut Pool) -> Vec<(ObjectKey, Object)> {
    let Some(key) = key else {
        return Vec::new();
    };
    let denial = objects::unreadable(&key, text, pool);
    // A policy for a waypoint is the waypoint's to deny by; every other one denies here.
    let is_for_waypoint = text.contains("targetRef");
    assert!(denial.is_some() || !key.kind.is_security() || is_for_waypoint, "{key} denies nothing");
    denial.into_iter().map(|object| (key.clone(), object)).collect()
}

fn check_taken(resources: &BTreeMap<(&'static str, Arc<str>), Bytes>) {
    let mut store = Store::new(&StoreSettings::default());
    let updates = resources.iter().filter_map(|((type_url, name), resource)| {
        let (name, resource) = (Arc::clone(name), Some(resource.clone()));
        match *type_url {
            type_url::ADDRESS => Some(Update::Address { name, resource }),
            type_url::AUTHORIZATION => Some(Update::Authorization { name, resource }),
            type_url::ACCESS_POLICY => {
                access::check_sent(&name, &resource.unwrap_or_default());
                None
            }
            type_url::ROUTE_TABLE => {
                route::check_sent(&name, &resource.unwrap_or_default());
                None
            }
            type_url::BACKEND_POLICY => {
                let found = weft_waypoint::balance::decode(&name, &resource.unwrap_or_default());
                let found = found.expect("a waypoint takes what is sent");
                assert_eq!(found.problems, [], "a waypoint doesn't understand what is sent");
                None
            }
            type_url::CREDENTIALS => {
                let found = Credentials::decode(&name, &resource.unwrap_or_default());
                found.expect("a waypoint takes what is sent");
                None
            }
            type_url::TELEMETRY_POLICY => {
                let bytes = resource.unwrap_or_default();
                policy::decode(&bytes, &|_| None).expect("a waypoint takes what is sent");
                None
            }
            _ => {
                let bytes = resource.unwrap_or_default();
                EnrolledPod::decode(bytes).expect("an agent takes what is sent");
                None
            }
        }
    });
    let rejections = store.apply(updates.collect());
    assert_eq!(rejections, [], "a proxy refuses what the controller sends");
}
