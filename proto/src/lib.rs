//! The wire contracts of the mesh: generated messages, and the numbers that two programs must agree on.
//!
//! ```text
//! controller ──discovery──▶ node proxy      (envoy.service.discovery.v3 carrying istio.workload, istio.security)
//! node proxy ──ca─────────▶ controller      (istio.v1.auth)
//! node agent ──zds────────▶ node proxy      (istio.workload.zds, the pod's namespace as a descriptor)
//! node agent ──node───────▶ controller      (weft.node.v1)
//! controller ──discovery──▶ waypoint        (weft.route.v1)
//! waypoint ───check───────▶ checker         (envoy.service.auth.v3)
//! waypoint ───count───────▶ limiter         (envoy.service.ratelimit.v3)
//! waypoint ───spans───────▶ collector       (opentelemetry.proto)
//! ```
//!
//! Invariants: names and numbers of `istio.*`, `envoy.*` and `opentelemetry.*` never change here, because stock peers speak them;
//! what is ours alone has a `weft.*` package or sits in an `extensions` field. No logic lives in this crate.

pub mod contract;

macro_rules! generated {
    ($(#[$doc:meta])* $name:ident, $package:literal) => {
        $(#[$doc])*
        #[allow(clippy::all, clippy::too_many_lines, clippy::indexing_slicing, clippy::large_futures,
                clippy::unwrap_used, unreachable_pub, unused_qualifications, elided_lifetimes_in_paths,
                missing_docs)]
        pub mod $name {
            tonic::include_proto!($package);
        }
    };
}

/// Envoy's packages, nested as the generated code refers to them.
pub mod envoy {
    /// `envoy.config`.
    pub mod config {
        /// `envoy.config.core`.
        pub mod core {
            generated!(
                /// Who a discovery client is.
                v3, "envoy.config.core.v3");
        }
    }
    /// `envoy.service`.
    pub mod service {
        /// `envoy.service.auth`.
        pub mod auth {
            generated!(
                /// Asking whether a request may go on.
                v3, "envoy.service.auth.v3");
        }
        /// `envoy.service.discovery`.
        pub mod discovery {
            generated!(
                /// Delta aggregated discovery.
                v3, "envoy.service.discovery.v3");
        }
        /// `envoy.service.ratelimit`.
        pub mod ratelimit {
            generated!(
                /// Asking whether there were too many requests.
                v3, "envoy.service.ratelimit.v3");
        }
    }
}

/// Google's well-known error type.
pub mod google {
    generated!(
        /// `google.rpc`.
        rpc, "google.rpc");
}

/// Istio's packages.
pub mod istio {
    generated!(
        /// Workloads and services; `workload::zds` is the agent's protocol.
        workload_messages, "istio.workload");
    generated!(
        /// L4 policies.
        security, "istio.security");
    generated!(
        /// The node agent's protocol.
        zds, "istio.workload.zds");
    /// `istio.v1`.
    pub mod v1 {
        generated!(
            /// The certificate authority.
            auth, "istio.v1.auth");
    }
}

/// OpenTelemetry's packages, nested as the generated code refers to them.
pub mod opentelemetry {
    /// `opentelemetry.proto.common`.
    pub mod common {
        generated!(
            /// Attributes.
            v1, "opentelemetry.proto.common.v1");
    }
    /// `opentelemetry.proto.resource`.
    pub mod resource {
        generated!(
            /// Whose spans they are.
            v1, "opentelemetry.proto.resource.v1");
    }
    /// `opentelemetry.proto.trace`.
    pub mod trace {
        generated!(
            /// Spans.
            v1, "opentelemetry.proto.trace.v1");
    }
    /// `opentelemetry.proto.collector`.
    pub mod collector {
        /// `opentelemetry.proto.collector.trace`.
        pub mod trace {
            generated!(
                /// How spans are handed over.
                v1, "opentelemetry.proto.collector.trace.v1");
        }
    }
}

/// Weft's own packages.
pub mod weft {
    generated!(
        /// How a node joins.
        node, "weft.node.v1");
    generated!(
        /// What waypoints do with requests.
        route, "weft.route.v1");
}

pub use envoy::service::auth::v3 as auth;
pub use envoy::service::discovery::v3 as discovery;
pub use envoy::service::ratelimit::v3 as ratelimit;
pub use istio::security;
pub use istio::v1::auth as ca;
pub use istio::workload_messages as workload;
pub use istio::zds;
pub use weft::node;
pub use weft::route;

/// Without its content: there is a key in it.
impl std::fmt::Debug for route::Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential(..)")
    }
}
