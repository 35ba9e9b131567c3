//! Connections that aren't HTTP: what is told of them, and what changes of policies do to them.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weft_core::hbone::TunnelStream;
use weft_proto::contract::type_url;
use weft_proto::route;
use weft_proto::workload::AppProtocol;

use super::app::serve;
use super::stage::{Stage, WEB, WEB_VIP};

const LINE: &str = "%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_CLUSTER% \
                    %REQUESTED_SERVER_NAME% %CONNECTION_TERMINATION_DETAILS%\n";

/// An application that says everything back.
async fn echo() -> SocketAddr {
    serve(|mut tcp| async move {
        let (mut from, mut into) = tcp.split();
        let _ = tokio::io::copy(&mut from, &mut into).await;
        let _ = into.shutdown().await;
    })
    .await
}

async fn of(protocol: AppProtocol) -> Stage {
    let stage = Stage::new().await;
    stage.web(&[echo().await], protocol);
    stage.logs(WEB, LINE);
    stage
}

async fn said_back(tunnel: &mut TunnelStream, text: &[u8]) {
    tunnel.write_all(text).await.unwrap();
    let mut heard = vec![0; text.len()];
    tunnel.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, text);
}

/// A DENY policy for one port of the service.
fn denied_port(port: u32) -> route::AccessPolicy {
    use route::access_matcher::Kind;
    let ports = Kind::DestinationPort(route::PortValues { values: vec![port] });
    let matcher = route::AccessMatcher { kind: Some(ports), ..Default::default() };
    let term = route::AccessTerm { all: vec![matcher] };
    let rule = route::AccessRule { to: vec![term], ..Default::default() };
    let name = "ns[shop]-policy[closed]".into();
    let policy = route::Policy { name, dry_run: false, rules: vec![rule] };
    route::AccessPolicy { deny: vec![policy], ..Default::default() }
}

const DENIED: &str = "rbac_access_denied_matched_policy[ns[shop]-policy[closed]-rule[0]]";

#[tokio::test]
async fn connection_is_counted_while_it_lasts_and_has_a_line_at_its_end() {
    for protocol in [AppProtocol::Tcp, AppProtocol::Unknown, AppProtocol::Tls] {
        let stage = of(protocol).await;
        let mut tunnel = stage.to_web().await;
        said_back(&mut tunnel, b"\x01hello").await;
        let count = |name: &str| stage.metric(name, "reporter=\"waypoint\"");
        assert_eq!(count("istio_tcp_connections_opened_total"), 1);
        assert_eq!(count("istio_tcp_connections_closed_total"), 0);
        assert_eq!(count("istio_tcp_received_bytes_total"), 6);
        assert_eq!(stage.metric("istio_tcp_sent_bytes_total", "request_protocol=\"tcp\""), 6);
        tunnel.shutdown().await.unwrap();
        tunnel.read_to_end(&mut Vec::new()).await.unwrap();
        assert_eq!(stage.lines(1).await, [format!("- 6 6 inbound-vip|80|tcp|{WEB} - -")]);
        assert_eq!(count("istio_tcp_connections_closed_total"), 1);
        assert_eq!(count("istio_tcp_connections_failed_total"), 0);
        let parties = "source_principal=\"spiffe://cluster.local/ns/shop/sa/client\"";
        assert_eq!(stage.metric("istio_tcp_connections_opened_total", parties), 1);
        let service = "destination_service_name=\"web\"";
        assert_eq!(stage.metric("istio_tcp_connections_opened_total", service), 1);
    }
}

#[tokio::test]
async fn flag_says_why_a_connection_was_not_joined() {
    let failed = |stage: &Stage, flag: &str| {
        let label = format!("response_flags=\"{flag}\"");
        stage.metric("istio_tcp_connections_failed_total", &label)
    };
    let web = format!("{WEB_VIP}:80");

    let stage = Stage::new().await;
    stage.web(&["127.0.1.1:9".parse().unwrap()], AppProtocol::Tcp);
    stage.logs(WEB, LINE);
    assert!(stage.tunnel(&web).await.is_err());
    assert!(stage.lines(1).await[0].starts_with("UF 0 0 inbound-vip|80|tcp|"));
    assert_eq!(failed(&stage, "UF"), 1);

    let stage = of(AppProtocol::Tcp).await;
    stage.access(WEB, denied_port(80));
    assert!(stage.tunnel(&web).await.is_err());
    assert_eq!(stage.lines(1).await, [format!("- 0 0 - - {DENIED}")]);
    assert_eq!(failed(&stage, "DENY"), 1);

    let pool = route::ConnectionPool { connections_max: 1, ..Default::default() };
    let settings = route::BackendSettings { connection_pool: Some(pool), ..Default::default() };
    let stage = of(AppProtocol::Tcp).await;
    stage.backends(WEB, route::BackendPolicy { settings: Some(settings), ..Default::default() });
    let first = stage.to_web().await;
    assert!(stage.tunnel(&web).await.is_err());
    assert!(stage.lines(1).await[0].starts_with("UO 0 0 "));
    assert_eq!(failed(&stage, "UO"), 1);
    drop(first);

    let stage = of(AppProtocol::Tcp).await;
    let nobody = route::ConnectionRoutes::default();
    stage.route_set(route::RouteSet { tcp: Some(nobody), ..Default::default() });
    assert!(stage.tunnel(&web).await.is_err());
    assert!(stage.lines(1).await[0].starts_with("NR 0 0 "));
    assert_eq!(failed(&stage, "NR"), 1);
}

#[tokio::test]
async fn side_that_broke_a_connection_is_told_by_its_flag() {
    let stage = of(AppProtocol::Tcp).await;
    let mut tunnel = stage.to_web().await;
    said_back(&mut tunnel, b"x").await;
    drop(tunnel);
    assert!(stage.lines(1).await[0].starts_with("DC 1 1 "));

    let resets = serve(|mut tcp| async move {
        let mut asked = [0];
        let _ = tcp.read_exact(&mut asked).await;
        tcp.set_zero_linger().unwrap();
    })
    .await;
    let stage = Stage::new().await;
    stage.web(&[resets], AppProtocol::Tcp);
    stage.logs(WEB, LINE);
    let mut tunnel = stage.to_web().await;
    tunnel.write_all(b"x").await.unwrap();
    assert!(tunnel.read_to_end(&mut Vec::new()).await.is_err(), "a reset is not an end");
    assert!(stage.lines(1).await[0].starts_with("UC 1 0 "));
    let broken = stage.metric("istio_tcp_connections_failed_total", "response_flags=\"UC\"");
    assert_eq!(broken, 1);
}

#[tokio::test]
async fn silent_connection_is_ended_and_says_so() {
    let pool = route::ConnectionPool { tcp_idle_timeout_ms: Some(40), ..Default::default() };
    let settings = route::BackendSettings { connection_pool: Some(pool), ..Default::default() };
    let stage = of(AppProtocol::Tcp).await;
    stage.backends(WEB, route::BackendPolicy { settings: Some(settings), ..Default::default() });
    let mut tunnel = stage.to_web().await;
    assert!(tunnel.read_to_end(&mut Vec::new()).await.is_err());
    let line = stage.lines(1).await.remove(0);
    assert!(line.starts_with("SI 0 0 ") && line.ends_with(" tcp_session_idle_timeout"), "{line}");
}

#[tokio::test]
async fn connection_that_a_changed_policy_forbids_is_cut_and_the_policy_is_named() {
    for protocol in [AppProtocol::Tcp, AppProtocol::Unknown] {
        let stage = of(protocol).await;
        let mut tunnel = stage.to_web().await;
        said_back(&mut tunnel, b"\x01").await;
        stage.access(WEB, denied_port(81));
        said_back(&mut tunnel, b"\x02").await;
        stage.access(WEB, denied_port(80));
        assert!(tunnel.read_to_end(&mut Vec::new()).await.is_err(), "a cut is not an end");
        let line = format!("- 2 2 inbound-vip|80|tcp|{WEB} - {DENIED}");
        assert_eq!(stage.lines(1).await, [line]);
        let denied = stage.metric("istio_tcp_connections_failed_total", "response_flags=\"DENY\"");
        assert_eq!(denied, 1);
    }
}

#[tokio::test]
async fn connection_is_cut_when_its_policies_are_taken_away_or_can_not_be_read() {
    for damage in [None, Some(vec![1, 2, 3])] {
        let stage = of(AppProtocol::Tcp).await;
        let mut tunnel = stage.to_web().await;
        said_back(&mut tunnel, b"x").await;
        stage.tell(type_url::ACCESS_POLICY, &format!("shop/{WEB}"), damage);
        assert!(tunnel.read_to_end(&mut Vec::new()).await.is_err());
    }
}

#[tokio::test]
async fn changes_for_other_services_wake_no_connection() {
    let stage = of(AppProtocol::Tcp).await;
    let mut tunnel = stage.to_web().await;
    said_back(&mut tunnel, b"x").await;
    let rules = stage.shared.rules.of(&format!("shop/{WEB}"));
    let mut replaced = std::pin::pin!(rules.access_replaced());
    stage.access("other.shop.svc.cluster.local", denied_port(80));
    stage.logs(WEB, "another line\n");
    assert!(futures::poll!(replaced.as_mut()).is_pending());
    said_back(&mut tunnel, b"x").await;
    stage.access(WEB, route::AccessPolicy::default());
    assert!(futures::poll!(replaced.as_mut()).is_ready());
    said_back(&mut tunnel, b"x").await;
}

#[tokio::test]
async fn connections_of_one_source_stay_at_one_endpoint_where_that_is_asked() {
    use route::consistent_hash::Key;
    use route::load_balancer::Kind;
    let mut apps = Vec::new();
    for name in [b"a", b"b", b"c"] {
        let app = serve(move |mut tcp| async move {
            let _ = tcp.write_all(name).await;
            let _ = tcp.read_to_end(&mut Vec::new()).await;
        });
        apps.push(app.await);
    }
    let stage = Stage::new().await;
    stage.web(&apps, AppProtocol::Tcp);
    let key = Some(Key::SourceAddress(route::SourceAddress {}));
    let hash = Kind::ConsistentHash(route::ConsistentHash { key, ..Default::default() });
    let balancer = route::LoadBalancer { kind: Some(hash), ..Default::default() };
    let settings = route::BackendSettings { load_balancer: Some(balancer), ..Default::default() };
    stage.backends(WEB, route::BackendPolicy { settings: Some(settings), ..Default::default() });
    let (mut open, mut heard) = (Vec::new(), Vec::new());
    for _ in 0..9 {
        let mut tunnel = stage.to_web().await;
        heard.push(tunnel.read_u8().await.unwrap());
        open.push(tunnel);
    }
    assert!(heard.iter().all(|name| *name == heard[0]), "{heard:?}");
}

#[tokio::test]
async fn endpoint_that_can_not_be_connected_to_is_left_out() {
    let stage = Stage::new().await;
    stage.web(&[echo().await, "127.0.1.1:9".parse().unwrap()], AppProtocol::Tcp);
    let outlier = route::OutlierDetection {
        consecutive_5xx: Some(2),
        ejected_percent_max: Some(100),
        ..Default::default()
    };
    let settings =
        route::BackendSettings { outlier_detection: Some(outlier), ..Default::default() };
    stage.backends(WEB, route::BackendPolicy { settings: Some(settings), ..Default::default() });
    let mut failures = 0;
    for _ in 0..60 {
        failures += u32::from(stage.tunnel(&format!("{WEB_VIP}:80")).await.is_err());
    }
    assert_eq!(failures, 2);
}
