//! The folder of manifests while the mesh runs.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weft_harness::{Inside, ServiceSpec, poll};

use crate::support::calls::{get, is_refused, succeeds};
use crate::support::objects::{from_principals, policy};
use crate::support::{PORT, SOON, status};
use crate::town::town;

pub(crate) fn deleted_file_removes_its_objects(_: &Inside) -> Result<()> {
    let town = town()?;
    let (mesh, manifests) = (&town.mesh, town.mesh.manifests());
    let web = town.pod("front", "web")?;
    let service = weft_harness::manifests::service(&ServiceSpec {
        namespace: "shop",
        name: "passing",
        ports: &[(80, PORT)],
        selector: &[("app", "checkout")],
    });
    let nobody = from_principals(&["cluster.local/ns/nowhere/sa/nobody"]);
    let denied = policy("shop", "passing", "checkout", "ALLOW", nobody);
    manifests.objects("passing", &[service, denied])?;
    let known = |section| {
        anyhow::Ok([
            status::knows(mesh, 1, section, ("shop", "passing"))?,
            status::knows(mesh, 2, section, ("shop", "passing"))?,
        ])
    };
    for section in ["services", "policies"] {
        poll::until_true(&format!("{section} at both nodes"), SOON, || {
            Ok(known(section)? == [true; 2])
        })?;
    }
    is_refused(&web, "http://passing.shop/")?;
    manifests.remove("passing")?;
    for section in ["services", "policies"] {
        poll::until_true(&format!("{section} gone"), SOON, || Ok(known(section)? == [false; 2]))?;
    }
    succeeds(&web, "http://checkout.shop/")?;
    let answer = is_refused(&web, "http://passing.shop/")?;
    ensure!(answer.text("/error").contains("doesn't resolve"), "{answer:?}");
    Ok(())
}

pub(crate) fn bad_document_keeps_last_good_and_is_named_in_status(_: &Inside) -> Result<()> {
    let town = town()?;
    let manifests = town.mesh.manifests();
    let (checkout, intruder) = (town.pod("shop", "checkout")?, town.pod("front", "intruder")?);
    let url = "http://inventory.warehouse/";
    let name = "policy-inventory";
    let good = std::fs::read_to_string(manifests.path(name))?;
    // A good document before, and the bad one from a line that can be told.
    let bad = good.replace("ALLOW", "ALLOWED");
    let lead = "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: extra\n  namespace: warehouse\n---\n";
    manifests.write(name, &format!("{lead}{bad}"))?;
    let rejected = poll::until("the document named in the status", SOON, || {
        let status = status::controller(&town.mesh)?;
        let rejected =
            status.get("rejected").and_then(Value::as_array).cloned().unwrap_or_default();
        let of_file = |it: &Value| it.get("file") == Some(&json!(format!("{name}.yaml")));
        rejected.into_iter().find(of_file).with_context(|| status.to_string())
    })?;
    let text = |key: &str| rejected.get(key).and_then(Value::as_str).unwrap_or_default();
    let line = rejected.get("line").and_then(Value::as_u64).unwrap_or_default();
    let named = usize::try_from(line)?.checked_sub(lead.lines().count() + 1);
    let named = named.and_then(|index| bad.lines().nth(index)).unwrap_or_default();
    ensure!(named.contains("ALLOWED"), "line {line} is {named:?}: {rejected}");
    ensure!(text("object").contains("warehouse/inventory-callers"), "{rejected}");
    ensure!(text("field").contains("action"), "{rejected}");
    ensure!(text("reason").contains("ALLOWED"), "{rejected}");
    ensure!(rejected.get("has_last_good") == Some(&json!(true)), "{rejected}");
    // The last good version is still in force.
    succeeds(&checkout, url)?;
    is_refused(&intruder, url)?;
    // Not even YAML any more: the same.
    manifests.write(name, "apiVersion: [unclosed\n")?;
    poll::until("the file named in the status", SOON, || {
        let status = status::controller(&town.mesh)?;
        let rejected = status.get("rejected").context("no list")?.to_string();
        ensure!(rejected.contains(name) && !rejected.contains("ALLOWED"), "{rejected}");
        Ok(())
    })?;
    succeeds(&checkout, url)?;
    is_refused(&intruder, url)?;
    manifests.write(name, &good)?;
    poll::until("nothing rejected", SOON, || {
        let status = status::controller(&town.mesh)?;
        ensure!(status.get("rejected") == Some(&json!([])), "{}", json!(status.get("rejected")));
        Ok(())
    })?;
    ensure!(get(&checkout, url)?.status == 200);
    Ok(())
}
