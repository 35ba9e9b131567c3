//! Settings in words, for who asks what a waypoint does. Keys and where they lie aren't told.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::settings::{
    Algorithm, Balancer, ConnectionPool, HashKey, Localities, Outlier, Settings, TlsMode,
    UpstreamTls,
};

impl Settings {
    /// All that bounds or changes what is done, by name. A bound that isn't there isn't listed.
    pub fn in_words(&self) -> BTreeMap<String, String> {
        let mut words = Words::default();
        words.put("balancer", &self.balancer);
        words.put("localities", &self.localities);
        words.put_if("outliers", self.outlier.as_ref());
        words.put_if("tls", self.tls.as_ref());
        words.pool(&self.pool);
        if let Some(warmup) = &self.warmup {
            let (time, aggression) = (warmup.duration, warmup.aggression);
            let share = warmup.share_min * 100.0;
            words.put("warmup", format!("{time:?}, aggression {aggression}, from {share} % on"));
        }
        let percent = f64::from(self.budget.percent_thousandths) / 1_000.0;
        let budget =
            format!("{percent} % of active requests, at least {}", self.budget.retries_min);
        words.put("retryBudget", budget);
        if let Some(limit) = &self.rate_limit {
            let (tokens, interval, burst) = (limit.tokens, limit.interval, limit.burst);
            words.put("rateLimit", format!("{tokens} in {interval:?}, up to {burst} at once"));
        }
        words.put_if("session", self.session.as_ref());
        words.put_if("globalRateLimit", self.global_limit.as_ref());
        words.0
    }
}

#[derive(Default)]
struct Words(BTreeMap<String, String>);

impl Words {
    fn put(&mut self, name: &str, value: impl ToString) {
        self.0.insert(name.to_owned(), value.to_string());
    }

    fn put_if(&mut self, name: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }

    fn time(&mut self, name: &str, value: Option<Duration>) {
        self.put_if(name, value.map(|time| format!("{time:?}")));
    }

    fn pool(&mut self, pool: &ConnectionPool) {
        self.put_if("maxConnections", pool.connections_max);
        self.put_if("maxPendingRequests", pool.pending_max);
        self.put_if("maxRequests", pool.requests_max);
        self.put_if("maxRequestsPerConnection", pool.requests_per_connection_max);
        self.put_if("maxRetries", pool.retries_max);
        self.put_if("maxConcurrentStreams", pool.concurrent_streams_max);
        self.time("connectTimeout", Some(pool.connect_timeout));
        self.time("tcpIdleTimeout", pool.tcp_idle_timeout);
        self.time("httpIdleTimeout", pool.http_idle_timeout);
        self.time("maxConnectionDuration", pool.connection_duration_max);
        self.put_if("tcpKeepalive", pool.keepalive.map(|it| format!("{it:?}")));
        self.put("h2Upgrade", format!("{:?}", pool.h2_upgrade).to_lowercase());
        if pool.uses_client_protocol {
            self.put("useClientProtocol", true);
        }
    }
}

impl fmt::Display for Balancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeastRequest { choices } => write!(f, "least requests of {choices} drawn"),
            Self::RoundRobin => f.write_str("in turn"),
            Self::Random => f.write_str("random"),
            Self::Passthrough => f.write_str("the address that the client asked for"),
            Self::Hash(hash) => {
                f.write_str(match hash.algorithm {
                    Algorithm::Ring { .. } => "ring by ",
                    Algorithm::Maglev { .. } => "maglev by ",
                })?;
                match &hash.key {
                    None => f.write_str("nothing known"),
                    Some(HashKey::Header(name)) => write!(f, "header {name}"),
                    Some(HashKey::Cookie(cookie)) => write!(f, "cookie {}", cookie.name),
                    Some(HashKey::SourceAddress) => f.write_str("the client's address"),
                    Some(HashKey::Query(name)) => write!(f, "query parameter {name}"),
                }
            }
        }
    }
}

impl fmt::Display for Localities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ignored => f.write_str("ignored"),
            Self::Nearest { scopes, needs_outlier, .. } => {
                write!(f, "nearest by {scopes:?}")?;
                match needs_outlier {
                    true => f.write_str(" where outliers are looked for"),
                    false => Ok(()),
                }
            }
            Self::Required(scopes) => write!(f, "only those that share {scopes:?}"),
            Self::Distributed(shares) => write!(f, "by {} shares", shares.len()),
        }
    }
}

impl fmt::Display for Outlier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (time, percent) = (self.base_ejection, self.ejected_percent_max);
        write!(f, "after {} errors", self.consecutive_5xx)?;
        if self.consecutive_gateway > 0 {
            write!(f, " or {} gateway errors", self.consecutive_gateway)?;
        }
        if self.splits_local_origin {
            write!(f, " or {} local failures", self.consecutive_local)?;
        }
        write!(f, " for {time:?}, at most {percent} %, looked at every {:?}", self.interval)
    }
}

impl fmt::Display for UpstreamTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.mode {
            TlsMode::Simple => f.write_str("simple"),
            TlsMode::Mutual => f.write_str("mutual"),
            TlsMode::Mesh => f.write_str("the mesh's own"),
            TlsMode::Unavailable(why) => write!(f, "can't be had: {why}"),
        }?;
        if let Some(name) = &self.server_name {
            write!(f, ", server name {name}")?;
        }
        if let Some(credential) = &self.credential {
            let lacks = if credential.material.is_none() { ", which isn't here" } else { "" };
            write!(f, ", with a Secret{lacks}")?;
        }
        if self.is_unverified { f.write_str(", not verified") } else { Ok(()) }
    }
}
