//! Who is in the mesh, and who decides it.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use weft_harness::{Inside, Launch, Pod, PodSpec, config, is_redirected, poll};
use weft_proto::contract::port;

use crate::support::calls::succeeds;
use crate::support::{PORT, SOON};
use crate::town::{Town, town};

pub(crate) fn label_alone_enrols_and_none_opts_out(_: &Inside) -> Result<()> {
    let town = town()?;
    let member = town.mesh.declared_pod(
        PodSpec::new("outside", "member", 1).label("istio.io/dataplane-mode", "ambient"),
    )?;
    town.mesh.wait_enrolled(&member)?;
    for (namespace, name, is_in) in [
        ("front", "web", true),
        ("shop", "checkout", true),
        ("outside", "member", true),
        ("front", "aloof", false),
        ("outside", "outsider", false),
    ] {
        let pod = town.pod(namespace, name)?;
        let (rules, listens) =
            (is_redirected(&pod.netns)?, pod.netns.has_tcp_listener(port::HBONE)?);
        ensure!(rules == is_in && listens == is_in, "{name}: rules {rules}, listens {listens}");
        let protocol = protocol(town, &pod)?;
        ensure!(protocol == if is_in { "HBONE" } else { "TCP" }, "{name} is reached by {protocol}");
    }
    // In and out reach each other, both ways.
    let (web, aloof) = (town.pod("front", "web")?, town.pod("front", "aloof")?);
    succeeds(&web, "http://aloof.front/")?;
    let checkout = town.pod("shop", "checkout")?;
    succeeds(&aloof, &format!("http://{}/", checkout.address(PORT)))?;
    town.mesh.remove_pod(&member)
}

fn protocol(town: &Town, pod: &Pod) -> Result<String> {
    let dump = town.mesh.config_dump(2)?;
    let workloads = dump.get("workloads").and_then(|all| all.as_array()).context("no workloads")?;
    let word = |workload: &serde_json::Value, key: &str| {
        workload.get(key).and_then(|value| value.as_str()).unwrap_or_default().to_owned()
    };
    let of_pod = workloads.iter().find(|workload| {
        word(workload, "namespace") == pod.spec.namespace && word(workload, "name") == pod.spec.name
    });
    Ok(word(of_pod.with_context(|| format!("{} isn't known", pod.spec.name))?, "protocol"))
}

pub(crate) fn pod_leaving_the_mesh_keeps_plain_connectivity(_: &Inside) -> Result<()> {
    let town = town()?;
    let manifests = town.mesh.manifests();
    manifests.namespace("leaving", true)?;
    let leaver = town.mesh.declared_pod(PodSpec::new("leaving", "leaver", 1))?;
    town.mesh.serve(&leaver, PORT, &["serve", "--role", "checkout", "--no-upstreams"])?;
    town.mesh.wait_enrolled(&leaver)?;
    let (web, checkout) = (town.pod("front", "web")?, town.pod("shop", "checkout")?);
    let outsider = town.pod("outside", "outsider")?;
    let (into, out_of) = (
        format!("http://{}/", leaver.address(PORT)),
        format!("http://{}/", checkout.address(PORT)),
    );
    succeeds(&web, &into)?;
    manifests.namespace("leaving", false)?;
    poll::until("the pod out of the mesh", SOON, || {
        ensure!(!is_redirected(&leaver.netns)?, "its rules are still there");
        ensure!(!leaver.netns.has_tcp_listener(port::HBONE)?, "ztunnel listens in it");
        ensure!(protocol(town, &leaver)? == "TCP", "others reach it by HBONE");
        Ok(())
    })?;
    let rules = leaver.netns.output("ip", &["rule", "list"])?;
    ensure!(!rules.contains("fwmark"), "left behind: {rules}");
    for from in [&web, &outsider] {
        succeeds(from, &into)?;
    }
    succeeds(&leaver, &out_of)?;
    drop(leaver);
    let gone = town.pod("leaving", "leaver")?;
    town.mesh.remove_pod(&gone)?;
    manifests.remove("namespace-leaving")
}

/// Time for an agent to have tried.
const TRIED_DEADLINE: Duration = Duration::from_secs(10);

pub(crate) fn join_token_for_another_node_is_refused(_: &Inside) -> Result<()> {
    let town = town()?;
    let mesh = &town.mesh;
    let folder = mesh.folder().join("imposter");
    let run = folder.join("run");
    std::fs::create_dir_all(&run)?;
    let token = folder.join("join-token");
    std::fs::write(&token, mesh.join_token(mesh.node(1)?)?)?;
    let controller = format!("{}:{}", mesh.control_ip(), port::CONTROLLER);
    let launch = Launch::new(config::binary("weft-cni")?, mesh.node(2)?.netns.path())
        .bind(&run, "/run/ztunnel")
        .args(["agent", "--node", "node2", "--controller", &controller])
        .arg("--join-token-file")
        .arg(&token)
        .arg("--state")
        .arg(folder.join("state"));
    let agent = mesh.start("imposter", launch)?;
    poll::until("the refusal", TRIED_DEADLINE, || {
        let log = agent.log()?;
        let why = "the join token is for node node1, and node2 asked to join";
        ensure!(log.contains(why), "it doesn't say why: {log}");
        Ok(())
    })?;
    for credential in ["agent-token", "ztunnel-token"] {
        if folder.join("state").join(credential).exists() {
            bail!("it was given its {credential}");
        }
    }
    agent.kill()
}
