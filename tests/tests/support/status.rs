//! What the programs say of themselves.

use anyhow::{Context, Result};
use serde_json::Value;
use weft_harness::{Mesh, http};
use weft_proto::contract::port;

/// The controller's status.
pub(crate) fn controller(mesh: &Mesh) -> Result<Value> {
    let body = http::get(mesh.control(), port::CONTROLLER_ADMIN, "/weft/status")?;
    serde_json::from_str(&body).context("the controller's status isn't JSON")
}

/// Items of an array of a ztunnel's config dump.
pub(crate) fn dumped(mesh: &Mesh, node: u8, section: &str) -> Result<Vec<Value>> {
    let dump = mesh.config_dump(node)?;
    let items = dump.get(section).and_then(Value::as_array);
    items.cloned().with_context(|| format!("no {section} in the dump of node {node}"))
}

/// Whether a node's ztunnel knows an object of that section under that namespace and name.
pub(crate) fn knows(
    mesh: &Mesh,
    node: u8,
    section: &str,
    (namespace, name): (&str, &str),
) -> Result<bool> {
    let word = |item: &Value, key: &str| item.get(key).and_then(Value::as_str).map(str::to_owned);
    Ok(dumped(mesh, node, section)?.iter().any(|item| {
        word(item, "namespace").as_deref() == Some(namespace)
            && word(item, "name").as_deref() == Some(name)
    }))
}

/// The serial number of the certificate that a node's ztunnel holds for an identity.
pub(crate) fn serial(mesh: &Mesh, node: u8, identity: &str) -> Result<String> {
    let all = dumped(mesh, node, "certificates")?;
    let of = |entry: &&Value| entry.get("identity").and_then(Value::as_str) == Some(identity);
    let entry = all.iter().find(of);
    let entry = entry.with_context(|| format!("node {node} has no certificate for {identity}"))?;
    let serial = entry.pointer("/certChain/0/serialNumber").and_then(Value::as_str);
    serial.map(str::to_owned).with_context(|| format!("no serial number in {entry}"))
}
