//! The controller away.

use std::time::Duration;

use anyhow::{Result, ensure};
use weft_harness::{Inside, PodSpec, poll};

use crate::place::{Away, place, service};
use crate::support::calls::{is_refused, succeeds};
use crate::support::load::{Connections, Load};
use crate::support::objects::{from_principals, policy};
use crate::support::tcp::Ticks;
use crate::support::{PORT, status};

/// How many requests are made on new connections while it is away.
const REQUESTS: u64 = 200;
/// Time for those.
const AWAY_DEADLINE: Duration = Duration::from_secs(20);
/// Time to have caught up after its return; reconnection backs off with jitter.
const CAUGHT_UP_DEADLINE: Duration = Duration::from_secs(20);

pub(crate) fn controller_killed_for_a_while_fails_nothing_and_catches_up(_: &Inside) -> Result<()> {
    let place = place()?;
    let (mesh, manifests) = (&place.mesh, place.mesh.manifests());
    manifests.service(&service("passing"))?;
    poll::until_true("a service that will be deleted", CAUGHT_UP_DEADLINE, || knows(1, "passing"))?;
    let away = Away::of(mesh.process("controller")?);
    let mut ticks = Ticks::open(&place.web.netns, place.checkout.address(PORT))?;
    let url = "http://checkout.shop/health";
    let kept = Load::start(mesh, &place.web, url, 50, Connections::Kept)?;
    let new = Load::start(mesh, &place.web, url, 50, Connections::New)?;
    away.process.kill()?;
    let (before, _) = new.so_far()?;
    poll::until("requests without a controller", AWAY_DEADLINE, || {
        let (total, _) = new.so_far()?;
        ensure!(total >= before + REQUESTS, "{} so far", total - before);
        Ok(())
    })?;
    // What changes meanwhile: a service more, one less, a new pod, a policy.
    manifests.service(&service("late"))?;
    manifests.remove("service-shop.passing")?;
    let newcomer = mesh.declared_pod(PodSpec::new("shop", "newcomer", 1))?;
    mesh.serve(&newcomer, PORT, &["serve", "--role", "checkout", "--no-upstreams"])?;
    let nobody = from_principals(&["cluster.local/ns/nowhere/sa/nobody"]);
    manifests.objects("closed", &[policy("shop", "closed", "newcomer", "ALLOW", nobody)])?;
    away.process.restart()?;
    mesh.wait_controller()?;
    for node in [1, 2] {
        poll::until("both nodes caught up", CAUGHT_UP_DEADLINE, || {
            ensure!(knows(node, "late")?, "node {node} doesn't know the new service");
            ensure!(!knows(node, "passing")?, "node {node} still knows the deleted service");
            let is_there = status::knows(mesh, node, "policies", ("shop", "closed"))?;
            ensure!(is_there, "node {node} doesn't know the policy");
            Ok(())
        })?;
    }
    mesh.wait_enrolled(&newcomer)?;
    ticks.expect_more()?;
    for load in [kept, new] {
        load.finish()?;
    }
    succeeds(&place.web, "http://late.shop/")?;
    is_refused(&place.web, &format!("http://{}/", newcomer.address(PORT)))?;
    manifests.remove("closed")?;
    mesh.remove_pod(&newcomer)?;
    away.back()
}

fn knows(node: u8, service: &str) -> Result<bool> {
    status::knows(&place()?.mesh, node, "services", ("shop", service))
}
