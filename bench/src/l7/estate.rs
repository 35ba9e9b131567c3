//! Many services that use one waypoint, each with routes and a pod.

use anyhow::Result;
use serde_json::{Value, json};
use weft_harness::Manifests;

use super::bed::{NAMESPACE, PORT, WAYPOINT};

/// How large it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Estate {
    pub(super) services: usize,
}

/// Rules of a service.
const RULES: usize = 10;
/// Services of a file.
const A_FILE: usize = 50;

impl Estate {
    pub(super) const WHOLE: Self = Self { services: 1_000 };
    /// A twentieth of it.
    pub(super) const SMALL: Self = Self { services: 50 };

    /// What its measure is called.
    pub(super) fn figure(&self) -> String {
        match self.services {
            count @ 1_000.. => format!("{},{:03} services", count / 1_000, count % 1_000),
            count => format!("{count} services"),
        }
    }

    /// Writes it.
    ///
    /// # Errors
    /// The folder isn't writable.
    pub(super) fn write(&self, folder: &Manifests) -> Result<()> {
        for first in (0..self.services).step_by(A_FILE) {
            let services = first..(first + A_FILE).min(self.services);
            let objects: Vec<Value> = services.flat_map(of_service).collect();
            folder.objects(&format!("estate-{first:04}"), &objects)?;
        }
        Ok(())
    }
}

fn of_service(index: usize) -> [Value; 3] {
    let name = format!("service-{index:04}");
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "labels": {"istio.io/use-waypoint": WAYPOINT},
        },
        "spec": {
            "clusterIP": format!("10.100.{}.{}", index / 250, index % 250 + 1),
            "selector": {"app": name},
            "ports": [{"name": "http", "port": 80, "targetPort": PORT}],
        },
    });
    let rules: Vec<Value> = (0..RULES).map(|number| rule(&name, number)).collect();
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": name}], "rules": rules},
    });
    [service, route, pod(&name, index)]
}

/// A path and a header, as canaries have it.
fn rule(service: &str, number: usize) -> Value {
    let header = json!([{"name": "x-version", "value": format!("v{number}")}]);
    let path = json!({"type": "PathPrefix", "value": format!("/area-{number}")});
    json!({
        "matches": [{"path": path, "headers": header}],
        "filters": [{
            "type": "RequestHeaderModifier",
            "requestHeaderModifier": {"set": [{"name": "x-area", "value": number.to_string()}]},
        }],
        "backendRefs": [{"name": service, "port": 80}],
    })
}

/// Its node doesn't exist: no agent enrols what only has to be known.
fn pod(service: &str, index: usize) -> Value {
    let ip = format!("10.128.{}.{}", index / 250, index % 250 + 1);
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": service, "namespace": NAMESPACE, "labels": {"app": service}},
        "spec": {"nodeName": "far", "serviceAccountName": service},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]},
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_estate_has_the_advertised_size_and_no_address_twice() {
        let objects: Vec<Value> = (0..Estate::WHOLE.services).flat_map(of_service).collect();
        let texts = |pointer| -> BTreeSet<_> {
            objects.iter().filter_map(|object| object.pointer(pointer)?.as_str()).collect()
        };
        assert_eq!(texts("/status/podIP").len(), 1_000);
        assert_eq!(texts("/spec/clusterIP").len(), 1_000);
        let rules = objects.iter().filter_map(|object| object.pointer("/spec/rules")?.as_array());
        assert_eq!(rules.map(Vec::len).sum::<usize>(), 10_000);
        assert_eq!(
            (Estate::WHOLE.figure(), Estate::SMALL.figure()),
            ("1,000 services".into(), "50 services".into())
        );
    }
}
