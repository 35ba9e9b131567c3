//! A large estate: namespaces of services with their pods, in several files.

use anyhow::Result;
use serde_json::{Value, json};
use weft_harness::{Manifests, manifests};

/// How large it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Estate {
    namespaces: usize,
    services_each: usize,
    pods_each: usize,
}

/// First letters of its namespaces' names: nothing else begins with them.
pub(crate) const PREFIX: &str = "estate-";
/// Nodes that its pods are on. None of them exists: no agent enrols what only has to be known.
const NODES: usize = 100;
/// Port of its services.
const PORT: u16 = 8080;

impl Estate {
    /// 10,000 workloads and 1,000 services.
    pub(crate) const WHOLE: Self = Self { namespaces: 50, services_each: 20, pods_each: 10 };
    /// A twentieth of it.
    pub(crate) const SMALL: Self = Self { namespaces: 5, services_each: 10, pods_each: 10 };

    /// Number of its workloads.
    pub(crate) fn workloads(&self) -> usize {
        self.services() * self.pods_each
    }

    /// Number of its services.
    pub(crate) fn services(&self) -> usize {
        self.namespaces * self.services_each
    }

    /// Writes it, a file a namespace.
    ///
    /// # Errors
    /// The folder isn't writable.
    pub(crate) fn write(&self, folder: &Manifests) -> Result<()> {
        for namespace in 0..self.namespaces {
            folder.objects(&format!("{PREFIX}{namespace:03}"), &self.namespace(namespace))?;
        }
        Ok(())
    }

    fn namespace(&self, number: usize) -> Vec<Value> {
        let name = format!("{PREFIX}{number:03}");
        let mut objects = vec![manifests::namespace(&name, true)];
        for service in 0..self.services_each {
            let index = number * self.services_each + service;
            objects.push(service_object(&name, service, index));
            let pods = index * self.pods_each..(index + 1) * self.pods_each;
            objects.extend(pods.map(|pod| pod_object(&name, service, pod)));
        }
        objects
    }
}

/// Services have addresses of their own in the range that clusters use, as in a real folder.
fn service_object(namespace: &str, service: usize, index: usize) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": format!("service-{service:02}"), "namespace": namespace},
        "spec": {
            "clusterIP": format!("10.100.{}.{}", index / 250, index % 250 + 1),
            "selector": {"app": format!("service-{service:02}")},
            "ports": [{"name": "http", "port": 80, "targetPort": PORT}],
        },
    })
}

/// A pod of the estate; `index` counts through all of it.
pub(super) fn pod_object(namespace: &str, service: usize, index: usize) -> Value {
    let app = format!("service-{service:02}");
    let ip = format!("10.{}.{}.{}", 128 + index / 62_500, index / 250 % 250, index % 250 + 1);
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": format!("{app}-{index:05}"),
            "namespace": namespace,
            "labels": {"app": app, "version": "v1"},
        },
        "spec": {
            "nodeName": format!("far-{:03}", index % NODES),
            "serviceAccountName": app,
        },
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]},
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn texts<'a>(objects: &'a [Value], pointer: &str) -> BTreeSet<&'a str> {
        objects.iter().filter_map(|object| object.pointer(pointer)?.as_str()).collect()
    }

    #[test]
    fn the_estate_has_the_advertised_size_and_no_address_twice() {
        let estate = Estate::WHOLE;
        let objects: Vec<Value> =
            (0..estate.namespaces).flat_map(|number| estate.namespace(number)).collect();
        assert_eq!(texts(&objects, "/status/podIP").len(), 10_000);
        assert_eq!(texts(&objects, "/spec/clusterIP").len(), 1_000);
        assert_eq!((estate.workloads(), estate.services()), (10_000, 1_000));
    }
}
