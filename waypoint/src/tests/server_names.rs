//! TLS that passes: the name in its handshake chooses the rule, and the destination below a wildcard.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weft_proto::contract::type_url;
use weft_proto::route;
use weft_proto::route::connection_condition::Kind;
use weft_proto::route::weighted_backend::Target;
use weft_proto::workload::AppProtocol;

use super::app::{App, serve};
use super::stage::{Stage, WEB, WEB_VIP};
use crate::explain::{Asked, explain};
use crate::serve::hello;

const LINE: &str = "%RESPONSE_FLAGS% %REQUESTED_SERVER_NAME% %ROUTE_NAME% \
                    %UPSTREAM_TRANSPORT_FAILURE_REASON%\n";

/// An application that says its name and then what it was told.
async fn named(name: &'static str) -> SocketAddr {
    serve(move |mut tcp| async move {
        let _ = tcp.write_all(name.as_bytes()).await;
        let (mut from, mut into) = tcp.split();
        let _ = tokio::io::copy(&mut from, &mut into).await;
        let _ = into.shutdown().await;
    })
    .await
}

fn rule(names: &[&str], service: &str, protocol: &str) -> route::ConnectionRule {
    let hosts: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let condition = route::ConnectionCondition {
        kind: Some(Kind::ServerNames(route::HostsCondition { hosts })),
    };
    let to = route::Destination {
        namespace: "shop".into(),
        hostname: format!("{service}.shop.svc.cluster.local"),
        port: 443,
        ..Default::default()
    };
    let backend =
        route::WeightedBackend { weight: 1, target: Some(Target::To(to)), ..Default::default() };
    let origin = route::Origin {
        kind: protocol.to_owned(),
        namespace: "shop".into(),
        name: service.to_owned(),
        rule: service.to_owned(),
        ..Default::default()
    };
    let conditions = if names.is_empty() { Vec::new() } else { vec![condition] };
    route::ConnectionRule { conditions, backends: vec![backend], origin: Some(origin) }
}

/// `web` at port 80 with rules by name, in the order in which the controller sends them; `v1`, `v2` and `rest` behind it.
async fn stage(protocol: AppProtocol) -> Stage {
    let stage = Stage::new().await;
    stage.web(&[named("web").await], protocol);
    for (number, name) in ["v1", "v2", "rest"].into_iter().enumerate() {
        let (host, app) = (format!("{name}.shop.svc.cluster.local"), named(name).await);
        let vip = format!("10.96.0.{}", number + 11);
        stage.workload(name, &app.ip().to_string(), &[(&host, 443, app.port())]);
        stage.service(name, &vip, &[(443, 443, AppProtocol::Tls)], false);
    }
    let tls = vec![
        rule(&["a.shop.example"], "v1", "TLSRoute"),
        rule(&["*.shop.example"], "v2", "TLSRoute"),
    ];
    stage.route_set(route::RouteSet {
        tls: Some(route::ConnectionRoutes { rules: tls }),
        tcp: Some(route::ConnectionRoutes { rules: vec![rule(&[], "rest", "TCPRoute")] }),
        ..Default::default()
    });
    stage.logs(WEB, LINE);
    stage.workload("client", "10.44.9.9", &[]);
    stage
}

/// What comes back to a client that begins so, with its own bytes behind the application's name. `None`: it was cut off.
async fn answer(stage: &Stage, begins: &[u8]) -> Option<String> {
    let mut tunnel = stage.to_web().await;
    for piece in begins.chunks(50) {
        // It may be closed already.
        let _ = tunnel.write_all(piece).await;
        let _ = tunnel.flush().await;
    }
    let _ = tunnel.shutdown().await;
    let mut heard = Vec::new();
    tunnel.read_to_end(&mut heard).await.ok()?;
    let name = heard.strip_suffix(begins).expect("the bytes pass untouched");
    Some(String::from_utf8(name.to_vec()).unwrap())
}

fn asked(name: Option<&str>) -> Asked {
    Asked {
        source: "shop/client".to_owned(),
        service: WEB.to_owned(),
        server_name: name.map(ToOwned::to_owned),
        ..Asked::default()
    }
}

#[tokio::test]
async fn name_in_the_handshake_chooses_the_rule_as_explained() {
    for protocol in [AppProtocol::Tls, AppProtocol::Unknown] {
        let stage = stage(protocol).await;
        for (name, app) in [
            ("a.shop.example", Some("v1")),
            ("A.Shop.Example", Some("v1")),
            ("b.shop.example", Some("v2")),
            ("x.y.shop.example", Some("v2")),
            ("shop.example", None),
        ] {
            assert_eq!(answer(&stage, &hello(name)).await.as_deref(), app, "{name}");
            let told = explain(&stage.shared, &asked(Some(name))).unwrap();
            let rule = told.rule.map(|it| it.origin.name);
            assert_eq!(rule.as_deref(), app, "{:?}", told.steps);
        }
        let lines = stage.lines(5).await;
        assert!(lines.contains(&"- x.y.shop.example v2 -".to_owned()), "{lines:?}");
        assert!(lines.iter().any(|line| line.starts_with("NR shop.example - ")), "{lines:?}");
    }
}

#[tokio::test]
async fn what_is_no_tls_goes_as_tcp_does() {
    for protocol in [AppProtocol::Tls, AppProtocol::Unknown] {
        let stage = stage(protocol).await;
        let heard = answer(&stage, b"\x00\x00\x00\x08startup").await;
        // On a port without a protocol an application that speaks first is heard first.
        assert_eq!(heard.as_deref(), Some("rest"));
        assert!(stage.lines(1).await[0].starts_with("- - rest "));
    }
}

#[tokio::test]
async fn name_is_not_looked_for_on_a_port_that_declares_tcp() {
    let stage = stage(AppProtocol::Tcp).await;
    assert_eq!(answer(&stage, &hello("a.shop.example")).await.as_deref(), Some("rest"));
    let told = explain(&stage.shared, &asked(Some("a.shop.example"))).unwrap();
    assert_eq!(told.rule.unwrap().origin.name, "rest");
}

#[tokio::test]
async fn policies_are_asked_about_the_name() {
    use route::access_matcher::Kind;
    let text = route::text_match::Kind::Exact("a.shop.example".into());
    let name = route::TextMatch { kind: Some(text), ignore_case: false };
    let names = Kind::ServerName(route::TextValues { values: vec![name] });
    let matcher = route::AccessMatcher { kind: Some(names), ..Default::default() };
    let rule = route::AccessRule { when: vec![matcher], ..Default::default() };
    let name = "ns[shop]-policy[named]".into();
    let policy = route::Policy { name, dry_run: false, rules: vec![rule] };
    let stage = stage(AppProtocol::Tls).await;
    stage.access(WEB, route::AccessPolicy { allow: vec![policy], ..Default::default() });
    assert_eq!(answer(&stage, &hello("a.shop.example")).await.as_deref(), Some("v1"));
    assert_eq!(answer(&stage, &hello("b.shop.example")).await, None);
    assert_eq!(answer(&stage, &hello("10.1.2.3")).await, None);
}

#[tokio::test]
async fn name_below_a_wildcard_is_looked_up_and_no_other_is() {
    let app = App::named("inside").await;
    let stage = Stage::new().await;
    stage.named("web-0", "*.bank.example", &[(WEB, 80, app.at.port())]);
    stage.service("web", WEB_VIP, &[(80, 80, AppProtocol::Tls)], true);
    stage.logs(WEB, LINE);
    let inside = app.at.ip().to_string().replace('.', "-");
    // Whose address lies inside is found, and not connected to; so the name was looked up.
    let below = format!("{inside}.bank.example");
    for name in [&below, "bank.example", "a.other.example", "10.1.2.3"] {
        assert_eq!(answer(&stage, &hello(name)).await, None, "{name}");
    }
    let lines = stage.lines(4).await;
    assert!(lines[0].starts_with(&format!("UF,DF {below} - ")), "{lines:?}");
    assert!(lines[0].contains("inside of the mesh"), "{lines:?}");
    for line in &lines[1..] {
        assert!(line.starts_with("NR ") && line.contains("no host below"), "{lines:?}");
    }
    assert_eq!(app.count(), 0);
    stage.workload("client", "10.44.9.9", &[]);
    for (name, is_closed) in [("a.bank.example", false), ("a.other.example", true)] {
        let told = explain(&stage.shared, &asked(Some(name))).unwrap();
        assert_eq!(!told.backends[0].problem.is_empty(), is_closed, "{:?}", told.backends);
    }
}

#[tokio::test]
async fn explanation_of_a_connection_names_who_refuses_it_and_where_it_goes() {
    let stage = stage(AppProtocol::Tls).await;
    let told = explain(&stage.shared, &asked(Some("b.shop.example"))).unwrap();
    let phases: Vec<_> = told.steps.iter().map(|it| &*it.phase).collect();
    assert_eq!(phases, ["binding", "protocol", "access", "route", "rule", "backend"]);
    assert_eq!(told.steps[3].details.len(), 2, "as far as the rule that fits");
    assert_eq!(told.backends[0].destination, "shop/v2.shop.svc.cluster.local:443");
    let told = explain(&stage.shared, &asked(Some("shop.example"))).unwrap();
    assert!(told.steps.last().unwrap().text.contains("closed"), "{:?}", told.steps);
    stage.tell(type_url::ACCESS_POLICY, &format!("shop/{WEB}"), None);
    let told = explain(&stage.shared, &asked(None)).unwrap();
    assert!(told.steps.last().unwrap().text.contains("haven't arrived"), "{:?}", told.steps);
}
