//! Certificates that last a minute.

use std::time::Duration;

use anyhow::{Result, ensure};
use weft_harness::{Inside, poll};

use crate::place::place;
use crate::support::PORT;
use crate::support::load::{Connections, Load};
use crate::support::status::serial;
use crate::support::tcp::Ticks;

const CLIENT: &str = "spiffe://cluster.local/ns/front/sa/web";
const SERVER: &str = "spiffe://cluster.local/ns/shop/sa/checkout";
/// A renewal comes at half life, with jitter.
const RENEWAL_DEADLINE: Duration = Duration::from_secs(60);

pub(crate) fn certificates_renew_under_traffic_without_a_failed_request(_: &Inside) -> Result<()> {
    let place = place()?;
    let mesh = &place.mesh;
    let url = "http://checkout.shop/health";
    let serials = || anyhow::Ok((serial(mesh, 1, CLIENT)?, serial(mesh, 2, SERVER)?));
    let before = serials()?;
    let mut ticks = Ticks::open(&place.web.netns, place.checkout.address(PORT))?;
    let kept = Load::start(mesh, &place.web, url, 50, Connections::Kept)?;
    let new = Load::start(mesh, &place.web, url, 50, Connections::New)?;
    poll::until("renewal at both ends", RENEWAL_DEADLINE, || {
        let now = serials()?;
        ensure!(now.0 != before.0 && now.1 != before.1, "{before:?}, now {now:?}");
        Ok(())
    })?;
    // Handshakes with the new ones, too.
    let (so_far, _) = new.so_far()?;
    poll::until("requests with the new certificates", Duration::from_secs(10), || {
        let (total, _) = new.so_far()?;
        ensure!(total >= so_far + 100, "{total} since {so_far}");
        Ok(())
    })?;
    ticks.expect_more()?;
    for load in [kept, new] {
        load.finish()?;
    }
    Ok(())
}
