//! What can be seen from outside, and what it costs.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::shop::{BENCH_PORT, Shop};

/// Rounds of each side, taking turns so that both see the same machine.
const ROUNDS: usize = 3;

/// The pairs that called each other in this demo, and who reports them.
const PAIRS: [(u8, &str, &str); 4] = [
    (1, "web", "checkout"),
    (2, "checkout", "payment"),
    (2, "checkout", "inventory"),
    (1, "payment", "inventory"),
];

/// Every pair has its counters, with both identities, at its source's node.
pub(super) fn pairs_have_metrics(shop: &Shop) -> Result<String> {
    let mut told = Vec::new();
    for (node, source, destination) in PAIRS {
        let samples = shop.mesh.ztunnel_metrics(node)?;
        let labels = [
            ("reporter", "source"),
            ("source_workload", source),
            ("destination_workload", destination),
            ("response_flags", "-"),
        ];
        let sum = |metric: &str| samples.sum(&format!("istio_tcp_{metric}_total"), &labels);
        let (opened, sent) = (sum("connections_opened"), sum("sent_bytes"));
        let received = sum("received_bytes");
        ensure!(
            opened >= 1.0 && sent > 0.0 && received > 0.0,
            "{source} → {destination}: {opened} opened, {sent} B sent, {received} B received"
        );
        // A proof before this one may have called the pod's own address, which is nobody's service.
        let service = samples
            .of("istio_tcp_connections_opened_total", &labels)
            .map(|sample| sample.label("destination_service").to_owned())
            .find(|service| service.starts_with(destination))
            .with_context(|| format!("{source} → {destination}: no sample names the service"))?;
        told.push(format!("{source} → {service} {opened} ({sent}/{received} B)"));
    }
    Ok(told.join(", "))
}

/// Round trips of 128 bytes over one connection across nodes, plain and through the mesh.
pub(super) fn added_latency(shop: &Shop) -> Result<String> {
    let (mut plain, mut mesh) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        plain.push(round_trip(shop, "plain")?);
        mesh.push(round_trip(shop, "bench")?);
    }
    let (plain, mesh) = (median(plain)?, median(mesh)?);
    Ok(format!(
        "p50 {:.0} µs plain, {:.0} µs through both ztunnels: +{:.0} µs, {:.2} times; p99 {:.0} \
         and {:.0} µs",
        plain.0,
        mesh.0,
        mesh.0 - plain.0,
        mesh.0 / plain.0,
        plain.1,
        mesh.1
    ))
}

/// p50 and p99, microseconds.
fn round_trip(shop: &Shop, namespace: &str) -> Result<(f64, f64)> {
    let client = shop.pod(namespace, "client")?;
    let target = shop.pod(namespace, "server")?.address(BENCH_PORT).to_string();
    let words = ["bench-client", "--target", &target, "--mode", "latency", "--seconds", "1"];
    let report = shop.tool(&client, &words, Duration::from_secs(2))?;
    let figure = |key: &str| report.pointer(&format!("/latency/{key}")).and_then(Value::as_f64);
    ensure!(report.get("failed").and_then(Value::as_u64) == Some(0), "{report}");
    figure("p50_us").zip(figure("p99_us")).with_context(|| report.to_string())
}

/// The round whose p50 is in the middle.
fn median(mut rounds: Vec<(f64, f64)>) -> Result<(f64, f64)> {
    rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    rounds.get(rounds.len() / 2).copied().context("no rounds")
}
