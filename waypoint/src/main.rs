//! The `waypoint` program. Its settings come from the environment, under the incumbent's keys.

use std::process::ExitCode;

use weft_core::program::{Program, Started};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const HELP: &str = "\
The L7 proxy of the services that ask for one.

Usage: waypoint [proxy]     serve (the default)
       waypoint version     print the version
       waypoint help        print this

Everything is set by the environment. What most need:
  POD_NAME, POD_NAMESPACE, SERVICE_ACCOUNT   who this waypoint is
  INSTANCE_IP         its address in the mesh
  XDS_ADDRESS         the controller, https://host:15012       (default https://istiod.istio-system.svc:15012)
  CA_ADDRESS          the certificate authority                (default: XDS_ADDRESS)
  XDS_ROOT_CA         file with the mesh's roots, PEM          CA_ROOT_CA likewise
  AUTH_TOKEN          file with the token
  TRUST_DOMAIN        default cluster.local
  ZTUNNEL_WORKER_THREADS   threads that serve                  (default: one a core)
  RUST_LOG            log levels, e.g. info,http=debug         LOG_FORMAT=json

Example:
  POD_NAME=waypoint-1 POD_NAMESPACE=shop SERVICE_ACCOUNT=waypoint INSTANCE_IP=10.44.1.5 \\
  XDS_ADDRESS=https://10.0.0.1:15012 XDS_ROOT_CA=/var/lib/weft/root-cert.pem \\
  CA_ROOT_CA=/var/lib/weft/root-cert.pem AUTH_TOKEN=/var/lib/weft/waypoint-token waypoint
";

fn main() -> ExitCode {
    Program { name: "waypoint", version: env!("CARGO_PKG_VERSION"), help: HELP }.main(serve)
}

fn serve(Started { config, control, workers, log }: Started) -> anyhow::Result<()> {
    control.block_on(weft_waypoint::run(config, workers, log))
}
