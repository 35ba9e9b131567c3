use weft_core::telemetry::{Build, Exposition, TrafficMetrics};
use weft_proto::contract::telemetry::METRICS;

use super::super::flags::ResponseFlags;
use super::super::record::tests::{Owned, party};
use super::super::record::{Http, RequestProtocol, Sizes};
use super::*;

const PARTIES: &str = concat!(
    r#"reporter="waypoint",source_workload="web-v1",source_canonical_service="web","#,
    r#"source_canonical_revision="v1",source_workload_namespace="shop","#,
    r#"source_principal="spiffe://cluster.local/ns/shop/sa/web",source_app="web",source_version="v1","#,
    r#"source_cluster="Kubernetes",destination_service="checkout.shop.svc.cluster.local","#,
    r#"destination_service_namespace="shop",destination_service_name="checkout","#,
    r#"destination_workload="checkout-v1",destination_canonical_service="checkout","#,
    r#"destination_canonical_revision="v1",destination_workload_namespace="shop","#,
    r#"destination_principal="spiffe://cluster.local/ns/shop/sa/checkout",destination_app="checkout","#,
    r#"destination_version="v1",destination_cluster="Kubernetes""#
);

fn metrics() -> (Registry, RequestMetrics) {
    let mut registry = Registry::new(&Build::default());
    let metrics = RequestMetrics::new(&mut registry);
    (registry, metrics)
}

/// The samples of what is tested, sorted as they are shown.
fn scrape(registry: &Registry) -> Vec<String> {
    let text = registry.encode(Exposition::OpenMetrics).unwrap();
    let is_ours = |line: &&str| line.starts_with("istio_re") || line.starts_with("istio_tcp");
    text.lines().filter(is_ours).map(str::to_owned).collect()
}

#[test]
fn http_request_is_shown_under_the_names_and_labels_of_istio() {
    let (registry, metrics) = metrics();
    metrics.record(&Owned::new().request(), None);
    let labels = format!(
        r#"{PARTIES},request_protocol="http",response_code="200",response_flags="-",connection_security_policy="mutual_tls""#
    );
    let mut expected = vec![format!("istio_requests_total{{{labels}}} 1")];
    for (name, sum, first) in [
        ("istio_request_duration_milliseconds", "8.4", 10.0),
        ("istio_request_bytes", "120.0", 250.0),
        ("istio_response_bytes", "2048.0", 2500.0),
    ] {
        expected.push(format!("{name}_sum{{{labels}}} {sum}"));
        expected.push(format!("{name}_count{{{labels}}} 1"));
        for bound in [
            "0.5",
            "1.0",
            "5.0",
            "10.0",
            "25.0",
            "50.0",
            "100.0",
            "250.0",
            "500.0",
            "1000.0",
            "2500.0",
            "5000.0",
            "10000.0",
            "30000.0",
            "60000.0",
            "300000.0",
            "600000.0",
            "1800000.0",
            "3600000.0",
            "+Inf",
        ] {
            let is_in = bound.parse::<f64>().unwrap() >= first;
            expected.push(format!("{name}_bucket{{le=\"{bound}\",{labels}}} {}", u64::from(is_in)));
        }
    }
    let shown = scrape(&registry);
    let differs = shown.iter().zip(&expected).find(|(shown, expected)| shown != expected);
    assert_eq!(differs, None);
    assert_eq!(shown.len(), expected.len());
}

#[test]
fn grpc_request_has_its_status_and_counts_messages() {
    let (registry, metrics) = metrics();
    let owned = Owned::new();
    let mut record = owned.request();
    let protocol = RequestProtocol::Grpc;
    record.http = Http { protocol, grpc_status: Some(14), ..record.http };
    record.stream.sizes = Sizes { request_messages: 3, response_messages: 2, ..Sizes::default() };
    record.stream.flags = ResponseFlags::NO_HEALTHY_UPSTREAM;
    metrics.record(&record, None);
    metrics.record(&record, None);
    let labels = format!(
        r#"{PARTIES},request_protocol="grpc",response_code="200",grpc_response_status="14",response_flags="UH",connection_security_policy="mutual_tls""#
    );
    let text = scrape(&registry);
    for (name, value) in [
        ("istio_requests_total", 2),
        ("istio_request_messages_total", 6),
        ("istio_response_messages_total", 4),
    ] {
        let line = format!("{name}{{{labels}}} {value}");
        assert!(text.contains(&line), "{line} is not in\n{}", text.join("\n"));
    }
}

#[test]
fn connection_is_shown_with_the_reporter_and_envoys_flag() {
    let mut registry = Registry::new(&Build::default());
    let traffic = TrafficMetrics::new(&mut registry);
    let owned = Owned::new();
    let mut stream = owned.stream();
    stream.flags = ResponseFlags::UPSTREAM_CONNECTION_FAILURE;
    let record = ConnectionRecord { stream, is_denied: false };
    traffic.failed(&connection_labels(&record).flag(connection_flag(&record)));
    let labels = format!(
        r#"{PARTIES},request_protocol="tcp",response_flags="UF",connection_security_policy="mutual_tls""#
    );
    assert_eq!(scrape(&registry), [format!("istio_tcp_connections_failed_total{{{labels}}} 1")]);
}

#[test]
fn codes_that_no_standard_has_share_one_series() {
    let (registry, metrics) = metrics();
    let owned = Owned::new();
    for status in [600, 777, 999] {
        let mut record = owned.request();
        record.http = Http {
            protocol: RequestProtocol::Grpc,
            status,
            grpc_status: Some(u32::from(status)),
            ..record.http
        };
        metrics.record(&record, None);
    }
    assert_eq!(metrics.series(), 1);
    let text = scrape(&registry);
    let line = text.iter().find(|line| line.starts_with("istio_requests_total")).unwrap();
    assert!(line.contains(r#"response_code="unknown",grpc_response_status="unknown""#), "{line}");
    assert!(line.ends_with(" 3"));
}

#[tokio::test(start_paused = true)]
async fn idle_series_leave_after_a_last_scrape() {
    let (registry, metrics) = metrics();
    metrics.record(&Owned::new().request(), None);
    tokio::time::advance(limits::REQUEST_SERIES_IDLE - Duration::from_secs(1)).await;
    scrape(&registry);
    assert_eq!(metrics.series(), 1);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(!scrape(&registry).is_empty(), "the last value is read once more");
    assert_eq!(metrics.series(), 0);
    assert!(scrape(&registry).is_empty());
}

#[tokio::test(start_paused = true)]
async fn too_many_series_are_counted_under_unknown_parties() {
    let mut registry = Registry::new(&Build::default());
    let metrics = RequestMetrics::with_series_max(&mut registry, 64);
    let owned = Owned::new();
    let mut record = owned.request();
    let parties: Vec<_> = (0..200).map(|n| party(&format!("caller-{n}"))).collect();
    for party in &parties {
        record.stream.parties.source = party;
        metrics.record(&record, None);
    }
    assert!(metrics.series() <= 64 + limits::METRIC_SHARDS);
    let text = scrape(&registry);
    let counted: u64 = text
        .iter()
        .filter(|line| line.starts_with("istio_requests_total"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(counted, 200, "no request is lost");
    let unknown =
        text.iter().find(|l| l.contains(r#"_total{reporter="waypoint",source_workload="unknown""#));
    assert!(unknown.unwrap().contains(r#"response_code="200""#));

    // Those that went idle make room.
    tokio::time::advance(limits::REQUEST_SERIES_IDLE).await;
    record.stream.parties.source = &parties[199];
    scrape(&registry);
    metrics.record(&record, None);
    assert_eq!(metrics.series(), 1);
}

#[test]
fn known_series_takes_no_memory() {
    let (_registry, metrics) = metrics();
    let owned = Owned::new();
    let record = owned.request();
    metrics.record(&record, None);
    let taken = allocation_counter::measure(|| metrics.record(&record, None));
    assert_eq!(taken.count_total, 0);
}

fn change(metric: Metric, change: Change) -> Arc<View> {
    let mut changes: [Change; 6] = Default::default();
    changes[METRICS.iter().position(|it| *it == metric).unwrap()] = change;
    Arc::new(View::new(changes))
}

#[test]
fn removed_label_joins_what_differs_in_it_alone() {
    let (registry, metrics) = metrics();
    let tags = vec![
        ("source_workload".into(), Tag::Remove),
        ("source_canonical_service".into(), Tag::Remove),
        ("source_principal".into(), Tag::Remove),
        ("source_app".into(), Tag::Remove),
        ("destination_app".into(), Tag::Literal("till".into())),
        ("method".into(), Tag::Attribute(Attribute::RequestMethod)),
    ];
    let view = change(Metric::RequestCount, Change { is_disabled: false, tags });
    let owned = Owned::new();
    let mut record = owned.request();
    let other = party("mobile");
    metrics.record(&record, Some(&view));
    record.stream.parties.source = &other;
    metrics.record(&record, Some(&view));
    let text = scrape(&registry);
    let requests: Vec<_> = text.iter().filter(|l| l.starts_with("istio_requests_total")).collect();
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert!(requests[0].ends_with(" 2"));
    assert!(requests[0].contains(r#"destination_app="till""#));
    assert!(requests[0].contains(r#"method="GET""#));
    assert!(!requests[0].contains("source_workload="));
    let durations = text.iter().filter(|l| l.contains("duration_milliseconds_count")).count();
    assert_eq!(durations, 2, "other metrics keep their labels");
}

#[test]
fn disabled_metric_is_not_shown() {
    let (registry, metrics) = metrics();
    let view = change(Metric::ResponseSize, Change { is_disabled: true, tags: Vec::new() });
    metrics.record(&Owned::new().request(), Some(&view));
    let text = scrape(&registry).join("\n");
    assert!(!text.contains("istio_response_bytes"));
    assert!(text.contains("istio_request_bytes"));
}

#[test]
fn series_of_a_changed_view_counts_on_where_labels_are_the_same() {
    let (registry, metrics) = metrics();
    let owned = Owned::new();
    let off = Change { is_disabled: true, tags: Vec::new() };
    metrics.record(&owned.request(), None);
    metrics.record(&owned.request(), Some(&change(Metric::RequestSize, off.clone())));
    metrics.record(&owned.request(), Some(&change(Metric::ResponseSize, off)));
    let text = scrape(&registry);
    let requests: Vec<_> = text.iter().filter(|l| l.starts_with("istio_requests_total")).collect();
    assert_eq!(requests.len(), 1);
    assert!(requests[0].ends_with(" 3"));
}
