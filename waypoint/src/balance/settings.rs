//! What is set about a service's endpoints. Defaults are Istio's, but for the retry budget, which Istio doesn't have on.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderName;

use super::credential::Credential;
use crate::limit::GlobalLimit;
use crate::session::Session;

/// All settings of one service's port and subset.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// How one endpoint is chosen among several.
    pub balancer: Balancer,
    /// How the share of a new endpoint grows. Not with hashes.
    pub warmup: Option<Warmup>,
    /// What localities have to do with it.
    pub localities: Localities,
    /// Which endpoints are left out for their failures; `None`: none.
    pub outlier: Option<Outlier>,
    /// Connections, and how many requests at one time.
    pub pool: ConnectionPool,
    /// How many of the requests may be retries.
    pub budget: RetryBudget,
    /// TLS to endpoints, inside of the mesh's own.
    pub tls: Option<Arc<UpstreamTls>>,
    /// How many requests in which time.
    pub rate_limit: Option<RateLimit>,
    /// Whose requests stay together, where no rule says.
    pub session: Option<Arc<Session>>,
    /// Who counts the requests of all proxies.
    pub global_limit: Option<Arc<GlobalLimit>>,
}

/// How one endpoint is chosen among several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Balancer {
    /// Of so many that are drawn, the one with the fewest active requests by weight.
    LeastRequest {
        /// At least 2.
        choices: usize,
    },
    /// In turn.
    RoundRobin,
    /// Any.
    Random,
    /// The address that the client asked for: the proxy's affair. Where it has to choose all the same, any.
    Passthrough,
    /// By a hash of the request.
    Hash(ConsistentHash),
}

impl Default for Balancer {
    fn default() -> Self {
        Self::LeastRequest { choices: 2 }
    }
}

/// Requests with the same hash have the same endpoint, as long as it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsistentHash {
    /// What is hashed; `None`: nothing that this version knows, so any endpoint is used.
    pub key: Option<HashKey>,
    /// How endpoints are found by hashes.
    pub algorithm: Algorithm,
}

/// What is hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// All values of this header.
    Header(HeaderName),
    /// The value of this cookie.
    Cookie(HashCookie),
    /// The client's address.
    SourceAddress,
    /// The first parameter of that name.
    Query(Box<str>),
}

/// A cookie by which requests stay together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashCookie {
    /// Its name.
    pub name: Box<str>,
    /// Its path; empty: none is written.
    pub path: Box<str>,
    /// How long a client that has none is given one for; zero: its session. `None`: it is given none.
    pub ttl: Option<Duration>,
    /// Further attributes, such as `Secure`.
    pub attributes: Box<[Box<str>]>,
}

/// How endpoints are found by hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Endpoints stand on a ring at many places each.
    Ring {
        /// Places of all endpoints together, at least.
        size_min: usize,
    },
    /// Google's Maglev: a table that endpoints fill in turn.
    Maglev {
        /// A prime.
        size: usize,
    },
}

/// A new endpoint's share of its weight is `(age / duration) ^ (1 / aggression)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Warmup {
    /// Until it has its whole weight.
    pub duration: Duration,
    /// Above 0; 1: evenly.
    pub aggression: f64,
    /// The smallest share, 0 to 1.
    pub share_min: f64,
}

/// What localities have to do with the choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Localities {
    /// Nothing.
    Ignored,
    /// Endpoints that share the first n of these with the proxy come before those that share fewer, as far as they are
    /// healthy.
    Nearest {
        /// In order.
        scopes: Box<[Scope]>,
        /// Which regions are next to which.
        failover: Box<[Failover]>,
        /// Only where outlier detection tells which endpoints are healthy, as Istio has it.
        needs_outlier: bool,
    },
    /// Only endpoints that share all of these with the proxy.
    Required(Box<[Scope]>),
    /// Shares of localities, the first list that fits the proxy's own.
    Distributed(Box<[Distribute]>),
}

impl Default for Localities {
    fn default() -> Self {
        Self::Nearest {
            scopes: Box::new([Scope::Region, Scope::Zone, Scope::Subzone]),
            failover: Box::default(),
            needs_outlier: true,
        }
    }
}

/// What an endpoint may share with the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "Kubernetes' and Istio's topology")]
pub enum Scope {
    Region,
    Zone,
    Subzone,
    Node,
    Network,
    Cluster,
    /// A later version's: shared with nobody.
    Unknown,
}

/// Behind one region, another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failover {
    /// The proxy's.
    pub from: Box<str>,
    /// The next one.
    pub to: Box<str>,
}

/// Shares of localities, for proxies of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribute {
    /// The proxy's.
    pub from: LocalityPattern,
    /// Where to, with weights.
    pub to: Box<[(LocalityPattern, u32)]>,
}

/// `region/zone/subzone`, where `*` covers the rest, and so does an end before the last part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalityPattern(pub(super) Box<[Box<str>]>);

/// Which endpoints are left out for their failures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlier {
    /// Errors in succession; 0: they don't matter.
    pub consecutive_5xx: u32,
    /// 502, 503 and 504 in succession; 0: they don't matter by themselves.
    pub consecutive_gateway: u32,
    /// Failures without an answer are counted by themselves.
    pub splits_local_origin: bool,
    /// Of those, in succession; 0: they don't matter.
    pub consecutive_local: u32,
    /// Between looks at who may come back.
    pub interval: Duration,
    /// Of the first ejection.
    pub base_ejection: Duration,
    /// Of any.
    pub ejection_max: Duration,
    /// Of all endpoints, 0 to 100.
    pub ejected_percent_max: u32,
    /// Below it all endpoints are used, 0 to 100.
    pub healthy_percent_min: u32,
    /// What counts as an error; empty: 500 to 599.
    pub error_statuses: Box<[RangeInclusive<u16>]>,
}

impl Default for Outlier {
    fn default() -> Self {
        Self {
            consecutive_5xx: 5,
            consecutive_gateway: 0,
            splits_local_origin: false,
            consecutive_local: 5,
            interval: Duration::from_secs(10),
            base_ejection: Duration::from_secs(30),
            ejection_max: Duration::from_secs(300),
            ejected_percent_max: 10,
            healthy_percent_min: 0,
            error_statuses: Box::default(),
        }
    }
}

/// Connections to endpoints. A bound that is `None` isn't there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionPool {
    /// To all endpoints together.
    pub connections_max: Option<u32>,
    /// How long one may take to open.
    pub connect_timeout: Duration,
    /// Of connections that aren't HTTP.
    pub tcp_idle_timeout: Option<Duration>,
    /// How old one may get.
    pub connection_duration_max: Option<Duration>,
    /// `None`: the proxy's own.
    pub keepalive: Option<Keepalive>,
    /// Requests that wait for a connection.
    pub pending_max: Option<u32>,
    /// Active requests.
    pub requests_max: Option<u32>,
    /// Requests that one connection takes.
    pub requests_per_connection_max: Option<u32>,
    /// Retries at one time, besides the budget.
    pub retries_max: Option<u32>,
    /// Of connections without requests.
    pub http_idle_timeout: Option<Duration>,
    /// Streams of one HTTP/2 connection; `None`: the proxy's own bound.
    pub concurrent_streams_max: Option<u32>,
    /// What the client speaks is spoken to endpoints.
    pub uses_client_protocol: bool,
    /// Whether endpoints are spoken to in HTTP/2.
    pub h2_upgrade: H2Upgrade,
}

const HOUR: Duration = Duration::from_secs(3_600);

impl Default for ConnectionPool {
    fn default() -> Self {
        Self {
            connections_max: None,
            connect_timeout: Duration::from_secs(10),
            tcp_idle_timeout: Some(HOUR),
            connection_duration_max: None,
            keepalive: None,
            pending_max: None,
            requests_max: None,
            requests_per_connection_max: None,
            retries_max: None,
            http_idle_timeout: Some(HOUR),
            concurrent_streams_max: None,
            uses_client_protocol: false,
            h2_upgrade: H2Upgrade::Default,
        }
    }
}

/// Probes of idle connections; what is `None` is the system's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keepalive {
    /// Without an answer until the connection counts as dead.
    pub probes: Option<u32>,
    /// Until the first one.
    pub time: Option<Duration>,
    /// Between them.
    pub interval: Option<Duration>,
}

/// Whether endpoints are spoken to in HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum H2Upgrade {
    /// As the port declares it, or else as the client does.
    #[default]
    Default,
    /// Not for clients of HTTP/1.1.
    Never,
    /// Always.
    Always,
}

/// How many of the active requests may be retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryBudget {
    /// Thousandths of a percent.
    pub percent_thousandths: u32,
    /// These are always allowed.
    pub retries_min: u32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { percent_thousandths: 20_000, retries_min: 3 }
    }
}

/// TLS to endpoints, inside of the mesh's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UpstreamTls {
    /// Who proves who they are.
    pub mode: TlsMode,
    /// `None`: the request's authority.
    pub server_name: Option<Box<str>>,
    /// One must fit; empty: the server name.
    pub subject_alt_names: Box<[Box<str>]>,
    /// Who is trusted, PEM; `None`: see the file, or else the system's.
    pub ca_pem: Option<Box<str>>,
    /// The same as a file.
    pub ca_file: Option<Box<str>>,
    /// Certificate and key of the client.
    pub client_files: Option<(Box<str>, Box<str>)>,
    /// Certificate, key and who is trusted, instead of the files.
    pub credential: Option<Credential>,
    /// Revoked certificates.
    pub revocation_file: Option<Box<str>>,
    /// The endpoint's certificate isn't verified.
    pub is_unverified: bool,
}

/// Who proves who they are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TlsMode {
    /// The endpoint.
    Simple,
    /// Both sides.
    Mutual,
    /// The mesh's own and no other: connections must fail to endpoints that aren't reached over it.
    Mesh,
    /// What is asked for can't be had, for this reason: connections must fail, never go without.
    Unavailable(Box<str>),
}

/// A bucket of tokens, one a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// How many it holds.
    pub burst: u32,
    /// This many are put in...
    pub tokens: u32,
    /// ...in this time, evenly.
    pub interval: Duration,
}
