//! How many requests there may be: as this waypoint counts, and as a service counts for all.

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::time::Instant;

use super::answer::Answer;
use super::backing::{Backed, Place};
use super::exchange::Seen;
use crate::access::check::HeaderChange;
use crate::limit::{self, Counted, GlobalLimit, Verdict};
use crate::serve::Tunnel;
use crate::telemetry::ResponseFlags;

/// A request that there was no room for.
pub(super) struct Refused {
    pub(super) answer: Box<Answer>,
    pub(super) flag: ResponseFlags,
    pub(super) details: &'static str,
}

/// What comes of having been counted.
#[derive(Default)]
pub(super) struct Admitted {
    /// For the request, before it goes on.
    pub(super) request: Vec<HeaderChange>,
    /// For the response, whenever it comes.
    pub(super) response: Vec<HeaderChange>,
}

const LIMITED: &str = "x-envoy-ratelimited";
/// gRPC's RESOURCE_EXHAUSTED.
const EXHAUSTED: u32 = 8;

/// Counts a request on its way to a backend. This waypoint's own limit comes first: it asks nobody.
pub(super) async fn admit(
    tunnel: &Tunnel,
    backed: &Backed<'_>,
    seen: &Seen,
    headers: &HeaderMap,
) -> Result<Admitted, Refused> {
    let Place::Backend(backend) = &backed.place else { return Ok(Admitted::default()) };
    if let Err(limited) = backend.cluster().admit_rate(Instant::now()) {
        let mut answer = Answer::text(StatusCode::TOO_MANY_REQUESTS, "local_rate_limited");
        let headers = &mut answer.head.headers;
        headers.insert(LIMITED, HeaderValue::from_static("true"));
        if let Some(after) = limited.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        let flag = ResponseFlags::RATE_LIMITED;
        return Err(Refused { answer: Box::new(answer), flag, details: "local_rate_limited" });
    }
    let settings = backend.cluster().settings();
    let (Some(limit), Some(service)) = (&settings.global_limit, &backed.service) else {
        return Ok(Admitted::default());
    };
    let counted = Counted {
        source: &tunnel.caller.identity,
        address: tunnel.caller.address.ip(),
        method: seen.method.as_str(),
        path: &seen.path,
        headers,
        service: &service.hostname,
    };
    Box::pin(ask(tunnel, limit, &counted, seen.is_grpc)).await
}

async fn ask(
    tunnel: &Tunnel,
    limit: &GlobalLimit,
    counted: &Counted<'_>,
    is_grpc: bool,
) -> Result<Admitted, Refused> {
    let Some(question) = limit.question(counted) else { return Ok(Admitted::default()) };
    let checks = &tunnel.worker.checks;
    let answer = checks.call(&limit.target, limit::PATH, limit.timeout, question).await;
    match answer.and_then(|message| limit::verdict(&message)) {
        Ok(Verdict::Under { request, response }) => Ok(Admitted { request, response }),
        Ok(Verdict::Over { headers, body }) => {
            let mut answer = match is_grpc && limit.as_resource_exhausted {
                true => Answer::grpc(EXHAUSTED, &String::from_utf8_lossy(&body)),
                false => Answer { body, ..Answer::empty(StatusCode::TOO_MANY_REQUESTS) },
            };
            headers.iter().for_each(|change| change.apply(&mut answer.head.headers));
            answer.head.headers.insert(LIMITED, HeaderValue::from_static("true"));
            let flag = ResponseFlags::RATE_LIMITED;
            Err(Refused { answer: Box::new(answer), flag, details: "request_rate_limited" })
        }
        Err(error) => {
            let limiter = &limit.provider;
            tracing::warn!(target: "http", %limiter, %error, "a limiter couldn't be asked");
            let Some(status) = limit.refusal else { return Ok(Admitted::default()) };
            let flag = ResponseFlags::RATE_LIMIT_SERVICE_ERROR;
            let answer = Box::new(Answer::empty(status));
            Err(Refused { answer, flag, details: "rate_limiter_error" })
        }
    }
}
