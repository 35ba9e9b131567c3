//! An agent that speaks its protocol badly: the ztunnel ends the session, connects again, and serves its pods on.

use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd};

use anyhow::{Context, Result, ensure};
use prost::Message as _;
use serde_json::Value;
use weft_harness::{Inside, poll};
use weft_proto::zds::WorkloadRequest;
use weft_proto::zds::workload_request::Payload;

use crate::range::{Range, range};
use crate::support::SOON;
use crate::support::agent::{Agent, add, del, keep, snapshot_sent};

pub(crate) fn broken_agent_messages_cost_no_pod_its_service(_: &Inside) -> Result<()> {
    let range = range()?;
    let uids = served(range)?;
    ensure!(uids.len() == 2, "node 1 serves {uids:?}");
    let real = range.mesh.process("agent-node1")?;
    let sound = range.withstands(|| {
        real.kill()?;
        let agent = Agent::listen(&range.mesh.folder().join("node1/run"))?;
        breaks_off(&agent, range)?;
        out_of_order(&agent, &uids, range)
    });
    real.restart()?;
    sound?;
    // The real agent is believed again, and nothing of the false one is left.
    poll::until("the agent's own pods", SOON, || {
        ensure!(served(range)? == uids, "{:?}", served(range)?);
        Ok(())
    })?;
    range.mesh.wait_ztunnel(1)
}

/// The pods that node 1's ztunnel serves, by the agent's names for them.
fn served(range: &Range) -> Result<Vec<String>> {
    let dump = range.mesh.config_dump(1)?;
    let state = dump.get("workloadState").and_then(Value::as_object).context("no workloadState")?;
    let mut uids: Vec<String> = state.keys().cloned().collect();
    uids.sort();
    Ok(uids)
}

fn packet(payload: Payload) -> Vec<u8> {
    WorkloadRequest { payload: Some(payload) }.encode_to_vec()
}

/// What ends a session, each in one of its own.
fn breaks_off(agent: &Agent, range: &Range) -> Result<()> {
    let netns = File::open(range.victim.netns.path())?;
    let fd = netns.as_fd();
    let name = ("shop", "false");
    let cases: [(&str, Vec<u8>, Vec<BorrowedFd<'_>>); 9] = [
        ("an add without a descriptor", packet(add("false", name, "false")), vec![]),
        ("an add with two", packet(add("false", name, "false")), vec![fd, fd]),
        ("a keep with a descriptor", packet(keep("false")), vec![fd]),
        ("a packet over 1 KiB", packet(add(&"u".repeat(2000), name, "false")), vec![fd]),
        ("garbage", vec![0xff; 200], vec![]),
        ("garbage with a descriptor", vec![0x0a, 0xff, 0xff], vec![fd]),
        ("a request of no kind", vec![0x7a, 0x00], vec![]),
        ("an uid of control characters", packet(del("a\u{0}\n")), vec![]),
        ("an empty uid", packet(del("")), vec![]),
    ];
    for (what, packet, descriptors) in &cases {
        let session = agent.accept().with_context(|| format!("before {what}"))?;
        session.send(packet, descriptors)?;
        session.wait_for_end().context(*what)?;
    }
    // Says nothing, and leaves.
    drop(agent.accept().context("before leaving")?);
    Ok(())
}

/// What is answered, and doesn't end the session.
fn out_of_order(agent: &Agent, uids: &[String], range: &Range) -> Result<()> {
    let session = agent.accept().context("after the broken sessions")?;
    let nothing = File::open("/dev/null")?;
    let said = session.ask(add("false", ("shop", "false"), "false"), &[nothing.as_fd()])?;
    ensure!(!said.is_empty(), "a file passed for a network namespace");
    let said = session.ask(del("never-heard-of"), &[])?;
    ensure!(said.is_empty(), "removing what isn't there: {said}");
    for uid in uids {
        let said = session.ask(keep(uid), &[])?;
        ensure!(said.is_empty(), "keep: {said}");
    }
    let said = session.ask(snapshot_sent(), &[])?;
    ensure!(said.is_empty(), "the end of the snapshot: {said}");
    let said = session.ask(snapshot_sent(), &[])?;
    ensure!(said.is_empty(), "the end of the snapshot, again: {said}");
    let said = session.ask(keep("false"), &[])?;
    ensure!(!said.is_empty(), "keep after the snapshot");
    let mut left = served(range)?;
    left.retain(|uid| uids.contains(uid));
    ensure!(left == uids, "of {uids:?} it serves {left:?}");
    Ok(())
}
