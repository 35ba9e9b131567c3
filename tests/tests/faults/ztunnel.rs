//! A ztunnel killed, and a ztunnel asked to end.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tokio::time::Instant;
use weft_harness::{Inside, is_redirected, poll};
use weft_proto::contract::port;

use crate::place::{Away, place};
use crate::support::calls::{get, is_refused, log_line, succeeds};
use crate::support::load::{Connections, Load};
use crate::support::tcp::Ticks;
use crate::support::{PORT, SOON};

const URL: &str = "http://checkout.shop/";
/// As [`crate::place::DRAIN`] says.
const DRAIN: Duration = Duration::from_secs(3);
/// Time for open connections to be seen as open before they must have ended.
const MARGIN: Duration = Duration::from_secs(3);

pub(crate) fn ztunnel_killed_and_restarted_serves_again(_: &Inside) -> Result<()> {
    let place = place()?;
    let mesh = &place.mesh;
    let away = Away::of(mesh.process("ztunnel-node2")?);
    let mut ticks = Ticks::open(&place.web.netns, place.checkout.address(PORT))?;
    away.process.kill()?;
    // Open connections end at once instead of hanging, and nothing goes around the proxy.
    let ended = ticks.wait_for_end(SOON)?;
    ensure!(ended < SOON, "it hung for {ended:?}");
    ensure!(is_redirected(&place.checkout.netns)?, "the pod's rules went with the ztunnel");
    is_refused(&place.web, URL)?;
    away.process.restart()?;
    mesh.wait_ztunnel(2)?;
    // Its callers' pools notice that their tunnels are dead.
    poll::until("served again", SOON, || {
        let answer = get(&place.web, URL)?;
        ensure!(answer.status == 200, "{}", answer.value);
        Ok(())
    })?;
    let load = Load::start(mesh, &place.web, URL, 50, Connections::New)?;
    let mut again = Ticks::open(&place.web.netns, place.checkout.address(PORT))?;
    again.expect_more()?;
    load.finish()?;
    away.back()
}

pub(crate) fn sigterm_lets_open_connections_finish_within_the_deadline(_: &Inside) -> Result<()> {
    let place = place()?;
    let mesh = &place.mesh;
    let ztunnel = mesh.process("ztunnel-node2")?;
    let away = Away::of(ztunnel.clone());
    // An open connection goes on and is cut when the time is over.
    let mut lasting = Ticks::open(&place.web.netns, place.checkout.address(PORT))?;
    let asked = Instant::now();
    ztunnel.signal(Signal::SIGTERM)?;
    poll::until("no new connections", SOON, || {
        ensure!(!place.checkout.netns.has_tcp_listener(port::HBONE)?, "it still listens");
        Ok(())
    })?;
    lasting.expect_more().context("after SIGTERM")?;
    lasting.wait_for_end(DRAIN + MARGIN)?;
    let cut = asked.elapsed();
    let status = ztunnel.wait(SOON)?;
    let ended = asked.elapsed();
    ensure!(status.success(), "it ended with {status}");
    ensure!(cut + Duration::from_millis(200) >= DRAIN, "cut after {cut:?} of {DRAIN:?}");
    ensure!(ended <= DRAIN + MARGIN, "it ended after {ended:?}");
    let said = log_line(mesh, 2, &["connection complete", "the proxy is shutting down"]);
    said.context("a connection that was cut left no line in the log")?;
    ztunnel.restart()?;
    mesh.wait_ztunnel(2)?;
    poll::until("served again", SOON, || {
        ensure!(get(&place.web, URL)?.status == 200);
        Ok(())
    })?;
    // With nothing left open it doesn't wait.
    let short = Ticks::open(&place.web.netns, place.checkout.address(PORT))?;
    let asked = Instant::now();
    ztunnel.signal(Signal::SIGTERM)?;
    drop(short);
    let status = ztunnel.wait(DRAIN)?;
    ensure!(status.success(), "it ended with {status}");
    ensure!(asked.elapsed() < DRAIN, "it waited for nobody: {:?}", asked.elapsed());
    ztunnel.restart()?;
    mesh.wait_ztunnel(2)?;
    poll::until("served again", SOON, || succeeds(&place.web, URL).map(drop))?;
    away.back()
}
