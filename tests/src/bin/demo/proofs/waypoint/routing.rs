//! Which version a request goes to.

use anyhow::{Result, ensure};
use serde_json::json;
use weft_harness::poll;

use crate::depot::{SOON, STOCK, backend, route, version};
use crate::proofs::Temporary;
use crate::shop::Shop;

/// 95 of 100 requests to v1, 5 to v2.
pub(crate) fn traffic_is_split(shop: &Shop) -> Result<String> {
    const REQUESTS: u64 = 3_000;
    let rules = json!([{"backendRefs": [backend("stock-v1", 95), backend("stock-v2", 5)]}]);
    let _route = Temporary::write(&shop.mesh, "route-stock", &route(&rules))?;
    shop.settled("the route", &[], |status, answer| status == 200 && version(answer) == "v1")?;
    // A service without a route has both versions in equal shares: half would go to each.
    let load = poll::until("the split", SOON, || {
        let probe = shop.load(STOCK, 100, &[])?;
        ensure!(probe.by("v2") < 25, "still {:?}", probe.versions);
        shop.load(STOCK, REQUESTS, &["--connections", "8"])
    })?;
    ensure!(load.failed == 0, "{load:?}");
    let v2 = load.by("v2");
    // 150 expected, a standard deviation of 11.9: five of them either way.
    ensure!((90..=210).contains(&v2), "v2 had {v2} of {REQUESTS}");
    Ok(format!(
        "of {REQUESTS} requests v1 had {} and v2 {v2}: {:.1} % where 5.0 were asked for",
        load.by("v1"),
        100.0 * v2 as f64 / REQUESTS as f64
    ))
}

/// Whoever sends the header is served by v2.
pub(crate) fn header_leads_to_v2(shop: &Shop) -> Result<String> {
    let beta = json!([{"headers": [{"name": "x-beta-user", "value": "true"}]}]);
    let rules = json!([
        {"matches": beta, "backendRefs": [backend("stock-v2", 1)]},
        {"backendRefs": [backend("stock-v1", 1)]},
    ]);
    let _route = Temporary::write(&shop.mesh, "route-stock", &route(&rules))?;
    let header = ["--header", "X-Beta-User: true"];
    shop.settled("the route", &header, |_, answer| version(answer) == "v2")?;
    let with = shop.load(STOCK, 200, &header)?;
    let without = shop.load(STOCK, 200, &["--header", "X-Beta-User: false"])?;
    ensure!(with.by("v2") == 200 && without.by("v1") == 200, "{with:?} {without:?}");
    Ok("with X-Beta-User: true 200 of 200 answers by v2, with false 200 of 200 by v1".to_owned())
}

/// Each request of v1 is copied, body and all, to v2, whose answers nobody sees.
pub(crate) fn copies_reach_the_other_version(shop: &Shop) -> Result<String> {
    let mirror = json!({"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "stock-v2", "port": 80}}});
    let rules = json!([{"filters": [mirror], "backendRefs": [backend("stock-v1", 1)]}]);
    let _route = Temporary::write(&shop.mesh, "route-stock", &route(&rules))?;
    let web = shop.role("web")?;
    let post = ["--method", "POST", "--body", "a-copied-order"];
    let (bodies, status) = poll::until("a copy", SOON, || {
        let (status, answer) = shop.ask(&web, STOCK, &post)?;
        ensure!(status == 200 && version(&answer) == "v1", "{answer}");
        let said = shop.says("stock-v2", "/asked")?;
        let bodies = said.get("bodies").map(ToString::to_string).unwrap_or_default();
        ensure!(bodies.contains("a-copied-order"), "v2 has seen {bodies}");
        Ok((bodies, status))
    })?;
    Ok(format!("web's POST was answered {status} by v1, and v2 has seen {bodies}"))
}
