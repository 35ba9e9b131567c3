//! A request on to a backend: faults, which backend, attempts, the response.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, HeaderValue, UPGRADE};
use http::uri::PathAndQuery;
use http::{StatusCode, Uri, Version, request};
use rand::{Rng, RngExt};
use tokio::time::{Instant, sleep};
use weft_core::mesh::{AppProtocol, IpFamilies, Service, Snapshot};

use super::answer::Answer;
use super::attempt::{Begun, Failure, attempt};
use super::downstream::{Downstream, Gone};
use super::exchange::{End, Seen, answer_with, expects_invitation};
use super::feed::Feed;
use super::headers;
use super::mirror;
use super::reply::{self, Asked, Broken};
use super::retry;
use crate::limits;
use crate::record::Record;
use crate::route::{self, Abort, Action, Backend, Destination, Forward, Span};
use crate::serve::{Target, Tunnel};
use crate::telemetry::ResponseFlags;
use crate::upstream::{Endpoint, EndpointError, Spoken, endpoint};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What is to be done with a request.
#[derive(Clone, Copy)]
pub(super) struct Plan<'a> {
    pub(super) action: Option<&'a Action>,
    forward: Option<&'a Forward>,
    span: Span,
}

impl<'a> Plan<'a> {
    /// No rule counts: to what was asked for.
    pub(super) fn direct() -> Self {
        Self { action: None, forward: None, span: Span::Whole }
    }

    /// By a rule.
    pub(super) fn by_rule(action: &'a Action, forward: &'a Forward, span: Span) -> Self {
        Self { action: Some(action), forward: Some(forward), span }
    }
}

/// Where a request goes.
struct Backed<'a> {
    backend: Option<&'a Backend>,
    place: Place,
    spoken: Spoken,
}

/// Which endpoints count.
pub(super) enum Place {
    Service { snapshot: Arc<Snapshot>, service: Arc<Service>, port: u16 },
    One(Endpoint),
}

/// Forwards it, and sends the response.
pub(super) async fn forward(
    tunnel: &Arc<Tunnel>,
    downstream: &mut Downstream,
    head: request::Parts,
    seen: &Seen,
    plan: &Plan<'_>,
    record: &mut Record,
) -> Result<End, Gone> {
    if let Some(abort) = inject(downstream, plan, record).await? {
        let answer = abort.for_client(seen.is_grpc);
        return answer_with(downstream, answer, &head.method, record).await;
    }
    let upgrade = headers::upgrade(&head.headers).filter(|_| head.version == Version::HTTP_11);
    let chosen = choose(tunnel, &head, plan, upgrade.is_some(), &mut rand::rng());
    let backed = match chosen {
        Ok(backed) => backed,
        Err((status, flag, details)) => {
            record.flag(flag, details);
            let answer = Answer::empty(status).for_client(seen.is_grpc);
            return answer_with(downstream, answer, &head.method, record).await;
        }
    };
    let declared = head.headers.get(CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse().ok());
    let mut feed = Feed::new(downstream, declared, expects_invitation(&head));
    let origin = head.headers.get(http::header::ORIGIN).cloned();
    let (method, version) = (head.method.clone(), head.version);
    let sent_head = request_head(head, seen, plan, backed.backend, upgrade.as_ref());
    mirror::begin(tunnel, plan.action, &sent_head, downstream.is_body_done());

    let timeouts = plan.forward.map(|it| it.timeouts).unwrap_or_default();
    let until = timeouts.request.map(|timeout| Instant::now() + timeout);
    let trying = Trying { tunnel, head: &sent_head, plan, backed: &backed, until };
    let (to, mut begun) = match trying.run(downstream, &mut feed, record).await {
        Ok(begun) => begun,
        Err(failure) => return fail(downstream, failure, &method, seen, record).await,
    };
    edit_response(&mut begun, plan, backed.backend, origin.as_ref());
    record.responded(&begun.head, begun.took, &to);
    let asked = Asked { method: &method, version, upgrade: upgrade.as_ref(), until };
    let shelf = &tunnel.worker.shelf;
    let sent = Box::pin(reply::send(begun, downstream, &mut feed, &asked, &to, shelf)).await;
    mirror::with_body(tunnel, plan.action, &sent_head, &feed);
    record.read_bytes = feed.read;
    let (sent, broken) = match sent {
        Ok(sent) => (sent, None),
        Err((sent, broken)) => (sent, Some(broken)),
    };
    record.sent_bytes = sent.bytes;
    record.ended(sent.grpc_status.as_ref());
    match broken {
        None if sent.is_upgraded => Ok(End::Upgraded),
        None => Ok(End::Whole),
        Some(Broken::Gone(gone)) => Err(gone),
        Some(Broken::Upstream(why)) => {
            tracing::debug!(target: "http", service = %tunnel.target.name(), why, "response cut");
            record.flag(ResponseFlags::UPSTREAM_CONNECTION_TERMINATION, "upstream_reset_after_response_started");
            Ok(End::Broken)
        }
        Some(Broken::Late) => {
            record.flag(ResponseFlags::UPSTREAM_REQUEST_TIMEOUT, "response_timeout");
            Ok(End::Broken)
        }
    }
}

/// Faults that the rule injects: a wait, and perhaps an answer.
async fn inject(
    downstream: &mut Downstream,
    plan: &Plan<'_>,
    record: &mut Record,
) -> Result<Option<Answer>, Gone> {
    let Some(action) = plan.action else { return Ok(None) };
    let fault = action.filters.fault;
    if let Some((share, wait)) = fault.delay
        && share.holds(rand::rng().next_u64())
    {
        record.flag(ResponseFlags::DELAY_INJECTED, "fault_filter_delay");
        if downstream.is_body_done() {
            tokio::select! {
                () = sleep(wait) => {}
                gone = downstream.gone() => return Err(gone),
            }
        } else {
            sleep(wait).await;
        }
    }
    let Some((_, abort)) = fault.abort.filter(|(share, _)| share.holds(rand::rng().next_u64()))
    else {
        return Ok(None);
    };
    record.flag(ResponseFlags::FAULT_INJECTED, "fault_filter_abort");
    Ok(Some(match abort {
        Abort::Http(status) => Answer::text(status, "fault filter abort"),
        Abort::Grpc(status) => Answer::grpc(status, "fault filter abort"),
    }))
}

fn choose<'a>(
    tunnel: &Tunnel,
    head: &request::Parts,
    plan: &Plan<'a>,
    is_upgrade: bool,
    rng: &mut impl Rng,
) -> Result<Backed<'a>, (StatusCode, ResponseFlags, &'static str)> {
    let follow = |declared: AppProtocol| match declared {
        _ if is_upgrade => Spoken::Http1,
        AppProtocol::Http2 | AppProtocol::Grpc => Spoken::Http2,
        _ if head.version == Version::HTTP_2 => Spoken::Http2,
        _ => Spoken::Http1,
    };
    let snapshot = tunnel.mesh().load();
    let Some(forward) = plan.forward else {
        let (place, declared) = match &tunnel.target {
            Target::Service { service, port, .. } => {
                // The service as it is now: the tunnel may be older.
                let current = snapshot.service_with_key(&service.key).unwrap_or(service).clone();
                let declared = tunnel.target.declared();
                (Place::Service { snapshot: snapshot.clone(), service: current, port: *port }, declared)
            }
            Target::Workload { workload, address } => {
                let (families, asked) = (IpFamilies::Automatic, Some(*address));
                let workload = snapshot.workload(&workload.uid).unwrap_or(workload).clone();
                let to = Endpoint::of(workload, address.port(), families, asked);
                let to = to.map_err(|_| {
                    (StatusCode::SERVICE_UNAVAILABLE, ResponseFlags::NO_HEALTHY_UPSTREAM, "no_healthy_upstream")
                })?;
                (Place::One(to), AppProtocol::Unknown)
            }
        };
        return Ok(Backed { backend: None, place, spoken: follow(declared) });
    };
    let invalid = (StatusCode::INTERNAL_SERVER_ERROR, ResponseFlags::NONE, "direct_response");
    let backend = forward.backends.choose(rng.next_u64()).ok_or(invalid)?;
    let route::Target::To(destination) = &backend.target else { return Err(invalid) };
    let (service, port) = find(&snapshot, tunnel, destination)
        .ok_or((StatusCode::SERVICE_UNAVAILABLE, ResponseFlags::NO_CLUSTER, "cluster_not_found"))?;
    let declared = service.port(port).map_or(AppProtocol::Unknown, |port| port.app_protocol);
    let spoken = match destination.protocol {
        _ if is_upgrade => Spoken::Http1,
        route::Protocol::Http1 => Spoken::Http1,
        route::Protocol::Http2 => Spoken::Http2,
        route::Protocol::Auto => follow(declared),
    };
    Ok(Backed { backend: Some(backend), place: Place::Service { snapshot, service, port }, spoken })
}

/// The service and port of a destination.
pub(super) fn find(
    snapshot: &Snapshot,
    tunnel: &Tunnel,
    to: &Destination,
) -> Option<(Arc<Service>, u16)> {
    let service = snapshot.service(&to.namespace, &to.hostname)?.clone();
    let port = to.port.unwrap_or_else(|| tunnel.target.port());
    service.port(port)?;
    Some((service, port))
}

impl Place {
    pub(super) fn endpoint(&self, tunnel: &Tunnel) -> Result<Endpoint, EndpointError> {
        match self {
            Self::One(to) => Ok(to.clone()),
            Self::Service { snapshot, service, port } => {
                let own = tunnel.worker.own_workload();
                endpoint(snapshot, service, *port, own.as_deref(), None, &mut rand::rng())
            }
        }
    }
}

/// The head as the application gets it.
fn request_head(
    mut head: request::Parts,
    seen: &Seen,
    plan: &Plan<'_>,
    backend: Option<&Backend>,
    upgrade: Option<&HeaderValue>,
) -> request::Parts {
    headers::strip_connection(&mut head.headers);
    head.headers.remove(EXPECT);
    if let Some(upgrade) = upgrade {
        head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        head.headers.insert(UPGRADE, upgrade.clone());
    }
    if !head.headers.contains_key(REQUEST_ID) {
        head.headers.insert(REQUEST_ID, request_id(&mut rand::rng()));
    }
    if !head.headers.contains_key(FORWARDED_PROTO) {
        head.headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
    let filters = plan.action.map(|action| &action.filters);
    let mut path = seen.path.to_string();
    let mut authority = HeaderValue::from_str(&seen.authority).ok();
    if let Some(filters) = filters {
        filters.request_headers.apply(&mut head.headers);
        if let Some(rewrite) = &filters.path {
            path = rewrite.apply(&seen.path, plan.span);
        }
        authority = filters.authority.clone().or(authority);
    }
    if let Some(backend) = backend {
        backend.request_headers.apply(&mut head.headers);
        authority = backend.authority.clone().or(authority);
    }
    let text = match seen.query.is_empty() {
        true => path,
        false => format!("{path}?{}", seen.query),
    };
    let path = PathAndQuery::try_from(text).unwrap_or_else(|_| PathAndQuery::from_static("/"));
    let named = authority.as_ref().and_then(|it| it.to_str().ok()?.parse().ok());
    if let Some(authority) = authority {
        head.headers.insert(HOST, authority);
    }
    head.uri = uri(named, path);
    head
}

/// With the authority in it: HTTP/2 takes `:authority` from there, and HTTP/1.1 sends the path alone.
fn uri(authority: Option<http::uri::Authority>, path: PathAndQuery) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = Some(path);
    if let Some(authority) = authority {
        parts.authority = Some(authority);
        parts.scheme = Some(http::uri::Scheme::HTTP);
    }
    Uri::from_parts(parts).unwrap_or_default()
}

fn request_id(rng: &mut impl Rng) -> HeaderValue {
    // RFC 9562, section 5.4: version 4, variant 10.
    let random = rng.random::<u128>();
    let id = (random & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let text = format!("{id:032x}");
    let at = |from, to| text.get(from..to).unwrap_or_default();
    let text =
        format!("{}-{}-{}-{}-{}", at(0, 8), at(8, 12), at(12, 16), at(16, 20), at(20, 32));
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("none"))
}

fn edit_response(
    begun: &mut Begun,
    plan: &Plan<'_>,
    backend: Option<&Backend>,
    origin: Option<&HeaderValue>,
) {
    let headers = &mut begun.head.headers;
    if let Some(backend) = backend {
        backend.response_headers.apply(headers);
    }
    if let Some(action) = plan.action {
        action.filters.response_headers.apply(headers);
        if let Some(cors) = &action.filters.cors {
            cors.mark(origin, headers);
        }
    }
}

struct Trying<'a> {
    tunnel: &'a Tunnel,
    head: &'a request::Parts,
    plan: &'a Plan<'a>,
    backed: &'a Backed<'a>,
    until: Option<Instant>,
}

/// Why no attempt brought a response.
pub(super) enum Failed {
    NoEndpoint(EndpointError),
    Attempt(Failure),
    /// The whole request's time is over.
    Late,
}

impl Trying<'_> {
    async fn run(
        &self,
        downstream: &mut Downstream,
        feed: &mut Feed,
        record: &mut Record,
    ) -> Result<(Endpoint, Begun), Failed> {
        let mut course = retry::Course::new(self.plan.forward.and_then(|it| it.retry.as_ref()));
        loop {
            record.attempts += 1;
            let to = self.backed.place.endpoint(self.tunnel).map_err(Failed::NoEndpoint)?;
            let (until, is_whole) = self.deadline();
            let spoken = self.backed.spoken;
            let trying = attempt(self.tunnel, downstream, feed, self.head, &to, spoken, until);
            let outcome = Box::pin(trying).await;
            if is_whole && matches!(outcome, Err(Failure::Timeout)) {
                return Err(Failed::Late);
            }
            let again = match &outcome {
                Ok(begun) => course.after_response(&begun.head, feed.can_repeat()),
                Err(failure) => course.after_failure(failure, feed.can_repeat()),
            };
            let Some(wait) = again else {
                return outcome.map(|begun| (to, begun)).map_err(Failed::Attempt);
            };
            drop(outcome);
            self.pause(wait).await?;
        }
    }

    /// When the attempt has to have begun to answer, and whether that is the end of the whole request's time.
    fn deadline(&self) -> (Instant, bool) {
        let now = Instant::now();
        let attempt = self.plan.forward.and_then(|it| it.timeouts.attempt).map(|it| now + it);
        match (self.until, attempt) {
            (Some(whole), Some(attempt)) if attempt < whole => (attempt, false),
            (Some(whole), _) => (whole, true),
            (None, Some(attempt)) => (attempt, false),
            (None, None) => (now + limits::RESPONSE_HEAD_DEADLINE, true),
        }
    }

    async fn pause(&self, wait: Duration) -> Result<(), Failed> {
        if self.until.is_some_and(|until| Instant::now() + wait >= until) {
            return Err(Failed::Late);
        }
        sleep(wait).await;
        Ok(())
    }
}

/// What a client is told when no attempt brought a response.
async fn fail(
    downstream: &mut Downstream,
    failed: Failed,
    method: &http::Method,
    seen: &Seen,
    record: &mut Record,
) -> Result<End, Gone> {
    let (status, flag, details, text) = match failed {
        Failed::Attempt(Failure::Gone(gone)) => return Err(gone),
        Failed::NoEndpoint(error) => {
            tracing::debug!(target: "http", %error, "no endpoint");
            let text = "no healthy upstream";
            (StatusCode::SERVICE_UNAVAILABLE, ResponseFlags::NO_HEALTHY_UPSTREAM, "no_healthy_upstream", text)
        }
        Failed::Late | Failed::Attempt(Failure::Timeout) => {
            let text = "upstream request timeout";
            (StatusCode::GATEWAY_TIMEOUT, ResponseFlags::UPSTREAM_REQUEST_TIMEOUT, "response_timeout", text)
        }
        Failed::Attempt(Failure::Dial(error)) => {
            tracing::debug!(target: "http", %error, "no connection to the application");
            let details = "upstream_reset_before_response_started{connection_failure}";
            let text = "upstream connect error: connection failure";
            (StatusCode::SERVICE_UNAVAILABLE, ResponseFlags::UPSTREAM_CONNECTION_FAILURE, details, text)
        }
        Failed::Attempt(Failure::Send(error)) => {
            tracing::debug!(target: "http", %error, "no response from the application");
            let details = "upstream_reset_before_response_started{connection_termination}";
            let text = "upstream connect error or disconnect/reset before headers";
            (StatusCode::SERVICE_UNAVAILABLE, ResponseFlags::UPSTREAM_CONNECTION_TERMINATION, details, text)
        }
    };
    record.flag(flag, details);
    let answer = Answer::text(status, text).for_client(seen.is_grpc);
    answer_with(downstream, answer, method, record).await
}
