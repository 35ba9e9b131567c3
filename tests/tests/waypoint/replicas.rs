//! Instances that come and go.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use weft_harness::{
    ControllerSettings, Inside, Mesh, Pod, PodSpec, ServiceSpec, WaypointSettings, WaypointSpec,
    ZtunnelSettings, manifests, poll,
};

use crate::support::calls::{get, succeeds};
use crate::support::load::{Connections, Load};
use crate::support::{PORT, SOON};
use crate::town::requests;

pub(crate) const URL: &str = "http://checkout.shop/";
/// Requests that each instance has to serve before the next step.
const ENOUGH: f64 = 50.0;
/// Of these, one in 1,000 runs chooses the same of two instances each time.
const CALLS: u32 = 11;

/// Two nodes, a client, a service that asks for a waypoint, and no instance yet.
pub(crate) struct Street {
    pub(crate) mesh: Mesh,
    pub(crate) web: Arc<Pod>,
    pub(crate) waypoint: WaypointSpec,
}

pub(crate) fn street(prefix: &str) -> Result<Street> {
    let mesh = Mesh::builder().prefix(prefix).build()?;
    mesh.manifests().namespace("shop", true)?;
    let web = mesh.declared_pod(PodSpec::new("shop", "web", 1))?;
    let checkout = mesh.declared_pod(PodSpec::new("shop", "checkout", 2))?;
    mesh.serve(&checkout, PORT, &["serve", "--role", "checkout", "--no-upstreams"])?;
    let service = ServiceSpec {
        namespace: "shop",
        name: "checkout",
        ports: &[(80, PORT)],
        selector: &[("app", "checkout")],
    };
    let service = manifests::http_service(&service, Some("waypoint"));
    mesh.manifests().objects("service-checkout", &[service])?;
    let waypoint = WaypointSpec::new("shop", "waypoint");
    mesh.declare_waypoint(&waypoint)?;
    mesh.start_all(&ControllerSettings::default(), &ZtunnelSettings::default())?;
    mesh.wait_enrolled(&web)?;
    mesh.wait_enrolled(&checkout)?;
    Ok(Street { mesh, web, waypoint })
}

pub(crate) fn replaced_instance_loses_no_request(_: &Inside) -> Result<()> {
    let Street { mesh, web, waypoint: spec } = street("replaced-")?;
    let settings = WaypointSettings::default();
    let first = mesh.add_waypoint(&spec, ("waypoint-1", 1), &settings)?;
    let second = mesh.add_waypoint(&spec, ("waypoint-2", 2), &settings)?;
    let serves = |pod: &Pod| {
        let before = requests(&mesh.waypoint_metrics(pod)?, "checkout");
        poll::until_true("requests at an instance", SOON, || {
            Ok(requests(&mesh.waypoint_metrics(pod)?, "checkout") >= before + ENOUGH)
        })
    };
    let new = Load::start(&mesh, &web, URL, 200, Connections::New)?;
    let pooled = Load::start(&mesh, &web, URL, 100, Connections::Pooled)?;
    serves(&first)?;
    serves(&second)?;
    // A rollout: another one comes, then the first is taken out, and ends in its own time.
    let third = mesh.add_waypoint(&spec, ("waypoint-3", 1), &settings)?;
    serves(&third)?;
    let status = mesh.retire_waypoint(&first)?;
    ensure!(status.success(), "the first instance ended with {status}");
    serves(&second)?;
    serves(&third)?;
    new.finish().context("with a connection each")?;
    pooled.finish().context("on connections that are kept")?;
    Ok(())
}

pub(crate) fn killed_waypoint_serves_again_after_its_restart(_: &Inside) -> Result<()> {
    let Street { mesh, web, waypoint: spec } = street("killed-")?;
    let waypoint = mesh.add_waypoint(&spec, ("waypoint-1", 2), &WaypointSettings::default())?;
    poll::until_true("a call through the waypoint", SOON, || {
        succeeds(&web, URL)?;
        Ok(requests(&mesh.waypoint_metrics(&waypoint)?, "checkout") > 0.0)
    })?;
    let process = mesh.waypoint_process(&waypoint)?;
    process.kill()?;
    let answer = get(&web, URL)?;
    ensure!(answer.status == 0 || answer.status >= 500, "answered by nobody: {answer:?}");
    process.restart()?;
    mesh.wait_waypoint(&waypoint)?;
    poll::until("a call after the restart", SOON, || succeeds(&web, URL))?;
    Ok(())
}

pub(crate) fn instance_that_is_not_reached_is_passed_over(_: &Inside) -> Result<()> {
    let Street { mesh, web, waypoint: spec } = street("passed-over-")?;
    let settings = WaypointSettings::default();
    let first = mesh.add_waypoint(&spec, ("waypoint-1", 1), &settings)?;
    let second = mesh.add_waypoint(&spec, ("waypoint-2", 2), &settings)?;
    let served = || anyhow::Ok(requests(&mesh.waypoint_metrics(&second)?, "checkout"));
    poll::until("a call through the waypoint", SOON, || succeeds(&web, URL))?;
    // Nobody tells the mesh: it goes on choosing the first for one call in two.
    mesh.waypoint_process(&first)?.kill()?;
    let before = served()?;
    for _ in 0..CALLS {
        succeeds(&web, URL)?;
    }
    let by_second = served()? - before;
    ensure!(by_second == f64::from(CALLS), "the second instance served {by_second} of {CALLS}");
    Ok(())
}
