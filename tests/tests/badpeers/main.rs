//! Peers that mean harm or talk nonsense: the shipped programs refuse them, go on, and serve everybody else meanwhile.

mod certificates;
mod floods;
mod mint;
mod noise;
mod range;
#[path = "../support/mod.rs"]
mod support;
mod tunnels;
mod zds;

use std::process::ExitCode;

use certificates::{
    controller_refuses_peers_without_a_token, peers_of_no_valid_identity_are_refused,
};
use floods::{
    header_bomb_is_refused_and_neighbours_go_on, rapid_reset_ends_only_its_own_connection,
};
use noise::{
    garbage_and_half_handshakes_are_closed_on_every_port, silence_is_closed_within_the_deadline,
};
use tunnels::{
    denied_identity_is_told_401, malformed_telemetry_headers_do_not_break_a_tunnel,
    requests_other_than_connect_are_told_400, tunnels_lead_to_no_other_pod_port_or_loopback,
};
use zds::broken_agent_messages_cost_no_pod_its_service;

fn main() -> ExitCode {
    weft_harness::tests![
        peers_of_no_valid_identity_are_refused,
        controller_refuses_peers_without_a_token,
        tunnels_lead_to_no_other_pod_port_or_loopback,
        denied_identity_is_told_401,
        requests_other_than_connect_are_told_400,
        malformed_telemetry_headers_do_not_break_a_tunnel,
        header_bomb_is_refused_and_neighbours_go_on,
        rapid_reset_ends_only_its_own_connection,
        garbage_and_half_handshakes_are_closed_on_every_port,
        silence_is_closed_within_the_deadline,
        broken_agent_messages_cost_no_pod_its_service,
    ]
    .run()
}
