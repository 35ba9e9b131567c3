//! The claims, in the order in which they are shown. Each gives its evidence in one line.

mod enrolment;
mod identity;
mod measures;
mod outage;
mod policy;
mod waypoint;
mod wire;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;
use weft_harness::Mesh;

use crate::shop::Shop;

/// A claim and what shows it.
pub(crate) type Proof = fn(&Shop) -> Result<String>;

/// All of them. The wire comes early: it shows the recording that began before the first call.
pub(crate) const PROOFS: [(&str, Proof); 24] = [
    ("pods join by label alone, and one stays out", enrolment::label_alone_enrols),
    ("a call crosses nodes: web → checkout → payment", enrolment::call_crosses_nodes),
    ("between the nodes only TLS 1.3", wire::only_tls13_between_nodes),
    ("payment has a short-lived SPIFFE identity", identity::payment_certificate),
    ("inventory answers checkout and payment only", policy::intruder_is_refused),
    ("a STRICT namespace refuses plaintext", policy::strict_refuses_plaintext),
    ("an edited policy cuts an open connection", policy::edit_cuts_open_connection),
    ("same-node traffic stays on its node", wire::same_node_stays_local),
    ("the controller may be away", outage::controller_may_be_away),
    ("certificates renew under traffic", identity::renewal_loses_nothing),
    ("metrics tell each pair of services", measures::pairs_have_metrics),
    ("latency added to plain TCP", measures::added_latency),
    // The second act: the depot asks for a waypoint.
    ("95 and 5 percent of the traffic", waypoint::traffic_is_split),
    ("a header leads to v2", waypoint::header_leads_to_v2),
    ("faults are seen, and survived by retries", waypoint::faults_are_seen_and_survived),
    ("a slow answer ends at the timeout", waypoint::slow_answers_end_at_the_timeout),
    ("a circuit breaker opens and closes", waypoint::breaker_opens_and_closes),
    ("a failing endpoint is left out, and comes back", waypoint::failing_endpoint_is_left_out),
    ("GET /stock is allowed, DELETE refused", waypoint::get_is_allowed_and_delete_refused),
    ("only tokens of the issuer pass", waypoint::only_tokens_of_the_issuer_pass),
    ("copies of requests reach v2", waypoint::copies_reach_the_other_version),
    ("a canary shifts 5 → 50 → 100 % under load", waypoint::canary_shifts_without_a_failure),
    ("one trace across three services", waypoint::one_trace_across_three),
    ("the waypoint itself is replaced under load", waypoint::replaced_waypoint_loses_nothing),
];

/// A manifest that goes when the proof is over, however it ends.
struct Temporary<'a> {
    mesh: &'a Mesh,
    name: String,
}

impl<'a> Temporary<'a> {
    fn write(mesh: &'a Mesh, name: &str, yaml: &str) -> Result<Self> {
        mesh.manifests().write(name, yaml)?;
        Ok(Self { mesh, name: name.to_owned() })
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        // Removed already by the proof itself, if it got that far.
        let _gone = self.mesh.manifests().remove(&self.name);
    }
}

/// The protocol by which node `number`'s ztunnel reaches each workload, by `namespace/name`.
fn protocols(shop: &Shop, number: u8) -> Result<BTreeMap<String, String>> {
    let dump = shop.mesh.config_dump(number)?;
    let workloads = dump.get("workloads").and_then(Value::as_array).context("no workloads")?;
    let word = |workload: &Value, key: &str| {
        workload.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    Ok(workloads
        .iter()
        .map(|w| (format!("{}/{}", word(w, "namespace"), word(w, "name")), word(w, "protocol")))
        .collect())
}

/// The last line of a node's ztunnel's log that has all of `words`.
fn log_line(shop: &Shop, number: u8, words: &[&str]) -> Result<String> {
    let log = shop.mesh.process(&format!("ztunnel-node{number}"))?.log()?;
    log.lines()
        .rev()
        .find(|line| words.iter().all(|word| line.contains(word)))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .with_context(|| format!("no line of ztunnel-node{number} has all of {words:?}"))
}
