//! Changes under load: a canary, and the waypoint itself.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use weft_harness::{WaypointSettings, poll};

use crate::depot::{Load, SOON, STOCK, backend, route, version, waypoint};
use crate::proofs::Temporary;
use crate::shop::Shop;

const SECONDS: u64 = 8;

/// Requests without a pause while `change` goes on.
fn meanwhile(shop: &Shop, change: impl FnOnce() -> Result<()> + Send) -> Result<Load> {
    let web = shop.role("web")?;
    let seconds = SECONDS.to_string();
    // Eight connections that are kept; one that the other side says it ends isn't used again.
    let mut words = vec!["load", "--url", STOCK, "--seconds", &seconds, "--rps", "400"];
    words.extend(["--connections", "8", "--pooled"]);
    let report = std::thread::scope(|scope| {
        let load = scope.spawn(|| shop.tool(&web, &words, Duration::from_secs(SECONDS + 20)));
        let changed = change();
        let report = load.join().map_err(|_| anyhow::anyhow!("the load panicked"))?;
        changed?;
        report
    })?;
    serde_json::from_value(report.clone()).with_context(|| report.to_string())
}

/// 5, 50, 100 % of the traffic to v2, while requests go on.
pub(crate) fn canary_shifts_without_a_failure(shop: &Shop) -> Result<String> {
    let rules = |v2: u32| {
        route(&json!([{"backendRefs": [backend("stock-v1", 100 - v2), backend("stock-v2", v2)]}]))
    };
    let _route = Temporary::write(&shop.mesh, "route-stock", &rules(5))?;
    shop.settled("the route", &[], |status, _| status == 200)?;
    let load = meanwhile(shop, || {
        for v2 in [50, 100] {
            std::thread::sleep(Duration::from_secs(SECONDS / 4));
            shop.mesh.manifests().write("route-stock", &rules(v2))?;
        }
        Ok(())
    })?;
    ensure!(load.failed == 0, "{:?} {:?}", load.statuses, load.reasons);
    let last = shop.load(STOCK, 200, &[])?;
    ensure!(last.by("v2") == 200, "at 100 %: {:?}", last.versions);
    Ok(format!(
        "5 → 50 → 100 % during {} requests, 0 failed: v1 had {}, v2 {}; then 200 of 200 by v2",
        load.total,
        load.by("v1"),
        load.by("v2")
    ))
}

/// A second instance comes, the first one goes, while requests go on.
pub(crate) fn replaced_waypoint_loses_nothing(shop: &Shop) -> Result<String> {
    let spec = waypoint();
    let settings = WaypointSettings::default();
    let first = shop.depot("waypoint-1")?;
    shop.mesh.add_waypoint(&spec, ("waypoint-2", 1), &settings)?;
    shop.settled("a call", &[], |status, answer| status == 200 && !version(answer).is_empty())?;
    let load = meanwhile(shop, || {
        shop.mesh.add_waypoint(&spec, ("waypoint-3", 2), &settings)?;
        let status = shop.mesh.retire_waypoint(&first)?;
        ensure!(status.success(), "the first instance ended with {status}");
        Ok(())
    })?;
    ensure!(load.failed == 0, "{:?} {:?}", load.statuses, load.reasons);
    let served = poll::until("requests at the new instance", SOON, || {
        let pod = shop.depot("waypoint-3")?;
        let samples = shop.mesh.waypoint_metrics(&pod)?;
        let served = samples.sum("istio_requests_total", &[("reporter", "waypoint")]);
        if served == 0.0 {
            shop.load(STOCK, 50, &["--new-connections"])?;
        }
        ensure!(served > 0.0, "none yet");
        Ok(served)
    })?;
    Ok(format!(
        "two replicas, one replaced during {} requests: 0 failed; the new one has served {served}",
        load.total
    ))
}
