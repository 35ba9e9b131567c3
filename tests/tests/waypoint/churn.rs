//! Applications and waypoints that go in the midst of requests.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};
use tokio::time::Instant;
use weft_harness::{Inside, Mesh, Pod, PodSpec, PodState, Process, WaypointSettings, poll};

use crate::replicas::{Street, URL, street};
use crate::support::calls::{get, succeeds};
use crate::support::load::{Connections, Load};
use crate::support::{PORT, SOON};

/// Between two changes of the service's endpoints: ten a second.
const BEAT: Duration = Duration::from_millis(100);
/// Rounds, each of which takes every endpoint that comes and goes out and in again.
const ROUNDS: usize = 12;
/// How long an application takes that is still at work when its waypoint is killed. Longer than anybody waits for.
const LONG: Duration = Duration::from_secs(60);

pub(crate) fn endpoints_that_come_and_go_under_load_fail_no_idempotent_request(
    _: &Inside,
) -> Result<()> {
    let Street { mesh, web, waypoint } = street("churn-")?;
    let retries = json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "checkout", "namespace": "shop"},
        "spec": {"hosts": ["checkout"], "http": [{
            "route": [{"destination": {"host": "checkout"}}],
            "retries": {"attempts": 3, "retryOn": "connect-failure,refused-stream,reset,503"},
        }]},
    });
    mesh.manifests().objects("route-checkout", &[retries])?;
    let coming = [add(&mesh, "checkout-b", 1)?, add(&mesh, "checkout-c", 2)?];
    mesh.add_waypoint(&waypoint, ("waypoint-1", 2), &WaypointSettings::default())?;
    poll::until("a call through the waypoint", SOON, || succeeds(&web, URL))?;
    let load = Load::start(&mesh, &web, URL, 200, Connections::Pooled)?;
    for _ in 0..ROUNDS {
        for (pod, process) in &coming {
            mesh.declare_as(pod, PodState::Terminating)?;
            std::thread::sleep(BEAT);
            process.kill()?;
            process.restart()?;
            mesh.wait_listening(&pod.netns, PORT, process)?;
            mesh.declare(pod)?;
            std::thread::sleep(BEAT);
        }
    }
    load.finish()?;
    Ok(())
}

/// One more endpoint of the street's service.
fn add(mesh: &Mesh, name: &str, node: u8) -> Result<(Arc<Pod>, Arc<Process>)> {
    let pod = mesh.declared_pod(PodSpec::new("shop", name, node).label("app", "checkout"))?;
    let process = mesh.serve(&pod, PORT, &["serve", "--role", "checkout", "--no-upstreams"])?;
    mesh.wait_enrolled(&pod)?;
    Ok((pod, process))
}

pub(crate) fn request_whose_waypoint_is_killed_ends_at_once(_: &Inside) -> Result<()> {
    let Street { mesh, web, waypoint } = street("midst-")?;
    let instance = mesh.add_waypoint(&waypoint, ("waypoint-1", 2), &WaypointSettings::default())?;
    poll::until("a call through the waypoint", SOON, || succeeds(&web, URL))?;
    let checkout = mesh.pods().into_iter().find(|it| it.spec.name == "checkout");
    let application = format!("http://{}", checkout.context("the street's service")?.address(PORT));
    let asked = || {
        let answer = succeeds(&web, &format!("{application}/asked"))?;
        answer.value.pointer("/body/asked").and_then(Value::as_u64).context("how many were asked")
    };
    succeeds(&web, &format!("{application}/control?delay_ms={}", LONG.as_millis()))?;
    let before = asked()?;
    let caller = web.clone();
    let call = std::thread::spawn(move || get(&caller, URL));
    poll::until_true("the request at its application", SOON, || Ok(asked()? > before))?;
    let killed = Instant::now();
    mesh.waypoint_process(&instance)?.kill()?;
    let answer = call.join().map_err(|_| anyhow!("the caller panicked"))??;
    ensure!(killed.elapsed() < SOON, "it ended only after {:?}", killed.elapsed());
    ensure!(answer.status == 0, "answered by nobody: {answer:?}");
    Ok(())
}
