//! Who is let in, also in plaintext, and that a change of mind counts for what is open.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::time::Instant;
use weft_harness::{Inside, PodSpec, poll};

use crate::support::calls::{get, is_refused, log_line, succeeds};
use crate::support::objects::{Temporary, policy, to_port};
use crate::support::tcp::Ticks;
use crate::support::{PORT, SOON};
use crate::town::town;

pub(crate) fn strict_namespace_refuses_plaintext(_: &Inside) -> Result<()> {
    let town = town()?;
    let payment = town.pod("vault", "payment")?;
    let url = format!("http://{}/", payment.address(PORT));
    is_refused(&*town.pod("outside", "outsider")?, &url)?;
    is_refused(&*town.pod("front", "aloof")?, &url)?;
    succeeds(&*town.pod("front", "web")?, &url)?;
    poll::until("the refusal in the log", SOON, || {
        log_line(&town.mesh, 2, &["istio_converted_static_strict", "10.44.1."])
    })?;
    Ok(())
}

pub(crate) fn permissive_pod_accepts_plaintext(_: &Inside) -> Result<()> {
    let town = town()?;
    let checkout = town.pod("shop", "checkout")?;
    let url = format!("http://{}/", checkout.address(PORT));
    succeeds(&*town.pod("outside", "outsider")?, &url)?;
    let labels = [
        ("reporter", "destination"),
        ("destination_workload", "checkout"),
        ("source_workload", "outsider"),
        ("connection_security_policy", "unknown"),
    ];
    let samples = town.mesh.ztunnel_metrics(2)?;
    ensure!(samples.sum("istio_tcp_connections_opened_total", &labels) >= 1.0, "not counted");
    Ok(())
}

pub(crate) fn policy_edit_closes_open_connections(_: &Inside) -> Result<()> {
    let town = town()?;
    let target = town.mesh.declared_pod(PodSpec::new("shop", "edited", 2))?;
    town.mesh.serve(&target, PORT, &["serve", "--role", "checkout", "--no-upstreams"])?;
    let neighbour = town.mesh.declared_pod(PodSpec::new("shop", "neighbour", 2))?;
    for pod in [&target, &neighbour] {
        town.mesh.wait_enrolled(pod)?;
    }
    let to = target.address(PORT);
    let (web, outsider) = (town.pod("front", "web")?, town.pod("outside", "outsider")?);
    let mut open = Vec::new();
    for (from, what) in [(&web, "HBONE"), (&neighbour, "local path"), (&outsider, "plaintext")] {
        open.push((Ticks::open(&from.netns, to).context(what)?, what));
    }
    let mut untouched = Ticks::open(&web.netns, town.pod("shop", "checkout")?.address(PORT))?;
    let saved = Instant::now();
    let denied = policy("shop", "closed", "edited", "DENY", to_port(PORT));
    let edit = Temporary::write(&town.mesh, "policy-closed", &[denied])?;
    for (ticks, what) in &mut open {
        ticks.wait_for_end(SOON).context(*what)?;
    }
    ensure!(saved.elapsed() < SOON, "they ended {:?} after the edit", saved.elapsed());
    untouched.expect_more()?;
    let url = format!("http://{to}/");
    for from in [&web, &neighbour, &outsider] {
        is_refused(from, &url)?;
    }
    poll::until("the cut in the log", SOON, || {
        log_line(&town.mesh, 2, &["closed due to policy change", "shop/closed"])
    })?;
    drop(edit);
    poll::until("open again", SOON, || {
        let answer = get(&web, &url)?;
        ensure!(answer.status == 200, "{}", json!(answer.value));
        Ok(())
    })?;
    for pod in [&target, &neighbour] {
        town.mesh.remove_pod(pod)?;
    }
    Ok(())
}
