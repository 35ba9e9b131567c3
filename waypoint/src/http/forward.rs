//! A request on to a backend: faults, which backend, attempts, the response.

use std::pin::pin;
use std::sync::Arc;

use http::header::{HeaderName, ORIGIN};
use http::{StatusCode, Version, request};
use tokio::time::{Instant, sleep};

use super::access::{Admitted, denied};
use super::answer::Answer;
use super::attempt::Failure;
use super::backing::{self, Backed, Hashed, Place, Spoke};
use super::counting::{self, Refused};
use super::downstream::{Downstream, Gone};
use super::exchange::{End, Seen, answer_with};
use super::feed::Feed;
use super::reply::{self, Asked, Broken, Client};
use super::sticky::Sticky;
use super::trying::{Arrived, Failed, Trying};
use super::vigil::{Patience, Standing, Vigil};
use super::{headers, mirror, outgoing};
use crate::balance::RequestPermit;
use crate::limits;
use crate::record::Record;
use crate::resources::ServiceRules;
use crate::retry::{self, fault, grpc_timeout};
use crate::route::{Abort, Action, Forward, Span};
use crate::serve::Tunnel;
use crate::telemetry::ResponseFlags;
use crate::upstream::{SendError, TakeError};

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// What is to be done with a request.
#[derive(Clone, Copy)]
pub(crate) struct Plan<'a> {
    pub(crate) action: Option<&'a Action>,
    pub(crate) forward: Option<&'a Forward>,
    pub(super) span: Span,
    /// Below which all paths are that the rule covers.
    pub(super) root: &'a str,
}

impl<'a> Plan<'a> {
    /// No rule counts: to what was asked for.
    pub(super) fn direct() -> Self {
        Self { action: None, forward: None, span: Span::Whole, root: "/" }
    }

    /// By a rule.
    pub(super) fn by_rule(
        action: &'a Action,
        forward: &'a Forward,
        (span, root): (Span, &'a str),
    ) -> Self {
        Self { action: Some(action), forward: Some(forward), span, root }
    }
}

/// A request that goes on.
pub(super) struct Forwarding<'a> {
    pub(super) head: request::Parts,
    pub(super) seen: &'a Seen,
    pub(super) plan: &'a Plan<'a>,
    /// As what it was let in, and by what.
    pub(super) admitted: &'a Admitted,
    pub(super) rules: &'a ServiceRules,
}

/// Forwards it, and sends the response.
pub(super) async fn forward(
    tunnel: &Arc<Tunnel>,
    downstream: &mut Downstream,
    asked: Forwarding<'_>,
    mut feed: Feed,
    record: &mut Record,
) -> Result<End, Gone> {
    let Forwarding { mut head, seen, plan, admitted, rules } = asked;
    if let Some(abort) = inject(downstream, plan, record).await? {
        let answer = abort.for_client(seen.is_grpc);
        return answer_with(downstream, answer, &head.method, record).await;
    }
    let upgrade = headers::upgrade(&head.headers).filter(|_| head.version == Version::HTTP_11);
    let spoke = Spoke { version: head.version, is_upgrade: upgrade.is_some() };
    let taken = match take(tunnel, &head, seen, plan, spoke, record).await {
        Ok(taken) => taken,
        Err(refused) => {
            record.flag(refused.flag, refused.details);
            let answer = refused.answer.for_client(seen.is_grpc);
            return answer_with(downstream, answer, &head.method, record).await;
        }
    };
    let Taken { backed, sticky, counted, .. } = &taken;
    let origin = head.headers.get(ORIGIN).cloned();
    let (method, version) = (head.method.clone(), head.version);
    let client_limit = head.headers.get(GRPC_TIMEOUT).filter(|_| seen.is_grpc);
    let client_limit = client_limit.and_then(|it| grpc_timeout::parse(it.as_bytes()));
    let kept = outgoing::is_edited(&head.headers, plan, &taken).then(|| head.headers.clone());
    counted.request.iter().for_each(|change| change.apply(&mut head.headers));
    let sent_head = outgoing::request_head(head, seen, plan, backed.rule, upgrade.as_ref());
    record.sends(&sent_head.headers);
    mirror::begin(tunnel, plan.action, &sent_head, !feed.has_body());

    let source = tunnel.caller.address.ip();
    let hashed = Hashed { headers: &sent_head.headers, query: &seen.query, source };
    let (hash, cookie) = backed.place.hash(&hashed, &mut rand::rng());
    let timeouts = plan.forward.map(|it| it.timeouts).unwrap_or_default();
    let until = retry::time_limit(&timeouts, client_limit).map(|limit| Instant::now() + limit);
    let policy = plan.forward.and_then(|it| it.retry.as_ref());
    let policy = policy.unwrap_or_else(|| retry::default_policy());
    let session = sticky.as_ref().and_then(Sticky::endpoint);
    let patience = Patience::of(&tunnel.worker.shared.config.http);
    let pace = patience.asking(seen.is_grpc, feed.is_measured());
    let mut first_look = pin!(sleep(limits::VIGIL_FIRST_LOOK));
    let standing = Standing {
        tunnel,
        seen,
        headers: kept.as_ref().unwrap_or(&sent_head.headers),
        authenticated: admitted.authenticated.as_ref(),
        judged_by: rules.access(),
    };
    let mut vigil = Vigil::new(first_look.as_mut(), standing);
    let trying =
        Trying { tunnel, head: &sent_head, backed, policy, timeouts, hash, session, until, pace };
    let arrived = trying.run(downstream, &mut feed, &mut vigil, record).await;
    record.read(feed.read, feed.messages.whole());
    let Arrived { mut begun, to, picked: _picked } = match arrived {
        Ok(arrived) => arrived,
        Err(failed) => return fail(tunnel, downstream, failed, seen, record).await,
    };
    record.responded(&begun.head, begun.took, &to);
    let headers = &mut begun.head.headers;
    outgoing::edit_response(headers, plan, backed.rule, origin.as_ref(), cookie);
    admitted.response.iter().chain(&counted.response).for_each(|change| change.apply(headers));
    sticky.iter().for_each(|sticky| sticky.tell(&backed.place, &to, headers));
    let asked = Asked { method: &method, version, is_grpc: seen.is_grpc, until, patience };
    let client = Client { downstream, feed: &mut feed, vigil: &mut vigil };
    let (way, shelf) = (trying.way(&to), &tunnel.worker.shelf);
    let sent = Box::pin(reply::send(begun, client, &asked, &way, shelf)).await;
    mirror::with_body(tunnel, plan.action, &sent_head, &feed);
    record.read(feed.read, feed.messages.whole());
    conclude(tunnel, sent, record)
}

/// A backend, and a place there.
pub(super) struct Taken<'a> {
    pub(super) backed: Backed<'a>,
    sticky: Option<Sticky<'a>>,
    pub(super) counted: counting::Admitted,
    _permit: Option<RequestPermit>,
}

/// Chooses the backend, and asks whether there is room for the request.
async fn take<'a>(
    tunnel: &Arc<Tunnel>,
    head: &request::Parts,
    seen: &Seen,
    plan: &Plan<'a>,
    spoke: Spoke,
    record: &mut Record,
) -> Result<Taken<'a>, Refused> {
    let of_rule = Sticky::of_rule(plan, &head.headers);
    let session = of_rule.as_ref().and_then(Sticky::endpoint);
    let chosen = backing::choose(tunnel, plan, spoke, session, &mut rand::rng());
    let backed = chosen.map_err(|(status, flag, details)| Refused {
        answer: Box::new(Answer::empty(status)),
        flag,
        details,
    })?;
    record.backed(backed.service.as_deref(), tunnel.target.port());
    let sticky = of_rule.or_else(|| Sticky::of_backend(&backed.place, &head.headers));
    let counted = counting::admit(tunnel, &backed, seen, &head.headers).await?;
    let permit = match &backed.place {
        Place::Backend(backend) => Some(backend.cluster().admit_request().map_err(|_| overflow())?),
        Place::One(_) => None,
    };
    Ok(Taken { backed, sticky, counted, _permit: permit })
}

/// What became of a response that had begun.
fn conclude(
    tunnel: &Tunnel,
    sent: Result<reply::Sent, (reply::Sent, Broken)>,
    record: &mut Record,
) -> Result<End, Gone> {
    let (sent, broken) = match sent {
        Ok(sent) => (sent, None),
        Err((sent, broken)) => (sent, Some(broken)),
    };
    record.sent(sent.bytes, sent.messages.whole());
    record.ended(sent.trailers.as_ref());
    match broken {
        None if sent.is_upgraded => Ok(End::Upgraded),
        None => Ok(End::Whole),
        Some(Broken::Gone(gone)) => Err(gone),
        Some(Broken::Upstream(why)) => {
            tracing::debug!(target: "http", service = %tunnel.target.name(), why, "response cut");
            let flag = ResponseFlags::UPSTREAM_CONNECTION_TERMINATION;
            record.flag(flag, "upstream_reset_after_response_started{connection_termination}");
            Ok(End::Broken)
        }
        Some(Broken::Late) => {
            record.flag(ResponseFlags::UPSTREAM_REQUEST_TIMEOUT, "response_timeout");
            Ok(End::Broken)
        }
        Some(Broken::Silent) => {
            record.flag(ResponseFlags::STREAM_IDLE_TIMEOUT, "stream_idle_timeout");
            Ok(End::Broken)
        }
        Some(Broken::Forbidden(why)) => {
            cut_by_policy(tunnel, why, record);
            Ok(End::Broken)
        }
    }
}

/// An exchange that was allowed once, and isn't any more.
fn cut_by_policy(tunnel: &Tunnel, why: String, record: &mut Record) {
    let (service, caller) = (tunnel.target.name(), &tunnel.caller.identity);
    tracing::info!(target: "policy", %service, %caller, why, "a request was cut: its policies changed");
    record.flag(ResponseFlags::NONE, why);
}

/// Faults that the rule injects: a wait, and perhaps an answer.
async fn inject(
    downstream: &mut Downstream,
    plan: &Plan<'_>,
    record: &mut Record,
) -> Result<Option<Answer>, Gone> {
    let Some(action) = plan.action else { return Ok(None) };
    let drawn = fault::draw(&action.filters.fault, &mut rand::rng());
    if let Some(wait) = drawn.delay {
        record.flag(ResponseFlags::DELAY_INJECTED, "");
        if downstream.is_body_done() {
            tokio::select! {
                () = sleep(wait) => {}
                gone = downstream.gone() => return Err(gone),
            }
        } else {
            sleep(wait).await;
        }
    }
    let Some(abort) = drawn.abort else { return Ok(None) };
    record.flag(ResponseFlags::FAULT_INJECTED, "fault_filter_abort");
    Ok(Some(match abort {
        Abort::Http(status) => Answer::text(status, "fault filter abort"),
        Abort::Grpc(status) => Answer::grpc(status, "fault filter abort"),
    }))
}

fn overflow() -> Refused {
    let text = "upstream connect error or disconnect/reset before headers. reset reason: overflow";
    let mut answer = Answer::text(StatusCode::SERVICE_UNAVAILABLE, text);
    answer.head.headers.insert("x-envoy-overloaded", http::HeaderValue::from_static("true"));
    let details = "upstream_reset_before_response_started{overflow}";
    Refused { answer: Box::new(answer), flag: ResponseFlags::UPSTREAM_OVERFLOW, details }
}

/// What a client is told when no attempt brought a response.
async fn fail(
    tunnel: &Tunnel,
    downstream: &mut Downstream,
    failed: Failed,
    seen: &Seen,
    record: &mut Record,
) -> Result<End, Gone> {
    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    let (status, flag, details, text) = match failed {
        Failed::Attempt(Failure::Gone(gone)) => return Err(gone),
        Failed::Attempt(Failure::Forbidden(why)) => {
            cut_by_policy(tunnel, why, record);
            let answer = denied().for_client(seen.is_grpc);
            return answer_with(downstream, answer, &seen.method, record).await;
        }
        Failed::Attempt(Failure::Take(TakeError::Overflow(_))) => {
            let refused = overflow();
            record.flag(refused.flag, refused.details);
            let answer = refused.answer.for_client(seen.is_grpc);
            return answer_with(downstream, answer, &seen.method, record).await;
        }
        Failed::NoEndpoint(error) => {
            tracing::debug!(target: "http", %error, "no endpoint");
            let flag = ResponseFlags::NO_HEALTHY_UPSTREAM;
            (unavailable, flag, "no_healthy_upstream", "no healthy upstream")
        }
        Failed::Late | Failed::Attempt(Failure::Timeout) => {
            let flag = ResponseFlags::UPSTREAM_REQUEST_TIMEOUT;
            let text = "upstream request timeout";
            (StatusCode::GATEWAY_TIMEOUT, flag, "response_timeout", text)
        }
        Failed::Attempt(Failure::Take(error)) => {
            tracing::debug!(target: "http", %error, "no connection to the application");
            let details = "upstream_reset_before_response_started{connection_failure}";
            let text = "upstream connect error: connection failure";
            (unavailable, ResponseFlags::UPSTREAM_CONNECTION_FAILURE, details, text)
        }
        Failed::Attempt(Failure::Send(SendError::Protocol(why))) => {
            tracing::debug!(target: "http", why, "no response that could be passed on");
            let details = "upstream_reset_before_response_started{protocol_error}";
            let text = "upstream connect error or disconnect/reset before headers. reset reason: protocol error";
            (StatusCode::BAD_GATEWAY, ResponseFlags::UPSTREAM_PROTOCOL_ERROR, details, text)
        }
        Failed::Attempt(Failure::Send(error)) => {
            tracing::debug!(target: "http", %error, "no response from the application");
            let details = "upstream_reset_before_response_started{connection_termination}";
            let text = "upstream connect error or disconnect/reset before headers";
            (unavailable, ResponseFlags::UPSTREAM_CONNECTION_TERMINATION, details, text)
        }
    };
    record.flag(flag, details);
    let answer = Answer::text(status, text).for_client(seen.is_grpc);
    answer_with(downstream, answer, &seen.method, record).await
}
