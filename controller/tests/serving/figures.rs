//! Figures rather than promises; run by hand, in release: `cargo test --release -- --ignored --nocapture figures`.

use prost::Message;
use tempfile::tempdir;
use tokio::time::Instant;
use weft_controller::metrics::resident_bytes;
use weft_controller::tokens::Component::Ztunnel;
use weft_proto::contract::MORE_OF_LOAD_FOLLOWS;

use crate::mesh::{Mesh, service, until, workload};
use crate::stream::{ADDRESS, Load, Stream};

const WORKLOADS: usize = 10_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a promise"]
async fn first_load_and_changes_of_10_000_workloads() {
    let folder = tempdir().unwrap();
    let mesh = Mesh::start(folder.path(), Vec::new()).await;
    let before = resident_bytes().unwrap();
    let node = |index: usize| format!("node{}", index % 100);
    let mut objects: Vec<_> = (0..WORKLOADS).map(|i| workload(i, &node(i), "v1")).collect();
    objects.push(service());
    let begun = Instant::now();
    mesh.feed(objects).await;
    let log_filled = async || {
        let types = mesh.status().await.types;
        types.first().is_some_and(|count| count.resources > WORKLOADS)
    };
    until("the log is filled", log_filled).await;
    let filled = begun.elapsed();
    let grown = (resident_bytes().unwrap() - before) / 1024;
    eprintln!("log filled in {filled:?}, {grown} KiB more resident");
    measure_loads(&mesh).await;
    measure_changes(&mesh).await;
}

async fn measure_loads(mesh: &Mesh) {
    for round in 0..10 {
        let mut stream = Stream::open(mesh, Ztunnel, "node1").await;
        let begun = Instant::now();
        stream.subscribe(ADDRESS, &Default::default()).await;
        let mut bytes = 0;
        let mut count = 0;
        let mut messages = 0;
        loop {
            let response = stream.take().await;
            let took = begun.elapsed();
            messages += 1;
            count += response.resources.len();
            let is_last = !response.system_version_info.ends_with(MORE_OF_LOAD_FOLLOWS);
            bytes += response.encoded_len();
            if is_last {
                eprintln!(
                    "{round}: {count} resources, {bytes} bytes, {messages} messages, {took:?}"
                );
                break;
            }
        }
    }
    let mut stream = Stream::open(mesh, Ztunnel, "node1").await;
    stream.subscribe(ADDRESS, &Default::default()).await;
    let held = stream.take_load().await;
    let begun = Instant::now();
    let mut again = Stream::open(mesh, Ztunnel, "node1").await;
    let known = held.resources.into_iter().collect();
    let opened = begun.elapsed();
    again.subscribe(ADDRESS, &known).await;
    let load = again.take_load().await;
    let took = begun.elapsed();
    eprintln!(
        "return with all versions: {} resources, open {opened:?}, in all {took:?}",
        load.resources.len()
    );
}

async fn measure_changes(mesh: &Mesh) {
    let mut stream = Stream::open(mesh, Ztunnel, "node1").await;
    stream.subscribe(ADDRESS, &Default::default()).await;
    stream.take_load().await;
    for (what, node) in [("own node", "node1"), ("other node", "node2")] {
        let mut delays = Vec::new();
        for round in 0..200 {
            until("the last change is acknowledged", async || is_quiet(mesh).await).await;
            let begun = Instant::now();
            mesh.feed(vec![workload(round, node, &format!("{what} {round}"))]).await;
            let mut change = Load::default();
            stream.take_until(&mut change, |load| !load.resources.is_empty()).await;
            delays.push(begun.elapsed());
        }
        delays.sort();
        eprintln!("change, {what}: p50 {:?}, p99 {:?}", delays[100], delays[197]);
    }
}

/// Whether no client has an answer to give.
async fn is_quiet(mesh: &Mesh) -> bool {
    let clients = mesh.status().await.clients;
    clients.iter().all(|client| client.types.values().all(|status| status.in_flight == 0))
}
