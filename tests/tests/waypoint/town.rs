//! The mesh that most of these tests share.

use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};
use weft_harness::metrics::Samples;
use weft_harness::{
    ControllerSettings, Mesh, Pod, PodSpec, ServiceSpec, WaypointSettings, WaypointSpec,
    ZtunnelSettings, manifests,
};

use crate::support::PORT;

/// Its folder; the logs in it are kept when a test fails.
const FOLDER: &str = "/run/weft/waypoint-town";
/// The waypoint that is there.
pub(crate) const WAYPOINT: &str = "waypoint";
/// The waypoint that has no instance.
pub(crate) const ABSENT: &str = "absent";

/// Two nodes, a waypoint, and services that use it or don't.
pub(crate) struct Town {
    pub(crate) mesh: Mesh,
    /// The waypoint's instance.
    pub(crate) waypoint: Arc<Pod>,
}

/// The one town, built by the first test that asks for it.
pub(crate) fn town() -> Result<&'static Town> {
    static TOWN: OnceLock<Result<Town, String>> = OnceLock::new();
    let built = TOWN.get_or_init(|| Town::build().map_err(|error| format!("{error:?}")));
    built.as_ref().map_err(|error| anyhow!("the tests' mesh didn't come up: {error}"))
}

/// A pod, its node, what it is in the shop (nothing: it doesn't serve), and its service's waypoint.
type Part = (&'static str, &'static str, u8, Option<&'static str>, Option<&'static str>);
const PARTS: [Part; 8] = [
    ("front", "web", 1, None, None),
    ("front", "intruder", 1, None, None),
    ("shop", "checkout", 2, Some("checkout"), Some(WAYPOINT)),
    ("shop", "beta", 2, Some("payment"), None),
    ("shop", "cart", 1, Some("inventory"), None),
    ("shop", "vault", 2, Some("payment"), Some(WAYPOINT)),
    ("shop", "open", 2, Some("inventory"), Some(ABSENT)),
    ("shop", "closed", 2, Some("inventory"), Some(ABSENT)),
];

impl Town {
    fn build() -> Result<Self> {
        let mesh = Mesh::builder().folder(FOLDER).build()?;
        for namespace in ["front", "shop"] {
            mesh.manifests().namespace(namespace, true)?;
        }
        for part in PARTS {
            add(&mesh, part)?;
        }
        mesh.manifests().objects("route-checkout", &[route()])?;
        for service in ["vault", "closed"] {
            let policy = only_web(service);
            mesh.manifests().objects(&format!("policy-{service}"), &[policy])?;
        }
        let own = WaypointSpec::new("shop", WAYPOINT);
        mesh.declare_waypoint(&own)?;
        mesh.declare_waypoint(&WaypointSpec::new("shop", ABSENT))?;
        mesh.start_all(&ControllerSettings::default(), &ZtunnelSettings::default())?;
        let settings = WaypointSettings::default();
        let waypoint = mesh.add_waypoint(&own, ("waypoint-1", 2), &settings)?;
        let town = Self { mesh, waypoint };
        for (namespace, name, ..) in PARTS {
            town.mesh.wait_enrolled(&*town.pod(namespace, name)?)?;
        }
        Ok(town)
    }

    /// A pod of the town.
    pub(crate) fn pod(&self, namespace: &str, name: &str) -> Result<Arc<Pod>> {
        let fits = |pod: &Arc<Pod>| pod.spec.namespace == namespace && pod.spec.name == name;
        self.mesh.pods().into_iter().find(fits).with_context(|| format!("no {namespace}/{name}"))
    }

    /// Requests to a service that the waypoint has counted.
    pub(crate) fn counted(&self, service: &str) -> Result<f64> {
        Ok(requests(&self.mesh.waypoint_metrics(&self.waypoint)?, service))
    }
}

/// Requests to a service of the shop in a waypoint's metrics.
pub(crate) fn requests(samples: &Samples, service: &str) -> f64 {
    let labels = [("reporter", "waypoint"), ("destination_service_name", service)];
    samples.sum("istio_requests_total", &labels)
}

fn add(mesh: &Mesh, (namespace, name, node, role, waypoint): Part) -> Result<()> {
    let pod = mesh.declared_pod(PodSpec::new(namespace, name, node))?;
    let Some(role) = role else { return Ok(()) };
    mesh.serve(&pod, PORT, &["serve", "--role", role, "--no-upstreams"])?;
    let service = ServiceSpec { namespace, name, ports: &[(80, PORT)], selector: &[("app", name)] };
    let service = manifests::http_service(&service, waypoint);
    mesh.manifests().objects(&format!("service-{name}"), &[service])
}

/// Those who say that they are beta users reach another service.
fn route() -> Value {
    let backend = |name: &str| json!([{"name": name, "port": 80}]);
    let path = json!({"type": "PathPrefix", "value": "/shop"});
    let header = json!([{"name": "x-beta-user", "value": "true"}]);
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "checkout", "namespace": "shop"},
        "spec": {
            "parentRefs": [{"group": "", "kind": "Service", "name": "checkout", "port": 80}],
            "rules": [
                {"matches": [{"path": path, "headers": header}], "backendRefs": backend("beta")},
                {"matches": [{"path": path}], "backendRefs": backend("checkout")},
            ],
        },
    })
}

/// A policy at the waypoint of a service.
fn only_web(service: &str) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": format!("{service}-callers"), "namespace": "shop"},
        "spec": {
            "targetRefs": [{"group": "", "kind": "Service", "name": service}],
            "action": "ALLOW",
            "rules": [{"from": [{"source": {"principals": ["cluster.local/ns/front/sa/web"]}}]}],
        },
    })
}
