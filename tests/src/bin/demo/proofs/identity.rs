//! Certificates: whose they are, how long they last, and that a renewal goes unnoticed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use nix::sys::signal::Signal;
use serde_json::Value;
use weft_harness::{Pod, Process, poll};
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;

use crate::shop::{CERTIFICATE_SECONDS, Shop, tool_launch};

/// The identity that the issue of certificates is shown with.
const PAYMENT: &str = "spiffe://cluster/ns/default/sa/payment-service";
/// Renewal comes at half life, with jitter: well within one life.
const RENEWAL_DEADLINE: Duration = Duration::from_secs(90);
/// Time for a load to report after it was asked to end.
const REPORT_DEADLINE: Duration = Duration::from_secs(10);
/// Clocks of one machine: certificates are dated back a little against those of several.
const BACKDATING_SECONDS_MAX: i64 = 300;

/// What is told of a certificate.
struct Certificate {
    identity: String,
    serial: String,
    lifetime_seconds: i64,
    not_after: String,
}

/// Payment's ztunnel holds a certificate with exactly its SPIFFE ID and the set lifetime.
pub(super) fn payment_certificate(shop: &Shop) -> Result<String> {
    let certificate = certificate_of(shop, 1, PAYMENT)?;
    ensure!(certificate.identity == PAYMENT, "its only URI is {}", certificate.identity);
    let life = certificate.lifetime_seconds;
    let allowed = CERTIFICATE_SECONDS..=CERTIFICATE_SECONDS + BACKDATING_SECONDS_MAX;
    ensure!(allowed.contains(&life), "it lasts {life} s");
    Ok(format!(
        "{PAYMENT}, serial {}, {life} s of life until {} (set for this demo; 24 h by default)",
        certificate.serial, certificate.not_after
    ))
}

/// While connections are kept and made all the time, payment's certificate changes and no request
/// fails.
pub(super) fn renewal_loses_nothing(shop: &Shop) -> Result<String> {
    let before = certificate_of(shop, 1, PAYMENT)?.serial;
    // Checkout calls payment across nodes; the policy of inventory isn't in the way.
    let checkout = shop.role("checkout")?;
    let url = "http://payment.default/pay";
    let kept = start_load(shop, &checkout, "load-kept", &["--url", url, "--rps", "100"])?;
    let words = ["--url", url, "--rps", "50", "--new-connections"];
    let fresh = start_load(shop, &checkout, "load-fresh", &words)?;
    let renewed = poll::until("renewal of payment's certificate", RENEWAL_DEADLINE, || {
        let now = certificate_of(shop, 1, PAYMENT)?.serial;
        ensure!(now != before, "the serial is still {before}");
        Ok(now)
    });
    let (kept, fresh) = (end_load(&kept)?, end_load(&fresh)?);
    let renewed = renewed?;
    Ok(format!(
        "serial {before} → {renewed}; {kept} requests on kept connections and {fresh} on new ones \
         meanwhile, 0 failed"
    ))
}

fn start_load(shop: &Shop, from: &Pod, name: &str, words: &[&str]) -> Result<Arc<Process>> {
    shop.mesh.start(name, tool_launch(from, &[&["load"], words].concat())?)
}

/// Ends a load; how many requests it made.
fn end_load(load: &Process) -> Result<u64> {
    load.signal(Signal::SIGTERM)?;
    load.wait(REPORT_DEADLINE)?;
    let report: Value = serde_json::from_str(&load.log_tail(1)).context("a load's report")?;
    let number = |key: &str| report.get(key).and_then(Value::as_u64);
    ensure!(number("failed") == Some(0), "{report}");
    let total = number("total").unwrap_or_default();
    ensure!(total > 0, "no request was made: {report}");
    Ok(total)
}

/// The certificate that node `number`'s ztunnel uses for `identity`, read from its own bytes.
fn certificate_of(shop: &Shop, number: u8, identity: &str) -> Result<Certificate> {
    let dump = shop.mesh.config_dump(number)?;
    let entries = dump.get("certificates").and_then(Value::as_array).context("no certificates")?;
    let entry = entries
        .iter()
        .find(|entry| entry.get("identity").and_then(Value::as_str) == Some(identity))
        .with_context(|| format!("node {number} has no certificate for {identity}"))?;
    let leaf = entry.pointer("/certChain/0").context("an empty chain")?;
    let encoded = leaf.get("pem").and_then(Value::as_str).context("a chain without PEM")?;
    let text = base64::engine::general_purpose::STANDARD.decode(encoded).context("the PEM")?;
    let (pem, _) = Pem::read(std::io::Cursor::new(text)).context("the PEM")?;
    let certificate = pem.parse_x509().context("the certificate")?;
    let names = certificate.subject_alternative_name()?.context("no alternative names")?;
    let uris: Vec<&str> = names
        .value
        .general_names
        .iter()
        .filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None })
        .collect();
    let [uri] = uris.as_slice() else { anyhow::bail!("not one URI but {uris:?}") };
    let validity = certificate.validity();
    Ok(Certificate {
        identity: (*uri).to_owned(),
        serial: certificate.raw_serial_as_string(),
        lifetime_seconds: validity.not_after.timestamp() - validity.not_before.timestamp(),
        not_after: validity.not_after.to_string(),
    })
}
