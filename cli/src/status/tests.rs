use weft_controller::admin::{ControllerStatus, RejectedDocument, TypeCount};
use weft_controller::xds::{ClientStatus, Refusal as ClientRefusal, TypeStatus};

use super::*;

const NOW: u64 = 1_700_000_000;

pub(crate) fn status() -> Status {
    serde_json::from_str(include_str!("testdata/status.json")).unwrap()
}

#[test]
fn table_says_who_is_in_sync_and_what_was_refused() {
    assert_eq!(text(&status(), NOW, false), include_str!("testdata/status.txt"));
}

#[test]
fn colour_changes_nothing_but_colour() {
    let colored = text(&status(), NOW, true);
    let mut plain = String::new();
    for part in colored.split('\u{1b}') {
        plain.push_str(
            part.split_once('m').filter(|_| part.starts_with('[')).map_or(part, |(_, rest)| rest),
        );
    }
    assert_ne!(colored, plain);
    assert_eq!(plain, text(&status(), NOW, false));
}

#[test]
fn json_keeps_what_this_version_doesnt_know() {
    let json = serde_json::to_value(status()).unwrap();
    let given: Value = serde_json::from_str(include_str!("testdata/status.json")).unwrap();
    assert_eq!(json["resident_bytes"], given["resident_bytes"]);
    assert_eq!(json["clients"][0]["peer"], given["clients"][0]["peer"]);
}

#[test]
fn empty_controller_says_what_to_check() {
    let shown = text(&Status::default(), NOW, false);
    assert!(shown.contains("No proxy is connected: check"), "{shown}");
}

#[test]
fn ages_read_as_kubectls() {
    for (seconds, shown) in
        [(0, "0s"), (119, "119s"), (125, "2m5s"), (3600, "60m"), (7200, "2h"), (200_000, "2d")]
    {
        assert_eq!(age(seconds), shown);
    }
}

/// Read and written again, a key that only one side knows would be missing or new.
#[test]
fn every_key_is_the_one_that_the_controller_writes() {
    let refusal = ClientRefusal { name: "shop/odd".into(), reason: "odd".into() };
    let types = TypeStatus { refused: vec![refusal], ..TypeStatus::default() };
    let client = ClientStatus {
        proxy: "ztunnel-a.istio-system".into(),
        name: "ztunnel-a".into(),
        namespace: "istio-system".into(),
        node: Some("node1".into()),
        types: [("Address".to_owned(), types)].into(),
        ..ClientStatus::default()
    };
    let written = serde_json::to_value(ControllerStatus {
        version: "0.1.0".into(),
        ready: true,
        trust_domain: "cluster".into(),
        cluster_id: "Kubernetes".into(),
        root_expires_at: 1,
        now: 2,
        resident_bytes: Some(3),
        objects: [("Pod".to_owned(), 4)].into(),
        types: vec![TypeCount { type_url: "Address".into(), resources: 5, clients: 6, in_sync: 7 }],
        clients: vec![client],
        rejected: vec![RejectedDocument {
            file: "a.yaml".into(),
            line: 8,
            object: "Pod shop/web".into(),
            field: "spec".into(),
            reason: "odd".into(),
            has_last_good: true,
        }],
    })
    .unwrap();
    let read: Status = serde_json::from_value(written.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), written);
}
