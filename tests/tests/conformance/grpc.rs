//! gRPC, by grpc-go's interoperability client and server (grpc/doc/interop-test-descriptions.md).

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use weft_harness::Inside;

use crate::programs::program;
use crate::town::{PORT, town};
use crate::{Exception, check};

/// All that need no credentials of a cloud.
const CASES: [&str; 17] = [
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
    "pick_first_unary",
    "orca_per_rpc",
    "orca_oob",
];
/// What doesn't pass.
const EXCEPTIONS: &[Exception] = &[(
    "pick_first_unary",
    "it asks for the server's id, which grpc-go's server doesn't say: it fails without a mesh, too",
)];
/// Time for one.
const DEADLINE: Duration = Duration::from_secs(30);

/// The reports of load reach the client by a balancer of its own, which has to be asked for.
fn config(case: &str) -> &'static str {
    match case.starts_with("orca") {
        true => r#"{"loadBalancingConfig": [{"test_backend_metrics_load_balancer": {}}]}"#,
        false => "{}",
    }
}

pub(crate) fn grpc_interop_passes_but_for_what_is_listed(_: &Inside) -> Result<()> {
    let town = town()?;
    let before = town.counted("server")?;
    let mut failed = BTreeSet::new();
    let mut said = String::new();
    for case in CASES {
        let finished = town
            .client
            .launch(program("client")?)
            .args(["--server_host", "server.app", "--server_port", &PORT.to_string()])
            .args(["--test_case", case, "--service_config_json", config(case)])
            .run(DEADLINE)?;
        if !finished.status.success() {
            said.push_str(&format!("{case}: {}\n", finished.stderr));
            failed.insert(case.to_owned());
        }
    }
    check(&failed, EXCEPTIONS).map_err(|error| error.context(said))?;
    ensure!(town.counted("server")? > before, "the client went past the waypoint");
    Ok(())
}
