//! Promises of the harness itself: what every other test stands on.

#![expect(clippy::indexing_slicing, reason = "a missing field of a JSON value reads as null")]

use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use weft_harness::capture::Capture;
use weft_harness::{Host, Inside, Launch, Mesh, PodSpec, config, poll, tests};

/// The shop's port in these tests.
const PORT: u16 = 8080;
/// Time for one request of the plain network.
const DEADLINE: Duration = Duration::from_secs(5);
/// Argument that makes this program build a mesh and wait to be ended.
const WAIT_TO_BE_ENDED: &str = "--build-a-mesh-and-wait";
/// What it says then, before a command that runs in one of its pods.
const READY: &str = "ready: ";

fn pods_of_two_nodes_exchange_http(_: &Inside) -> Result<()> {
    let mesh = Mesh::builder().build()?;
    let (web, checkout) = two_pods(&mesh)?;
    mesh.serve(&checkout, PORT, &["serve", "--role", "checkout", "--no-upstreams"])?;
    let url = format!("http://{}/", checkout.address(PORT));
    let answer = call(&web, &url)?;
    ensure!(answer["body"]["hop"] == "checkout", "{answer}");
    let caller = answer["body"]["caller"].as_str().context("no caller")?;
    ensure!(caller.starts_with(&format!("{}:", web.ip)), "called by {caller}");
    Ok(())
}

fn pods_reach_each_other_over_ipv6(_: &Inside) -> Result<()> {
    let mesh = Mesh::builder().ipv6().build()?;
    let (web, checkout) = two_pods(&mesh)?;
    let listen = format!("[::]:{PORT}");
    mesh.serve(
        &checkout,
        PORT,
        &["serve", "--role", "checkout", "--no-upstreams", "--listen", &listen],
    )?;
    for host in [format!("[{}]", checkout.ip6.context("no IPv6")?), checkout.ip.to_string()] {
        let answer = call(&web, &format!("http://{host}:{PORT}/"))?;
        ensure!(answer["status"] == 200, "{answer}");
    }
    Ok(())
}

fn dropped_packets_stop_traffic_until_healed(_: &Inside) -> Result<()> {
    let mesh = Mesh::builder().build()?;
    let (web, checkout) = two_pods(&mesh)?;
    mesh.serve(&checkout, PORT, &["serve", "--role", "checkout", "--no-upstreams"])?;
    let reach = || web.netns.connect(checkout.address(PORT), Duration::from_millis(300));
    reach().context("before the fault")?;
    let fault = mesh.partition(Host::Node(1), Host::Node(2))?;
    let error = reach().err().context("packets crossed a partition")?;
    ensure!(is_timeout(&error), "not in silence: {error:#}");
    fault.heal()?;
    reach().context("after the fault")?;
    let fault = mesh.partition(Host::Node(1), Host::Control)?;
    reach().context("a partition from the controller cut pods off")?;
    drop(fault);
    Ok(())
}

fn lost_packets_slow_traffic_and_do_not_stop_it(_: &Inside) -> Result<()> {
    let mesh = Mesh::builder().build()?;
    let (web, checkout) = two_pods(&mesh)?;
    mesh.serve(&checkout, PORT, &["serve", "--role", "checkout", "--no-upstreams"])?;
    let fault = mesh.lose(Host::Node(1), Host::Node(2), 10)?;
    let answer = call(&web, &format!("http://{}/echo?bytes=100000", checkout.address(PORT)))?;
    ensure!(answer["status"] == 200, "{answer}");
    let dropped = mesh.node(2)?.netns.output("nft", &["list", "ruleset"])?;
    ensure!(dropped.contains("numgen"), "{dropped}");
    fault.heal()
}

fn a_cable_comes_out_and_goes_back(_: &Inside) -> Result<()> {
    let mesh = Mesh::builder().build()?;
    let (web, checkout) = two_pods(&mesh)?;
    mesh.serve(&checkout, PORT, &["serve", "--role", "checkout", "--no-upstreams"])?;
    mesh.set_link(Host::Node(2), false)?;
    let reach = || web.netns.connect(checkout.address(PORT), Duration::from_millis(300));
    ensure!(reach().is_err(), "reached over a cable that is out");
    mesh.set_link(Host::Node(2), true)?;
    poll::until("the cable is back", DEADLINE, || reach().map(drop))
}

fn a_capture_sees_plain_text_and_its_ports(_: &Inside) -> Result<()> {
    let mesh = Mesh::builder().build()?;
    let (web, checkout) = two_pods(&mesh)?;
    mesh.serve(&checkout, PORT, &["serve", "--role", "checkout", "--no-upstreams"])?;
    let capture = Capture::start(&mesh.node(1)?.netns, "eth0")?;
    let url = format!("http://{}/", checkout.address(PORT));
    shop(&web, &["call", "--json", "--header", "x-note: a-rare-phrase", &url])?;
    let recording = capture.finish()?;
    ensure!(recording.contains("a-rare-phrase"), "{} frames", recording.frames);
    ensure!(!recording.contains("another phrase"));
    ensure!(recording.flows_of_port(PORT).count() == 2, "a flow each way");
    ensure!(recording.tls_versions(PORT).is_empty());
    ensure!(recording.tls_records(PORT).is_err(), "HTTP passed for TLS");
    ensure!(recording.forgotten_bytes == 0);
    Ok(())
}

fn a_pod_asks_its_own_resolver(_: &Inside) -> Result<()> {
    let mesh = Mesh::builder().build()?;
    let (web, _) = two_pods(&mesh)?;
    let text = web.launch("cat").arg("/etc/resolv.conf").run(DEADLINE)?.success()?;
    ensure!(text.contains("search front.svc.cluster.local "), "{text}");
    // Nobody serves it without redirection, and the node says so at once.
    let answer = web
        .launch(config::binary("shop")?)
        .args(["call", "--json", "http://checkout.shop/"])
        .run(DEADLINE)?;
    ensure!(answer.stdout.contains("doesn't resolve"), "{answer:?}");
    Ok(())
}

fn killed_programs_are_gone_and_start_again(_: &Inside) -> Result<()> {
    let mesh = Mesh::builder().build()?;
    let (web, checkout) = two_pods(&mesh)?;
    let process =
        mesh.serve(&checkout, PORT, &["serve", "--role", "checkout", "--no-upstreams"])?;
    let reach = || web.netns.connect(checkout.address(PORT), DEADLINE);
    process.kill()?;
    ensure!(reach().is_err(), "a killed program answered");
    ensure!(process.check_running().is_err());
    process.restart()?;
    mesh.wait_listening(&checkout.netns, PORT, &process)?;
    reach()?;
    ensure!(process.log()?.matches("checkout on").count() == 2, "{}", process.log()?);
    ensure!(process.resident_bytes()? > 0);
    Ok(())
}

fn load_counts_every_failure(_: &Inside) -> Result<()> {
    let mesh = Mesh::builder().build()?;
    let (web, checkout) = two_pods(&mesh)?;
    let url = format!("http://{}/health", checkout.address(PORT));
    let load = |more: &[&str]| {
        let words = ["load", "--url", &url, "--rps", "200", "--seconds", "0.5"];
        shop(&web, &[&words[..], more].concat())
    };
    ensure!(load(&[])?["failed"].as_u64() > Some(0), "nobody listened");
    mesh.serve(&checkout, PORT, &["serve", "--role", "checkout", "--no-upstreams"])?;
    for mode in [&[][..], &["--new-connections"][..]] {
        let report = load(mode)?;
        ensure!(report["failed"] == 0 && report["total"].as_u64() > Some(50), "{report}");
    }
    Ok(())
}

fn bench_modes_all_answer(_: &Inside) -> Result<()> {
    let mesh = Mesh::builder().build()?;
    let (web, checkout) = two_pods(&mesh)?;
    mesh.serve(&checkout, 9000, &["bench-server"])?;
    let target = checkout.address(9000).to_string();
    for mode in ["latency", "rps", "bulk", "download", "connect", "hold"] {
        let words = ["bench-client", "--target", &target, "--mode", mode, "--connections", "4"];
        let report = shop(&web, &[&words[..], &["--seconds", "0.2"]].concat())?;
        ensure!(report["count"].as_u64() > Some(0) && report["failed"] == 0, "{mode}: {report}");
    }
    Ok(())
}

fn manifests_are_yaml_that_names_the_namespace(_: &Inside) -> Result<()> {
    let mesh = Mesh::builder().build()?;
    mesh.manifests().namespace("front", true)?;
    let pod = mesh.declared_pod(PodSpec::new("front", "web", 1).service_account("clerk"))?;
    let text = std::fs::read_to_string(mesh.manifests().path("pod-front.web"))?;
    for line in
        ["kind: Pod", "nodeName: node1", "weft.io/netns: front.web", "podIP: \"10.44.1.10\""]
    {
        ensure!(text.contains(line), "no {line:?} in:\n{text}");
    }
    mesh.remove_pod(&pod)?;
    ensure!(!mesh.manifests().path("pod-front.web").exists());
    Ok(())
}

fn nothing_is_left_after_sigint(_: &Inside) -> Result<()> {
    nothing_is_left_after(Signal::SIGINT, &[])
}

fn nothing_is_left_after_sigterm(_: &Inside) -> Result<()> {
    nothing_is_left_after(Signal::SIGTERM, &[])
}

fn nothing_is_left_after_sigkill(_: &Inside) -> Result<()> {
    nothing_is_left_after(Signal::SIGKILL, &[])
}

fn an_ordinary_user_can_run_all_of_it(inside: &Inside) -> Result<()> {
    if inside.user_namespace {
        // Then this very run has shown it.
        return Ok(());
    }
    // The id that belongs to nobody.
    let become_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    nothing_is_left_after(Signal::SIGINT, &become_nobody)
}

/// Starts a second harness, waits until its pods talk, calls from one of them as people do from
/// outside, ends it, and looks for what it left.
fn nothing_is_left_after(signal: Signal, user: &[&str]) -> Result<()> {
    use std::io::{BufRead as _, BufReader};
    let own = std::env::current_exe().context("finding the running program")?;
    let mut child = run_by(user, &own.to_string_lossy())
        .arg(WAIT_TO_BE_ENDED)
        .env_remove("WEFT_HARNESS_INSIDE")
        .env("WEFT_BIN_DIR", config::binary("shop")?.parent().context("no folder")?)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
    let command = line.strip_prefix(READY).with_context(|| format!("it said {line:?}"))?;
    let called = run_by(user, "sh").args(["-c", command]).output()?;
    let said = String::from_utf8_lossy(&called.stdout);
    ensure!(said.contains("\"status\":200"), "from outside, `{command}` gave {called:?}");
    let outer = Pid::from_raw(i32::try_from(child.id())?);
    let family = descendants(child.id())?;
    ensure!(family.len() >= 2, "an inner process and a shop, found {family:?}");
    kill(outer, signal)?;
    poll::until("the end of the other harness", DEADLINE, || {
        child.try_wait()?.context("still running")
    })?;
    poll::until("the end of its processes", DEADLINE, || {
        let left: Vec<_> = family.iter().filter(|pid| runs(**pid)).collect();
        if left.is_empty() { Ok(()) } else { bail!("still there: {left:?}") }
    })?;
    // Its /run was its own: neither its namespaces nor its folders were ever seen here.
    for folder in ["/run/netns", "/run/weft"] {
        let names: Vec<_> = std::fs::read_dir(folder)?.flatten().map(|e| e.file_name()).collect();
        ensure!(!names.iter().any(|name| name == "node1"), "{folder}: {names:?}");
    }
    Ok(())
}

/// A command that runs as the user that `prefix` becomes.
fn run_by(prefix: &[&str], program: &str) -> Command {
    let mut words = prefix.iter().copied().chain([program]);
    let mut command = Command::new(words.next().unwrap_or(program));
    command.args(words);
    command
}

/// The second harness of [`nothing_is_left_after`]: it says how to call from its web pod.
fn build_a_mesh_and_wait() -> Result<()> {
    use std::io::Write as _;
    let inside = weft_harness::enter()?;
    let mesh = Mesh::builder().build()?;
    let (web, checkout) = two_pods(&mesh)?;
    mesh.serve(&checkout, PORT, &["serve", "--role", "checkout", "--no-upstreams"])?;
    let url = format!("http://{}/", checkout.address(PORT));
    call(&web, &url)?;
    let command = web.launch(config::binary("shop")?).args(["call", "--json", &url]);
    writeln!(std::io::stdout(), "{READY}{}", command.from_outside(&inside)?)?;
    loop {
        std::thread::park();
    }
}

/// All processes below `pid`, as this process's /proc numbers them.
fn descendants(pid: u32) -> Result<Vec<u32>> {
    let mut parents = std::collections::HashMap::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        if let Some(parent) = parent_of(child) {
            parents.insert(child, parent);
        }
    }
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, p)| **p == parent).map(|(child, _)| *child));
        next += 1;
    }
    Ok(found.split_off(1))
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Whether a process is there and no zombie.
fn runs(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z')))
}

fn two_pods(
    mesh: &Mesh,
) -> Result<(std::sync::Arc<weft_harness::Pod>, std::sync::Arc<weft_harness::Pod>)> {
    Ok((mesh.pod(PodSpec::new("front", "web", 1))?, mesh.pod(PodSpec::new("shop", "checkout", 2))?))
}

fn call(from: &weft_harness::Pod, url: &str) -> Result<serde_json::Value> {
    shop(from, &["call", "--json", url])
}

/// The last line of JSON that a tool of the shop prints in a pod.
fn shop(from: &weft_harness::Pod, arguments: &[&str]) -> Result<serde_json::Value> {
    let launch: Launch = from.launch(config::binary("shop")?).args(arguments.to_vec());
    let finished = launch.run(Duration::from_secs(20))?;
    let last = finished.stdout.lines().last().with_context(|| finished.stderr.clone())?;
    serde_json::from_str(last).with_context(|| format!("{finished:?}"))
}

fn is_timeout(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::TimedOut)
}

fn the_machine_cannot_be_reached(_: &Inside) -> Result<()> {
    let mesh = Mesh::builder().nodes(1).build()?;
    let outside: std::net::SocketAddr = "192.0.2.1:80".parse()?;
    ensure!(mesh.node(1)?.netns.connect(outside, DEADLINE).is_err());
    ensure!(TcpStream::connect_timeout(&outside, DEADLINE).is_err(), "a way out");
    Ok(())
}

fn main() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|argument| argument == WAIT_TO_BE_ENDED) {
        return match build_a_mesh_and_wait() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error:#}");
                ExitCode::FAILURE
            }
        };
    }
    tests![
        pods_of_two_nodes_exchange_http,
        pods_reach_each_other_over_ipv6,
        dropped_packets_stop_traffic_until_healed,
        lost_packets_slow_traffic_and_do_not_stop_it,
        a_cable_comes_out_and_goes_back,
        a_capture_sees_plain_text_and_its_ports,
        a_pod_asks_its_own_resolver,
        killed_programs_are_gone_and_start_again,
        load_counts_every_failure,
        bench_modes_all_answer,
        manifests_are_yaml_that_names_the_namespace,
        the_machine_cannot_be_reached,
        nothing_is_left_after_sigint,
        nothing_is_left_after_sigterm,
        nothing_is_left_after_sigkill,
        an_ordinary_user_can_run_all_of_it,
    ]
    .run()
}
