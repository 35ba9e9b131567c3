//! The part of the shop that asks for a waypoint: a stock in two versions, a desk before it, and a collector of traces.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weft_harness::{
    Mesh, Pod, PodSpec, ServiceSpec, WaypointSettings, WaypointSpec, manifests, poll,
};

use crate::shop::{PORT, Shop};

/// Its namespace.
pub(crate) const DEPOT: &str = "depot";
/// The address of the stock, as its clients know it.
pub(crate) const STOCK: &str = "http://stock.depot/stock";
/// Time for an edit to be in force everywhere.
pub(crate) const SOON: Duration = Duration::from_secs(10);
/// Names of its pods: name, service account, node, label `shop`.
const PODS: [(&str, u8, &str); 4] = [
    ("stock-v1", 2, "stock"),
    ("stock-v2", 1, "stock"),
    ("desk", 1, "desk"),
    ("collector", 2, "collector"),
];

/// The waypoint of the depot.
pub(crate) fn waypoint() -> WaypointSpec {
    WaypointSpec::new(DEPOT, "waypoint")
}

/// Writes the depot's objects and starts its programs, all but the waypoint's instance.
pub(crate) fn declare(mesh: &Mesh) -> Result<()> {
    let folder = mesh.manifests();
    folder.namespace(DEPOT, true)?;
    for (name, node, part) in PODS {
        let spec = PodSpec::new(DEPOT, name, node).label("part", part);
        let pod = mesh.declared_pod(spec)?;
        let version = name.strip_prefix("stock-").unwrap_or_default();
        let mut words = vec!["serve", "--role", "inventory", "--version", version];
        match name {
            "desk" => words.extend(["--upstream", STOCK]),
            _ => words.push("--no-upstreams"),
        }
        mesh.serve(&pod, PORT, &words)?;
    }
    let service = |name: &str, selector: (&str, &str), waypoint: Option<&str>| {
        let spec =
            ServiceSpec { namespace: DEPOT, name, ports: &[(80, PORT)], selector: &[selector] };
        folder
            .objects(&format!("service-depot.{name}"), &[manifests::http_service(&spec, waypoint)])
    };
    service("stock", ("part", "stock"), Some("waypoint"))?;
    service("desk", ("part", "desk"), Some("waypoint"))?;
    for name in ["stock-v1", "stock-v2", "collector"] {
        service(name, ("app", name), None)?;
    }
    mesh.declare_waypoint(&waypoint())
}

/// Starts the waypoint's first instance and waits until a call passes it.
pub(crate) fn start(mesh: &Mesh) -> Result<()> {
    mesh.add_waypoint(&waypoint(), ("waypoint-1", 2), &WaypointSettings::default())?;
    Ok(())
}

impl Shop {
    /// A pod of the depot.
    pub(crate) fn depot(&self, name: &str) -> Result<Arc<Pod>> {
        self.pod(DEPOT, name)
    }

    /// Tells a shop of the depot how to answer, from within its own pod.
    pub(crate) fn tell(&self, name: &str, how: &str) -> Result<()> {
        let pod = self.depot(name)?;
        let (status, answer) =
            self.call(&pod, &format!("http://127.0.0.1:{PORT}/control?{how}"))?;
        ensure!(status == 200, "{name} doesn't take orders: {answer}");
        Ok(())
    }

    /// What a shop of the depot says of itself.
    pub(crate) fn says(&self, name: &str, path: &str) -> Result<Value> {
        let pod = self.depot(name)?;
        let (status, answer) = self.call(&pod, &format!("http://127.0.0.1:{PORT}{path}"))?;
        ensure!(status == 200, "{name}{path}: {answer}");
        answer.get("body").cloned().context("no body")
    }

    /// One call with more than a URL.
    pub(crate) fn ask(&self, from: &Pod, url: &str, more: &[&str]) -> Result<(u64, Value)> {
        let words = [&["call", "--json", url], more].concat();
        let answer = self.tool(from, &words, Duration::ZERO)?;
        let status = answer.get("status").and_then(Value::as_u64).unwrap_or_default();
        Ok((status, answer))
    }

    /// So many calls from web, and how they were answered.
    pub(crate) fn load(&self, url: &str, count: u64, more: &[&str]) -> Result<Load> {
        let (web, count) = (self.role("web")?, count.to_string());
        let words = [&["load", "--url", url, "--count", &count, "--rps", "800"], more].concat();
        let report = self.tool(&web, &words, Duration::from_secs(60))?;
        serde_json::from_value(report.clone()).with_context(|| report.to_string())
    }

    /// Waits until calls to the stock are answered as `is_wanted` says: what was written is in force.
    pub(crate) fn settled(
        &self,
        what: &str,
        more: &[&str],
        is_wanted: impl Fn(u64, &Value) -> bool,
    ) -> Result<()> {
        let web = self.role("web")?;
        poll::until(what, SOON, || {
            let (status, answer) = self.ask(&web, STOCK, more)?;
            ensure!(is_wanted(status, &answer), "answered {status}: {answer}");
            Ok(())
        })
    }
}

/// What a load came to.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Load {
    pub(crate) total: u64,
    pub(crate) failed: u64,
    #[serde(default)]
    pub(crate) reasons: Vec<String>,
    #[serde(default)]
    pub(crate) statuses: BTreeMap<String, u64>,
    #[serde(default)]
    pub(crate) versions: BTreeMap<String, u64>,
}

impl Load {
    /// Answers with a status.
    pub(crate) fn with_status(&self, status: u16) -> u64 {
        self.statuses.get(&status.to_string()).copied().unwrap_or_default()
    }

    /// Answers by a version.
    pub(crate) fn by(&self, version: &str) -> u64 {
        self.versions.get(version).copied().unwrap_or_default()
    }
}

/// Which version answered.
pub(crate) fn version(answer: &Value) -> &str {
    answer.pointer("/headers/x-version").and_then(Value::as_str).unwrap_or_default()
}

/// A route of the stock.
pub(crate) fn route(rules: &Value) -> String {
    object(
        "gateway.networking.k8s.io/v1",
        "HTTPRoute",
        "stock",
        &json!({
            "parentRefs": [{"group": "", "kind": "Service", "name": "stock"}],
            "rules": rules,
        }),
    )
}

/// Where a rule leads.
pub(crate) fn backend(name: &str, weight: u32) -> Value {
    json!({"name": name, "port": 80, "weight": weight})
}

/// An object of the depot. JSON is YAML.
pub(crate) fn object(api: &str, kind: &str, name: &str, spec: &Value) -> String {
    json!({
        "apiVersion": api,
        "kind": kind,
        "metadata": {"name": name, "namespace": DEPOT},
        "spec": spec,
    })
    .to_string()
}
