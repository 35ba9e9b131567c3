//! A pod names a policy that isn't there: the controller's order of sending must not decide who is let in.

use std::fs::File;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::AsFd as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::{HeaderMap, StatusCode};
use prost::Message as _;
use rcgen::SanType;
use tokio::time::Instant;
use weft_harness::{Inside, Mesh, Pod, PodSpec, ZtunnelSettings, poll};
use weft_proto::contract::{port, type_url};
use weft_proto::security::{
    Action, Authorization, Clause, Match, Rule, Scope, StringMatch, string_match,
};
use weft_proto::workload::{Address, TunnelProtocol, Workload, address};

use crate::scripted::{Authority, Voice, serve};
use crate::support::agent::{Agent, add, snapshot_sent};
use crate::support::peer::{self, Credential, Outcome};
use crate::support::{PORT, SOON};

const CALLER: &str = "spiffe://cluster.local/ns/front/sa/caller";
/// How long a connection waits for a policy.
const HOLD: Duration = Duration::from_secs(5);
/// What a busy machine may add to that.
const MARGIN: Duration = Duration::from_secs(3);
pub(crate) fn policy_that_does_not_arrive_is_waited_for_and_then_denied(_: &Inside) -> Result<()> {
    let mesh = Mesh::builder().nodes(1).prefix("hold-").build()?;
    let caller = mesh.pod(PodSpec::new("front", "caller", 1))?;
    let pods = ["never", "late"].map(|name| mesh.pod(PodSpec::new("shop", name, 1)));
    let [never, late] = pods;
    let (never, late) = (never?, late?);
    for pod in [&never, &late] {
        mesh.serve(pod, PORT, &["serve", "--role", "checkout", "--no-upstreams"])?;
    }
    let (voice, credential) = controller(&mesh)?;
    for pod in [&never, &late] {
        let (name, workload) = described(pod)?;
        voice.say(type_url::ADDRESS, &[(&name, workload)])?;
    }
    // No policy at all so far, and that is the whole state.
    voice.say(type_url::AUTHORIZATION, &[])?;
    let agent = Agent::listen(&mesh.folder().join("node1/run"))?;
    // Answers to a borrowed source address come back by rules that only the real agent makes.
    let environment = vec![("ENABLE_ORIG_SRC".to_owned(), "false".to_owned())];
    mesh.start_ztunnel(1, &ZtunnelSettings { environment, ..ZtunnelSettings::default() })?;
    let session = agent.accept()?;
    for pod in [&never, &late] {
        let netns = File::open(pod.netns.path())?;
        let names = (pod.spec.namespace.as_str(), pod.spec.name.as_str());
        let said = session.ask(add(&pod.spec.name, names, "server"), &[netns.as_fd()])?;
        ensure!(said.is_empty(), "{}: {said}", pod.spec.name);
    }
    session.ask(snapshot_sent(), &[])?;
    mesh.wait_ztunnel(1)?;
    let call = |to: &Pod| {
        let (hbone, authority) = (to.address(port::HBONE), to.address(PORT).to_string());
        let (from, credential) = (&caller.netns, &credential);
        let start = Instant::now();
        let outcome = peer::run(async move {
            let requests = peer::http2(from, hbone, Some(credential)).await?;
            peer::connect(&requests, &authority, HeaderMap::new()).await
        })?;
        anyhow::Ok((outcome, start.elapsed()))
    };
    let (outcome, waited) = call(&never)?;
    let is_denied = matches!(outcome, Outcome::Status(StatusCode::UNAUTHORIZED));
    ensure!(is_denied, "{outcome:?} after {waited:?}");
    ensure!((HOLD..HOLD + MARGIN).contains(&waited), "denied after {waited:?} and not {HOLD:?}");
    // One that arrives meanwhile decides.
    let policy = [("shop/late", allows_caller("late").encode_to_vec())];
    let (outcome, waited) = std::thread::scope(|scope| {
        let telling = scope.spawn(|| {
            poll::until("the connection held", SOON, || {
                let dump = mesh.config_dump(1)?;
                let held = dump.pointer("/workloadState/late/connections/inbound/0");
                held.map(drop).with_context(|| {
                    format!("{}", dump.pointer("/workloadState").cloned().unwrap_or_default())
                })
            })?;
            voice.say(type_url::AUTHORIZATION, &policy)
        });
        let called = call(&late);
        telling.join().ok().context("the teller panicked")??;
        called
    })?;
    let is_let_in = matches!(outcome, Outcome::Status(StatusCode::OK));
    ensure!(is_let_in, "{outcome:?} after {waited:?}");
    ensure!(waited < HOLD, "let in after {waited:?}");
    Ok(())
}

/// Starts the controller on its host, and a credential of its authority.
fn controller(mesh: &Mesh) -> Result<(Voice, Credential)> {
    let authority = Authority::new()?;
    let credential = authority.issue(vec![SanType::URI(CALLER.try_into()?)])?;
    let state = mesh.folder().join("node1");
    std::fs::create_dir_all(state.join("run"))?;
    std::fs::write(state.join("root-cert.pem"), &authority.root_pem)?;
    std::fs::write(state.join("ztunnel-token"), "a token that nobody looks at")?;
    let at = SocketAddr::from((mesh.control_ip(), port::CONTROLLER));
    let listener = mesh.control().run(|| Ok(TcpListener::bind(at)?))?;
    let names = vec![SanType::IpAddress(IpAddr::V4(mesh.control_ip()))];
    Ok((serve(listener, authority, names)?, credential))
}

/// A pod that names a policy of its own name.
fn described(pod: &Pod) -> Result<(String, Vec<u8>)> {
    let (namespace, name) = (pod.spec.namespace.clone(), pod.spec.name.clone());
    let uid = format!("Kubernetes//Pod/{namespace}/{name}");
    let workload = Workload {
        uid: uid.clone(),
        authorization_policies: vec![format!("{namespace}/{name}")],
        name,
        namespace,
        addresses: vec![pod.ip.octets().to_vec()],
        tunnel_protocol: TunnelProtocol::Hbone.into(),
        service_account: "server".to_owned(),
        node: "node1".to_owned(),
        cluster_id: "Kubernetes".to_owned(),
        ..Workload::default()
    };
    let address = Address { r#type: Some(address::Type::Workload(workload)) };
    Ok((uid, address.encode_to_vec()))
}

fn allows_caller(name: &str) -> Authorization {
    let principal = CALLER.trim_start_matches("spiffe://").to_owned();
    let principal = StringMatch { match_type: Some(string_match::MatchType::Exact(principal)) };
    let of_caller = Match { principals: vec![principal], ..Match::default() };
    Authorization {
        name: name.to_owned(),
        namespace: "shop".to_owned(),
        scope: Scope::WorkloadSelector.into(),
        action: Action::Allow.into(),
        rules: vec![Rule { clauses: vec![Clause { matches: vec![of_caller] }] }],
        ..Authorization::default()
    }
}
