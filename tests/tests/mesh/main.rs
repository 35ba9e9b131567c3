//! What a user of the mesh is promised: the shipped programs on two nodes, a test for each promise.

mod change;
mod enrolment;
mod names;
mod observe;
mod policies;
#[path = "../support/mod.rs"]
mod support;
mod town;
mod traffic;

use std::process::ExitCode;

use change::{
    bad_document_keeps_last_good_and_is_named_in_status, deleted_file_removes_its_objects,
};
use enrolment::{
    join_token_for_another_node_is_refused, label_alone_enrols_and_none_opts_out,
    pod_leaving_the_mesh_keeps_plain_connectivity,
};
use names::names_resolve;
use observe::{
    metrics_and_access_log_have_the_contracts_names, refusal_names_the_deciding_policy_in_the_log,
};
use policies::{
    permissive_pod_accepts_plaintext, policy_edit_closes_open_connections,
    strict_namespace_refuses_plaintext,
};
use traffic::{
    application_sees_the_clients_own_address,
    enrolled_pods_reach_each_other_across_nodes_over_hbone, half_close_works_end_to_end,
    local_path_off_sends_it_through_hbone, same_node_traffic_takes_the_local_path,
};

fn main() -> ExitCode {
    weft_harness::tests![
        enrolled_pods_reach_each_other_across_nodes_over_hbone,
        label_alone_enrols_and_none_opts_out,
        same_node_traffic_takes_the_local_path,
        application_sees_the_clients_own_address,
        refusal_names_the_deciding_policy_in_the_log,
        strict_namespace_refuses_plaintext,
        permissive_pod_accepts_plaintext,
        policy_edit_closes_open_connections,
        half_close_works_end_to_end,
        names_resolve,
        metrics_and_access_log_have_the_contracts_names,
        pod_leaving_the_mesh_keeps_plain_connectivity,
        deleted_file_removes_its_objects,
        bad_document_keeps_last_good_and_is_named_in_status,
        join_token_for_another_node_is_refused,
        local_path_off_sends_it_through_hbone,
    ]
    .run()
}
