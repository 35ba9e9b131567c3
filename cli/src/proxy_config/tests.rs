use super::*;
use crate::fetch::tests::answering;

fn dump() -> WaypointDump {
    serde_json::from_str(include_str!("testdata/dump.json")).unwrap()
}

fn all() -> Shown {
    Shown::default()
}

fn shown(part: &ProxyPart, of: &Shown) -> String {
    let dump = dump();
    text(part, &services(&dump, of), &clusters(&dump, of))
}

#[test]
fn tables_show_what_the_dump_has() {
    let parts = [
        ProxyPart::Routes(all()),
        ProxyPart::Clusters(all()),
        ProxyPart::Endpoints(all()),
        ProxyPart::Policies(all()),
    ];
    let tables: Vec<_> = parts.iter().map(|part| shown(part, &all())).collect();
    assert_eq!(tables.join("\n"), include_str!("testdata/all.txt"));
}

#[test]
fn one_service_leaves_others_out() {
    let of = |name: &str| Shown { service: Some(name.to_owned()), ..all() };
    assert_eq!(shown(&ProxyPart::Routes(all()), &of("stock")).lines().count(), 2);
    let by_host = of("v1.shop.svc.cluster.local");
    assert_eq!(shown(&ProxyPart::Endpoints(all()), &by_host).lines().count(), 3);
    assert_eq!(shown(&ProxyPart::Endpoints(all()), &of("v2")).lines().count(), 1);
}

#[test]
fn answer_of_another_waypoint_is_refused() {
    let dump = dump();
    for name in [None, Some("wp"), Some("waypoint")] {
        check(&dump, name, Some("shop")).unwrap();
    }
    let error = check(&dump, Some("other"), None).unwrap_err().to_string();
    assert!(error.contains("waypoint waypoint in namespace shop"), "{error}");
    assert!(check(&dump, Some("wp"), Some("bank")).is_err());
}

#[test]
fn json_is_the_dumps_own() {
    let (dump, all) = (dump(), all());
    let (services, clusters) = (services(&dump, &all), clusters(&dump, &all));
    let of = |part: ProxyPart| {
        let text = json(&part, &services, &clusters).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    };
    assert_eq!(of(ProxyPart::Routes(Shown::default()))[0]["routes"]["sets"][0]["ports"][0], 80);
    assert_eq!(of(ProxyPart::Endpoints(Shown::default()))[0]["counts"]["requests"], 3);
}

#[tokio::test]
async fn dump_of_a_ztunnel_is_told_apart() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), include_str!("../ztunnel_config/testdata/dump.json")).unwrap();
    let source = DumpSource { address: String::new(), netns: None, file: Some(file.path().into()) };
    let error = fetch(&source).await.unwrap_err().to_string();
    assert!(error.contains("is no /config_dump of a waypoint"), "{error}");
}

#[tokio::test]
async fn levels_are_changed_with_the_token_of_a_file() {
    let (address, told) = answering("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n");
    let source = DumpSource { address, netns: None, file: None };
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "t0ken\n").unwrap();
    let part = ProxyPart::Log {
        waypoint: None,
        level: Some("http:debug".to_owned()),
        reset: false,
        token_file: Some(token.path().into()),
    };
    assert_eq!(log(&source, &part).await.unwrap(), "ok\n");
    let asked = told.recv().unwrap();
    assert!(asked.starts_with("POST /logging?level=http%3Adebug HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("authorization: Bearer t0ken\r\n"), "{asked}");
}
