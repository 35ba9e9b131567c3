//! A waypoint that services are bound to, and that has no instance.

use anyhow::{Result, ensure};
use weft_harness::Inside;

use crate::support::calls::{is_refused, succeeds};
use crate::town::town;

pub(crate) fn absent_waypoint_is_gone_round_where_no_policy_applies(_: &Inside) -> Result<()> {
    let town = town()?;
    let web = town.pod("front", "web")?;
    let answer = succeeds(&web, "http://open.shop/")?;
    let is_straight = answer.text("/body/caller").starts_with(&format!("{}:", web.ip));
    ensure!(is_straight, "{answer:?}");
    Ok(())
}

pub(crate) fn waypoint_that_is_bound_and_not_there_fails_closed_where_a_policy_applies(
    _: &Inside,
) -> Result<()> {
    let town = town()?;
    // Web is whom the policy allows: without a waypoint nobody can tell.
    is_refused(&*town.pod("front", "web")?, "http://closed.shop/")?;
    is_refused(&*town.pod("front", "intruder")?, "http://closed.shop/")?;
    Ok(())
}
