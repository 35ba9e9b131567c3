//! `loadBalancer`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use weft_proto::contract::backend as limits;
use weft_proto::route as proto;
use weft_proto::route::consistent_hash::{Algorithm, Key};
use weft_proto::route::load_balancer::Kind;

use crate::objects::fields::{self, FieldError};
use crate::objects::route::{check_count, check_header, check_length};

use super::read::{milliseconds, or_zero, percent, thousandths};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawBalancer {
    simple: Option<Simple>,
    consistent_hash: Option<RawHash>,
    locality_lb_setting: Option<RawLocality>,
    warmup_duration_secs: Option<String>,
    warmup: Option<RawWarmup>,
    zone_aware_lb_setting: Option<IgnoredAny>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Simple {
    Unspecified,
    LeastConn,
    Random,
    Passthrough,
    RoundRobin,
    LeastRequest,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawHash {
    http_header_name: Option<String>,
    http_cookie: Option<RawCookie>,
    use_source_ip: Option<bool>,
    http_query_parameter_name: Option<String>,
    ring_hash: Option<RawRing>,
    maglev: Option<RawMaglev>,
    minimum_ring_size: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCookie {
    name: String,
    #[serde(default, deserialize_with = "fields::or_default")]
    path: String,
    ttl: Option<String>,
    #[serde(default, deserialize_with = "fields::or_default")]
    attributes: Vec<RawAttribute>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAttribute {
    name: String,
    #[serde(default, deserialize_with = "fields::or_default")]
    value: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawRing {
    minimum_ring_size: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawMaglev {
    table_size: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawWarmup {
    duration: Option<String>,
    minimum_percent: Option<f64>,
    aggression: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawLocality {
    enabled: Option<bool>,
    #[serde(default, deserialize_with = "fields::or_default")]
    distribute: Vec<RawDistribute>,
    #[serde(default, deserialize_with = "fields::or_default")]
    failover: Vec<RawFailover>,
    #[serde(default, deserialize_with = "fields::or_default")]
    failover_priority: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDistribute {
    from: String,
    #[serde(default, deserialize_with = "fields::or_default")]
    to: BTreeMap<String, u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFailover {
    from: String,
    to: String,
}

impl RawBalancer {
    pub(super) fn build(
        &self,
        field: &str,
        ignored: &mut Vec<String>,
    ) -> Result<proto::LoadBalancer, FieldError> {
        let at = |name: &str| format!("{field}.{name}");
        if self.zone_aware_lb_setting.is_some() {
            ignored.push(at("zoneAwareLbSetting"));
        }
        let kind = match (self.simple, &self.consistent_hash) {
            (Some(_), Some(_)) => {
                return Err(FieldError::new(field, "has both simple and consistentHash"));
            }
            (None, Some(hash)) => Some(Kind::ConsistentHash(hash.build(&at("consistentHash"))?)),
            (Some(simple), None) => Some(simple.kind()),
            (None, None) => None,
        };
        let warmup = match (&self.warmup, &self.warmup_duration_secs) {
            (Some(_), Some(_)) => {
                return Err(FieldError::new(at("warmupDurationSecs"), "is given, and warmup too"));
            }
            (Some(warmup), None) => Some(warmup.build(&at("warmup"))?),
            (None, duration) => {
                let duration_ms = milliseconds(duration.as_ref(), &at("warmupDurationSecs"))?;
                (duration_ms > 0).then_some(proto::Warmup { duration_ms, ..Default::default() })
            }
        };
        // Which endpoint a hash leads to is no matter of shares.
        if warmup.is_some() && matches!(kind, Some(Kind::ConsistentHash(_))) {
            let name = if self.warmup.is_some() { "warmup" } else { "warmupDurationSecs" };
            ignored.push(at(name));
        }
        let locality = self.locality_lb_setting.as_ref();
        let locality = locality.map(|it| it.build(&at("localityLbSetting"), ignored));
        Ok(proto::LoadBalancer { kind, warmup, locality: locality.transpose()? })
    }
}

impl Simple {
    fn kind(self) -> Kind {
        match self {
            Self::Unspecified | Self::LeastConn | Self::LeastRequest => {
                Kind::LeastRequest(proto::LeastRequest::default())
            }
            Self::Random => Kind::Random(proto::Random {}),
            Self::Passthrough => Kind::Passthrough(proto::Passthrough {}),
            Self::RoundRobin => Kind::RoundRobin(proto::RoundRobin {}),
        }
    }
}

impl RawHash {
    fn build(&self, field: &str) -> Result<proto::ConsistentHash, FieldError> {
        let at = |name: &str| format!("{field}.{name}");
        let mut keys = Vec::new();
        if let Some(name) = &self.http_header_name {
            check_header(name, None, &at("httpHeaderName"))?;
            keys.push(Key::Header(name.to_ascii_lowercase()));
        }
        if let Some(cookie) = &self.http_cookie {
            keys.push(Key::Cookie(cookie.build(&at("httpCookie"))?));
        }
        if self.use_source_ip == Some(true) {
            keys.push(Key::SourceAddress(proto::SourceAddress {}));
        }
        if let Some(name) = &self.http_query_parameter_name {
            check_length(name, &at("httpQueryParameterName"))?;
            keys.push(Key::QueryParameter(name.clone()));
        }
        let key = match (keys.pop(), keys.is_empty()) {
            (Some(key), true) => key,
            _ => {
                let reason = "needs one of httpHeaderName, httpCookie, useSourceIp and \
                              httpQueryParameterName";
                return Err(FieldError::new(field, reason));
            }
        };
        Ok(proto::ConsistentHash { key: Some(key), algorithm: self.algorithm(field)? })
    }

    fn algorithm(&self, field: &str) -> Result<Option<Algorithm>, FieldError> {
        let ring = |size: Option<u64>, field: String| {
            let size_min = bounded(size, limits::RING_SIZE_MAX, &field)?;
            Ok(Some(Algorithm::Ring(proto::RingHash { size_min })))
        };
        match (&self.ring_hash, &self.maglev) {
            (Some(_), Some(_)) => Err(FieldError::new(field, "has both ringHash and maglev")),
            (Some(it), None) => {
                ring(it.minimum_ring_size, format!("{field}.ringHash.minimumRingSize"))
            }
            (None, None) => ring(self.minimum_ring_size, format!("{field}.minimumRingSize")),
            (None, Some(it)) => {
                let field = format!("{field}.maglev.tableSize");
                let table_size = bounded(it.table_size, limits::MAGLEV_SIZE_MAX, &field)?;
                let by_two = (2..).take_while(|by| by * by <= table_size);
                if table_size > 0
                    && (table_size < 2
                        || by_two.into_iter().any(|by| table_size.is_multiple_of(by)))
                {
                    return Err(FieldError::new(field, format!("{table_size} is no prime")));
                }
                Ok(Some(Algorithm::Maglev(proto::Maglev { table_size })))
            }
        }
    }
}

fn bounded(size: Option<u64>, max: usize, field: &str) -> Result<u64, FieldError> {
    let size = size.unwrap_or(0);
    match usize::try_from(size).is_ok_and(|size| size <= max) {
        true => Ok(size),
        false => Err(FieldError::new(field, format!("{size} is more than {max}"))),
    }
}

impl RawCookie {
    fn build(&self, field: &str) -> Result<proto::HashCookie, FieldError> {
        let is_token = |text: &str| {
            let is_plain =
                |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            !text.is_empty() && text.bytes().all(is_plain)
        };
        let is_value =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && !b";,".contains(&byte));
        let bad = |name: &str, text: &str| {
            let reason = format!("{text:?} can't be part of a cookie (RFC 6265)");
            FieldError::new(format!("{field}.{name}"), reason)
        };
        if !is_token(&self.name) {
            return Err(bad("name", &self.name));
        }
        if !is_value(&self.path) {
            return Err(bad("path", &self.path));
        }
        check_count(self.attributes.len(), 16, &format!("{field}.attributes"))?;
        let mut attributes = Vec::with_capacity(self.attributes.len());
        for it in &self.attributes {
            if !is_token(&it.name) || !is_value(&it.value) {
                return Err(bad("attributes", &it.name));
            }
            attributes.push(match it.value.as_str() {
                "" => it.name.clone(),
                value => format!("{}={value}", it.name),
            });
        }
        let ttl = self.ttl.as_ref().map(|ttl| or_zero(ttl, &format!("{field}.ttl")));
        Ok(proto::HashCookie {
            name: self.name.clone(),
            path: self.path.clone(),
            ttl_ms: ttl.transpose()?,
            attributes,
        })
    }
}

impl RawWarmup {
    fn build(&self, field: &str) -> Result<proto::Warmup, FieldError> {
        let at = |name: &str| format!("{field}.{name}");
        let duration_ms = milliseconds(self.duration.as_ref(), &at("duration"))?;
        if duration_ms == 0 {
            return Err(FieldError::new(at("duration"), "is missing"));
        }
        let aggression = self.aggression.unwrap_or(1.0);
        let aggression_thousandths = thousandths(aggression, 1_000.0, &at("aggression"))?;
        if aggression_thousandths == 0 {
            return Err(FieldError::new(at("aggression"), "has to be above 0"));
        }
        let min = self.minimum_percent;
        let min = min.map(|it| {
            // A whole number will do: of a tenth of a percent nothing can be seen.
            let whole = thousandths(it, 100.0, &at("minimumPercent"))?.div_ceil(1_000);
            percent(Some(i64::from(whole)), &at("minimumPercent"))
        });
        Ok(proto::Warmup { duration_ms, aggression_thousandths, percent_min: min.transpose()? })
    }
}

impl RawLocality {
    fn build(
        &self,
        field: &str,
        ignored: &mut Vec<String>,
    ) -> Result<proto::LocalityBalancing, FieldError> {
        let at = |name: &str| format!("{field}.{name}");
        let counts = [self.distribute.len(), self.failover.len(), self.failover_priority.len()];
        // failover together with failoverPriority is allowed where the latter names the region.
        if self.distribute.len().min(1) + usize::from(counts.iter().skip(1).any(|it| *it > 0)) > 1 {
            return Err(FieldError::new(field, "has both distribute and failover"));
        }
        check_count(counts.into_iter().sum(), limits::LOCALITIES_MAX, field)?;
        let mut built =
            proto::LocalityBalancing { is_off: self.enabled == Some(false), ..Default::default() };
        for (place, it) in self.distribute.iter().enumerate() {
            built.distribute.push(it.build(&format!("{field}.distribute[{place}]"))?);
        }
        for (place, it) in self.failover.iter().enumerate() {
            let is_region = |text: &str| !text.is_empty() && !text.contains(['/', '*']);
            if !is_region(&it.from) || !is_region(&it.to) || it.from == it.to {
                let reason = "needs the names of two regions";
                return Err(FieldError::new(format!("{field}.failover[{place}]"), reason));
            }
            built.failover.push(proto::Failover { from: it.from.clone(), to: it.to.clone() });
        }
        for (place, label) in self.failover_priority.iter().enumerate() {
            check_length(label, &at("failoverPriority"))?;
            let Some(scope) = scope(label) else {
                // What comes behind it counts only among those that share it.
                let rest =
                    (place..counts[2]).map(|place| format!("{field}.failoverPriority[{place}]"));
                ignored.extend(rest);
                break;
            };
            built.priority.push(scope.into());
        }
        Ok(built)
    }
}

/// Labels that are known of every endpoint and of the waypoint.
fn scope(label: &str) -> Option<proto::LocalityScope> {
    Some(match label {
        "topology.kubernetes.io/region" | "failure-domain.beta.kubernetes.io/region" => {
            proto::LocalityScope::Region
        }
        "topology.kubernetes.io/zone" | "failure-domain.beta.kubernetes.io/zone" => {
            proto::LocalityScope::Zone
        }
        "topology.istio.io/subzone" => proto::LocalityScope::Subzone,
        "kubernetes.io/hostname" => proto::LocalityScope::Node,
        "topology.istio.io/network" => proto::LocalityScope::Network,
        "topology.istio.io/cluster" => proto::LocalityScope::Cluster,
        _ => return None,
    })
}

impl RawDistribute {
    fn build(&self, field: &str) -> Result<proto::Distribute, FieldError> {
        check_locality(&self.from, &format!("{field}.from"))?;
        check_count(self.to.len(), limits::LOCALITIES_MAX, &format!("{field}.to"))?;
        let mut sum = 0_u64;
        for (to, weight) in &self.to {
            check_locality(to, &format!("{field}.to"))?;
            sum += u64::from(*weight);
        }
        if sum != 100 {
            let reason = format!("the weights sum up to {sum}, not to 100");
            return Err(FieldError::new(format!("{field}.to"), reason));
        }
        Ok(proto::Distribute { from: self.from.clone(), to: self.to.clone() })
    }
}

/// `region/zone/subzone`, of which the last part that is there may be `*`.
fn check_locality(text: &str, field: &str) -> Result<(), FieldError> {
    check_length(text, field)?;
    let parts: Vec<&str> = text.split('/').collect();
    let is_named = |part: &&str| !part.is_empty() && !part.contains('*');
    let is_right = match parts.split_last() {
        Some((last, before)) => {
            before.len() < 3 && before.iter().all(is_named) && (*last == "*" || is_named(last))
        }
        None => false,
    };
    match is_right {
        true => Ok(()),
        false => {
            let reason = format!("{text:?} is no locality such as region/zone/subzone or region/*");
            Err(FieldError::new(field, reason))
        }
    }
}
