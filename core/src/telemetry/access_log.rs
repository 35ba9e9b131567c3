//! One line a connection, under the keys of Istio's ztunnel. `policy` is Weft's own: which one decided a refusal.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::traffic::ByteTotals;
use crate::hbone::Authority;

/// Which way a connection crosses the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Into a pod of this node.
    Inbound,
    /// Out of a pod of this node.
    Outbound,
}

impl Direction {
    /// As the log says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }

    // The log speaks for the pod of this node: what it sent is the request if it is the client.

    fn sent(self, bytes: &dyn ByteTotals) -> u64 {
        match self {
            Self::Outbound => bytes.received(),
            Self::Inbound => bytes.sent(),
        }
    }

    fn received(self, bytes: &dyn ByteTotals) -> u64 {
        match self {
            Self::Outbound => bytes.sent(),
            Self::Inbound => bytes.received(),
        }
    }
}

/// One end of a connection. An absent value leaves its key out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Endpoint<'a> {
    /// Address and port.
    pub address: Option<SocketAddr>,
    /// Pod.
    pub workload: Option<&'a str>,
    /// Kubernetes namespace.
    pub namespace: Option<&'a str>,
    /// SPIFFE ID.
    pub identity: Option<&'a str>,
    /// Cluster.
    pub cluster: Option<&'a str>,
}

/// What the log says of a connection.
#[derive(Debug, Clone, Copy)]
pub struct AccessLog<'a> {
    /// Seen from the pod of this node.
    pub direction: Direction,
    /// The client.
    pub source: Endpoint<'a>,
    /// The server.
    pub destination: Endpoint<'a>,
    /// Where the tunnel leads, behind `destination`'s address: an address, or a service's name in another network.
    pub hbone_address: Option<&'a Authority>,
    /// Host name of the service addressed.
    pub service: Option<&'a str>,
}

/// What only the end of a connection shows.
#[derive(Clone, Copy)]
struct End<'a> {
    bytes: &'a dyn ByteTotals,
    duration: Duration,
    error: Option<&'a dyn fmt::Display>,
    policy: Option<&'a str>,
}

/// The event of a connection. A macro, because an event's level and message are constants to `tracing`; nothing is
/// formatted for a level that is off.
macro_rules! line {
    ($log:expr, $end:expr, $level:expr, $message:literal) => {{
        let AccessLog { direction, source, destination, hbone_address, service } = *$log;
        let end: Option<End<'_>> = $end;
        tracing::event!(
            target: "access",
            $level,
            src.addr = source.address.map(display),
            src.workload = source.workload,
            src.namespace = source.namespace,
            src.identity = source.identity,
            src.cluster = source.cluster,
            dst.addr = destination.address.map(display),
            dst.hbone_addr = hbone_address.map(display),
            dst.service = service,
            dst.workload = destination.workload,
            dst.namespace = destination.namespace,
            dst.identity = destination.identity,
            dst.cluster = destination.cluster,
            direction = direction.as_str(),
            bytes_sent = end.map(|end| direction.sent(end.bytes)),
            bytes_recv = end.map(|end| direction.received(end.bytes)),
            duration = end.map(|end| format!("{}ms", end.duration.as_millis())).as_deref(),
            error = end.and_then(|end| end.error).map(|error| error.to_string()).as_deref(),
            policy = end.and_then(|end| end.policy),
            $message,
        );
    }};
}

impl AccessLog<'_> {
    /// Says, at debug, that the connection was opened.
    pub fn opened(&self) {
        line!(self, None, tracing::Level::DEBUG, "connection opened");
    }

    /// Says that the connection ended well, at info.
    pub fn completed(&self, bytes: &dyn ByteTotals, duration: Duration) {
        let end = End { bytes, duration, error: None, policy: None };
        line!(self, Some(end), tracing::Level::INFO, "connection complete");
    }

    /// Says, at error, that the connection failed; `policy` names what refused it, if a policy did.
    pub fn failed(
        &self,
        bytes: &dyn ByteTotals,
        duration: Duration,
        error: &dyn fmt::Display,
        policy: Option<&str>,
    ) {
        let end = End { bytes, duration, error: Some(error), policy };
        line!(self, Some(end), tracing::Level::ERROR, "connection complete");
    }
}

/// A connection that ended before anybody knew what it was: a failed handshake, an unknown workload.
#[derive(Debug, Clone, Copy)]
pub struct EarlyFailure {
    /// Seen from the pod of this node.
    pub direction: Direction,
    /// The client.
    pub source: Option<SocketAddr>,
    /// Where it wanted to.
    pub destination: Option<SocketAddr>,
}

impl EarlyFailure {
    /// Says so, at warn.
    pub fn log(&self, error: &dyn fmt::Display) {
        tracing::event!(
            target: "access",
            tracing::Level::WARN,
            src.addr = self.source.map(display),
            dst.addr = self.destination.map(display),
            direction = self.direction.as_str(),
            error = error.to_string().as_str(),
            "connection failed",
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::super::logging::tests::captured;
    use super::super::logging::{LogControl, LogFormat};
    use super::*;

    static TARGET: LazyLock<Authority> =
        LazyLock::new(|| "10.44.2.10:8080".parse().expect("an authority"));

    struct Bytes;
    impl ByteTotals for Bytes {
        fn received(&self) -> u64 {
            84
        }
        fn sent(&self) -> u64 {
            358
        }
    }

    fn log(direction: Direction) -> AccessLog<'static> {
        AccessLog {
            direction,
            source: Endpoint {
                address: Some("10.44.1.10:33772".parse().unwrap()),
                workload: Some("web-0"),
                namespace: Some("shop"),
                identity: Some("spiffe://cluster.local/ns/shop/sa/web"),
                cluster: None,
            },
            destination: Endpoint {
                address: Some("10.44.2.10:15008".parse().unwrap()),
                workload: Some("checkout-0"),
                namespace: Some("shop"),
                identity: Some("spiffe://cluster.local/ns/shop/sa/checkout"),
                cluster: None,
            },
            hbone_address: Some(&TARGET),
            service: Some("checkout.shop.svc.cluster.local"),
        }
    }

    fn lines(format: LogFormat, write: impl FnOnce(&LogControl)) -> Vec<String> {
        captured(format, "info", write).lines().map(str::to_owned).collect()
    }

    #[test]
    fn completed_connection_is_one_line_with_the_keys_of_ztunnel() {
        let lines = lines(LogFormat::Text, |_| {
            log(Direction::Outbound).completed(&Bytes, Duration::from_millis(15));
            log(Direction::Inbound).completed(&Bytes, Duration::from_millis(1));
            log(Direction::Inbound).opened();
        });
        let (_, outbound) = lines[0].split_once('\t').unwrap();
        assert_eq!(
            outbound,
            concat!(
                "info\taccess\tconnection complete\tsrc.addr=10.44.1.10:33772 src.workload=\"web-0\" ",
                "src.namespace=\"shop\" src.identity=\"spiffe://cluster.local/ns/shop/sa/web\" ",
                "dst.addr=10.44.2.10:15008 dst.hbone_addr=10.44.2.10:8080 ",
                "dst.service=\"checkout.shop.svc.cluster.local\" dst.workload=\"checkout-0\" ",
                "dst.namespace=\"shop\" dst.identity=\"spiffe://cluster.local/ns/shop/sa/checkout\" ",
                "direction=\"outbound\" bytes_sent=84 bytes_recv=358 duration=\"15ms\""
            )
        );
        assert!(lines[1].contains("direction=\"inbound\" bytes_sent=358 bytes_recv=84"));
        assert_eq!(lines.len(), 2, "an opened connection is said at debug only");
    }

    #[test]
    fn tunnel_into_another_network_leads_to_a_name() {
        let name = "checkout.shop.svc.cluster.local:80".parse().unwrap();
        let lines = lines(LogFormat::Text, |_| {
            let log = AccessLog { hbone_address: Some(&name), ..log(Direction::Outbound) };
            log.completed(&Bytes, Duration::from_millis(1));
        });
        let key = " dst.hbone_addr=checkout.shop.svc.cluster.local:80 ";
        assert!(lines[0].contains(key), "{}", lines[0]);
    }

    #[test]
    fn refusal_names_the_deciding_policy() {
        let lines = lines(LogFormat::Text, |_| {
            let took = Duration::from_millis(1);
            log(Direction::Inbound).failed(&Bytes, took, &"denied", Some("shop/only-web"));
        });
        assert!(lines[0].contains("\terror\taccess\tconnection complete\t"));
        assert!(lines[0].ends_with("error=\"denied\" policy=\"shop/only-web\""), "{}", lines[0]);
    }

    #[test]
    fn json_has_the_same_keys() {
        let lines = lines(LogFormat::Json, |_| {
            log(Direction::Outbound).completed(&Bytes, Duration::from_millis(15));
        });
        let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(line["level"], "info");
        assert_eq!(line["scope"], "access");
        assert_eq!(line["message"], "connection complete");
        assert_eq!(line["src.addr"], "10.44.1.10:33772");
        assert_eq!(line["bytes_sent"], 84);
        assert!(line.get("policy").is_none());
    }

    #[test]
    fn early_failure_is_a_warning() {
        let lines = lines(LogFormat::Text, |_| {
            let source = Some("10.44.1.10:1".parse().unwrap());
            let failure = EarlyFailure { direction: Direction::Inbound, source, destination: None };
            failure.log(&"TLS handshake:\nno certificate");
        });
        assert!(lines[0].ends_with(concat!(
            "warn\taccess\tconnection failed\tsrc.addr=10.44.1.10:1 direction=\"inbound\" ",
            r#"error="TLS handshake:\nno certificate""#
        )));
    }
}
