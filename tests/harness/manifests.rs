//! The folder of manifests: ordinary Kubernetes YAML, written whole or not at all.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::mesh::Pod;

/// Annotation that names a pod's network namespace.
const NETNS_ANNOTATION: &str = "weft.io/netns";

/// Label that names the waypoint of a service.
const USE_WAYPOINT: &str = "istio.io/use-waypoint";

/// The folder that the controller watches.
#[derive(Debug)]
pub struct Manifests {
    folder: PathBuf,
}

/// Where a pod is in its life, as a cluster would say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodState {
    /// It is there and must not be called yet.
    Starting,
    /// It may be called. What nobody says otherwise of.
    Ready,
    /// It finishes what it has begun, and must not be called anew.
    Terminating,
}

/// What a Service is to be.
#[derive(Debug, Clone)]
pub struct ServiceSpec<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its port and the port of its pods.
    pub ports: &'a [(u16, u16)],
    /// Labels of its pods.
    pub selector: &'a [(&'a str, &'a str)],
}

impl Manifests {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The folder itself.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes `<name>.yaml`; the controller never sees a half of it.
    ///
    /// # Errors
    /// The folder isn't writable.
    pub fn write(&self, name: &str, yaml: &str) -> Result<()> {
        let path = self.path(name);
        let partial = self.folder.join(format!(".{name}.tmp"));
        fs::write(&partial, yaml).with_context(|| format!("writing {}", partial.display()))?;
        fs::rename(&partial, &path).with_context(|| format!("writing {}", path.display()))
    }

    /// Removes `<name>.yaml`, and with it its objects.
    ///
    /// # Errors
    /// It isn't there.
    pub fn remove(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))
    }

    /// The file called `name`.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.yaml"))
    }

    /// Writes objects as the documents of one file.
    ///
    /// # Errors
    /// The folder isn't writable.
    pub fn objects(&self, name: &str, objects: &[Value]) -> Result<()> {
        let documents = objects
            .iter()
            .map(|object| serde_saphyr::to_string(object).context("writing YAML"))
            .collect::<Result<Vec<_>>>()?;
        self.write(name, &documents.join("---\n"))
    }

    /// Writes a Namespace, in the mesh if `enrolled`.
    ///
    /// # Errors
    /// The folder isn't writable.
    pub fn namespace(&self, name: &str, enrolled: bool) -> Result<()> {
        self.objects(&format!("namespace-{name}"), &[namespace(name, enrolled)])
    }

    /// Writes a Service.
    ///
    /// # Errors
    /// The folder isn't writable.
    pub fn service(&self, spec: &ServiceSpec<'_>) -> Result<()> {
        self.objects(&format!("service-{}.{}", spec.namespace, spec.name), &[service(spec)])
    }

    pub(crate) fn pod(&self, pod: &Pod, node: &str, state: PodState) -> Result<()> {
        let name = format!("pod-{}.{}", pod.spec.namespace, pod.spec.name);
        let mut object = pod_object(pod, node);
        let ready = json!([{"type": "Ready", "status": "False"}]);
        let (part, field, value) = match state {
            PodState::Ready => return self.objects(&name, &[object]),
            PodState::Starting => ("status", "conditions", ready),
            PodState::Terminating => {
                ("metadata", "deletionTimestamp", json!("2026-01-01T00:00:00Z"))
            }
        };
        if let Some(part) = object.get_mut(part).and_then(Value::as_object_mut) {
            part.insert(field.to_owned(), value);
        }
        self.objects(&name, &[object])
    }
}

/// A Namespace object.
#[must_use]
pub fn namespace(name: &str, enrolled: bool) -> Value {
    let labels = if enrolled { json!({"istio.io/dataplane-mode": "ambient"}) } else { json!({}) };
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": labels},
    })
}

/// A Service object without an address: the controller allocates one.
#[must_use]
pub fn service(spec: &ServiceSpec<'_>) -> Value {
    let selector: BTreeMap<_, _> = spec.selector.iter().copied().collect();
    let ports: Vec<Value> = spec
        .ports
        .iter()
        .map(|(port, target)| json!({"name": format!("tcp-{port}"), "port": port, "targetPort": target}))
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": spec.name, "namespace": spec.namespace},
        "spec": {"selector": selector, "ports": ports},
    })
}

/// A Service of HTTP; its calls go through `waypoint`, if one is given.
#[must_use]
pub fn http_service(spec: &ServiceSpec<'_>, waypoint: Option<&str>) -> Value {
    let selector: BTreeMap<_, _> = spec.selector.iter().copied().collect();
    let labels: BTreeMap<_, _> = waypoint.map(|name| (USE_WAYPOINT, name)).into_iter().collect();
    let ports: Vec<Value> = spec
        .ports
        .iter()
        .map(|(port, target)| json!({"name": format!("http-{port}"), "port": port, "targetPort": target}))
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": spec.name, "namespace": spec.namespace, "labels": labels},
        "spec": {"selector": selector, "ports": ports},
    })
}

fn pod_object(pod: &Pod, node: &str) -> Value {
    let ips: Vec<Value> = [Some(pod.ip.to_string()), pod.ip6.map(|ip| ip.to_string())]
        .into_iter()
        .flatten()
        .map(|ip| json!({"ip": ip}))
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod.spec.name,
            "namespace": pod.spec.namespace,
            "labels": pod.spec.labels,
            "annotations": {NETNS_ANNOTATION: pod.netns.name()},
        },
        "spec": {"nodeName": node, "serviceAccountName": pod.spec.service_account},
        "status": {"phase": "Running", "podIP": pod.ip.to_string(), "podIPs": ips},
    })
}
