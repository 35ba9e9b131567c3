//! The mesh of these tests: a client on one node, two applications on the other, and their waypoint.

use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};
use weft_harness::{
    ControllerSettings, Mesh, Pod, PodSpec, WaypointSettings, WaypointSpec, ZtunnelSettings,
};

use crate::programs::program;

/// Its folder; the logs in it are kept when a test fails.
const FOLDER: &str = "/run/weft/conformance-town";
const WAYPOINT: &str = "waypoint";
/// The port at which both applications listen and are called.
pub(crate) const PORT: u16 = 8080;

pub(crate) struct Town {
    pub(crate) mesh: Mesh,
    pub(crate) client: Arc<Pod>,
    waypoint: Arc<Pod>,
}

/// The one town, built by the first test that asks for it.
pub(crate) fn town() -> Result<&'static Town> {
    static TOWN: OnceLock<Result<Town, String>> = OnceLock::new();
    let built = TOWN.get_or_init(|| Town::build().map_err(|error| format!("{error:?}")));
    built.as_ref().map_err(|error| anyhow!("the tests' mesh didn't come up: {error}"))
}

impl Town {
    fn build() -> Result<Self> {
        let mesh = Mesh::builder().folder(FOLDER).build()?;
        for namespace in ["front", "app"] {
            mesh.manifests().namespace(namespace, true)?;
        }
        let client = mesh.declared_pod(PodSpec::new("front", "client", 1))?;
        let listen = format!(":{PORT}");
        let origin = add(&mesh, "origin", "http", &[&listen])?;
        let server = add(&mesh, "server", "grpc", &["--port", &PORT.to_string()])?;
        let spec = WaypointSpec::new("app", WAYPOINT);
        mesh.declare_waypoint(&spec)?;
        mesh.start_all(&ControllerSettings::default(), &ZtunnelSettings::default())?;
        let settings = WaypointSettings::default();
        let waypoint = mesh.add_waypoint(&spec, ("waypoint-1", 2), &settings)?;
        for pod in [&client, &origin, &server] {
            mesh.wait_enrolled(pod)?;
        }
        Ok(Self { mesh, client, waypoint })
    }

    /// Requests that the waypoint has counted: nothing is proved by what went past it.
    pub(crate) fn counted(&self, service: &str) -> Result<f64> {
        let labels = [("reporter", "waypoint"), ("destination_service_name", service)];
        Ok(self.mesh.waypoint_metrics(&self.waypoint)?.sum("istio_requests_total", &labels))
    }
}

/// A pod that runs a program, and its service.
fn add(mesh: &Mesh, name: &str, protocol: &str, arguments: &[&str]) -> Result<Arc<Pod>> {
    let pod = mesh.declared_pod(PodSpec::new("app", name, 2))?;
    let launch = pod.launch(program(name)?).args(arguments.iter().copied());
    let process = mesh.start(&format!("app.{name}"), launch).context(name.to_owned())?;
    mesh.wait_listening(&pod.netns, PORT, &process)?;
    mesh.manifests().objects(&format!("service-{name}"), &[service(name, protocol)])?;
    Ok(pod)
}

fn service(name: &str, protocol: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": "app",
            "labels": {"istio.io/use-waypoint": WAYPOINT},
        },
        "spec": {
            "selector": {"app": name},
            "ports": [{"name": protocol, "port": PORT, "targetPort": PORT}],
        },
    })
}
