//! Generates the Rust types. The compiler is a library, so no tool has to be installed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "envoy/service/discovery/v3/discovery.proto",
        "istio/workload/workload.proto",
        "istio/security/authorization.proto",
        "istio/ca/ca.proto",
        "istio/zds/zds.proto",
        "weft/node/node.proto",
        "weft/route/v1/table.proto",
        "weft/route/v1/backend.proto",
        "weft/route/v1/credential.proto",
        "weft/route/v1/access.proto",
        "weft/route/v1/workload.proto",
        "envoy/service/auth/v3/external_auth.proto",
        "envoy/service/ratelimit/v3/rls.proto",
        "opentelemetry/trace_service.proto",
        "weft/route/v1/telemetry.proto",
    ];
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure()
        .bytes(".google.protobuf.Any")
        .btree_map(".istio.workload.Workload.services")
        // Equal messages have to be equal bytes: versions of resources are hashes of them.
        .btree_map(".weft.route.v1")
        .btree_map(".envoy.service.auth.v3")
        // Written by hand, without the key.
        .skip_debug([".weft.route.v1.Credential"])
        .compile_fds(descriptors)?;
    Ok(())
}
