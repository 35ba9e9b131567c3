//! From YAML to messages.

mod golden;
mod incremental;
mod policies;
mod scale;

use std::collections::BTreeMap;

use prost::Message;
use weft_proto::contract::type_url;
use weft_proto::node::EnrolledPod;
use weft_proto::security::Authorization;
use weft_proto::workload::{Address, Service, Workload, address};

use crate::objects::{self, Kind, Object, ObjectChange, Pool};

use super::{Settings, Translator};

/// The objects of several documents.
fn objects(yaml: &str) -> Vec<Object> {
    let mut pool = Pool::default();
    let documents = yaml.split("---\n").filter(|text| !text.trim().is_empty());
    documents
        .map(|text| {
            let header = objects::header(text).unwrap_or_else(|error| panic!("{error}: {text}"));
            let kind = Kind::of(&header.api_version, &header.kind).expect("a known kind");
            objects::read(kind, text, &mut pool).unwrap_or_else(|error| panic!("{error}: {text}"))
        })
        .collect()
}

fn added(objects: impl IntoIterator<Item = Object>) -> Vec<ObjectChange> {
    let change = |object: Object| ObjectChange {
        key: object.key(),
        object: Some(object),
    };
    objects.into_iter().map(change).collect()
}

/// A translator that has taken in the objects of several documents.
fn translated(settings: Settings, yaml: &str) -> Translator {
    let mut translator = Translator::new(settings);
    translator.apply(added(objects(yaml)));
    translator
}

/// All resources, decoded.
#[derive(Debug, Default)]
struct Decoded {
    workloads: BTreeMap<String, Workload>,
    services: BTreeMap<String, Service>,
    policies: BTreeMap<String, Authorization>,
    enrolled: BTreeMap<String, EnrolledPod>,
}

fn decoded(translator: &Translator) -> Decoded {
    let mut found = Decoded::default();
    for ((of, name), bytes) in translator.resources() {
        let name = name.to_string();
        match of {
            type_url::ADDRESS => match Address::decode(bytes).unwrap().r#type.unwrap() {
                address::Type::Workload(workload) => {
                    assert_eq!(workload.uid, name);
                    found.workloads.insert(name, workload);
                }
                address::Type::Service(service) => {
                    assert_eq!(format!("{}/{}", service.namespace, service.hostname), name);
                    found.services.insert(name, service);
                }
            },
            type_url::AUTHORIZATION => {
                found
                    .policies
                    .insert(name, Authorization::decode(bytes).unwrap());
            }
            _ => {
                found
                    .enrolled
                    .insert(name, EnrolledPod::decode(bytes).unwrap());
            }
        }
    }
    found
}

fn standalone(yaml: &str) -> Decoded {
    decoded(&translated(Settings::standalone(), yaml))
}

fn message(translator: &Translator, key: &str) -> String {
    let statuses = translator.statuses();
    let status = statuses
        .iter()
        .find(|status| status.object.to_string() == key);
    let conditions = status
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    let line = |it: &super::ConditionStatus| {
        format!(
            "{}={}/{} {:?} {}",
            it.kind, it.status, it.reason, it.fields, it.message
        )
    };
    conditions.iter().map(line).collect::<Vec<_>>().join("\n")
}
