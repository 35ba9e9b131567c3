//! One request, phase by phase.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::CONTENT_LENGTH;
use http::header::{EXPECT, HOST, HeaderValue};
use http::{Method, StatusCode, request};
use pingora_core::protocols::http::v1::server::HttpSession;
use serde_json::{Map, Value};
use weft_core::identity::SpiffeId;
use weft_core::mesh::OwnLabels;

use super::access::{self, Admitted, Judged, Refusal};
use super::answer::Answer;
use super::check::is_host;
use super::downstream::{Downstream, Gone};
use super::feed::Feed;
use super::forward::{self, Forwarding, Plan};
use super::headers;
use super::messages::Messages;
use crate::access::{Level, path};
use crate::limits;
use crate::record::Record;
use crate::resources::ServiceRules;
use crate::route::{HttpRoutes, Matched, Outcome, Preflight, Request};
use crate::serve::{Target, Tunnel, source};
use crate::telemetry::ResponseFlags;

/// How an exchange ended for its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Both messages are whole: HTTP/1.1 may go on.
    Whole,
    /// The response is not whole, and the client has to see that.
    Broken,
    /// The connection spoke another protocol, and is over.
    Upgraded,
}

/// A request as routing and policies see it.
pub(crate) struct Seen {
    pub(super) method: Method,
    pub(super) scheme: &'static str,
    pub(crate) authority: Box<str>,
    /// Normalised.
    pub(crate) path: Box<str>,
    pub(super) query: Box<str>,
    pub(super) is_grpc: bool,
    pub(crate) claims: Option<Map<String, Value>>,
    pub(crate) caller_labels: Option<Arc<OwnLabels>>,
}

impl Seen {
    /// `Err`: what is wrong with the request.
    fn of(head: &request::Parts, level: Level) -> Result<Self, &'static str> {
        let of_host = || head.headers.get(HOST).and_then(|value| value.to_str().ok());
        let authority = head.uri.authority().map(|it| it.as_str()).or_else(of_host);
        let Some(authority) = authority.filter(|it| !it.is_empty()) else {
            return Err("no host");
        };
        // RFC 9113, section 8.3.1: HTTP/2 may carry both, and policies may look at either.
        let says_same =
            |host: &HeaderValue| host.as_bytes().eq_ignore_ascii_case(authority.as_bytes());
        if !is_host(authority) || !head.headers.get_all(HOST).iter().all(says_same) {
            return Err("an ambiguous host");
        }
        let raw = head.uri.path();
        let path = match raw {
            "*" if head.method == Method::OPTIONS => Cow::Borrowed(raw),
            raw if raw.starts_with('/') => {
                path::normalise(raw, level).map_err(|_| "an ambiguous path")?
            }
            _ => return Err("a path that doesn't begin with a slash"),
        };
        Ok(Self {
            method: head.method.clone(),
            scheme: "http",
            authority: authority.into(),
            path: path.into(),
            query: head.uri.query().unwrap_or_default().into(),
            is_grpc: headers::is_grpc(&head.headers),
            claims: None,
            caller_labels: None,
        })
    }

    /// Whether a gRPC client asks.
    pub(crate) fn is_grpc(&self) -> bool {
        self.is_grpc
    }

    /// As they go on.
    pub(super) fn path_and_query(&self) -> String {
        match self.query.is_empty() {
            true => self.path.to_string(),
            false => format!("{}?{}", self.path, self.query),
        }
    }

    /// For the routes of a target, by this caller.
    pub(crate) fn request<'a>(
        &'a self,
        headers: &'a http::HeaderMap,
        port: u16,
        caller: &'a SpiffeId,
    ) -> Request<'a> {
        Request {
            method: self.method.as_str(),
            scheme: self.scheme,
            authority: &self.authority,
            path: &self.path,
            query: &self.query,
            headers,
            port,
            source: source(caller, self.caller_labels.as_ref()),
            claims: self.claims.as_ref(),
        }
    }
}

/// Serves one request to its end, and tells what became of it.
pub(super) async fn serve(
    tunnel: &Arc<Tunnel>,
    downstream: &mut Downstream,
    head: request::Parts,
) -> End {
    let rules = tunnel.rules();
    let mut record = Record::new(tunnel, rules.told().cloned(), &head);
    let outcome = handle(tunnel, &rules, downstream, head, &mut record).await;
    let end = match outcome {
        Ok(end) => end,
        Err(gone) => lose(tunnel, downstream, &gone, &mut record).await,
    };
    record.close(tunnel);
    end
}

/// The client is gone, or has said what can't be understood, or no more: then it is told, if it still can be.
async fn lose(
    tunnel: &Tunnel,
    downstream: &mut Downstream,
    gone: &Gone,
    record: &mut Record,
) -> End {
    tracing::debug!(target: "http", service = %tunnel.target.name(), error = %gone, "client gone");
    use ResponseFlags as Flags;
    let (flag, details, status) = match gone {
        Gone::Protocol(_) => {
            (Flags::DOWNSTREAM_PROTOCOL_ERROR, "http1.codec_error", StatusCode::BAD_REQUEST)
        }
        Gone::Silent => {
            (Flags::STREAM_IDLE_TIMEOUT, "stream_idle_timeout", StatusCode::REQUEST_TIMEOUT)
        }
        Gone::TooLarge => (Flags::NONE, "request_payload_too_large", StatusCode::PAYLOAD_TOO_LARGE),
        Gone::Slow => (Flags::NONE, "request_overall_timeout", StatusCode::REQUEST_TIMEOUT),
        Gone::Client(_) => {
            record.flag(Flags::DOWNSTREAM_TERMINATION, "downstream_remote_disconnect");
            return End::Broken;
        }
    };
    record.flag(flag, details);
    if !downstream.is_unanswered() {
        return End::Broken;
    }
    downstream.close_after();
    let answer = refusal(status).for_client(record.is_grpc());
    let telling = answer_with(downstream, answer, &Method::GET, record);
    let told = tokio::time::timeout(limits::REQUEST_HEAD_DEADLINE, telling).await;
    told.ok().and_then(Result::ok).unwrap_or(End::Broken)
}

/// What is said to who asks in a way that can't be answered.
fn refusal(status: StatusCode) -> Answer {
    let text = match status {
        StatusCode::PAYLOAD_TOO_LARGE => "the request's body is too large\n",
        StatusCode::REQUEST_TIMEOUT => "the request didn't come in time\n",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "the request's head is too large\n",
        _ => "bad request\n",
    };
    Answer::text(status, text)
}

/// Answers a request whose head couldn't be read.
pub(super) async fn refuse_unread(
    tunnel: &Arc<Tunnel>,
    mut session: HttpSession,
    status: StatusCode,
    reason: &str,
) {
    tracing::debug!(target: "http", service = %tunnel.target.name(), reason, "a request was refused");
    session.set_server_keepalive(None);
    let mut downstream = Downstream::One(Box::new(session));
    let sending = refusal(status).send(&mut downstream, false);
    // A client that has gone needs no answer.
    let _sent = tokio::time::timeout(limits::REQUEST_HEAD_DEADLINE, sending).await;
    if let Downstream::One(mut session) = downstream {
        session.shutdown().await;
    }
}

async fn handle(
    tunnel: &Arc<Tunnel>,
    rules: &ServiceRules,
    downstream: &mut Downstream,
    mut head: request::Parts,
    record: &mut Record,
) -> Result<End, Gone> {
    let method = head.method.clone();
    let level = rules.access().map_or(Level::Base, |access| access.level());
    let mut seen = match check(&head, level) {
        Ok(seen) => seen,
        Err((status, why)) => {
            record.flag(ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR, why);
            downstream.close_after();
            let answer = Answer::text(status, why).for_client(headers::is_grpc(&head.headers));
            return answer_with(downstream, answer, &method, record).await;
        }
    };
    seen.caller_labels = tunnel.caller_labels();
    record.asked(&seen.authority);
    let declared = head.headers.get(CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse().ok());
    let mut feed = Feed::new(downstream, declared, expects_invitation(&head));
    feed.messages = Messages::of(&head.headers);
    if let Some(most) = rules.access().and_then(|it| it.body_bytes_max()) {
        feed.bound(most)?;
    }
    let mut judged =
        Judged { downstream, head: &mut head, seen: &mut seen, feed: &mut feed, record };
    let admitted = match Box::pin(admit(tunnel, rules, &mut judged)).await {
        Ok(admitted) => admitted,
        Err(Refusal::Gone(gone)) => return Err(gone),
        Err(Refusal::Answer(answer)) => {
            let answer = answer.for_client(seen.is_grpc);
            return answer_with(downstream, answer, &method, record).await;
        }
    };
    seen.claims = admitted.authenticated.as_ref().map(|it| it.claims().clone());
    match decide(&tunnel.target, &tunnel.caller.identity, rules, &seen, &head.headers) {
        Decision::Answer(answer, flag) => {
            if let Some((flag, details)) = flag {
                record.flag(flag, details);
            }
            let mut answer = answer.for_client(seen.is_grpc);
            admitted.response.iter().for_each(|change| change.apply(&mut answer.head.headers));
            answer_with(downstream, answer, &method, record).await
        }
        Decision::Forward(plan) => {
            record.route(plan.action.map(|action| &action.origin));
            let asked = Forwarding { head, seen: &seen, plan: &plan, admitted: &admitted, rules };
            Box::pin(forward::forward(tunnel, downstream, asked, feed, record)).await
        }
    }
}

/// By the service's policies. A service whose policies haven't come isn't served: it isn't known yet what is forbidden.
async fn admit(
    tunnel: &Arc<Tunnel>,
    rules: &ServiceRules,
    judged: &mut Judged<'_>,
) -> Result<Admitted, Refusal> {
    if let Some(access) = rules.access() {
        return access::admit(tunnel, access, judged).await;
    }
    judged.record.flag(ResponseFlags::NO_FILTER_CONFIG, "policies_not_received");
    let text = "the policies of the service haven't arrived";
    Err(Refusal::Answer(Box::new(Answer::text(StatusCode::SERVICE_UNAVAILABLE, text))))
}

/// What routing and policies see of a request, or the status that it is answered.
pub(crate) fn check(
    head: &request::Parts,
    level: Level,
) -> Result<Seen, (StatusCode, &'static str)> {
    if head.headers.len() > limits::HEADER_FIELDS_MAX {
        return Err((StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "too many header fields"));
    }
    if head.method == Method::CONNECT {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "CONNECT is not served inside a tunnel"));
    }
    Seen::of(head, level).map_err(|why| (StatusCode::BAD_REQUEST, why))
}

/// What becomes of a request that may go on.
pub(crate) enum Decision<'a> {
    Answer(Box<Answer>, Option<(ResponseFlags, &'static str)>),
    Forward(Plan<'a>),
}

/// The routes that count for a target and a caller; `None`: requests go to the target itself.
pub(crate) fn routes_for<'a>(
    target: &Target,
    caller: &SpiffeId,
    rules: &'a ServiceRules,
) -> Option<&'a HttpRoutes> {
    match target {
        // Routes belong to services.
        Target::Workload { .. } => None,
        Target::Service { port, .. } => {
            let set = rules.table()?.select(*port, Some(caller.namespace()))?;
            set.http.as_ref()
        }
    }
}

/// What becomes of a request that policies let go on. Pure.
pub(crate) fn decide<'a>(
    target: &Target,
    caller: &SpiffeId,
    rules: &'a ServiceRules,
    seen: &Seen,
    headers: &http::HeaderMap,
) -> Decision<'a> {
    let answer = |answer, flag| Decision::Answer(Box::new(answer), flag);
    if matches!(target, Target::Service { .. }) && rules.is_unusable() {
        let broken = Answer::text(StatusCode::INTERNAL_SERVER_ERROR, "unusable routes");
        return answer(broken, Some((ResponseFlags::NO_ROUTE_FOUND, "route_table_unusable")));
    }
    let Some(routes) = routes_for(target, caller, rules) else {
        return Decision::Forward(Plan::direct());
    };
    let request = seen.request(headers, target.port(), caller);
    let Some(matched) = routes.find(&request) else {
        let none = match seen.is_grpc {
            true => Answer::grpc(12, "no route"),
            false => Answer::empty(StatusCode::NOT_FOUND),
        };
        return answer(none, Some((ResponseFlags::NO_ROUTE_FOUND, "route_not_found")));
    };
    act(&matched, &request, seen)
}

/// What the rule says, short of sending anything.
fn act<'a>(matched: &Matched<'a>, request: &Request<'_>, seen: &Seen) -> Decision<'a> {
    let Matched { action, span, root, .. } = *matched;
    let answer = |answer, flag| Decision::Answer(Box::new(answer), flag);
    if let Some(cors) = &action.filters.cors
        && let Preflight::Answer(headers) = cors.preflight(request)
    {
        let mut preflight = Answer::empty(StatusCode::OK);
        preflight.head.headers = headers;
        return answer(preflight, None);
    }
    match &action.outcome {
        Outcome::Forward(forward) => {
            Decision::Forward(Plan::by_rule(action, forward, (span, root)))
        }
        Outcome::Redirect(redirect) => {
            let location = redirect.location(request, span);
            let mut moved = Answer::empty(redirect.status);
            match location.parse() {
                Ok(location) => {
                    moved.head.headers.insert(http::header::LOCATION, location);
                    action.filters.response_headers.apply(&mut moved.head.headers);
                    answer(moved, Some((ResponseFlags::NONE, "direct_response")))
                }
                Err(_) => answer(Answer::empty(StatusCode::INTERNAL_SERVER_ERROR), None),
            }
        }
        Outcome::Direct(direct) => {
            let mut fixed = Answer::empty(direct.status);
            fixed.body = bytes::Bytes::copy_from_slice(&direct.body);
            let kind = direct.content_type.clone();
            fixed.head.headers.insert(http::header::CONTENT_TYPE, kind);
            action.filters.response_headers.apply(&mut fixed.head.headers);
            answer(fixed, Some((ResponseFlags::NONE, "direct_response")))
        }
        Outcome::Broken => {
            let broken = Answer::empty(StatusCode::INTERNAL_SERVER_ERROR).for_client(seen.is_grpc);
            answer(broken, Some((ResponseFlags::NO_ROUTE_FOUND, "route_not_understood")))
        }
    }
}

/// Sends an answer that was made here.
pub(super) async fn answer_with(
    downstream: &mut Downstream,
    answer: Answer,
    method: &Method,
    record: &mut Record,
) -> Result<End, Gone> {
    record.answered(&answer.head);
    let bytes = answer.send(downstream, *method == Method::HEAD).await?;
    record.sent(bytes, 0);
    Ok(End::Whole)
}

/// Whether the client waits to be asked for the body.
fn expects_invitation(head: &request::Parts) -> bool {
    head.headers.get(EXPECT).is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}
