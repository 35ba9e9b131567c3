//! `connectionPool`.

use serde::Deserialize;
use serde::de::IgnoredAny;
use weft_proto::route as proto;

use crate::objects::fields::FieldError;

use super::read::{count, milliseconds, or_zero};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPool {
    tcp: Option<RawTcp>,
    http: Option<RawHttp>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawTcp {
    max_connections: Option<i64>,
    connect_timeout: Option<String>,
    tcp_keepalive: Option<RawKeepalive>,
    max_connection_duration: Option<String>,
    idle_timeout: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKeepalive {
    probes: Option<i64>,
    time: Option<String>,
    interval: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawHttp {
    http1_max_pending_requests: Option<i64>,
    http2_max_requests: Option<i64>,
    max_requests_per_connection: Option<i64>,
    max_retries: Option<i64>,
    idle_timeout: Option<String>,
    h2_upgrade_policy: Option<H2Policy>,
    use_client_protocol: Option<bool>,
    max_concurrent_streams: Option<i64>,
    #[serde(rename = "http2KeepAlive")]
    http2_keep_alive: Option<IgnoredAny>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum H2Policy {
    Default,
    DoNotUpgrade,
    Upgrade,
}

impl RawPool {
    pub(super) fn build(
        &self,
        field: &str,
        ignored: &mut Vec<String>,
    ) -> Result<proto::ConnectionPool, FieldError> {
        let mut pool = proto::ConnectionPool::default();
        if let Some(tcp) = &self.tcp {
            tcp.add_to(&mut pool, &format!("{field}.tcp"))?;
        }
        if let Some(http) = &self.http {
            http.add_to(&mut pool, &format!("{field}.http"), ignored)?;
        }
        Ok(pool)
    }
}

fn idle(text: Option<&String>, field: &str) -> Result<Option<u64>, FieldError> {
    text.map(|text| or_zero(text, field)).transpose()
}

impl RawTcp {
    fn add_to(&self, pool: &mut proto::ConnectionPool, field: &str) -> Result<(), FieldError> {
        let at = |name: &str| format!("{field}.{name}");
        pool.connections_max = count(self.max_connections, &at("maxConnections"))?;
        pool.connect_timeout_ms =
            milliseconds(self.connect_timeout.as_ref(), &at("connectTimeout"))?;
        pool.connection_duration_max_ms =
            milliseconds(self.max_connection_duration.as_ref(), &at("maxConnectionDuration"))?;
        pool.tcp_idle_timeout_ms = idle(self.idle_timeout.as_ref(), &at("idleTimeout"))?;
        if let Some(keepalive) = &self.tcp_keepalive {
            let at = |name: &str| format!("{field}.tcpKeepalive.{name}");
            pool.keepalive = Some(proto::TcpKeepalive {
                probes: count(keepalive.probes, &at("probes"))?,
                time_ms: milliseconds(keepalive.time.as_ref(), &at("time"))?,
                interval_ms: milliseconds(keepalive.interval.as_ref(), &at("interval"))?,
            });
        }
        Ok(())
    }
}

impl RawHttp {
    fn add_to(
        &self,
        pool: &mut proto::ConnectionPool,
        field: &str,
        ignored: &mut Vec<String>,
    ) -> Result<(), FieldError> {
        let at = |name: &str| format!("{field}.{name}");
        pool.pending_requests_max =
            count(self.http1_max_pending_requests, &at("http1MaxPendingRequests"))?;
        pool.requests_max = count(self.http2_max_requests, &at("http2MaxRequests"))?;
        pool.requests_per_connection_max =
            count(self.max_requests_per_connection, &at("maxRequestsPerConnection"))?;
        pool.retries_max = count(self.max_retries, &at("maxRetries"))?;
        pool.http_idle_timeout_ms = idle(self.idle_timeout.as_ref(), &at("idleTimeout"))?;
        pool.concurrent_streams_max =
            count(self.max_concurrent_streams, &at("maxConcurrentStreams"))?;
        pool.uses_client_protocol = self.use_client_protocol.unwrap_or(false);
        let upgrade = match self.h2_upgrade_policy.unwrap_or(H2Policy::Default) {
            H2Policy::Default => proto::H2Upgrade::Default,
            H2Policy::DoNotUpgrade => proto::H2Upgrade::Never,
            H2Policy::Upgrade => proto::H2Upgrade::Always,
        };
        pool.set_h2_upgrade(upgrade);
        if self.http2_keep_alive.is_some() {
            ignored.push(at("http2KeepAlive"));
        }
        Ok(())
    }
}
