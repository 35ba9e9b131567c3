//! What is known of a connection that isn't HTTP, gathered on its way, and told when it ends.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::Instant;
use weft_core::clock;
use weft_core::mesh::{party, service_labels};
use weft_core::relay::Counters;
use weft_core::telemetry::{ConnectionMetrics, Security, ServiceLabels, SharedParty};

use super::choose::{Chosen, Greeting, Unreached};
use super::relay::End;
use super::target::Target;
use super::tunnel::Tunnel;
use crate::telemetry::{
    ConnectionRecord, Downstream, Parties, ResponseFlags, Sizes, Stream, Told, Upstream,
};
use crate::upstream::{DialError, EndpointError};

/// One connection. Once it counts it is told when this is dropped, since the task that serves it may be dropped at any
/// moment: with the proxy's connection under it.
pub(super) struct Record {
    tunnel: Arc<Tunnel>,
    told: Option<Arc<Told>>,
    counts: bool,
    start: SystemTime,
    began: Instant,
    /// Bytes so far; the relay advances them.
    pub(super) counters: Arc<Counters>,
    service: Option<Arc<ServiceLabels>>,
    server_name: Box<str>,
    route: Box<str>,
    cluster: String,
    address: Option<SocketAddr>,
    destination: SharedParty,
    attempts: u32,
    /// How it ended. Until that is known: it was left by its client.
    ended: Ended,
    open: Option<ConnectionMetrics>,
}

#[derive(Default)]
struct Ended {
    flags: ResponseFlags,
    termination: Cow<'static, str>,
    failure: String,
    is_denied: bool,
}

impl Ended {
    fn with(flags: ResponseFlags, termination: &'static str) -> Self {
        Self { flags, termination: termination.into(), ..Self::default() }
    }

    fn denied(by: String) -> Self {
        Self { termination: by.into(), is_denied: true, ..Self::default() }
    }

    fn failed(flags: ResponseFlags, error: &dyn std::fmt::Display) -> Self {
        Self { flags, failure: error.to_string(), ..Self::default() }
    }
}

impl Record {
    /// Of a connection that begins.
    pub(super) fn new(tunnel: &Arc<Tunnel>) -> Self {
        let service = match &tunnel.target {
            Target::Service { service, .. } => Some(service_labels(service)),
            Target::Workload { .. } => None,
        };
        Self {
            tunnel: tunnel.clone(),
            told: tunnel.rules().told().cloned(),
            counts: false,
            start: clock::now(),
            began: Instant::now(),
            counters: Arc::default(),
            service,
            server_name: "".into(),
            route: "".into(),
            cluster: String::new(),
            address: None,
            destination: SharedParty::default(),
            attempts: 0,
            ended: Ended::with(ResponseFlags::DOWNSTREAM_TERMINATION, ""),
            open: None,
        }
    }

    /// From here on it is told.
    pub(super) fn count(&mut self, greeting: &Greeting) {
        self.counts = true;
        self.server_name = greeting.server_name().unwrap_or_default().into();
    }

    /// It is tried there.
    pub(super) fn tries(&mut self, chosen: &Chosen) {
        self.attempts += 1;
        self.route = chosen.route.clone();
        self.address = Some(chosen.to.address);
        if let Some(service) = &chosen.service {
            let port = self.tunnel.target.port();
            self.cluster = format!("inbound-vip|{port}|tcp|{}", service.hostname);
        }
    }

    /// That application answers it.
    pub(super) fn reached(&mut self, chosen: &Chosen) {
        let workload = &chosen.to.workload;
        let identity = chosen.to.hop.as_ref().map(|_| &workload.identity);
        self.destination = party(Some(workload), identity);
    }

    /// Counts it as open.
    pub(super) fn opened(&mut self) {
        let opened = self.telling(|hub, record| hub.opened(record, self.counters.clone()));
        self.open = Some(opened);
    }

    /// Why no application was reached.
    pub(super) fn failed(&mut self, why: &Unreached) {
        use ResponseFlags as Flags;
        self.ended = match why {
            Unreached::Denied(by) => Ended::denied(by.clone()),
            Unreached::NoPolicies => Ended::with(Flags::NO_FILTER_CONFIG, "policies_not_received"),
            Unreached::NoRoute | Unreached::Endpoint(EndpointError::NotBelow { .. }) => {
                Ended::failed(Flags::NO_ROUTE_FOUND, why)
            }
            Unreached::Nowhere => Ended::failed(Flags::NO_CLUSTER, why),
            Unreached::Overflow(_) => Ended::failed(Flags::UPSTREAM_OVERFLOW, why),
            Unreached::Unusable | Unreached::Endpoint(_) => {
                Ended::failed(Flags::NO_HEALTHY_UPSTREAM, why)
            }
            Unreached::Dial(DialError::Name(_)) => {
                Ended::failed(Flags::UPSTREAM_CONNECTION_FAILURE.with(Flags::DNS_FAILED), why)
            }
            Unreached::Slow(_) | Unreached::Dial(_) => {
                Ended::failed(Flags::UPSTREAM_CONNECTION_FAILURE, why)
            }
        };
    }

    /// A policy cut it off.
    pub(super) fn cut(&mut self, why: &Unreached) {
        match why {
            Unreached::Denied(by) => self.ended = Ended::denied(by.clone()),
            other => self.failed(other),
        }
    }

    /// The process ends.
    pub(super) fn drained(&mut self) {
        self.ended = Ended::with(ResponseFlags::LOCAL_RESET, "drained");
    }

    /// How the relay ended.
    pub(super) fn ended(&mut self, end: &End) {
        use ResponseFlags as Flags;
        self.ended = match end {
            End::Whole => Ended::default(),
            End::Client(_) => Ended::with(Flags::DOWNSTREAM_TERMINATION, ""),
            End::Application(error) => Ended::failed(Flags::UPSTREAM_CONNECTION_TERMINATION, error),
            End::Idle => Ended::with(Flags::STREAM_IDLE_TIMEOUT, "tcp_session_idle_timeout"),
            End::Overlong => {
                Ended::with(Flags::DURATION_TIMEOUT, "max_connection_duration_reached")
            }
        };
    }

    fn telling<R>(
        &self,
        tell: impl FnOnce(&crate::telemetry::Hub, &ConnectionRecord<'_>) -> R,
    ) -> R {
        let (tunnel, ended) = (&*self.tunnel, &self.ended);
        let (caller, totals) = (&tunnel.caller, self.counters.totals());
        let record = ConnectionRecord {
            is_denied: ended.is_denied,
            stream: Stream {
                start: self.start,
                duration: self.began.elapsed(),
                parties: Parties {
                    source: &caller.labels,
                    destination: &self.destination,
                    service: self.service.as_ref(),
                    security: Security::MutualTls,
                },
                flags: ended.flags,
                details: "",
                termination_details: &ended.termination,
                sizes: Sizes { received: totals.received, sent: totals.sent, ..Sizes::default() },
                downstream: Downstream {
                    remote: Some(caller.address),
                    local: tunnel.target.address(),
                    peer_identity: caller.identity.as_str(),
                    local_identity: tunnel.worker.shared.own.identity.as_str(),
                    server_name: &self.server_name,
                    connection_id: tunnel.number,
                    ..Downstream::default()
                },
                upstream: Upstream {
                    address: self.address,
                    cluster: &self.cluster,
                    transport_failure: &ended.failure,
                    attempts: self.attempts,
                    ..Upstream::default()
                },
                route: &self.route,
            },
        };
        tell(&tunnel.worker.shared.hub, &record)
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.counts {
            let (told, open) = (self.told.take().unwrap_or_default(), self.open.take());
            self.telling(|hub, record| hub.connection(&told, record, open));
        }
    }
}
