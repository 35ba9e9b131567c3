//! Whether a request may go on: tokens, rules, and services that are asked.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, request};
use weft_core::clock;

use super::answer::Answer;
use super::downstream::{Downstream, Gone};
use super::exchange::Seen;
use super::feed::Feed;
use super::vigil::{Patience, Standing};
use crate::access::check::{BodyRule, HeaderChange, ReadBody};
use crate::access::{
    Access, AccessRequest, Authenticated, CheckOutcome, CheckedRequest, Checker, DENIED, Step,
    Verdict, sanitise,
};
use crate::record::Record;
use crate::serve::Tunnel;
use crate::telemetry::ResponseFlags;

/// A request that may go on, and what comes with that.
#[derive(Default)]
pub(super) struct Admitted {
    pub(super) authenticated: Option<Authenticated>,
    /// For the response, whenever it comes.
    pub(super) response: Vec<HeaderChange>,
}

/// A request that may not: what it is answered.
pub(super) enum Refusal {
    Answer(Box<Answer>),
    Gone(Gone),
}

/// A request that is judged, and changed on the way.
pub(super) struct Judged<'a> {
    pub(super) downstream: &'a mut Downstream,
    pub(super) head: &'a mut request::Parts,
    pub(super) seen: &'a mut Seen,
    pub(super) feed: &'a mut Feed,
    pub(super) record: &'a mut Record,
}

/// Judges a request, and changes its headers as tokens and checkers ask.
pub(super) async fn admit(
    tunnel: &Arc<Tunnel>,
    access: &Access,
    judged: &mut Judged<'_>,
) -> Result<Admitted, Refusal> {
    sanitise::sanitise(&mut judged.head.headers, false);
    let authenticated = authenticate(access, judged)?;
    let mut admitted = Admitted { authenticated, response: Vec::new() };
    let mut step = Step::default();
    loop {
        let asking = {
            let Judged { seen, head, .. } = &*judged;
            let request = asked(tunnel, seen, &head.headers, admitted.authenticated.as_ref());
            let mut reports = Vec::new();
            let verdict = access.evaluate(&request, step, &mut reports);
            reports.iter().for_each(|report| report.tell(tunnel.target.name()));
            match verdict {
                Verdict::Allow => break,
                Verdict::Deny(denial) => {
                    judged.record.flag(ResponseFlags::NONE, denial.to_string());
                    return Err(forbidden());
                }
                Verdict::Check { checker, next, .. } => (checker.clone(), next),
            }
        };
        let (checker, next) = asking;
        admitted.response.extend(check(tunnel, &checker, judged).await?);
        step = next;
    }
    if access.forwards_identity() {
        let identity = &tunnel.worker.shared.own.identity;
        let value = sanitise::client_identity(identity, &tunnel.caller.identity);
        judged.head.headers.insert(sanitise::FORWARDED_CLIENT_CERT, value);
    }
    Ok(admitted)
}

fn forbidden() -> Refusal {
    Refusal::Answer(Box::new(denied()))
}

/// What whoever isn't let in is told.
pub(super) fn denied() -> Answer {
    Answer::text(StatusCode::FORBIDDEN, DENIED)
}

fn authenticate(
    access: &Access,
    judged: &mut Judged<'_>,
) -> Result<Option<Authenticated>, Refusal> {
    let Judged { head, seen, record, .. } = judged;
    // Only a verified token gives these.
    for name in access.token_headers() {
        head.headers.remove(name);
    }
    if !access.authenticates() {
        return Ok(None);
    }
    let now = clock::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
    let authenticated = access.authenticate(head, now.as_secs()).map_err(|refusal| {
        let mut answer = Answer::text(refusal.status(), refusal.reason().to_string().as_str());
        let scheme = refusal.www_authenticate("http", &seen.authority, &seen.path);
        if let Ok(value) = HeaderValue::from_str(&scheme) {
            answer.head.headers.insert(http::header::WWW_AUTHENTICATE, value);
        }
        record.flag(ResponseFlags::NONE, refusal.details());
        Refusal::Answer(Box::new(answer))
    })?;
    let Some(authenticated) = authenticated else { return Ok(None) };
    for name in authenticated.remove_headers() {
        head.headers.remove(name);
    }
    for (name, value) in authenticated.set_headers() {
        head.headers.insert(name, value.clone());
    }
    if let Some(query) = authenticated.query_without_token(&seen.query) {
        seen.query = query.into();
    }
    Ok(Some(authenticated))
}

/// Judges a request that was let in before, by what holds now; `Err`: why it would be kept out. Whoever was asked about it is
/// asked no more. A token that its request came with counts for as long as somebody trusts its issuer.
pub(super) fn judge_again(access: Option<&Access>, standing: &Standing<'_>) -> Result<(), String> {
    let access = access.ok_or("policies_not_received")?;
    let Standing { tunnel, seen, headers, authenticated, .. } = standing;
    let authenticated = authenticated.filter(|it| access.trusts(it));
    let request = asked(tunnel, seen, headers, authenticated);
    let mut step = Step::default();
    loop {
        match access.evaluate(&request, step, &mut Vec::new()) {
            Verdict::Allow => return Ok(()),
            Verdict::Deny(denial) => return Err(denial.to_string()),
            Verdict::Check { next, .. } => step = next,
        }
    }
}

fn asked<'a>(
    tunnel: &'a Tunnel,
    seen: &'a Seen,
    headers: &'a HeaderMap,
    authenticated: Option<&'a Authenticated>,
) -> AccessRequest<'a> {
    let caller = &tunnel.caller;
    let called = tunnel.target.address();
    AccessRequest {
        source: Some(&caller.identity),
        source_ip: caller.address.ip(),
        remote_ip: caller.address.ip(),
        destination_ip: called.map_or(tunnel.worker.shared.own.address, |it| it.ip()),
        destination_port: tunnel.target.port(),
        method: seen.method.as_str(),
        host: &seen.authority,
        path: &seen.path,
        headers,
        authenticated,
        sni: None,
    }
}

/// Asks. What changes of the response comes back.
async fn check(
    tunnel: &Arc<Tunnel>,
    checker: &Checker,
    judged: &mut Judged<'_>,
) -> Result<Vec<HeaderChange>, Refusal> {
    let Judged { downstream, head, seen, feed, record } = judged;
    let body = match checker.body() {
        Some(rule) => {
            let patience = Patience::of(&tunnel.worker.shared.config.http);
            Some(read_body(rule, downstream, feed, patience).await?)
        }
        None => None,
    };
    let called = tunnel.target.address();
    let own = (tunnel.worker.shared.own.address, tunnel.target.port());
    let path_and_query = seen.path_and_query();
    let id = head.headers.get("x-request-id").and_then(|it| it.to_str().ok()).unwrap_or_default();
    let question = CheckedRequest {
        id,
        method: seen.method.as_str(),
        scheme: seen.scheme,
        authority: &seen.authority,
        path_and_query: &path_and_query,
        protocol: if head.version == http::Version::HTTP_2 { "HTTP/2" } else { "HTTP/1.1" },
        headers: &head.headers,
        size: head.headers.get("content-length").and_then(|it| it.to_str().ok()?.parse().ok()),
        body,
        source: Some(&tunnel.caller.identity),
        source_address: tunnel.caller.address,
        destination: Some(&tunnel.worker.shared.own.identity),
        destination_address: called.unwrap_or_else(|| own.into()),
        time: clock::now(),
    };
    let outcome = Box::pin(tunnel.worker.checks.check(checker, &question)).await;
    match outcome {
        CheckOutcome::Allowed(allowed) => {
            for change in &allowed.request {
                change.apply(&mut head.headers);
            }
            Ok(allowed.response)
        }
        CheckOutcome::Denied(denied) => {
            let mut answer = Answer::empty(denied.status);
            denied.headers.iter().for_each(|change| change.apply(&mut answer.head.headers));
            answer.body = denied.body;
            record.flag(ResponseFlags::UNAUTHORIZED, "ext_authz_denied");
            Err(Refusal::Answer(Box::new(answer)))
        }
        CheckOutcome::Failed { error, refusal } => {
            let checker = &checker.name;
            tracing::warn!(target: "policy", %checker, %error, "a checker couldn't be asked");
            let Some(status) = refusal else { return Ok(Vec::new()) };
            record.flag(ResponseFlags::UNAUTHORIZED, "ext_authz_error");
            Err(Refusal::Answer(Box::new(Answer::empty(status))))
        }
    }
}

/// As much of the body as the checker is shown. It goes on to the application all the same.
async fn read_body(
    rule: BodyRule,
    downstream: &mut Downstream,
    feed: &mut Feed,
    patience: Patience,
) -> Result<ReadBody, Refusal> {
    let reading = feed.read_ahead(downstream, rule.bytes_max, patience.message);
    let is_whole = reading.await.map_err(Refusal::Gone)?;
    if !is_whole && !rule.allows_partial {
        let large =
            Answer::text(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large to be checked");
        return Err(Refusal::Answer(Box::new(large)));
    }
    let bytes: Bytes = feed.ahead(rule.bytes_max);
    Ok(ReadBody { bytes, is_partial: !is_whole })
}
