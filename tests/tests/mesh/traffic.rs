//! How bytes travel: HBONE between nodes, the local path on one, and both like the TCP they carry.

use std::io::{Read as _, Write as _};
use std::net::IpAddr;

use anyhow::{Result, ensure};
use weft_harness::capture::Capture;
use weft_harness::{ControllerSettings, Inside, Mesh, Pod, PodSpec, ZtunnelSettings};
use weft_proto::contract::port;

use crate::support::calls::{get, succeeds};
use crate::support::tcp::{end_sending, listen, serve_one};
use crate::support::{PORT, SOON};
use crate::town::town;

const OPENED: &str = "istio_tcp_connections_opened_total";

pub(crate) fn enrolled_pods_reach_each_other_across_nodes_over_hbone(_: &Inside) -> Result<()> {
    let town = town()?;
    let (web, checkout) = (town.pod("front", "web")?, town.pod("shop", "checkout")?);
    let pair = [
        ("source_workload", "web"),
        ("destination_workload", "checkout"),
        ("source_principal", "spiffe://cluster.local/ns/front/sa/web"),
        ("destination_principal", "spiffe://cluster.local/ns/shop/sa/checkout"),
        ("connection_security_policy", "mutual_tls"),
    ];
    let count = |node| anyhow::Ok(town.mesh.ztunnel_metrics(node)?.sum(OPENED, &pair));
    let before = (count(1)?, count(2)?);
    let capture = Capture::start(&town.mesh.node(1)?.netns, "eth0")?;
    succeeds(&web, "http://checkout.shop/")?;
    let recording = capture.finish()?;
    let addresses = [IpAddr::V4(web.ip), IpAddr::V4(checkout.ip)];
    for flow in recording.flows() {
        if addresses.contains(&flow.from.ip()) && addresses.contains(&flow.to.ip()) {
            let is_hbone = [flow.from.port(), flow.to.port()].contains(&port::HBONE);
            ensure!(is_hbone, "{} → {} crossed the cable", flow.from, flow.to);
        }
    }
    let after = (count(1)?, count(2)?);
    ensure!(after.0 > before.0, "node 1 didn't count it: {before:?}, {after:?}");
    ensure!(after.1 > before.1, "node 2 didn't count it: {before:?}, {after:?}");
    Ok(())
}

pub(crate) fn same_node_traffic_takes_the_local_path(_: &Inside) -> Result<()> {
    let town = town()?;
    let (web, cart) = (town.pod("front", "web")?, town.pod("shop", "cart")?);
    let labels = |reporter: &'static str| {
        [
            ("reporter", reporter),
            ("source_workload", "web"),
            ("destination_workload", "cart"),
            ("source_principal", "spiffe://cluster.local/ns/front/sa/web"),
            ("destination_principal", "spiffe://cluster.local/ns/shop/sa/cart"),
            ("connection_security_policy", "local"),
        ]
    };
    let capture = Capture::start(&town.mesh.node(1)?.netns, "eth0")?;
    succeeds(&web, "http://cart.shop/")?;
    let recording = capture.finish()?;
    let crossed = recording.flows().find(|flow| flow.from.ip() == IpAddr::V4(web.ip));
    ensure!(crossed.is_none(), "{crossed:?} crossed the cable");
    let samples = town.mesh.ztunnel_metrics(1)?;
    for reporter in ["source", "destination"] {
        let counted = samples.sum(OPENED, &labels(reporter));
        ensure!(counted >= 1.0, "reporter {reporter} counted {counted}");
    }
    let inside = succeeds(&web, &format!("http://{}/", cart.address(PORT)))?;
    ensure!(inside.text("/body/hop") == "checkout", "{inside:?}");
    Ok(())
}

pub(crate) fn local_path_off_sends_it_through_hbone(_: &Inside) -> Result<()> {
    let mesh = Mesh::builder().nodes(1).prefix("off-").build()?;
    mesh.manifests().namespace("shop", true)?;
    let one = mesh.declared_pod(PodSpec::new("shop", "one", 1))?;
    let other = mesh.declared_pod(PodSpec::new("shop", "other", 1))?;
    mesh.serve(&other, PORT, &["serve", "--role", "checkout", "--no-upstreams"])?;
    let environment = vec![("WEFT_LOCAL_PATH".to_owned(), "off".to_owned())];
    let ztunnel = ZtunnelSettings { environment, ..ZtunnelSettings::default() };
    mesh.start_all(&ControllerSettings::default(), &ztunnel)?;
    for pod in [&one, &other] {
        mesh.wait_enrolled(pod)?;
    }
    let answer = succeeds(&one, &format!("http://{}/", other.address(PORT)))?;
    ensure!(caller_is(&answer.value, &one), "{answer:?}");
    let samples = mesh.ztunnel_metrics(1)?;
    let by = |policy| samples.sum(OPENED, &[("connection_security_policy", policy)]);
    ensure!(by("mutual_tls") >= 2.0 && by("local") == 0.0, "{} {}", by("mutual_tls"), by("local"));
    Ok(())
}

pub(crate) fn application_sees_the_clients_own_address(_: &Inside) -> Result<()> {
    let town = town()?;
    let (web, outsider) = (town.pod("front", "web")?, town.pod("outside", "outsider")?);
    let (checkout, cart) = (town.pod("shop", "checkout")?, town.pod("shop", "cart")?);
    for (from, to, what) in [
        (&web, &checkout, "HBONE"),
        (&web, &cart, "local path"),
        (&outsider, &checkout, "plaintext"),
    ] {
        let answer = get(from, &format!("http://{}/", to.address(PORT)))?;
        ensure!(caller_is(&answer.value, from), "{what}: {answer:?}");
    }
    Ok(())
}

fn caller_is(answer: &serde_json::Value, pod: &Pod) -> bool {
    let caller = answer.pointer("/body/caller").and_then(serde_json::Value::as_str);
    caller.is_some_and(|caller| caller.starts_with(&format!("{}:", pod.ip)))
}

/// More than all buffers on the way hold.
const MUCH: usize = 3 << 20;
/// The port of the servers of this test.
const HALF_CLOSE_PORT: u16 = 7000;

pub(crate) fn half_close_works_end_to_end(_: &Inside) -> Result<()> {
    let town = town()?;
    let (web, outsider) = (town.pod("front", "web")?, town.pod("outside", "outsider")?);
    let (checkout, cart) = (town.pod("shop", "checkout")?, town.pod("shop", "cart")?);
    for (from, to, what) in [
        (&web, &checkout, "HBONE"),
        (&web, &cart, "local path"),
        (&outsider, &checkout, "plaintext"),
    ] {
        client_ends_first(from, to).map_err(|e| e.context(format!("{what}: client first")))?;
        server_ends_first(from, to).map_err(|e| e.context(format!("{what}: server first")))?;
    }
    Ok(())
}

/// The server answers only once it has seen the end of what the client sends.
fn client_ends_first(from: &Pod, to: &Pod) -> Result<()> {
    let listener = listen(&to.netns, HALF_CLOSE_PORT)?;
    let served = serve_one(&listener, |mut stream| {
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard)?;
        stream.write_all(&heard)?;
        Ok(heard.len())
    })?;
    let mut stream = from.netns.connect(to.address(HALF_CLOSE_PORT), SOON)?;
    stream.write_all(&vec![7; MUCH])?;
    end_sending(&stream)?;
    let mut back = Vec::new();
    stream.read_to_end(&mut back)?;
    ensure!(served.outcome()? == MUCH && back.len() == MUCH, "{} bytes came back", back.len());
    Ok(())
}

/// The client sends only once it has seen the end of what the server sends.
fn server_ends_first(from: &Pod, to: &Pod) -> Result<()> {
    let listener = listen(&to.netns, HALF_CLOSE_PORT)?;
    let served = serve_one(&listener, |mut stream| {
        stream.write_all(&vec![8; MUCH])?;
        end_sending(&stream)?;
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard)?;
        Ok(heard.len())
    })?;
    let mut stream = from.netns.connect(to.address(HALF_CLOSE_PORT), SOON)?;
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard)?;
    stream.write_all(&vec![9; MUCH])?;
    drop(stream);
    ensure!(served.outcome()? == MUCH && heard.len() == MUCH, "{} bytes came", heard.len());
    Ok(())
}
