//! One request's way, as a collector of traces sees it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weft_harness::poll;

use crate::depot::{SOON, object};
use crate::proofs::Temporary;
use crate::shop::{PORT, Shop};

/// web → desk → stock: a span at the waypoint for each service that asks for one, and one for each way on.
pub(crate) fn one_trace_across_three(shop: &Shop) -> Result<String> {
    let provider = json!({
        "name": "collector",
        "opentelemetry": {
            "service": "collector.depot.svc.cluster.local",
            "port": 80,
            "http": {"path": "/v1/traces"},
        },
    });
    let mesh = json!({"extensionProviders": [provider]}).to_string();
    let config = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "istio", "namespace": "istio-system"},
        "data": {"mesh": mesh},
    });
    let tracing = json!({
        "tracing": [{"providers": [{"name": "collector"}], "randomSamplingPercentage": 100.0}],
    });
    let _config = Temporary::write(&shop.mesh, "mesh-config", &config.to_string())?;
    let telemetry = object("telemetry.istio.io/v1", "Telemetry", "tracing", &tracing);
    let _telemetry = Temporary::write(&shop.mesh, "telemetry-depot", &telemetry)?;
    let web = shop.role("web")?;
    let spans = poll::until("a trace of both services", SOON, || {
        let (status, answer) = shop.ask(&web, "http://desk.depot/", &[])?;
        ensure!(status == 200, "{answer}");
        let spans = shop.says("collector", "/spans")?;
        whole(spans.as_array().context("no list")?)
    })?;
    let mut told = String::new();
    for span in &spans {
        let word = |key: &str| span.get(key).and_then(Value::as_str).unwrap_or_default();
        let kind = if span.get("kind") == Some(&json!(2)) { "server" } else { "client" };
        let micros = span.get("microseconds").and_then(Value::as_u64).unwrap_or_default();
        // Writing to a string can't fail.
        let _written = write!(told, "\n    {kind} {} {micros} µs", word("name"));
    }
    let trace = spans.first().and_then(|it| it.get("trace")).and_then(Value::as_str);
    let _port = PORT;
    Ok(format!("trace {} of web → desk → stock:{told}", trace.unwrap_or_default()))
}

/// The spans of one trace that has both services, from the outermost in.
fn whole(spans: &[Value]) -> Result<Vec<Value>> {
    let mut traces: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for span in spans {
        let trace = span.get("trace").and_then(Value::as_str).unwrap_or_default();
        traces.entry(trace).or_default().push(span);
    }
    let names = |spans: &[&Value]| spans.iter().map(|it| it.to_string()).collect::<String>();
    let whole = traces.into_values().find(|spans| {
        let names = names(spans);
        spans.len() >= 4 && names.contains("desk.depot") && names.contains("stock.depot")
    });
    let mut whole: Vec<Value> = whole.context("no whole trace yet")?.into_iter().cloned().collect();
    let took = |span: &Value| span.get("microseconds").and_then(Value::as_u64).unwrap_or_default();
    whole.sort_by_key(|span| std::cmp::Reverse(took(span)));
    Ok(whole)
}
