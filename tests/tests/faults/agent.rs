//! The node agent away.

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use weft_harness::{Inside, PodSpec, is_redirected, poll};
use weft_proto::contract::port;

use crate::place::{Away, place};
use crate::support::calls::succeeds;
use crate::support::load::{Connections, Load};
use crate::support::tcp::Ticks;
use crate::support::{PORT, SOON};

pub(crate) fn agent_restart_keeps_pods_served(_: &Inside) -> Result<()> {
    let place = place()?;
    let mesh = &place.mesh;
    let url = "http://checkout.shop/health";
    let away = Away::of(mesh.process("agent-node2")?);
    let mut ticks = Ticks::open(&place.web.netns, place.checkout.address(PORT))?;
    let new = Load::start(mesh, &place.web, url, 50, Connections::New)?;
    let rules = || place.checkout.netns.output("nft", &["list", "ruleset"]);
    let before = rules()?;
    for (how, end) in [("killed", Signal::SIGKILL), ("stopped", Signal::SIGTERM)] {
        away.process.signal(end)?;
        away.process.wait(SOON)?;
        ensure!(rules()? == before, "{how}: the pod's rules changed");
        let name = format!("while-{how}");
        let newcomer = mesh.declared_pod(PodSpec::new("shop", &name, 2))?;
        mesh.serve(&newcomer, PORT, &["serve", "--role", "checkout", "--no-upstreams"])?;
        away.process.restart()?;
        // What came while it was away joins; who was there notices nothing.
        mesh.wait_enrolled(&newcomer)?;
        mesh.wait_ztunnel(2)?;
        succeeds(&place.web, &format!("http://{}/", newcomer.address(PORT)))?;
        ticks.expect_more()?;
        mesh.remove_pod(&newcomer)?;
        poll::until("the newcomer gone again", SOON, || {
            ensure!(!is_redirected(&newcomer.netns)?, "its rules are there");
            ensure!(!newcomer.netns.has_tcp_listener(port::HBONE)?, "ztunnel listens in it");
            Ok(())
        })?;
    }
    ensure!(rules()? == before, "the pod's rules changed");
    new.finish()?;
    away.back()
}
