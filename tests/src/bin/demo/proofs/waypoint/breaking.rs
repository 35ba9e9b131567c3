//! Faults, and what is done about them.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tokio::time::Instant;
use weft_harness::poll;

use crate::depot::{SOON, STOCK, backend, object, route};
use crate::proofs::Temporary;
use crate::shop::Shop;

const DESK: &str = "http://desk.depot/";

/// 5 % of requests answered 500 and 100 ms of delay for all: seen by who asks the stock, and survived by who asks the
/// desk, whose route tries again.
pub(crate) fn faults_are_seen_and_survived(shop: &Shop) -> Result<String> {
    const REQUESTS: u64 = 1_000;
    let faults = json!({
        "hosts": ["stock"],
        "http": [{
            "fault": {
                "abort": {"percentage": {"value": 5.0}, "httpStatus": 500},
                "delay": {"percentage": {"value": 100.0}, "fixedDelay": "0.1s"},
            },
            "route": [{"destination": {"host": "stock"}}],
        }],
    });
    let again = json!({
        "parentRefs": [{"group": "", "kind": "Service", "name": "desk"}],
        "rules": [{
            "retry": {"codes": [502], "attempts": 5, "backoff": "5ms"},
            "backendRefs": [backend("desk", 1)],
        }],
    });
    let _again = Temporary::write(
        &shop.mesh,
        "route-desk",
        &object("gateway.networking.k8s.io/v1", "HTTPRoute", "desk", &again),
    )?;
    // Five percent fail, so that the budget has to allow for more than that at a time.
    let budget = json!({
        "host": "desk",
        "trafficPolicy": {"retryBudget": {"percent": 50.0, "minRetryConcurrency": 20}},
    });
    let _budget = Temporary::write(
        &shop.mesh,
        "budget-desk",
        &object("networking.istio.io/v1", "DestinationRule", "desk", &budget),
    )?;
    let _faults = Temporary::write(
        &shop.mesh,
        "faults-stock",
        &object("networking.istio.io/v1", "VirtualService", "stock", &faults),
    )?;
    let web = shop.role("web")?;
    poll::until("the delay", SOON, || {
        let began = Instant::now();
        let (_, answer) = shop.ask(&web, STOCK, &[])?;
        let took = answer.get("microseconds").and_then(serde_json::Value::as_u64).unwrap_or(0);
        ensure!(took >= 100_000 && began.elapsed() >= Duration::from_millis(100), "{took} µs");
        Ok(())
    })?;
    let many = ["--connections", "64"];
    let seen = shop.load(STOCK, REQUESTS, &many)?;
    let broken = seen.with_status(500);
    // 50 expected, a standard deviation of 6.9: five of them either way.
    ensure!((16..=84).contains(&broken), "{broken} of {REQUESTS} were answered 500");
    let survived = shop.load(DESK, 300, &many)?;
    ensure!(
        survived.failed == 0,
        "the desk failed: {:?} {:?}",
        survived.statuses,
        survived.reasons
    );
    Ok(format!(
        "{broken} of {REQUESTS} answered 500 ({:.1} % where 5.0 were asked for), each 100 ms late; through the desk, which tries again, 300 of 300 answered 200",
        100.0 * broken as f64 / REQUESTS as f64
    ))
}

/// An application that takes a second is given 200 ms.
pub(crate) fn slow_answers_end_at_the_timeout(shop: &Shop) -> Result<String> {
    let rules =
        json!([{"timeouts": {"request": "200ms"}, "backendRefs": [backend("stock-v1", 1)]}]);
    let _route = Temporary::write(&shop.mesh, "route-stock", &route(&rules))?;
    shop.tell("stock-v1", "delay_ms=1000")?;
    let web = shop.role("web")?;
    let timed = poll::until("the timeout", SOON, || {
        let (status, answer) = shop.ask(&web, STOCK, &[])?;
        ensure!(status == 504, "answered {status}");
        Ok(answer.get("microseconds").and_then(serde_json::Value::as_u64).unwrap_or_default())
    });
    shop.tell("stock-v1", "")?;
    let micros = timed?;
    ensure!((200_000..700_000).contains(&micros), "after {micros} µs");
    Ok(format!("an application that takes 1 s: 504 after {} ms", micros / 1_000))
}

/// More requests at a time than the breaker allows are refused at once, fewer are not.
pub(crate) fn breaker_opens_and_closes(shop: &Shop) -> Result<String> {
    let rules = json!([{"backendRefs": [backend("stock-v1", 1)]}]);
    let _route = Temporary::write(&shop.mesh, "route-stock", &route(&rules))?;
    let breaker = json!({
        "host": "stock-v1",
        "trafficPolicy": {"connectionPool": {"http": {"http2MaxRequests": 2}}},
    });
    let _breaker = Temporary::write(
        &shop.mesh,
        "breaker-stock",
        &object("networking.istio.io/v1", "DestinationRule", "stock-v1", &breaker),
    )?;
    shop.tell("stock-v1", "delay_ms=100")?;
    let opened = poll::until("an open breaker", SOON, || {
        let load = shop.load(STOCK, 200, &["--connections", "32"])?;
        ensure!(load.with_status(503) > 0, "{:?}", load.statuses);
        Ok(load)
    });
    shop.tell("stock-v1", "")?;
    let opened = opened?;
    let closed = shop.load(STOCK, 200, &["--connections", "1"])?;
    ensure!(closed.failed == 0, "still open: {:?} {:?}", closed.statuses, closed.reasons);
    Ok(format!(
        "32 at a time where 2 are allowed: {} answered 200, {} refused 503 at once; one at a time: 200 of 200",
        opened.with_status(200),
        opened.with_status(503)
    ))
}

/// A version that fails is left out, and comes back when it has recovered.
pub(crate) fn failing_endpoint_is_left_out(shop: &Shop) -> Result<String> {
    let outliers = json!({
        "host": "stock",
        "trafficPolicy": {"outlierDetection": {
            "consecutive5xxErrors": 3,
            "interval": "1s",
            "baseEjectionTime": "2s",
            "maxEjectionPercent": 100,
        }},
    });
    let _outliers = Temporary::write(
        &shop.mesh,
        "outliers-stock",
        &object("networking.istio.io/v1", "DestinationRule", "stock", &outliers),
    )?;
    shop.tell("stock-v2", "fail=1000000&status=500")?;
    let left_out = poll::until("v2 left out", SOON, || {
        let load = shop.load(STOCK, 100, &[])?;
        ensure!(load.by("v1") == 100 && load.failed == 0, "{:?}", load.versions);
        Ok(load)
    });
    shop.tell("stock-v2", "")?;
    let left_out = left_out?;
    let recovered = Instant::now();
    let back = poll::until("v2 back", SOON, || {
        let load = shop.load(STOCK, 100, &[])?;
        ensure!(load.by("v2") > 20 && load.failed == 0, "{:?}", load.versions);
        Ok(load)
    })?;
    Ok(format!(
        "v2 fails every request: {} of 100 answers by v1, none failed; {:.1} s after it recovered {} of 100 by v2",
        left_out.by("v1"),
        recovered.elapsed().as_secs_f64(),
        back.by("v2")
    ))
}
