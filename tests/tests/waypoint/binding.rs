//! Calls to services that ask for a waypoint go through it, and others don't.

use anyhow::{Result, ensure};
use serde_json::Value;
use weft_harness::{
    Inside, Pod, PodSpec, ServiceSpec, WaypointSettings, WaypointSpec, manifests, poll,
};

use crate::support::calls::{Answer, get, get_with, is_refused, succeeds};
use crate::support::{PORT, SOON};
use crate::town::{requests, town};

const USE_WAYPOINT: &str = "istio.io/use-waypoint";

/// The application sees the waypoint where a call came through it, and its client where it came straight.
fn came_from(answer: &Answer, pod: &Pod) -> bool {
    answer.text("/body/caller").starts_with(&format!("{}:", pod.ip))
}

pub(crate) fn call_to_a_service_that_asks_goes_through_its_waypoint(_: &Inside) -> Result<()> {
    let town = town()?;
    let web = town.pod("front", "web")?;
    let before = town.counted("checkout")?;
    let answer = succeeds(&web, "http://checkout.shop/shop")?;
    ensure!(answer.text("/body/hop") == "checkout", "{answer:?}");
    ensure!(came_from(&answer, &town.waypoint), "{answer:?}");
    poll::until_true("the waypoint's count", SOON, || Ok(town.counted("checkout")? > before))?;
    let samples = town.mesh.waypoint_metrics(&town.waypoint)?;
    let pair = [
        ("reporter", "waypoint"),
        ("source_workload", "web"),
        ("source_principal", "spiffe://cluster.local/ns/front/sa/web"),
        ("destination_workload", "checkout"),
        ("destination_principal", "spiffe://cluster.local/ns/shop/sa/checkout"),
        ("destination_service", "checkout.shop.svc.cluster.local"),
        ("connection_security_policy", "mutual_tls"),
        ("request_protocol", "http"),
        ("response_code", "200"),
        ("response_flags", "-"),
    ];
    ensure!(samples.sum("istio_requests_total", &pair) >= 1.0, "not under the contract's labels");
    Ok(())
}

pub(crate) fn header_route_reaches_another_service(_: &Inside) -> Result<()> {
    let town = town()?;
    let web = town.pod("front", "web")?;
    let answer = get_with(&web, "http://checkout.shop/shop", "x-beta-user: true")?;
    ensure!(answer.status == 200 && answer.text("/body/hop") == "payment", "{answer:?}");
    let answer = get_with(&web, "http://checkout.shop/shop", "x-beta-user: false")?;
    ensure!(answer.status == 200 && answer.text("/body/hop") == "checkout", "{answer:?}");
    Ok(())
}

pub(crate) fn request_that_no_rule_matches_is_answered_404(_: &Inside) -> Result<()> {
    let town = town()?;
    let answer = get(&*town.pod("front", "web")?, "http://checkout.shop/elsewhere")?;
    ensure!(answer.status == 404, "{answer:?}");
    Ok(())
}

pub(crate) fn service_that_does_not_ask_is_called_straight(_: &Inside) -> Result<()> {
    let town = town()?;
    let web = town.pod("front", "web")?;
    for service in ["cart", "beta"] {
        let answer = succeeds(&web, &format!("http://{service}.shop/"))?;
        ensure!(came_from(&answer, &web), "{service}: {answer:?}");
    }
    let samples = town.mesh.waypoint_metrics(&town.waypoint)?;
    ensure!(requests(&samples, "cart") == 0.0, "the waypoint counted a call to cart");
    Ok(())
}

pub(crate) fn call_round_the_waypoint_is_refused_where_a_policy_applies(_: &Inside) -> Result<()> {
    let town = town()?;
    let (web, vault) = (town.pod("front", "web")?, town.pod("shop", "vault")?);
    let answer = succeeds(&web, "http://vault.shop/")?;
    ensure!(came_from(&answer, &town.waypoint), "{answer:?}");
    is_refused(&web, &format!("http://{}/", vault.address(PORT)))?;
    Ok(())
}

pub(crate) fn caller_whom_the_policy_does_not_name_is_answered_403(_: &Inside) -> Result<()> {
    let town = town()?;
    let answer = get(&*town.pod("front", "intruder")?, "http://vault.shop/")?;
    ensure!(answer.status == 403, "{answer:?}");
    Ok(())
}

pub(crate) fn waypoint_of_istios_class_serves_a_namespace_but_for_what_opts_out(
    _: &Inside,
) -> Result<()> {
    let town = town()?;
    let (mesh, web) = (&town.mesh, town.pod("front", "web")?);
    let mut namespace = manifests::namespace("legacy", true);
    set_label(&mut namespace, USE_WAYPOINT, "door");
    mesh.manifests().objects("namespace-legacy", &[namespace])?;
    for (name, label) in [("stock", None), ("aside", Some("none"))] {
        let pod = mesh.declared_pod(PodSpec::new("legacy", name, 2))?;
        mesh.serve(&pod, PORT, &["serve", "--role", "inventory", "--no-upstreams"])?;
        let (ports, selector) = (&[(80, PORT)], &[("app", name)]);
        let service = ServiceSpec { namespace: "legacy", name, ports, selector };
        let service = manifests::http_service(&service, label);
        mesh.manifests().objects(&format!("service-legacy.{name}"), &[service])?;
        mesh.wait_enrolled(&pod)?;
    }
    let spec = WaypointSpec::new("legacy", "door").class("istio-waypoint");
    mesh.declare_waypoint(&spec)?;
    let door = mesh.add_waypoint(&spec, ("door-1", 2), &WaypointSettings::default())?;
    poll::until("a call through the namespace's waypoint", SOON, || {
        let answer = succeeds(&web, "http://stock.legacy/")?;
        ensure!(came_from(&answer, &door), "{answer:?}");
        Ok(())
    })?;
    let answer = succeeds(&web, "http://aside.legacy/")?;
    ensure!(came_from(&answer, &web), "{answer:?}");
    Ok(())
}

fn set_label(object: &mut Value, key: &str, value: &str) {
    if let Some(labels) = object.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.insert(key.to_owned(), value.into());
    }
}
