//! A check by HTTP/1.1: the request's method, path and some headers; 200 lets it in.

use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, LOCATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::answer::{Allowed, Denied, HeaderChange, editable, is_framing};
use super::client::HttpSender;
use super::{CheckError, CheckOutcome, CheckedRequest, Checker, HttpRules};
use crate::access::matcher::Texts;
use crate::limits::access as limits;

/// What a checker answered.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// Names of headers that are to be taken from the request, separated by commas.
const TO_REMOVE: &str = "x-envoy-auth-headers-to-remove";

/// Opens a connection and drives it until it ends.
pub(super) async fn connect<S>(stream: S) -> Result<HttpSender, CheckError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_buf_size(limits::CHECK_HEADER_BYTES_MAX as usize);
    let opened = builder.handshake(TokioIo::new(stream)).await;
    let (sender, connection) = opened.map_err(broken)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to a checker ended");
        }
    });
    Ok(sender)
}

fn broken(error: hyper::Error) -> CheckError {
    CheckError::Exchange(error.to_string())
}

/// The request to the checker.
pub(super) fn question(
    checker: &Checker,
    rules: &HttpRules,
    request: &CheckedRequest<'_>,
) -> Result<Request<Full<Bytes>>, CheckError> {
    let bad = |what: &str| CheckError::Exchange(format!("the request's {what} can't be sent"));
    let body = match (checker.body, &request.body) {
        (Some(_), Some(body)) => body.bytes.clone(),
        _ => Bytes::new(),
    };
    let mut headers = HeaderMap::new();
    for (name, value) in request.headers {
        let is_sent = *name == AUTHORIZATION || names(&rules.request_headers, name);
        if is_sent && !is_framing(name) {
            headers.append(name, value.clone());
        }
    }
    for (name, value) in rules.additional.iter().filter(|(name, _)| !is_framing(name)) {
        headers.insert(name, value.clone());
    }
    let authority = HeaderValue::from_str(request.authority).map_err(|_| bad("authority"))?;
    headers.insert(HOST, authority);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    let path = format!("{}{}", rules.path_prefix, request.path_and_query);
    let mut built = Request::new(Full::new(body));
    *built.method_mut() =
        Method::from_bytes(request.method.as_bytes()).map_err(|_| bad("method"))?;
    // A CONNECT would ask the checker for a tunnel.
    if built.method() == Method::CONNECT {
        return Err(bad("method"));
    }
    *built.uri_mut() = path.parse().map_err(|_| bad("path"))?;
    *built.headers_mut() = headers;
    Ok(built)
}

/// One exchange. The connection comes back where it can be used again.
pub(super) async fn ask(
    mut sender: HttpSender,
    question: Request<Full<Bytes>>,
) -> Result<(Answer, Option<HttpSender>), CheckError> {
    sender.ready().await.map_err(broken)?;
    let response = sender.send_request(question).await.map_err(broken)?;
    let (head, mut incoming) = response.into_parts();
    let mut body = BytesMut::new();
    while let Some(frame) = incoming.frame().await {
        if let Ok(data) = frame.map_err(broken)?.into_data() {
            if body.len() + data.len() > limits::CHECK_ANSWER_BYTES_MAX {
                let message = format!("longer than {} bytes", limits::CHECK_ANSWER_BYTES_MAX);
                return Err(CheckError::Answer(message));
            }
            body.extend_from_slice(&data);
        }
    }
    let answer = Answer { status: head.status, headers: head.headers, body: body.freeze() };
    Ok((answer, (!sender.is_closed()).then_some(sender)))
}

pub(super) fn outcome(rules: &HttpRules, answer: Answer) -> Result<CheckOutcome, CheckError> {
    if answer.status.is_server_error() || answer.status.is_informational() {
        return Err(CheckError::Answer(format!("HTTP status {}", answer.status)));
    }
    if answer.status != StatusCode::OK {
        return Ok(CheckOutcome::Denied(denied(rules, answer)));
    }
    let picked = |texts: &Texts| -> Vec<(HeaderName, HeaderValue)> {
        let fits = |name: &HeaderName| names(texts, name) && !is_framing(name);
        let headers = answer.headers.iter().filter(|(name, _)| fits(name));
        headers.map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    let mut request: Vec<HeaderChange> = Vec::new();
    for (name, value) in picked(&rules.to_upstream) {
        // The answer's first value replaces the request's own, further ones join it.
        let is_first =
            !request.iter().any(|it| matches!(it, HeaderChange::Set(own, _) if *own == name));
        request.push(match is_first {
            true => HeaderChange::Set(name, value),
            false => HeaderChange::Append(name, value),
        });
    }
    let removed = answer.headers.get_all(TO_REMOVE).iter().filter_map(|it| it.to_str().ok());
    let removed = removed.flat_map(|names| names.split(',')).filter_map(|it| editable(it.trim()));
    request.extend(removed.map(HeaderChange::Remove));
    let response = picked(&rules.to_downstream_allowed);
    let response = response.into_iter().map(|(name, value)| HeaderChange::Append(name, value));
    Ok(CheckOutcome::Allowed(Allowed { request, response: response.collect() }))
}

fn denied(rules: &HttpRules, answer: Answer) -> Denied {
    let texts = &rules.to_downstream_denied;
    let fits = |name: &HeaderName| {
        let is_always = [LOCATION, WWW_AUTHENTICATE].contains(name);
        !is_framing(name) && (texts.is_empty() || is_always || names(texts, name))
    };
    let headers = answer.headers.iter().filter(|(name, _)| fits(name));
    let headers = headers.map(|(name, value)| HeaderChange::Append(name.clone(), value.clone()));
    Denied { status: answer.status, headers: headers.collect(), body: answer.body }
}

fn names(texts: &Texts, name: &HeaderName) -> bool {
    texts.iter().any(|text| text.fits(name.as_str().as_bytes()))
}
