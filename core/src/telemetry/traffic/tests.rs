use super::super::labels::{Party, Reporter, Security, ServiceLabels, SharedParty};
use super::super::registry::{Build, Exposition};
use super::*;

#[derive(Default)]
struct Count(AtomicU64, AtomicU64);

impl ByteTotals for Count {
    fn received(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
    fn sent(&self) -> u64 {
        self.1.load(Ordering::Relaxed)
    }
}

fn party(name: &str) -> SharedParty {
    Party {
        workload: format!("{name}-v1").into(),
        canonical_service: name.into(),
        canonical_revision: "v1".into(),
        namespace: "shop".into(),
        principal: format!("spiffe://cluster.local/ns/shop/sa/{name}").into(),
        app: name.into(),
        version: "v1".into(),
        cluster: "Kubernetes".into(),
        ..Party::default()
    }
    .share()
}

fn labels() -> TrafficLabels {
    let service = ServiceLabels {
        host: "checkout.shop.svc.cluster.local".into(),
        namespace: "shop".into(),
        name: "checkout".into(),
    };
    TrafficLabels::new(Reporter::Source, party("web"), party("checkout"))
        .service(Some(Arc::new(service)))
        .security(Security::MutualTls)
}

fn scrape(registry: &Registry) -> String {
    registry.encode(Exposition::OpenMetrics).unwrap()
}

fn value(text: &str, metric: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(&format!("{metric}{{")))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn labels_have_the_names_and_the_order_of_istio() {
    let mut registry = Registry::new(&Build::default());
    let traffic = TrafficMetrics::new(&mut registry);
    let _open = traffic.open(labels(), Arc::new(Count::default()));
    let text = scrape(&registry);
    let expected = concat!(
        r#"istio_tcp_connections_opened_total{reporter="source",source_workload="web-v1","#,
        r#"source_canonical_service="web",source_canonical_revision="v1",source_workload_namespace="shop","#,
        r#"source_principal="spiffe://cluster.local/ns/shop/sa/web",source_app="web",source_version="v1","#,
        r#"source_cluster="Kubernetes",destination_service="checkout.shop.svc.cluster.local","#,
        r#"destination_service_namespace="shop",destination_service_name="checkout","#,
        r#"destination_workload="checkout-v1",destination_canonical_service="checkout","#,
        r#"destination_canonical_revision="v1",destination_workload_namespace="shop","#,
        r#"destination_principal="spiffe://cluster.local/ns/shop/sa/checkout",destination_app="checkout","#,
        r#"destination_version="v1",destination_cluster="Kubernetes",request_protocol="tcp","#,
        r#"response_flags="-",connection_security_policy="mutual_tls"} 1"#,
    );
    assert!(text.lines().any(|line| line == expected), "{text}");
}

#[test]
fn absent_values_are_unknown_and_locality_is_last() {
    let source = Party { region: "eu".into(), zone: "eu-1".into(), ..Party::default() }.share();
    let labels = TrafficLabels::new(Reporter::Destination, source, SharedParty::default());
    let mut registry = Registry::new(&Build::default());
    let traffic = TrafficMetrics::new(&mut registry);
    let _open = traffic.open(labels, Arc::new(Count::default()));
    let text = scrape(&registry);
    let line = text.lines().find(|l| l.starts_with("istio_tcp_connections_opened_total{")).unwrap();
    assert!(line.contains(r#"source_principal="unknown""#));
    let end = r#"connection_security_policy="unknown",source_region="eu",source_zone="eu-1"} 1"#;
    assert!(line.ends_with(end), "{line}");
}

#[test]
fn bytes_of_live_connections_show_and_stay_when_they_close() {
    let mut registry = Registry::new(&Build::default());
    let traffic = TrafficMetrics::new(&mut registry);
    let count = Arc::new(Count::default());
    let open = traffic.open(labels(), count.clone());
    count.0.store(84, Ordering::Relaxed);
    count.1.store(358, Ordering::Relaxed);
    let text = scrape(&registry);
    assert_eq!(value(&text, "istio_tcp_received_bytes_total"), Some(84));
    assert_eq!(value(&text, "istio_tcp_sent_bytes_total"), Some(358));
    assert_eq!(value(&text, "istio_tcp_connections_closed_total"), Some(0));
    count.0.store(100, Ordering::Relaxed);
    drop(open);
    let second = traffic.open(labels(), Arc::new(Count(AtomicU64::new(1), AtomicU64::new(2))));
    let text = scrape(&registry);
    assert_eq!(value(&text, "istio_tcp_received_bytes_total"), Some(101));
    assert_eq!(value(&text, "istio_tcp_sent_bytes_total"), Some(360));
    assert_eq!(value(&text, "istio_tcp_connections_opened_total"), Some(2));
    assert_eq!(value(&text, "istio_tcp_connections_closed_total"), Some(1));
    drop(second);
    assert_eq!(traffic.series(), 1);
}

#[test]
fn failure_is_counted_under_its_flag_and_doesnt_look_like_a_connection() {
    let mut registry = Registry::new(&Build::default());
    let traffic = TrafficMetrics::new(&mut registry);
    let open = traffic.open(labels(), Arc::new(Count::default()));
    open.failed(ResponseFlag::Deny);
    traffic.failed(&labels().flag(ResponseFlag::TlsFailure));
    let text = scrape(&registry);
    let failed: Vec<_> =
        text.lines().filter(|l| l.starts_with("istio_tcp_connections_failed_total{")).collect();
    assert_eq!(failed.len(), 2);
    assert!(failed.iter().any(|line| line.contains(r#"response_flags="DENY""#)));
    assert!(failed.iter().any(|line| line.contains(r#"response_flags="TLS_FAILURE""#)));
    assert_eq!(
        text.lines().filter(|l| l.starts_with("istio_tcp_connections_opened_total{")).count(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn idle_series_leaves_after_its_last_value_was_read() {
    let mut registry = Registry::new(&Build::default());
    let traffic = TrafficMetrics::new(&mut registry);
    drop(traffic.open(labels(), Arc::new(Count::default())));
    tokio::time::advance(limits::TRAFFIC_SERIES_IDLE).await;
    assert_eq!(value(&scrape(&registry), "istio_tcp_connections_closed_total"), Some(1));
    assert_eq!(value(&scrape(&registry), "istio_tcp_connections_closed_total"), None);
    assert_eq!(traffic.series(), 0);
}

#[tokio::test(start_paused = true)]
async fn series_with_an_open_connection_is_never_evicted() {
    let mut registry = Registry::new(&Build::default());
    let traffic = TrafficMetrics::new(&mut registry);
    let open = traffic.open(labels(), Arc::new(Count::default()));
    tokio::time::advance(limits::TRAFFIC_SERIES_IDLE * 10).await;
    scrape(&registry);
    assert_eq!(traffic.series(), 1);
    drop(open);
}

#[test]
fn too_many_pairs_are_counted_without_their_names() {
    let mut registry = Registry::new(&Build::default());
    let traffic = TrafficMetrics::with_series_max(&mut registry, 2);
    let open: Vec<_> = (0..10)
        .map(|n| {
            let pair = TrafficLabels::new(Reporter::Source, party(&format!("web{n}")), party("db"));
            traffic.open(pair, Arc::new(Count(AtomicU64::new(1), AtomicU64::new(1))))
        })
        .collect();
    assert_eq!(traffic.series(), 3);
    let text = scrape(&registry);
    let overflow = text.lines().find(|l| {
        l.starts_with("istio_tcp_received_bytes") && l.contains(r#"source_app="unknown""#)
    });
    assert!(overflow.unwrap().ends_with(" 8"));
    drop(open);
}

#[test]
fn equal_labels_from_different_pushes_share_a_series() {
    let mut registry = Registry::new(&Build::default());
    let traffic = TrafficMetrics::new(&mut registry);
    let _first = traffic.open(labels(), Arc::new(Count::default()));
    let _second = traffic.open(labels(), Arc::new(Count::default()));
    assert_eq!(traffic.series(), 1);
}
