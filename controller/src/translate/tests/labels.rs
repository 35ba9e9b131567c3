//! Labels of workloads that proxies are told.

use std::collections::BTreeMap;

use prost::Message;
use weft_proto::contract::extension;
use weft_proto::route::WorkloadLabels;

use crate::objects::ObjectChange;
use crate::translate::{Settings, Translator};

use super::{added, decoded, objects, pod};

const RULE: &str = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: web, namespace: shop}\nspec: {host: web, subsets: [{name: v1, labels: {version: v1}}]}\n";
const VIRTUAL: &str = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: web, namespace: shop}\nspec: {hosts: [web], http: [{match: [{sourceLabels: {tier: gold}}], route: [{destination: {host: web}}]}]}\n";

fn told(translator: &Translator, uid: &str) -> BTreeMap<String, String> {
    let workload = &decoded(translator).workloads[uid];
    let found = workload.extensions.iter().find(|it| it.name == extension::LABELS);
    let Some(found) = found else { return BTreeMap::new() };
    let config = found.config.as_ref().unwrap();
    assert_eq!(config.type_url, extension::LABELS);
    WorkloadLabels::decode(&config.value[..]).unwrap().labels
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn workloads_carry_just_the_labels_that_somebody_names() {
    const POD: &str = "Kubernetes//Pod/shop/a";
    let labelled = pod("a", "labels: {version: v1, tier: gold, secret: x}", "", "");
    let other = pod("b", "labels: {other: x}", "", "");
    let mut translator = Translator::new(Settings::standalone());
    translator.apply(added(objects(&[labelled, other].join("---\n"))));
    assert_eq!(told(&translator, POD), map(&[]));
    let changes = translator.apply(added(objects(RULE)));
    assert_eq!(changes.len(), 1, "only the pod that has the label: {changes:?}");
    assert_eq!(told(&translator, POD), map(&[("version", "v1")]));
    translator.apply(added(objects(VIRTUAL)));
    assert_eq!(told(&translator, POD), map(&[("tier", "gold"), ("version", "v1")]));
    let key = objects(RULE)[0].key();
    translator.apply(vec![ObjectChange { key, object: None }]);
    assert_eq!(told(&translator, POD), map(&[("tier", "gold")]));
}

#[test]
fn endpoints_of_entries_carry_their_labels_too() {
    let entry = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e, namespace: shop}\nspec: {hosts: [a.example], resolution: STATIC, ports: [{number: 80, name: http}], endpoints: [{address: 10.9.0.1, labels: {version: v2}}]}\n";
    let mut translator = Translator::new(Settings::standalone());
    translator.apply(added(objects(&[RULE, entry].join("---\n"))));
    let uid = decoded(&translator).workloads.into_keys().next().unwrap();
    assert_eq!(told(&translator, &uid), map(&[("version", "v2")]));
}
