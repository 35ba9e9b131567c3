//! Bytes of a policy → settings. What isn't understood falls back to its default and is named; but nothing that protects a
//! connection falls away.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderName;
use prost::Message;
use weft_proto::route as proto;
use weft_proto::route::consistent_hash::{Algorithm as WireAlgorithm, Key as WireKey};
use weft_proto::route::load_balancer::Kind as WireBalancer;

use crate::limit::GlobalLimit;
use crate::limits;
use crate::session;

use super::credential::Credential;
use super::policy::{Policy, Scoped};
use super::settings::{
    Algorithm, Balancer, ConnectionPool, ConsistentHash, Distribute, Failover, H2Upgrade,
    HashCookie, HashKey, Keepalive, Localities, LocalityPattern, Outlier, RateLimit, RetryBudget,
    Scope, Settings, TlsMode, UpstreamTls, Warmup,
};
use super::table::prime_from;

/// A policy, and what of it wasn't understood.
#[derive(Debug)]
pub struct Decoded {
    /// Ready to be asked.
    pub policy: Policy,
    /// The first of them.
    pub problems: Vec<Problem>,
}

/// Something that wasn't understood; its default holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Path of the field, such as `ports[80].load_balancer.warmup`.
    pub field: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Why there is no policy at all. An earlier one stays in force; without one, connections that it may have wanted
/// protected can't be told from others, so the service's requests are answered 500.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// No valid message at all.
    #[error("not a valid BackendPolicy message: {0}")]
    Malformed(String),
    /// The content belongs under another name.
    #[error("the resource's name is not its content's namespace/hostname, which is {0}")]
    Name(String),
    /// More than a proxy takes.
    #[error("has {0} settings of ports and subsets; {max} are the most", max = limits::BACKEND_SETTINGS_MAX)]
    TooMany(usize),
}

/// Decodes the policy with resource name `name`.
pub fn decode(name: &str, bytes: &[u8]) -> Result<Decoded, PolicyError> {
    let message = proto::BackendPolicy::decode(bytes)
        .map_err(|error| PolicyError::Malformed(error.to_string()))?;
    let own_name = format!("{}/{}", message.namespace, message.hostname);
    if own_name != name {
        return Err(PolicyError::Name(own_name));
    }
    let of_subsets = message.subsets.values().map(|subset| subset.ports.len() + 1);
    let count = message.ports.len() + 1 + of_subsets.sum::<usize>();
    if count > limits::BACKEND_SETTINGS_MAX {
        return Err(PolicyError::TooMany(count));
    }
    let mut report = Report::default();
    let service = scoped(message.settings.as_ref(), &message.ports, "", &mut report);
    let subsets = message.subsets.iter().map(|(name, subset)| {
        let at = format!("subsets[{name}].");
        let scoped = scoped(subset.settings.as_ref(), &subset.ports, &at, &mut report);
        (name.as_str().into(), scoped)
    });
    let policy = Policy { subsets: subsets.collect(), service };
    Ok(Decoded { policy, problems: report.problems })
}

#[derive(Debug, Default)]
struct Report {
    problems: Vec<Problem>,
    /// Where in the message.
    at: String,
}

impl Report {
    fn note(&mut self, field: &str, reason: &'static str) {
        if self.problems.len() < limits::PROBLEMS_LISTED_MAX {
            self.problems.push(Problem { field: format!("{}{field}", self.at), reason });
        }
    }
}

fn scoped(
    all: Option<&proto::BackendSettings>,
    ports: &BTreeMap<u32, proto::BackendSettings>,
    at: &str,
    report: &mut Report,
) -> Scoped {
    report.at = format!("{at}settings.");
    let all = Arc::new(all.map(|it| settings(it, report)).unwrap_or_default());
    let ports = ports.iter().filter_map(|(port, it)| {
        report.at = format!("{at}ports[{port}].");
        let port = u16::try_from(*port).ok();
        if port.is_none() {
            report.note("", "is no port");
        }
        Some((port?, Arc::new(settings(it, report))))
    });
    let ports = ports.collect();
    Scoped { all, ports }
}

fn settings(it: &proto::BackendSettings, report: &mut Report) -> Settings {
    let balancer = it.load_balancer.as_ref();
    Settings {
        balancer: balancer.map(|it| typed_balancer(it, report)).unwrap_or_default(),
        warmup: balancer.and_then(|it| it.warmup.as_ref()).and_then(warmup),
        localities: balancer
            .and_then(|it| it.locality.as_ref())
            .map(|it| localities(it, report))
            .unwrap_or_default(),
        outlier: it.outlier_detection.as_ref().map(|it| outlier(it, report)),
        pool: it.connection_pool.as_ref().map(pool).unwrap_or_default(),
        budget: it.retry_budget.as_ref().map(budget).unwrap_or_default(),
        tls: it.tls.as_ref().and_then(tls).map(Arc::new),
        rate_limit: it.rate_limit.as_ref().map(|it| RateLimit {
            burst: it.burst,
            tokens: it.tokens,
            interval: milliseconds(it.interval_ms.max(1)),
        }),
        session: it.session.as_ref().and_then(|it| {
            let session = session::decode(it);
            session.map_err(|reason| report.note("session", reason)).ok().map(Arc::new)
        }),
        global_limit: it.global_rate_limit.as_ref().and_then(|it| {
            let limit = GlobalLimit::decode(it);
            limit.map_err(|reason| report.note("global_rate_limit", reason)).ok().map(Arc::new)
        }),
    }
}

fn milliseconds(number: u64) -> Duration {
    Duration::from_millis(number.min(limits::MILLISECONDS_MAX))
}

fn typed_balancer(it: &proto::LoadBalancer, report: &mut Report) -> Balancer {
    let Some(kind) = &it.kind else {
        // Either only the rest is set, or a later version's kind.
        return Balancer::default();
    };
    match kind {
        WireBalancer::LeastRequest(it) => {
            let choices =
                if it.choices == 0 { 2 } else { it.choices.clamp(2, limits::CHOICES_MAX) };
            Balancer::LeastRequest { choices: usize::try_from(choices).unwrap_or(2) }
        }
        WireBalancer::RoundRobin(_) => Balancer::RoundRobin,
        WireBalancer::Random(_) => Balancer::Random,
        WireBalancer::Passthrough(_) => Balancer::Passthrough,
        WireBalancer::ConsistentHash(it) => Balancer::Hash(consistent_hash(it, report)),
    }
}

fn consistent_hash(it: &proto::ConsistentHash, report: &mut Report) -> ConsistentHash {
    let key = match &it.key {
        Some(WireKey::Header(name)) => {
            HeaderName::from_bytes(name.as_bytes()).ok().map(HashKey::Header)
        }
        Some(WireKey::Cookie(cookie)) => Some(HashKey::Cookie(HashCookie {
            name: cookie.name.as_str().into(),
            path: cookie.path.as_str().into(),
            ttl: cookie.ttl_ms.map(Duration::from_millis),
            attributes: cookie.attributes.iter().map(|it| it.as_str().into()).collect(),
        })),
        Some(WireKey::SourceAddress(_)) => Some(HashKey::SourceAddress),
        Some(WireKey::QueryParameter(name)) => Some(HashKey::Query(name.as_str().into())),
        None => None,
    };
    if key.is_none() {
        report.note("load_balancer.consistent_hash.key", "is none that this version knows");
    }
    let size = |number: u64, default: usize, max: usize| match usize::try_from(number) {
        Ok(0) => default,
        Ok(number) => number.min(max),
        Err(_) => max,
    };
    let algorithm = match &it.algorithm {
        Some(WireAlgorithm::Maglev(maglev)) => {
            let size = size(maglev.table_size, MAGLEV_SIZE, limits::MAGLEV_SIZE_MAX);
            Algorithm::Maglev { size: prime_from(size) }
        }
        Some(WireAlgorithm::Ring(ring)) => {
            Algorithm::Ring { size_min: size(ring.size_min, RING_SIZE, limits::RING_SIZE_MAX) }
        }
        None => Algorithm::Ring { size_min: RING_SIZE },
    };
    ConsistentHash { key, algorithm }
}

const RING_SIZE: usize = 1_024;
const MAGLEV_SIZE: usize = 65_537;

fn warmup(it: &proto::Warmup) -> Option<Warmup> {
    let aggression = if it.aggression_thousandths == 0 { 1_000 } else { it.aggression_thousandths };
    (it.duration_ms > 0).then(|| Warmup {
        duration: milliseconds(it.duration_ms),
        aggression: f64::from(aggression) / 1_000.0,
        share_min: f64::from(it.percent_min.unwrap_or(10).min(100)) / 100.0,
    })
}

fn localities(it: &proto::LocalityBalancing, report: &mut Report) -> Localities {
    if it.is_off {
        return Localities::Ignored;
    }
    let counts = [it.distribute.len(), it.failover.len(), it.priority.len()];
    let of_lists = it.distribute.iter().map(|list| list.to.len());
    if counts.into_iter().chain(of_lists).any(|count| count > limits::LOCALITIES_MAX) {
        report.note("load_balancer.locality", "has too many entries");
        return Localities::Ignored;
    }
    if !it.distribute.is_empty() {
        let list = |list: &proto::Distribute| Distribute {
            from: pattern(&list.from),
            to: list.to.iter().map(|(to, weight)| (pattern(to), *weight)).collect(),
        };
        return Localities::Distributed(it.distribute.iter().map(list).collect());
    }
    let mut scopes = Vec::new();
    for number in &it.priority {
        let Some(scope) = scope(*number) else {
            report.note("load_balancer.locality.priority", "has a scope that isn't known");
            break;
        };
        scopes.push(scope);
    }
    if it.priority.is_empty() {
        scopes = vec![Scope::Region, Scope::Zone, Scope::Subzone];
    }
    let failover = it.failover.iter();
    Localities::Nearest {
        scopes: scopes.into(),
        failover: failover
            .map(|it| Failover { from: it.from.as_str().into(), to: it.to.as_str().into() })
            .collect(),
        needs_outlier: true,
    }
}

fn scope(number: i32) -> Option<Scope> {
    Some(match proto::LocalityScope::try_from(number).ok()? {
        proto::LocalityScope::ScopeUnknown => return None,
        proto::LocalityScope::Region => Scope::Region,
        proto::LocalityScope::Zone => Scope::Zone,
        proto::LocalityScope::Subzone => Scope::Subzone,
        proto::LocalityScope::Node => Scope::Node,
        proto::LocalityScope::Network => Scope::Network,
        proto::LocalityScope::Cluster => Scope::Cluster,
    })
}

fn pattern(text: &str) -> LocalityPattern {
    LocalityPattern(text.split('/').take(3).map(Into::into).collect())
}

fn outlier(it: &proto::OutlierDetection, report: &mut Report) -> Outlier {
    let default = Outlier::default();
    let or = |ms: u64, default: Duration| if ms == 0 { default } else { milliseconds(ms) };
    let base_ejection = or(it.base_ejection_ms, default.base_ejection);
    let mut error_statuses = Vec::new();
    for range in &it.error_statuses {
        match (u16::try_from(range.first), u16::try_from(range.last)) {
            (Ok(first), Ok(last)) => error_statuses.push(RangeInclusive::new(first, last)),
            _ => report.note("outlier_detection.error_statuses", "has no statuses"),
        }
    }
    Outlier {
        consecutive_5xx: it.consecutive_5xx.unwrap_or(default.consecutive_5xx),
        consecutive_gateway: it.consecutive_gateway_errors,
        splits_local_origin: it.splits_local_origin,
        consecutive_local: it.consecutive_local_failures.unwrap_or(default.consecutive_local),
        interval: or(it.interval_ms, default.interval),
        ejection_max: or(it.ejection_max_ms, default.ejection_max).max(base_ejection),
        base_ejection,
        ejected_percent_max: it.ejected_percent_max.unwrap_or(10).min(100),
        healthy_percent_min: it.healthy_percent_min.min(100),
        error_statuses: error_statuses.into(),
    }
}

fn pool(it: &proto::ConnectionPool) -> ConnectionPool {
    let default = ConnectionPool::default();
    let some = |number: u32| (number > 0).then_some(number);
    let limit = |ms: u64| (ms > 0).then(|| milliseconds(ms));
    let idle = |ms: Option<u64>, default| ms.map_or(default, limit);
    ConnectionPool {
        connections_max: some(it.connections_max),
        connect_timeout: limit(it.connect_timeout_ms).unwrap_or(default.connect_timeout),
        tcp_idle_timeout: idle(it.tcp_idle_timeout_ms, default.tcp_idle_timeout),
        connection_duration_max: limit(it.connection_duration_max_ms),
        keepalive: it.keepalive.as_ref().map(|it| Keepalive {
            probes: some(it.probes),
            time: limit(it.time_ms),
            interval: limit(it.interval_ms),
        }),
        pending_max: some(it.pending_requests_max),
        requests_max: some(it.requests_max),
        requests_per_connection_max: some(it.requests_per_connection_max),
        retries_max: some(it.retries_max),
        http_idle_timeout: idle(it.http_idle_timeout_ms, default.http_idle_timeout),
        concurrent_streams_max: some(it.concurrent_streams_max),
        uses_client_protocol: it.uses_client_protocol,
        h2_upgrade: match proto::H2Upgrade::try_from(it.h2_upgrade) {
            Ok(proto::H2Upgrade::Never) => H2Upgrade::Never,
            Ok(proto::H2Upgrade::Always) => H2Upgrade::Always,
            Ok(proto::H2Upgrade::Default) | Err(_) => H2Upgrade::Default,
        },
    }
}

fn budget(it: &proto::RetryBudget) -> RetryBudget {
    let default = RetryBudget::default();
    let percent = it.percent_thousandths.unwrap_or(default.percent_thousandths);
    RetryBudget {
        percent_thousandths: percent.min(100_000),
        retries_min: it.retries_min.unwrap_or(default.retries_min),
    }
}

/// What can't be understood must not become plaintext.
fn tls(it: &proto::UpstreamTls) -> Option<UpstreamTls> {
    let some = |text: &str| (!text.is_empty()).then(|| text.into());
    let mode = match proto::TlsMode::try_from(it.mode) {
        _ if !it.unavailable.is_empty() => TlsMode::Unavailable(it.unavailable.as_str().into()),
        Ok(proto::TlsMode::Disabled) => return None,
        Ok(proto::TlsMode::Simple) => TlsMode::Simple,
        Ok(proto::TlsMode::Mutual) => TlsMode::Mutual,
        Ok(proto::TlsMode::Mesh) => TlsMode::Mesh,
        Ok(proto::TlsMode::Unset) | Err(_) => {
            TlsMode::Unavailable("its mode is none that this version knows".into())
        }
    };
    let client_files = some(&it.client_certificate_file).zip(some(&it.private_key_file));
    Some(UpstreamTls {
        mode,
        server_name: some(&it.server_name),
        subject_alt_names: it.subject_alt_names.iter().map(|name| name.as_str().into()).collect(),
        ca_pem: some(&it.ca_pem),
        ca_file: some(&it.ca_file),
        client_files,
        credential: some(&it.credential).map(|name| Credential { name, material: None }),
        revocation_file: some(&it.revocation_file),
        is_unverified: it.is_unverified,
    })
}
