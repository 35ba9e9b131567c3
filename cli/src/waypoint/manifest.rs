//! The YAML of a waypoint: what it is, and the file that it goes into.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::enroll::{self, Enrolled};
use crate::args::{Traffic, WaypointShape};

/// Gateway, Service, and the instances that were named.
pub(super) fn text(shape: &WaypointShape) -> anyhow::Result<String> {
    let WaypointShape { name, namespace, class, .. } = shape;
    for text in [name, namespace, class].into_iter().chain(&shape.node) {
        check_name(text)?;
    }
    let traffic = match shape.traffic {
        Traffic::Service => "service",
        Traffic::Workload => "workload",
        Traffic::All => "all",
    };
    let from = if shape.all_namespaces { "All" } else { "Same" };
    let mut text = format!(
        "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: {name}
  namespace: {namespace}
  labels:
    istio.io/waypoint-for: {traffic}
spec:
  gatewayClassName: {class}
  listeners:
  - name: mesh
    port: 15008
    protocol: HBONE
    allowedRoutes:
      namespaces:
        from: {from}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {name}
  namespace: {namespace}
---
# In a cluster the Gateway's controller makes the Service and the pods.
apiVersion: v1
kind: Service
metadata:
  name: {name}
  namespace: {namespace}
  labels:
    gateway.networking.k8s.io/gateway-name: {name}
spec:
  selector:
    gateway.networking.k8s.io/gateway-name: {name}
  ports:
  - name: mesh
    port: 15008
"
    );
    for (at, address) in shape.instance.iter().enumerate() {
        text.push_str(&instance(shape, at + 1, *address));
    }
    Ok(text)
}

fn instance(shape: &WaypointShape, number: usize, address: IpAddr) -> String {
    let WaypointShape { name, namespace, node, .. } = shape;
    let node = node.as_ref().map(|node| format!("  nodeName: {node}\n")).unwrap_or_default();
    format!(
        "\
---
apiVersion: v1
kind: Pod
metadata:
  name: {name}-{number}
  namespace: {namespace}
  labels:
    gateway.networking.k8s.io/gateway-name: {name}
    istio.io/dataplane-mode: none
spec:
{node}  serviceAccountName: {name}
  containers: []
status:
  phase: Running
  podIP: {address}
"
    )
}

/// The namespace, if nobody has declared it.
pub(super) fn namespace(shape: &WaypointShape) -> String {
    let WaypointShape { name, namespace, .. } = shape;
    format!(
        "---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: {namespace}\n  labels:\n    {}: {name}\n",
        enroll::LABEL
    )
}

/// Writes the file, and labels the namespace where that is asked for. Returns what was done.
pub(super) fn apply(shape: &WaypointShape, folder: &Path) -> anyhow::Result<String> {
    let mut text = text(shape)?;
    let WaypointShape { name, namespace, .. } = shape;
    let path = path(namespace, name, folder)?;
    let mut done = String::new();
    if shape.enroll_namespace {
        match enroll::enroll(folder, &path, namespace, name)? {
            Enrolled::NotDeclared => text.push_str(&self::namespace(shape)),
            Enrolled::Already(file) => {
                done = format!("{} labels the namespace already\n", file.display());
            }
            Enrolled::Written(file) => {
                done = format!("{} now labels the namespace\n", file.display());
            }
        }
    }
    write(&path, &text)?;
    Ok(format!("{done}{} declares waypoint {namespace}/{name}\n", path.display()))
}

/// Removes the file.
pub(super) fn delete(namespace: &str, name: &str, folder: &Path) -> anyhow::Result<String> {
    let path = path(namespace, name, folder)?;
    std::fs::remove_file(&path).with_context(|| {
        format!(
            "{}: only a waypoint that `weft waypoint apply` wrote there can be deleted",
            path.display()
        )
    })?;
    Ok(format!("{} is gone, and waypoint {namespace}/{name} with it\n", path.display()))
}

fn path(namespace: &str, name: &str, folder: &Path) -> anyhow::Result<PathBuf> {
    for text in [namespace, name] {
        check_name(text)?;
    }
    Ok(folder.join(format!("weft-waypoint-{namespace}-{name}.yaml")))
}

/// Whole or not at all: the controller watches.
pub(super) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let written = weft_core::replace::file(path, text.as_bytes(), 0o666);
    written.with_context(|| path.display().to_string())
}

/// What can be the name of a Kubernetes object (RFC 1123 subdomain), so that it needs no quotes anywhere.
pub(super) fn check_name(text: &str) -> anyhow::Result<()> {
    let is_allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    let is_edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let is_right = text.len() <= 253
        && text.bytes().all(is_allowed)
        && is_edge(text.bytes().next())
        && is_edge(text.bytes().last());
    if !is_right {
        bail!("{text:?} is no object's name: lower-case letters, digits, '-' and '.'");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use weft_controller::objects::{self, Kind, ObjectChange, Pool};
    use weft_controller::translate::{Settings, Translator, waypoint_statuses};

    use super::*;

    fn shape() -> WaypointShape {
        WaypointShape {
            name: "wp".into(),
            namespace: "shop".into(),
            traffic: Traffic::All,
            class: "weft-waypoint".into(),
            all_namespaces: false,
            enroll_namespace: true,
            instance: vec!["10.44.1.9".parse().unwrap()],
            node: Some("node1".into()),
        }
    }

    fn translated(text: &str) -> Translator {
        let mut pool = Pool::default();
        let changes = text.split("---\n").map(|document| {
            let header = objects::header(document).unwrap();
            let kind = Kind::of(&header.api_version, &header.kind).unwrap();
            let object = objects::read(kind, document, &mut pool).unwrap();
            ObjectChange { key: object.key(), object: Some(object) }
        });
        let changes = changes.collect();
        let mut translator = Translator::new(Settings::standalone());
        translator.apply(changes);
        translator
    }

    #[test]
    fn what_is_generated_is_a_ready_waypoint_without_anything_to_complain_of() {
        let translator = translated(&super::super::generate(&shape()).unwrap());
        let waypoints = waypoint_statuses(&translator.view());
        let [waypoint] = waypoints.as_slice() else { panic!("{waypoints:?}") };
        assert!(waypoint.is_ready);
        assert_eq!(
            (waypoint.traffic.as_str(), waypoint.accounts.as_slice()),
            ("all", ["wp".into()].as_slice())
        );
        let failing: Vec<_> = translator
            .statuses()
            .into_iter()
            .filter(|status| status.conditions.iter().any(|condition| !condition.status))
            .collect();
        assert_eq!(failing, []);
    }

    #[test]
    fn applied_waypoint_is_a_file_that_delete_takes_away() {
        let folder = tempfile::tempdir().unwrap();
        let told = apply(&shape(), folder.path()).unwrap();
        assert!(told.contains("weft-waypoint-shop-wp.yaml declares waypoint shop/wp"), "{told}");
        let file = folder.path().join("weft-waypoint-shop-wp.yaml");
        let written = std::fs::read_to_string(&file).unwrap();
        assert!(written.contains("kind: Namespace") && written.contains("use-waypoint: wp"));
        // Again: the namespace is in that file, and stays there.
        apply(&shape(), folder.path()).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), written);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        delete("shop", "wp", folder.path()).unwrap();
        assert!(!file.exists());
        let again = delete("shop", "wp", folder.path()).unwrap_err();
        assert!(format!("{again:#}").contains("weft waypoint apply"));
    }

    #[test]
    fn names_that_are_none_are_refused() {
        for name in ["", "Wp", "a b", "a\nkind: Secret", "../x", "-a"] {
            assert!(text(&WaypointShape { name: name.into(), ..shape() }).is_err(), "{name:?}");
        }
    }
}
