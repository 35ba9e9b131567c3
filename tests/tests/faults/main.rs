//! Programs and connections that go away, and come back: who notices, and for how long.

mod agent;
mod controller;
mod place;
mod policy_hold;
mod renewal;
mod scripted;
#[path = "../support/mod.rs"]
mod support;
mod ztunnel;

use std::process::ExitCode;

use agent::agent_restart_keeps_pods_served;
use controller::controller_killed_for_a_while_fails_nothing_and_catches_up;
use policy_hold::policy_that_does_not_arrive_is_waited_for_and_then_denied;
use renewal::certificates_renew_under_traffic_without_a_failed_request;
use ztunnel::{
    sigterm_lets_open_connections_finish_within_the_deadline,
    ztunnel_killed_and_restarted_serves_again,
};

fn main() -> ExitCode {
    weft_harness::tests![
        controller_killed_for_a_while_fails_nothing_and_catches_up,
        agent_restart_keeps_pods_served,
        ztunnel_killed_and_restarted_serves_again,
        sigterm_lets_open_connections_finish_within_the_deadline,
        policy_that_does_not_arrive_is_waited_for_and_then_denied,
        certificates_renew_under_traffic_without_a_failed_request,
    ]
    .run()
}
