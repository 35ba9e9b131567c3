//! Joining by label, and a call through the shop.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use weft_harness::is_redirected;

use super::protocols;
use crate::shop::{PORT, Shop};

/// Rules and listeners are in every pod whose namespace has the label, and in no other.
pub(super) fn label_alone_enrols(shop: &Shop) -> Result<String> {
    let known = protocols(shop, 2)?;
    let (mut joined, mut out) = (Vec::new(), Vec::new());
    // A waypoint speaks HBONE by itself and needs no rules.
    let is_waypoint = |name: &str| name.starts_with("waypoint");
    for pod in shop.mesh.pods().into_iter().filter(|pod| !is_waypoint(&pod.spec.name)) {
        let name = format!("{}/{}", pod.spec.namespace, pod.spec.name);
        let has_rules = is_redirected(&pod.netns)?;
        let protocol = known.get(&name).with_context(|| format!("{name} isn't known to node 2"))?;
        match (shop.is_enrolled_by_label(&pod), has_rules, protocol.as_str()) {
            (true, true, "HBONE") => joined.push(pod.spec.name.clone()),
            (false, false, "TCP") => out.push(name),
            (label, rules, protocol) => {
                bail!("{name}: label {label}, rules {rules}, protocol {protocol}")
            }
        }
    }
    ensure!(out.iter().any(|name| name == "outside/outsider"), "nobody stayed out");
    Ok(format!(
        "{} pods of labelled namespaces have redirection rules and are reached by HBONE; {} have \
         neither ({})",
        joined.len(),
        out.len(),
        out.join(", ")
    ))
}

/// One request to web makes calls by service name that cross between the nodes.
pub(super) fn call_crosses_nodes(shop: &Shop) -> Result<String> {
    let web = shop.role("web")?;
    let (status, answer) = shop.call(&web, &format!("http://127.0.0.1:{PORT}/"))?;
    ensure!(status == 200, "web answered {answer}");
    let hop = answer.get("body").context("no trace")?;
    let checkout = called(hop, "http://checkout.shop/")?;
    let payment = called(&checkout, "http://payment.default/pay")?;
    let caller = |hop: &Value| {
        let address = hop.get("caller").and_then(Value::as_str).unwrap_or_default();
        shop.owner(address)
    };
    // The callee sees the address of the calling pod itself, not of a proxy.
    let (first, second) = (caller(&checkout), caller(&payment));
    ensure!(first == "web@node1", "checkout was called by {first}");
    ensure!(second == "checkout@node2", "payment was called by {second}");
    let time = answer.get("microseconds").and_then(Value::as_u64).unwrap_or_default();
    Ok(format!("{first} → {second} → payment@node1, names resolved in the pods, in {time} µs"))
}

/// The trace of the call to `url` that `hop` made.
fn called(hop: &Value, url: &str) -> Result<Value> {
    let calls = hop.get("calls").and_then(Value::as_array).context("a trace without calls")?;
    let call = calls.iter().find(|call| call.get("url").and_then(Value::as_str) == Some(url));
    let body = call.with_context(|| format!("{url} wasn't called"))?.get("body");
    body.cloned().with_context(|| format!("{url} gave no trace"))
}
