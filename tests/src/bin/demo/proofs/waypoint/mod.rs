//! The second act: what a waypoint does for the services that ask for one.

mod access;
mod breaking;
mod rollout;
mod routing;
mod tracing;

pub(super) use access::{get_is_allowed_and_delete_refused, only_tokens_of_the_issuer_pass};
pub(super) use breaking::{
    breaker_opens_and_closes, failing_endpoint_is_left_out, faults_are_seen_and_survived,
    slow_answers_end_at_the_timeout,
};
pub(super) use rollout::{canary_shifts_without_a_failure, replaced_waypoint_loses_nothing};
pub(super) use routing::{copies_reach_the_other_version, header_leads_to_v2, traffic_is_split};
pub(super) use tracing::one_trace_across_three;
