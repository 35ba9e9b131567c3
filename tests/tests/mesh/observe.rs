//! What is to be seen from outside, under the names that dashboards and scripts know.

use anyhow::{Context, Result, ensure};
use weft_harness::{Inside, http, poll};
use weft_proto::contract::port;

use crate::support::SOON;
use crate::support::calls::{is_refused, log_line, succeeds};
use crate::town::town;

/// Istio's labels of the four traffic counters.
const LABELS: [&str; 23] = [
    "reporter",
    "source_workload",
    "source_canonical_service",
    "source_canonical_revision",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_cluster",
    "destination_service",
    "destination_service_namespace",
    "destination_service_name",
    "destination_workload",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_cluster",
    "request_protocol",
    "response_flags",
    "connection_security_policy",
];

/// Metrics of a ztunnel besides those, as they are exposed.
const OTHERS: [&str; 13] = [
    "istio_tcp_sockets_open",
    "istio_dns_requests_total",
    "istio_xds_message_total",
    "istio_xds_message_bytes_total",
    "istio_build",
    "workload_manager_active_proxy_count",
    "workload_manager_pending_proxy_count",
    "workload_manager_proxies_started_total",
    "process_open_fds",
    "process_max_fds",
    "tokio_num_workers",
    "tokio_num_alive_tasks",
    "tokio_global_queue_depth",
];

/// Keys of a line of the access log, in order.
const KEYS: [&str; 18] = [
    "src.addr=",
    "src.workload=\"web\"",
    "src.namespace=\"front\"",
    "src.identity=\"spiffe://cluster.local/ns/front/sa/web\"",
    "src.cluster=\"Kubernetes\"",
    "dst.addr=",
    ":15008",
    "dst.hbone_addr=",
    ":8080",
    "dst.service=\"checkout.shop.svc.cluster.local\"",
    "dst.workload=\"checkout\"",
    "dst.namespace=\"shop\"",
    "dst.identity=\"spiffe://cluster.local/ns/shop/sa/checkout\"",
    "dst.cluster=\"Kubernetes\"",
    "direction=\"outbound\"",
    "bytes_sent=",
    "bytes_recv=",
    "duration=\"",
];

pub(crate) fn metrics_and_access_log_have_the_contracts_names(_: &Inside) -> Result<()> {
    let town = town()?;
    succeeds(&*town.pod("front", "web")?, "http://checkout.shop/")?;
    let pair = [
        ("reporter", "source"),
        ("source_workload", "web"),
        ("destination_workload", "checkout"),
        ("destination_service", "checkout.shop.svc.cluster.local"),
        ("destination_service_name", "checkout"),
        ("destination_service_namespace", "shop"),
        ("request_protocol", "tcp"),
        ("response_flags", "-"),
    ];
    // A connection is counted as closed when both ends have gone, a moment after the answer.
    poll::until("all four counters", SOON, || {
        let samples = town.mesh.ztunnel_metrics(1)?;
        for metric in ["connections_opened", "connections_closed", "received_bytes", "sent_bytes"] {
            let name = format!("istio_tcp_{metric}_total");
            let sample = samples.of(&name, &pair).next().with_context(|| format!("no {name}"))?;
            ensure!(sample.value > 0.0, "{name} is 0");
            for label in LABELS {
                ensure!(!sample.label(label).is_empty(), "{name} has no {label}");
            }
        }
        Ok(())
    })?;
    let node = &town.mesh.node(1)?.netns;
    for path in ["/metrics", "/stats/prometheus"] {
        let text = http::get(node, port::METRICS, path)?;
        for name in OTHERS {
            let is_there = text.lines().any(|line| line.starts_with(name));
            ensure!(is_there, "{path} has no {name}");
        }
    }
    let line = poll::until("the access log", SOON, || {
        log_line(&town.mesh, 1, &["connection complete", "checkout.shop", "direction=\"outbound\""])
    })?;
    let mut rest = line.as_str();
    for key in KEYS {
        let (_, after) = rest.split_once(key).with_context(|| format!("no {key} in: {line}"))?;
        rest = after;
    }
    Ok(())
}

pub(crate) fn refusal_names_the_deciding_policy_in_the_log(_: &Inside) -> Result<()> {
    let town = town()?;
    is_refused(&*town.pod("front", "intruder")?, "http://inventory.warehouse/")?;
    succeeds(&*town.pod("shop", "checkout")?, "http://inventory.warehouse/")?;
    let identity = "src.identity=\"spiffe://cluster.local/ns/front/sa/intruder\"";
    poll::until("the refusal in the log", SOON, || {
        log_line(&town.mesh, 2, &["\terror\taccess", identity, "warehouse/inventory-callers"])
    })?;
    let labels = [
        ("reporter", "destination"),
        ("source_workload", "intruder"),
        ("destination_workload", "inventory"),
        ("response_flags", "DENY"),
    ];
    let failed = town.mesh.ztunnel_metrics(2)?.sum("istio_tcp_connections_failed_total", &labels);
    ensure!(failed >= 1.0, "the refusal isn't counted");
    Ok(())
}
