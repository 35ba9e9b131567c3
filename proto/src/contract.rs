//! Numbers and names that two of the mesh's programs must agree on.
//!
//! They are Istio ambient's (its redirection rules, ports and type URLs), so that either side can be a stock peer.

/// Ports inside a pod's network namespace.
pub mod port {
    /// Outbound connections are redirected here.
    pub const OUTBOUND: u16 = 15001;
    /// Inbound plaintext connections are redirected here.
    pub const INBOUND_PLAINTEXT: u16 = 15006;
    /// HBONE: the one port that is really listened on, not redirected.
    pub const HBONE: u16 = 15008;
    /// Name look-ups are redirected here.
    pub const DNS: u16 = 15053;
    /// The node proxy's admin server, loopback only.
    pub const ADMIN: u16 = 15000;
    /// Metrics.
    pub const METRICS: u16 = 15020;
    /// Readiness.
    pub const READY: u16 = 15021;
    /// The controller's discovery and certificate services.
    pub const CONTROLLER: u16 = 15012;
    /// The controller's admin server and metrics.
    pub const CONTROLLER_ADMIN: u16 = 15014;
}

/// Marks on packets and connections.
pub mod mark {
    /// On every packet that the node proxy sends: not redirected again.
    pub const PROXY: u32 = 0x539;
    /// On connections that the node proxy opened with a pod's source address: replies come back to it.
    pub const RETURN_PATH: u32 = 0x111;
    /// The bits that both use.
    pub const MASK: u32 = 0xfff;
    /// Routing table that sends the return path to loopback.
    pub const RETURN_TABLE: u32 = 100;
    /// Priority of the rule that looks into that table.
    pub const RETURN_RULE_PRIORITY: u32 = 32764;
}

/// Resource types of the discovery service.
pub mod type_url {
    /// Workloads and services.
    pub const ADDRESS: &str = "type.googleapis.com/istio.workload.Address";
    /// Workloads alone.
    pub const WORKLOAD: &str = "type.googleapis.com/istio.workload.Workload";
    /// L4 policies.
    pub const AUTHORIZATION: &str = "type.googleapis.com/istio.security.Authorization";
    /// Enrolled pods of the asking node; Weft's own.
    pub const ENROLLED_POD: &str = "type.googleapis.com/weft.node.v1.EnrolledPod";
    /// What waypoints do with a service's requests, named `namespace/hostname`; Weft's own.
    pub const ROUTE_TABLE: &str = "type.googleapis.com/weft.route.v1.RouteTable";
    /// How waypoints treat a service's endpoints, named `namespace/hostname`; Weft's own.
    pub const BACKEND_POLICY: &str = "type.googleapis.com/weft.route.v1.BackendPolicy";
    /// What waypoints prove themselves with to a service's endpoints, named `namespace/hostname`; Weft's own. Only for
    /// waypoints that stand before the service.
    pub const CREDENTIALS: &str = "type.googleapis.com/weft.route.v1.ServiceCredentials";
    /// Who may do what with a service, named `namespace/hostname`; Weft's own. A service that is bound to a waypoint always
    /// has one.
    pub const ACCESS_POLICY: &str = "type.googleapis.com/weft.route.v1.AccessPolicy";
    /// What waypoints tell of a service's requests, named `namespace/hostname`; Weft's own.
    pub const TELEMETRY_POLICY: &str = "type.googleapis.com/weft.route.v1.TelemetryPolicy";
}

/// What Weft adds to a workload, in its `extensions`: names there, which are the contents' types too.
pub mod extension {
    /// `weft.route.v1.WorkloadLabels`.
    pub const LABELS: &str = "type.googleapis.com/weft.route.v1.WorkloadLabels";
    /// `weft.route.v1.OutboundPolicy`.
    pub const OUTBOUND: &str = "type.googleapis.com/weft.route.v1.OutboundPolicy";
}

/// Ends the `system_version_info` of a response that is not the last of its load: Weft's own, since its controller sends
/// a load in parts. A stock control plane sends one response, without it.
pub const MORE_OF_LOAD_FOLLOWS: char = '+';

/// Source addresses of a node's own health probes: never redirected.
pub mod probe {
    use std::net::{Ipv4Addr, Ipv6Addr};

    /// Probes over IPv4.
    pub const V4: Ipv4Addr = Ipv4Addr::new(169, 254, 7, 127);
    /// Probes over IPv6.
    pub const V6: Ipv6Addr =
        Ipv6Addr::new(0xfd16, 0x9254, 0x7127, 0x1337, 0xffff, 0xffff, 0xffff, 0xffff);
}

/// Bounds of route tables: the controller keeps them, so that no waypoint has to refuse a table.
pub mod route {
    /// Rules of one table. The Gateway API allows 16 rules of 64 matches a route; that is sixteen such routes merged, or
    /// a VirtualService far beyond what anybody writes. At about 800 bytes a compiled rule a table stays below 13 MiB.
    pub const RULES_MAX: usize = 16_384;
    /// Conditions of one rule: the Gateway API's 16 headers and 16 query parameters, path, method, hosts, callers, and
    /// room for VirtualService's negated headers.
    pub const CONDITIONS_MAX: usize = 64;
    /// Backends, filters and other entries of one rule's lists.
    pub const LIST_MAX: usize = 1_024;
    /// A text that is compared or written, bytes: the Gateway API has 1,024 for paths and 4,096 for header values.
    pub const TEXT_BYTES_MAX: usize = 4_096;
    /// Body of a direct response, bytes: VirtualService's own bound.
    pub const DIRECT_BODY_BYTES_MAX: usize = 1 << 20;
    /// Nested groups of a regular expression: people write three.
    pub const PATTERN_NESTING_MAX: u32 = 50;
    /// Regular expressions of one table. A usual one costs some 10 KiB compiled, so that a table stays below 10 MiB.
    pub const PATTERNS_MAX: usize = 1_000;
    /// Sets of one table: one for the ports of each namespace that has routes of its own, each with a rule at least.
    pub const SETS_MAX: usize = RULES_MAX;
}

/// Bounds of policies for backends: the controller keeps them, so that no waypoint has to cut anything.
pub mod backend {
    /// Places of a ring of hashes, unless there are more endpoints. At 16 bytes a place a ring stays below 4 MiB; at 1,024
    /// endpoints each still has 256 places, which leaves their shares within some 6 %.
    pub const RING_SIZE_MAX: usize = 1 << 18;
    /// Places of a Maglev table: the larger of the two sizes that its paper measures. At 4 bytes 2.5 MiB.
    pub const MAGLEV_SIZE_MAX: usize = 655_373;
    /// Localities of one list, and lists.
    pub const LOCALITIES_MAX: usize = 256;
    /// Settings of one policy: all ports of all subsets.
    pub const BACKEND_SETTINGS_MAX: usize = 4_096;
    /// Secrets that connections to one service may need. At 600 KiB each 19 MiB, a tenth of the longest message that proxies
    /// take.
    pub const CREDENTIALS_MAX: usize = 32;
}

/// Bounds of access policies: the controller keeps them, and a proxy refuses all that a larger one covers.
pub mod access {
    /// Policies that apply to one service.
    pub const POLICIES_MAX: usize = 1_024;
    /// Rules of all of them. Each is looked at for every request, and takes some tens of nanoseconds.
    pub const RULES_MAX: usize = 4_096;
    /// Values of all rules. At about 50 bytes each a policy stays below 4 MiB.
    pub const VALUES_MAX: usize = 65_536;
    /// A text that is compared, bytes.
    pub const TEXT_BYTES_MAX: usize = 4_096;
    /// Issuers of tokens. A token is looked up by its issuer.
    pub const PROVIDERS_MAX: usize = 256;
    /// Keys of one issuer: two at a time are usual, and a token without a key's name is tried with each.
    pub const KEYS_MAX: usize = 64;
    /// A set of keys, bytes. Sixty-four keys of RSA 4096 with their certificates.
    pub const KEYS_BYTES_MAX: usize = 256 << 10;
    /// A body that is kept for a checker, bytes. The largest that fits a checker's own usual bound of 4 MiB.
    pub const CHECKED_BODY_BYTES_MAX: usize = 4 << 20;
}

/// Bounds of telemetry policies: the controller keeps them.
pub mod telemetry {
    use crate::route::Metric;

    /// Access logs of one service. People write one, or two of different formats.
    pub const LOGS_MAX: usize = 16;
    /// Tags of one metric or of spans.
    pub const TAGS_MAX: usize = 64;
    /// Headers in a request to a collector.
    pub const HEADERS_MAX: usize = 64;
    /// A tag, a header or a host, bytes.
    pub const TEXT_BYTES_MAX: usize = 4_096;
    /// A format of an access log, bytes. Istio's own has 700.
    pub const FORMAT_BYTES_MAX: usize = 16 << 10;
    /// A filter's expression, bytes: it is asked for every request.
    pub const FILTER_BYTES_MAX: usize = 4 << 10;
    /// The metrics of requests. What a label of theirs may show is [`MetricAttribute`](crate::route::MetricAttribute).
    pub const METRICS: [Metric; 6] = [
        Metric::RequestCount,
        Metric::RequestDuration,
        Metric::RequestSize,
        Metric::ResponseSize,
        Metric::RequestMessages,
        Metric::ResponseMessages,
    ];
    /// Envoy's commands that formats may have: the controller refuses others, so that their writer is told.
    pub const COMMANDS: &[&str] = &[
        "START_TIME",
        "REQ",
        "REQ_WITHOUT_QUERY",
        "RESP",
        "TRAILER",
        "GRPC_STATUS",
        "GRPC_STATUS_NUMBER",
        "PROTOCOL",
        "RESPONSE_CODE",
        "RESPONSE_CODE_DETAILS",
        "RESPONSE_FLAGS",
        "RESPONSE_FLAGS_LONG",
        "CONNECTION_TERMINATION_DETAILS",
        "UPSTREAM_TRANSPORT_FAILURE_REASON",
        "BYTES_RECEIVED",
        "BYTES_SENT",
        "REQUEST_HEADERS_BYTES",
        "RESPONSE_HEADERS_BYTES",
        "DURATION",
        "REQUEST_DURATION",
        "RESPONSE_DURATION",
        "RESPONSE_TX_DURATION",
        "UPSTREAM_HOST",
        "UPSTREAM_REMOTE_ADDRESS",
        "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
        "UPSTREAM_REMOTE_PORT",
        "UPSTREAM_LOCAL_ADDRESS",
        "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
        "UPSTREAM_LOCAL_PORT",
        "UPSTREAM_CLUSTER",
        "UPSTREAM_CLUSTER_RAW",
        "UPSTREAM_REQUEST_ATTEMPT_COUNT",
        "DOWNSTREAM_REMOTE_ADDRESS",
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
        "DOWNSTREAM_REMOTE_PORT",
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
        "DOWNSTREAM_DIRECT_REMOTE_PORT",
        "DOWNSTREAM_LOCAL_ADDRESS",
        "DOWNSTREAM_DIRECT_LOCAL_ADDRESS",
        "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
        "DOWNSTREAM_LOCAL_PORT",
        "DOWNSTREAM_PEER_URI_SAN",
        "DOWNSTREAM_LOCAL_URI_SAN",
        "REQUESTED_SERVER_NAME",
        "CONNECTION_ID",
        "ROUTE_NAME",
        "TRACE_ID",
    ];
}

/// What a service that counts requests is asked.
pub mod limit {
    /// Descriptors of one request.
    pub const DESCRIPTORS_MAX: usize = 16;
    /// Entries of one descriptor.
    pub const ENTRIES_MAX: usize = 16;
    /// The longest that a request waits for it.
    pub const TIMEOUT_MAX: std::time::Duration = std::time::Duration::from_secs(10);
    /// Bytes of a key or a literal value.
    pub const TEXT_BYTES_MAX: usize = 256;
}

/// Where the node agent listens for the node proxy.
pub const ZDS_SOCKET: &str = "/var/run/ztunnel/ztunnel.sock";
/// Longest packet of the agent's protocol, bytes.
pub const ZDS_PACKET_MAX: usize = 1024;
/// Metadata key by which a node proxy names the identity that it asks a certificate for.
pub const IMPERSONATED_IDENTITY: &str = "ImpersonatedIdentity";
/// Audience of the tokens that proxies present.
pub const TOKEN_AUDIENCE: &str = "istio-ca";
/// Trust domain where none is given.
pub const DEFAULT_TRUST_DOMAIN: &str = "cluster.local";
/// Cluster where none is given.
pub const DEFAULT_CLUSTER_ID: &str = "Kubernetes";
/// The mesh's own namespace, and the root of mesh-wide policy.
pub const SYSTEM_NAMESPACE: &str = "istio-system";
