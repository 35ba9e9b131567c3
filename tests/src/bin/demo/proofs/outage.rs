//! The controller away.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::time::Instant;
use weft_harness::{Process, ServiceSpec, poll};

use crate::shop::{PORT, Shop};

/// For how long traffic runs without a controller; well within a certificate's half life.
const AWAY_SECONDS: &str = "5";
/// Time to be caught up after its return: reconnection backs off with jitter.
const CAUGHT_UP_DEADLINE: Duration = Duration::from_secs(20);

/// Starts the controller again whatever became of the proof: the next ones need it.
struct Away<'a>(&'a Process);

impl Drop for Away<'_> {
    fn drop(&mut self) {
        if self.0.check_running().is_err() {
            // A proof that fails for want of a controller says so itself.
            let _started = self.0.restart();
        }
    }
}

/// With the controller killed new connections are made as before; what changed meanwhile is known
/// to both nodes soon after it is back.
pub(super) fn controller_may_be_away(shop: &Shop) -> Result<String> {
    let controller = shop.mesh.process("controller")?;
    controller.kill()?;
    let away = Away(&controller);
    let web = shop.role("web")?;
    let words = ["load", "--url", "http://checkout.shop/", "--new-connections"];
    let more = ["--rps", "40", "--seconds", AWAY_SECONDS];
    let report = shop.tool(&web, &[&words[..], &more[..]].concat(), Duration::from_secs(10))?;
    let number = |key: &str| report.get(key).and_then(Value::as_u64);
    ensure!(number("failed") == Some(0), "without a controller: {report}");
    let total = number("total").filter(|total| *total > 0).context("no request was made")?;
    shop.mesh.manifests().service(&ServiceSpec {
        namespace: "shop",
        name: "late",
        ports: &[(80, PORT)],
        selector: &[("app", "checkout")],
    })?;
    let back = Instant::now();
    controller.restart()?;
    shop.mesh.wait_controller()?;
    let ready = back.elapsed();
    for node in shop.mesh.nodes() {
        poll::until(&format!("{} caught up", node.name), CAUGHT_UP_DEADLINE, || {
            ensure!(knows_late(&shop.mesh.config_dump(node.number)?), "late.shop is unknown");
            Ok(())
        })?;
    }
    let caught_up = back.elapsed();
    drop(away);
    let (status, answer) = shop.call(&web, "http://late.shop/health")?;
    ensure!(status == 200, "late.shop: {answer}");
    Ok(format!(
        "killed for {AWAY_SECONDS} s: {total} requests on new connections, 0 failed; ready {:.0} \
         ms after its start, a service declared meanwhile known to both nodes after {:.0} ms",
        ready.as_secs_f64() * 1e3,
        caught_up.as_secs_f64() * 1e3
    ))
}

fn knows_late(dump: &Value) -> bool {
    let services = dump.get("services").and_then(Value::as_array);
    services.into_iter().flatten().any(|service| {
        let word = |key: &str| service.get(key).and_then(Value::as_str);
        word("name") == Some("late") && word("namespace") == Some("shop")
    })
}
