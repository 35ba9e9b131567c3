//! The `ztunnel` program. Its settings come from the environment, under the incumbent's keys.

use std::process::ExitCode;

use weft_core::program::{Program, Started};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const HELP: &str = "\
The node's L4 proxy of a Weft mesh.

Usage: ztunnel [proxy] [ztunnel]     serve (the default)
       ztunnel version               print the version
       ztunnel help                  print this

Everything is set by the environment. What most need:
  NODE_NAME           this node                                (its name in the controller)
  XDS_ADDRESS         the controller, https://host:15012       (default https://istiod.istio-system.svc:15012)
  CA_ADDRESS          the certificate authority                (default: XDS_ADDRESS)
  XDS_ROOT_CA         file with the mesh's roots, PEM          CA_ROOT_CA likewise
  AUTH_TOKEN          file with the token
  TRUST_DOMAIN        default cluster.local
  INPOD_UDS           the node agent's socket                  (default /var/run/ztunnel/ztunnel.sock)
  WEFT_LOCAL_PATH     off sends traffic within the node through HBONE too
  RUST_LOG            log levels, e.g. info,access=warn        LOG_FORMAT=json

Example:
  NODE_NAME=node1 XDS_ADDRESS=https://10.0.0.1:15012 XDS_ROOT_CA=/var/lib/weft/root-cert.pem \\
  CA_ROOT_CA=/var/lib/weft/root-cert.pem AUTH_TOKEN=/var/lib/weft/ztunnel-token ztunnel
";

fn main() -> ExitCode {
    Program { name: "ztunnel", version: env!("CARGO_PKG_VERSION"), help: HELP }.main(serve)
}

fn serve(Started { config, control, workers, log }: Started) -> anyhow::Result<()> {
    control.block_on(weft_ztunnel::run(config, workers, log))
}
