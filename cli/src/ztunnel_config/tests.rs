use std::path::Path;

use super::*;
use crate::args::Direction;

const NOW: &str = "2023-11-14T22:13:20.5Z";

fn dump() -> ConfigDump {
    serde_json::from_str(include_str!("testdata/dump.json")).unwrap()
}

fn shown(namespace: Option<&str>, part: &Part) -> String {
    text(&View::new(&dump(), namespace, part), part, NOW)
}

#[test]
fn tables_are_istioctls() {
    assert_eq!(shown(None, &Part::All), include_str!("testdata/all.txt"));
}

#[test]
fn namespace_leaves_others_out_but_names_are_still_found() {
    let workloads = shown(Some("bank"), &Part::Workload { node: None });
    assert_eq!(
        workloads,
        "NAMESPACE POD NAME  ADDRESS    NODE  WAYPOINT PROTOCOL\n\
         bank      payment-0 10.44.2.11 node2 gateway  HBONE\n"
    );
    assert_eq!(shown(Some("bank"), &Part::Certificate).lines().count(), 2);
    assert_eq!(shown(Some("bank"), &Part::Service).lines().count(), 2);
    let connections = shown(Some("bank"), &Part::Connections { raw: false, direction: None });
    assert!(connections.contains("checkout-0.shop:50001"), "{connections}");
}

#[test]
fn node_and_direction_leave_others_out() {
    let part = Part::Workload { node: Some("node1".into()) };
    assert_eq!(shown(None, &part).lines().count(), 3);
    let part = Part::Connections { raw: true, direction: Some(Direction::Outbound) };
    assert_eq!(
        shown(None, &part),
        "WORKLOAD   DIRECTION LOCAL            REMOTE           REMOTE TARGET PROTOCOL\n\
         web-0.shop Outbound  10.44.1.10:40000 10.44.2.10:15008 10.96.0.1:80  HBONE\n"
    );
}

#[test]
fn json_is_the_dumps_own_for_each_part() {
    let of = |part: &Part, namespace| {
        let text = json(&View::new(&dump(), namespace, part), part).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    };
    let workloads = of(&Part::Workload { node: None }, Some("shop"));
    assert_eq!(workloads.as_array().unwrap().len(), 3);
    assert_eq!(workloads[0]["workloadIps"][0], "10.44.2.10");
    let all = of(&Part::All, Some("bank"));
    assert_eq!(all["workloadState"].as_object().unwrap().len(), 1);
    assert_eq!(
        all["policies"][0]["rules"][0][0][0]["principals"][0]["Exact"],
        "cluster.local/ns/shop/sa/checkout"
    );
}

#[tokio::test]
async fn saved_dump_is_read_and_anything_else_is_named() {
    let source =
        |file: &Path| DumpSource { address: String::new(), netns: None, file: Some(file.into()) };
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), include_str!("testdata/dump.json")).unwrap();
    assert_eq!(fetch(&source(file.path())).await.unwrap(), dump());
    std::fs::write(file.path(), "not a dump").unwrap();
    let error = format!("{:#}", fetch(&source(file.path())).await.unwrap_err());
    assert!(error.contains("is no /config_dump of a ztunnel"), "{error}");
    let error = format!("{:#}", fetch(&source(Path::new("/nowhere"))).await.unwrap_err());
    assert!(error.starts_with("/nowhere: "), "{error}");
}
