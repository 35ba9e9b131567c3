//! Why a request did not go as it should, in Envoy's words, which dashboards and runbooks read.

use std::fmt;

/// A set of Envoy's response flags. Its text is `-` if empty, else the flags with commas between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct ResponseFlags(u32);

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal, $text:literal, $long:literal;)*) => {
        impl ResponseFlags {
            $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)*

            /// Each flag with its short and long name, in the order in which Envoy writes them.
            const ALL: &[(Self, &'static str, &'static str)] = &[$((Self::$name, $text, $long),)*];
        }
    };
}

// The bits are Envoy's own (`StreamInfo::CoreResponseFlag`), since filters of access logs compare them as a number.
flags! {
    /// A local health check failed.
    FAILED_LOCAL_HEALTH_CHECK = 0, "LH", "FailedLocalHealthCheck";
    /// No healthy endpoint.
    NO_HEALTHY_UPSTREAM = 1, "UH", "NoHealthyUpstream";
    /// The upstream didn't answer in time.
    UPSTREAM_REQUEST_TIMEOUT = 2, "UT", "UpstreamRequestTimeout";
    /// The request was reset here.
    LOCAL_RESET = 3, "LR", "LocalReset";
    /// The upstream reset it.
    UPSTREAM_REMOTE_RESET = 4, "UR", "UpstreamRemoteReset";
    /// The upstream couldn't be connected to.
    UPSTREAM_CONNECTION_FAILURE = 5, "UF", "UpstreamConnectionFailure";
    /// The upstream's connection ended.
    UPSTREAM_CONNECTION_TERMINATION = 6, "UC", "UpstreamConnectionTermination";
    /// A circuit breaker is open.
    UPSTREAM_OVERFLOW = 7, "UO", "UpstreamOverflow";
    /// No route matched.
    NO_ROUTE_FOUND = 8, "NR", "NoRouteFound";
    /// A delay was injected.
    DELAY_INJECTED = 9, "DI", "DelayInjected";
    /// A fault was injected.
    FAULT_INJECTED = 10, "FI", "FaultInjected";
    /// A rate limit refused it.
    RATE_LIMITED = 11, "RL", "RateLimited";
    /// External authorisation refused it.
    UNAUTHORIZED = 12, "UAEX", "UnauthorizedExternalService";
    /// The rate limit service failed.
    RATE_LIMIT_SERVICE_ERROR = 13, "RLSE", "RateLimitServiceError";
    /// The client's connection ended.
    DOWNSTREAM_TERMINATION = 14, "DC", "DownstreamConnectionTermination";
    /// Retries are used up, or the most attempts made.
    RETRY_EXCEEDED = 15, "URX", "UpstreamRetryLimitExceeded";
    /// The stream was idle too long.
    STREAM_IDLE_TIMEOUT = 16, "SI", "StreamIdleTimeout";
    /// A header that had to be strict was not.
    INVALID_ENVOY_HEADERS = 17, "IH", "InvalidEnvoyRequestHeaders";
    /// The client broke the protocol.
    DOWNSTREAM_PROTOCOL_ERROR = 18, "DPE", "DownstreamProtocolError";
    /// The whole connection took too long.
    UPSTREAM_MAX_DURATION = 19, "UMSDR", "UpstreamMaxStreamDurationReached";
    /// The answer came from a cache.
    FROM_CACHE = 20, "RFCF", "ResponseFromCacheFilter";
    /// A filter's configuration is missing.
    NO_FILTER_CONFIG = 21, "NFCF", "NoFilterConfigFound";
    /// The connection took longer than it may.
    DURATION_TIMEOUT = 22, "DT", "DurationTimeout";
    /// The upstream broke the protocol.
    UPSTREAM_PROTOCOL_ERROR = 23, "UPE", "UpstreamProtocolError";
    /// The backend doesn't exist.
    NO_CLUSTER = 24, "NC", "NoClusterFound";
    /// Refused for want of memory or permits.
    OVERLOAD = 25, "OM", "OverloadManagerTerminated";
    /// A name couldn't be resolved.
    DNS_FAILED = 26, "DF", "DnsResolutionFailed";
}

impl ResponseFlags {
    /// Nothing went wrong.
    pub const NONE: Self = Self(0);

    /// With those of `other`.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Adds those of `other`.
    pub fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether all of `other` are in it.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// As Envoy's number, one bit a flag.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// The first one's text, or `-`: where there is room for one word alone.
    pub fn first(self) -> &'static str {
        self.names().next().map_or("-", |(short, _)| short)
    }

    /// Short and long names, in Envoy's order.
    pub fn names(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let has = move |flag: Self| self.contains(flag);
        Self::ALL
            .iter()
            .filter(move |(flag, ..)| has(*flag))
            .map(|(_, short, long)| (*short, *long))
    }

    /// Writes the long names, as `%RESPONSE_FLAGS_LONG%` does.
    pub fn write_long(self, out: &mut impl fmt::Write) -> fmt::Result {
        self.write(out, |(_, long)| long)
    }

    fn write(
        self,
        out: &mut impl fmt::Write,
        name: fn((&'static str, &'static str)) -> &'static str,
    ) -> fmt::Result {
        if self.is_empty() {
            return out.write_char('-');
        }
        for (nth, names) in self.names().enumerate() {
            if nth > 0 {
                out.write_char(',')?;
            }
            out.write_str(name(names))?;
        }
        Ok(())
    }
}

impl fmt::Display for ResponseFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, |(short, _)| short)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_that_of_dashboards() {
        assert_eq!(ResponseFlags::NONE.to_string(), "-");
        assert_eq!(ResponseFlags::NO_ROUTE_FOUND.to_string(), "NR");
        let both = ResponseFlags::RETRY_EXCEEDED.with(ResponseFlags::UPSTREAM_CONNECTION_FAILURE);
        assert_eq!(both.to_string(), "UF,URX");
        let mut long = String::new();
        both.write_long(&mut long).unwrap();
        assert_eq!(long, "UpstreamConnectionFailure,UpstreamRetryLimitExceeded");
        assert_eq!(both.first(), "UF");
    }

    #[test]
    fn flags_share_no_bit_and_no_name() {
        let bits =
            ResponseFlags::ALL.iter().fold(0, |sum, (flag, ..)| sum + u64::from(flag.bits()));
        assert_eq!(bits, (1 << ResponseFlags::ALL.len()) - 1);
        for (flag, short, _) in ResponseFlags::ALL {
            assert_eq!(flag.first(), *short);
        }
    }
}
