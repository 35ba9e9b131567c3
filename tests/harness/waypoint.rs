//! Waypoints: a Gateway with its Service, and instances in pods of their own.
//!
//! ```text
//!   Gateway, Service        declare_waypoint
//!   pod (not enrolled)      waypoint_pod        a second one: a second replica
//!   program in the pod      start_waypoint, wait_waypoint; Process: stop, kill, restart
//! ```

use std::fs;
use std::process::ExitStatus;
use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use weft_proto::contract::port;

use crate::config;
use crate::http;
use crate::manifests::{self, PodState, ServiceSpec};
use crate::mesh::{Mesh, Pod, PodSpec};
use crate::metrics::Samples;
use crate::parts::{START_DEADLINE, wait_ready};
use crate::poll;
use crate::process::{Launch, Process};

/// Istio's label of what belongs to a Gateway.
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";
/// Istio's label of pods that speak HBONE themselves.
const TUNNEL: &str = "networking.istio.io/tunnel";

/// A waypoint: its Gateway. Its instances run under a service account of its name, as Istio's do.
#[derive(Debug, Clone)]
pub struct WaypointSpec {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its class.
    pub class: String,
    /// Labels of the Gateway.
    pub labels: Vec<(String, String)>,
}

/// How an instance is started.
#[derive(Debug, Clone, Default)]
pub struct WaypointSettings {
    /// Further environment; a key given here replaces the harness's own.
    pub environment: Vec<(String, String)>,
}

impl WaypointSpec {
    /// A waypoint of Weft's class for the services of its namespace.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            class: "weft-waypoint".to_owned(),
            labels: Vec::new(),
        }
    }

    /// Of another class.
    #[must_use]
    pub fn class(mut self, class: &str) -> Self {
        class.clone_into(&mut self.class);
        self
    }

    /// With one more label on its Gateway.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.push((key.to_owned(), value.to_owned()));
        self
    }

    /// What its pods are: not enrolled, for they terminate HBONE themselves.
    #[must_use]
    pub fn pod(&self, name: &str, node: u8) -> PodSpec {
        PodSpec::new(&self.namespace, name, node)
            .service_account(&self.name)
            .label("istio.io/dataplane-mode", "none")
            .label(GATEWAY_NAME, &self.name)
            .label(TUNNEL, "http")
    }

    /// The file of its Gateway and Service.
    #[must_use]
    pub fn file(&self) -> String {
        format!("waypoint-{}.{}", self.namespace, self.name)
    }

    fn objects(&self) -> [Value; 2] {
        let labels: serde_json::Map<_, _> =
            self.labels.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        let gateway = json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": {"name": self.name, "namespace": self.namespace, "labels": labels},
            "spec": {
                "gatewayClassName": self.class,
                "listeners": [{"name": "mesh", "port": port::HBONE, "protocol": "HBONE"}],
            },
        });
        let service = manifests::service(&ServiceSpec {
            namespace: &self.namespace,
            name: &self.name,
            ports: &[(port::HBONE, port::HBONE)],
            selector: &[(GATEWAY_NAME, &self.name)],
        });
        [gateway, service]
    }
}

impl Mesh {
    /// Writes a waypoint's Gateway and Service. Without instances it is there and not ready.
    ///
    /// # Errors
    /// The folder isn't writable.
    pub fn declare_waypoint(&self, spec: &WaypointSpec) -> Result<()> {
        self.manifests().objects(&spec.file(), &spec.objects())
    }

    /// Makes an instance as a cluster does: its pod is there first, the program starts in it, and only once that is ready
    /// the pod counts as ready.
    ///
    /// # Errors
    /// The first step that fails.
    pub fn add_waypoint(
        &self,
        spec: &WaypointSpec,
        (name, node): (&str, u8),
        settings: &WaypointSettings,
    ) -> Result<Arc<Pod>> {
        let pod = self.pod(spec.pod(name, node))?;
        self.declare_as(&pod, PodState::Starting)?;
        self.start_waypoint(spec, &pod, settings)?;
        self.wait_waypoint(&pod)?;
        self.declare(&pod)?;
        Ok(pod)
    }

    /// Takes an instance out as a cluster does: nobody shall call it any more, it finishes and ends, its pod goes. How
    /// the program ended.
    ///
    /// # Errors
    /// It isn't gone in time.
    pub fn retire_waypoint(&self, pod: &Pod) -> Result<ExitStatus> {
        self.declare_as(pod, PodState::Terminating)?;
        let status = self.waypoint_process(pod)?.stop()?;
        self.remove_pod(pod)?;
        Ok(status)
    }

    /// Starts an instance's program in its pod; see [`Self::wait_waypoint`]. The controller, which makes the token, and the
    /// node's agent must run.
    ///
    /// # Errors
    /// It isn't built, or the controller gives no token.
    pub fn start_waypoint(
        &self,
        spec: &WaypointSpec,
        pod: &Pod,
        settings: &WaypointSettings,
    ) -> Result<Arc<Process>> {
        // What a node has: its agent keeps the mesh's roots there.
        let folder = self.node_folder(self.node(pod.spec.node)?)?;
        let token = format!("{}-token", process_name(pod));
        fs::write(folder.join(&token), self.waypoint_token(spec)?)?;
        let address = pod.ip.to_string();
        let own = [
            ("INSTANCE_IP", address.as_str()),
            ("POD_NAME", &pod.spec.name),
            ("POD_NAMESPACE", &pod.spec.namespace),
            ("SERVICE_ACCOUNT", &pod.spec.service_account),
        ];
        let launch = pod.launch(config::binary("waypoint")?);
        let launch = self.as_proxy(launch, (&folder, &token), &own, &settings.environment);
        self.start(&process_name(pod), launch)
    }

    /// The process of an instance.
    ///
    /// # Errors
    /// It was never started.
    pub fn waypoint_process(&self, pod: &Pod) -> Result<Arc<Process>> {
        self.process(&process_name(pod))
    }

    /// Waits until an instance says that it is ready, and listens.
    ///
    /// # Errors
    /// It ends or isn't ready in time; with the end of its log.
    pub fn wait_waypoint(&self, pod: &Pod) -> Result<()> {
        let process = self.waypoint_process(pod)?;
        wait_ready(&process, &pod.netns, port::READY, "/healthz/ready")?;
        self.wait_listening(&pod.netns, port::HBONE, &process)
    }

    /// An instance's metrics.
    ///
    /// # Errors
    /// It doesn't answer.
    pub fn waypoint_metrics(&self, pod: &Pod) -> Result<Samples> {
        Ok(Samples::parse(&http::get(&pod.netns, port::METRICS, "/metrics")?))
    }

    /// The token of a waypoint's instances, of what `weft token` prints.
    ///
    /// # Errors
    /// The controller doesn't know the Gateway in time, or refuses.
    pub fn waypoint_token(&self, spec: &WaypointSpec) -> Result<String> {
        let waypoint = format!("{}/{}", spec.namespace, spec.name);
        let ask = Launch::new(config::binary("weft")?, self.control().path())
            .args(["token", "--waypoint", &waypoint, "--service-account", &spec.name])
            .arg("--state")
            .arg(self.folder().join("controller"));
        // The controller may not have read the Gateway's file yet.
        let line = poll::until(&format!("a token for {waypoint}"), START_DEADLINE, || {
            ask.run(START_DEADLINE)?.success()
        })?;
        // `weft1.<hash of the root>.<token>`: the root is known here.
        let token = line.trim().splitn(3, '.').nth(2).map(str::to_owned);
        token.with_context(|| format!("`weft token` printed no token: {line}"))
    }
}

fn process_name(pod: &Pod) -> String {
    format!("waypoint-{}.{}", pod.spec.namespace, pod.spec.name)
}
