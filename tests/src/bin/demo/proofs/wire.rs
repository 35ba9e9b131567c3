//! What is on the cable between the nodes, and what isn't.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weft_harness::capture::{Capture, Recording};
use weft_proto::contract::port;

use crate::shop::{PORT, Shop};

/// Wire number of TLS 1.3 (RFC 8446 §4.2.1).
const TLS_1_3: u16 = 0x0304;
/// A phrase that nothing else would send.
const PHRASE: &str = "three-blue-teapots-for-the-duchess";

/// All that crossed node 1's cable since the start is TLS 1.3, and a call's text is not in it,
/// while the same text from a pod outside of the mesh is.
pub(super) fn only_tls13_between_nodes(shop: &Shop) -> Result<String> {
    let capture = shop.first_capture.lock().ok().and_then(|mut capture| capture.take());
    let capture = capture.context("the recording has been used")?;
    let note = format!("x-note: {PHRASE}");
    let web = shop.role("web")?;
    let url = "http://checkout.shop/";
    let words = ["call", "--json", "--header", &note, url];
    let answer = shop.tool(&web, &words, Duration::ZERO)?;
    let told = answer.pointer("/body/note").and_then(|note| note.as_str());
    ensure!(told == Some(PHRASE), "the phrase didn't arrive: {answer}");
    let recording = capture.finish()?;
    check_ports(&recording)?;
    let versions = recording.tls_versions(port::HBONE);
    let handshakes = versions.get(&TLS_1_3).copied().unwrap_or_default();
    ensure!(handshakes > 0, "no handshake of TLS 1.3 seen");
    ensure!(versions.len() == 1, "other versions than TLS 1.3: {versions:x?}");
    let records = recording.tls_records(port::HBONE)?;
    ensure!(!recording.contains(PHRASE), "the request's text was readable on the cable");
    ensure!(recording.forgotten_bytes == 0, "the recording was too small");
    let plain = plain_comparison(shop, &note)?;
    ensure!(plain.contains(PHRASE), "the recording doesn't even see plain text");
    Ok(format!(
        "{} frames on node 1's cable, {handshakes} handshakes on {} all 0x0304, {} encrypted \
         records; {PHRASE:?} is not in them, and is when sent from outside the mesh",
        recording.frames,
        port::HBONE,
        records.get(&23).copied().unwrap_or_default()
    ))
}

/// The same call from the pod that isn't in the mesh.
fn plain_comparison(shop: &Shop, note: &str) -> Result<Recording> {
    let outsider = shop.pod("outside", "outsider")?;
    let checkout = shop.role("checkout")?;
    let capture = Capture::start(&shop.mesh.node(1)?.netns, "eth0")?;
    let url = format!("http://{}/health", checkout.address(PORT));
    shop.tool(&outsider, &["call", "--json", "--header", note, &url], Duration::ZERO)?;
    capture.finish()
}

/// Nothing but HBONE and the controller's TLS port carried bytes over TCP.
fn check_ports(recording: &Recording) -> Result<()> {
    let allowed = [port::HBONE, port::CONTROLLER];
    let others: BTreeSet<String> = recording
        .flows()
        .filter(|flow| !allowed.contains(&flow.from.port()) && !allowed.contains(&flow.to.port()))
        .map(|flow| format!("{} → {}", flow.from, flow.to))
        .collect();
    ensure!(others.is_empty(), "other TCP between the nodes: {others:?}");
    let controller = recording.tls_versions(port::CONTROLLER);
    ensure!(controller.keys().all(|v| *v == TLS_1_3), "controller connections: {controller:x?}");
    Ok(())
}

/// A call from checkout to inventory on its own node shows in no frame of that node's cable, and
/// is counted as local with both identities.
pub(super) fn same_node_stays_local(shop: &Shop) -> Result<String> {
    let (checkout, inventory) = (shop.role("checkout")?, shop.role("inventory")?);
    let labels = [
        ("reporter", "source"),
        ("source_workload", "checkout"),
        ("destination_workload", "inventory"),
        ("connection_security_policy", "local"),
    ];
    let name = "istio_tcp_connections_opened_total";
    let before = shop.mesh.ztunnel_metrics(2)?.sum(name, &labels);
    let capture = Capture::start(&shop.mesh.node(2)?.netns, "eth0")?;
    let (status, answer) = shop.call(&checkout, "http://inventory.warehouse/stock")?;
    ensure!(status == 200, "inventory answered {answer}");
    let recording = capture.finish()?;
    let address = IpAddr::V4(inventory.ip);
    let flows = recording.flows().filter(|f| f.from.ip() == address || f.to.ip() == address);
    ensure!(flows.count() == 0, "a call on one node crossed its cable");
    let samples = shop.mesh.ztunnel_metrics(2)?;
    let after = samples.sum(name, &labels);
    ensure!(after > before, "not counted as local: {before} before, {after} after");
    let sample = samples.of(name, &labels).next().context("no sample")?;
    Ok(format!(
        "{} → {} counted {} more with connection_security_policy=\"local\", 0 of {} frames on \
         node 2's cable are of it",
        sample.label("source_principal"),
        sample.label("destination_principal"),
        after - before,
        recording.frames
    ))
}
