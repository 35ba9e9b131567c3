//! What a service gets that asks for a waypoint: the shipped programs on two nodes, a test for each promise.

mod absent;
mod binding;
mod churn;
mod replicas;
#[path = "../support/mod.rs"]
mod support;
mod town;

use std::process::ExitCode;

use absent::{
    absent_waypoint_is_gone_round_where_no_policy_applies,
    waypoint_that_is_bound_and_not_there_fails_closed_where_a_policy_applies,
};
use binding::{
    call_round_the_waypoint_is_refused_where_a_policy_applies,
    call_to_a_service_that_asks_goes_through_its_waypoint,
    caller_whom_the_policy_does_not_name_is_answered_403, header_route_reaches_another_service,
    request_that_no_rule_matches_is_answered_404, service_that_does_not_ask_is_called_straight,
    waypoint_of_istios_class_serves_a_namespace_but_for_what_opts_out,
};
use churn::{
    endpoints_that_come_and_go_under_load_fail_no_idempotent_request,
    request_whose_waypoint_is_killed_ends_at_once,
};
use replicas::{
    instance_that_is_not_reached_is_passed_over, killed_waypoint_serves_again_after_its_restart,
    replaced_instance_loses_no_request,
};

fn main() -> ExitCode {
    weft_harness::tests![
        call_to_a_service_that_asks_goes_through_its_waypoint,
        header_route_reaches_another_service,
        request_that_no_rule_matches_is_answered_404,
        service_that_does_not_ask_is_called_straight,
        call_round_the_waypoint_is_refused_where_a_policy_applies,
        caller_whom_the_policy_does_not_name_is_answered_403,
        waypoint_of_istios_class_serves_a_namespace_but_for_what_opts_out,
        absent_waypoint_is_gone_round_where_no_policy_applies,
        waypoint_that_is_bound_and_not_there_fails_closed_where_a_policy_applies,
        replaced_instance_loses_no_request,
        instance_that_is_not_reached_is_passed_over,
        killed_waypoint_serves_again_after_its_restart,
        endpoints_that_come_and_go_under_load_fail_no_idempotent_request,
        request_whose_waypoint_is_killed_ends_at_once,
    ]
    .run()
}
