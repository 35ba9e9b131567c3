//! Manifests that tests write, and take back however they end.

use anyhow::Result;
use serde_json::{Value, json};
use weft_harness::Mesh;

/// A manifest that goes when it is dropped.
#[must_use = "the manifest goes when this is dropped"]
pub(crate) struct Temporary<'a> {
    mesh: &'a Mesh,
    name: String,
}

impl<'a> Temporary<'a> {
    /// Writes objects as one file.
    pub(crate) fn write(mesh: &'a Mesh, name: &str, objects: &[Value]) -> Result<Self> {
        mesh.manifests().objects(name, objects)?;
        Ok(Self { mesh, name: name.to_owned() })
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        // The test may have removed it as part of what it shows.
        let _gone = self.mesh.manifests().remove(&self.name);
    }
}

/// A policy of `action` for the pods with label `app`.
pub(crate) fn policy(namespace: &str, name: &str, app: &str, action: &str, rule: Value) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": {"app": app}},
            "action": action,
            "rules": [rule],
        },
    })
}

/// A rule for callers of these identities, without `spiffe://`.
pub(crate) fn from_principals(principals: &[&str]) -> Value {
    json!({"from": [{"source": {"principals": principals}}]})
}

/// A rule for a port, whoever calls.
pub(crate) fn to_port(port: u16) -> Value {
    json!({"to": [{"operation": {"ports": [port.to_string()]}}]})
}

/// STRICT for a namespace.
pub(crate) fn strict(namespace: &str) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": "default", "namespace": namespace},
        "spec": {"mtls": {"mode": "STRICT"}},
    })
}
