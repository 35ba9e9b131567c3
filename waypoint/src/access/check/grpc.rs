//! A check by gRPC: `envoy.service.auth.v3.Authorization/Check`.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use weft_proto::auth as proto;
use weft_proto::auth::check_response::HttpResponse;

use super::answer::{Allowed, Denied, HeaderChange, editable};
use super::client::GrpcSender;
use super::{CheckError, CheckOutcome, CheckedRequest, Checker, Target};
use crate::limits::access as limits;

pub(super) const PATH: &str = "/envoy.service.auth.v3.Authorization/Check";
/// One byte that says whether it is compressed, four of length (gRPC over HTTP/2, Length-Prefixed-Message).
const PREFIX_BYTES: usize = 5;

/// Opens a connection and drives it until it ends.
pub(super) async fn connect<S>(stream: S) -> Result<GrpcSender, CheckError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = h2::client::Builder::new();
    builder.enable_push(false).max_header_list_size(limits::CHECK_HEADER_BYTES_MAX);
    let (sender, connection) = builder.handshake(stream).await.map_err(broken)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to a checker ended");
        }
    });
    Ok(sender)
}

pub(super) fn broken(error: h2::Error) -> CheckError {
    CheckError::Exchange(error.to_string())
}

/// The message with its prefix.
pub(super) fn question(checker: &Checker, request: &CheckedRequest<'_>) -> Bytes {
    let peer = |address: std::net::SocketAddr, identity: Option<&_>| proto::Peer {
        address: Some(proto::Address {
            socket_address: Some(proto::SocketAddress {
                address: address.ip().to_string(),
                port_value: address.port().into(),
            }),
        }),
        service: String::new(),
        principal: identity.map(ToString::to_string).unwrap_or_default(),
    };
    let message = proto::CheckRequest {
        attributes: Some(proto::AttributeContext {
            source: Some(peer(request.source_address, request.source)),
            destination: Some(peer(request.destination_address, request.destination)),
            request: Some(proto::Request {
                time: Some(request.time.into()),
                http: Some(http_request(checker, request)),
            }),
            context_extensions: BTreeMap::new(),
        }),
    };
    frame(&message)
}

/// A message with its prefix.
pub(crate) fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    bytes.extend_from_slice(&message.encode_to_vec());
    bytes.freeze()
}

fn http_request(checker: &Checker, request: &CheckedRequest<'_>) -> proto::HttpRequest {
    let mut headers: BTreeMap<String, String> = [
        (":method", request.method),
        (":scheme", request.scheme),
        (":authority", request.authority),
        (":path", request.path_and_query),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    for (name, value) in request.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        headers
            .entry(name.as_str().to_owned())
            .and_modify(|all| *all = format!("{all},{value}"))
            .or_insert_with(|| value.into_owned());
    }
    let mut built = proto::HttpRequest {
        id: request.id.to_owned(),
        method: request.method.to_owned(),
        path: request.path_and_query.to_owned(),
        host: request.authority.to_owned(),
        scheme: request.scheme.to_owned(),
        size: request.size.and_then(|size| i64::try_from(size).ok()).unwrap_or(-1),
        protocol: request.protocol.to_owned(),
        ..proto::HttpRequest::default()
    };
    if let (Some(rule), Some(body)) = (checker.body, &request.body) {
        let partial = if body.is_partial { "true" } else { "false" };
        headers.insert("x-envoy-auth-partial-body".to_owned(), partial.to_owned());
        match rule.as_bytes {
            true => built.raw_body = body.bytes.to_vec(),
            false => built.body = String::from_utf8_lossy(&body.bytes).into_owned(),
        }
    }
    built.headers = headers;
    built
}

/// What is called, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) target: &'a Target,
    pub(super) path: &'static str,
    pub(super) timeout: Duration,
}

/// One call with one message each way. Neither has its prefix, but the question.
pub(super) async fn ask(
    sender: GrpcSender,
    question: Bytes,
    call: Call<'_>,
) -> Result<Bytes, CheckError> {
    let mut sender = sender.ready().await.map_err(broken)?;
    let uri = http::Uri::builder()
        .scheme("http")
        .authority(&*call.target.hostname)
        .path_and_query(call.path)
        .build()
        .map_err(|error| CheckError::Exchange(error.to_string()))?;
    let request = Request::builder()
        .method(Method::POST)
        .version(Version::HTTP_2)
        .uri(uri)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", format!("{}m", call.timeout.as_millis()))
        .body(())
        .map_err(|error| CheckError::Exchange(error.to_string()))?;
    let (response, mut body) = sender.send_request(request, false).map_err(broken)?;
    body.send_data(question, true).map_err(broken)?;
    let (head, mut body) = response.await.map_err(broken)?.into_parts();
    if head.status != StatusCode::OK {
        return Err(CheckError::Answer(format!("HTTP status {}", head.status)));
    }
    check_grpc_status(&head.headers, false)?;
    let mut bytes = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(broken)?;
        if bytes.len() + data.len() > limits::CHECK_MESSAGE_BYTES_MAX {
            let message = format!("longer than {} bytes", limits::CHECK_MESSAGE_BYTES_MAX);
            return Err(CheckError::Answer(message));
        }
        // Fails only for more than was received.
        let _released = body.flow_control().release_capacity(data.len());
        bytes.extend_from_slice(&data);
    }
    let trailers = body.trailers().await.map_err(broken)?;
    check_grpc_status(&trailers.unwrap_or_default(), true)?;
    message(bytes.freeze())
}

/// In the trailers the status is required: without, the answer was cut.
fn check_grpc_status(headers: &HeaderMap, is_required: bool) -> Result<(), CheckError> {
    match headers.get("grpc-status").map(HeaderValue::as_bytes) {
        Some(b"0") => Ok(()),
        None if !is_required => Ok(()),
        None => Err(CheckError::Answer("no grpc-status".to_owned())),
        Some(status) => {
            let status = String::from_utf8_lossy(status);
            Err(CheckError::Answer(format!("grpc-status {status}")))
        }
    }
}

fn message(mut bytes: Bytes) -> Result<Bytes, CheckError> {
    let cut = || CheckError::Answer("no whole message".to_owned());
    if bytes.len() < PREFIX_BYTES {
        return Err(cut());
    }
    let is_compressed = bytes.get_u8() != 0;
    let length = usize::try_from(bytes.get_u32()).unwrap_or(usize::MAX);
    match is_compressed || length != bytes.len() {
        true => Err(cut()),
        false => Ok(bytes),
    }
}

/// What a checker's message says.
pub(super) fn outcome(message: &[u8]) -> Result<CheckOutcome, CheckError> {
    let message = proto::CheckResponse::decode(message)
        .map_err(|error| CheckError::Answer(error.to_string()))?;
    // Without a status it would be 0, which lets in.
    let status = message.status.as_ref();
    let code = status.ok_or_else(|| CheckError::Answer("no status".to_owned()))?.code;
    match (&message.http_response, code) {
        (Some(HttpResponse::OkResponse(ok)), 0) => Ok(CheckOutcome::Allowed(allowed(ok))),
        (None, 0) => Ok(CheckOutcome::Allowed(Allowed::default())),
        (Some(HttpResponse::DeniedResponse(_)), 0) => {
            Err(CheckError::Answer("lets in and denies at once".to_owned()))
        }
        (Some(HttpResponse::DeniedResponse(denied)), _) => {
            Ok(CheckOutcome::Denied(denied_answer(denied)))
        }
        (_, _) => Ok(CheckOutcome::Denied(Denied {
            status: StatusCode::FORBIDDEN,
            headers: Vec::new(),
            body: Bytes::new(),
        })),
    }
}

fn allowed(ok: &proto::OkHttpResponse) -> Allowed {
    let edits = ok.headers.iter().filter_map(request_change);
    let removals = ok.headers_to_remove.iter().filter_map(|name| editable(name));
    Allowed {
        request: edits.chain(removals.map(HeaderChange::Remove)).collect(),
        response: ok.response_headers_to_add.iter().filter_map(response_change).collect(),
    }
}

fn denied_answer(denied: &proto::DeniedHttpResponse) -> Denied {
    let code = denied.status.as_ref().and_then(|status| u16::try_from(status.code).ok());
    let status = code.and_then(|code| StatusCode::from_u16(code).ok());
    // An informational status would be no final answer.
    let status = status.filter(|it| !it.is_informational()).unwrap_or(StatusCode::FORBIDDEN);
    Denied {
        status,
        headers: denied.headers.iter().filter_map(response_change).collect(),
        body: Bytes::copy_from_slice(denied.body.as_bytes()),
    }
}

/// Of a request's headers only `append` is looked at, as in Envoy.
fn request_change(option: &proto::HeaderValueOption) -> Option<HeaderChange> {
    let (name, value) = pair(option)?;
    Some(match option.append {
        Some(true) => HeaderChange::Append(name, value),
        _ => HeaderChange::Set(name, value),
    })
}

fn response_change(option: &proto::HeaderValueOption) -> Option<HeaderChange> {
    let (name, value) = pair(option)?;
    Some(match (option.append, option.append_action) {
        (Some(true), _) | (None, 0) => HeaderChange::Append(name, value),
        (None, 1) => HeaderChange::AddIfAbsent(name, value),
        (None, 3) => HeaderChange::ReplaceIfPresent(name, value),
        (Some(false), _) | (None, _) => HeaderChange::Set(name, value),
    })
}

fn pair(option: &proto::HeaderValueOption) -> Option<(http::HeaderName, HeaderValue)> {
    let header = option.header.as_ref()?;
    let value = match header.raw_value.is_empty() {
        true => header.value.as_bytes(),
        false => &header.raw_value,
    };
    Some((editable(&header.key)?, HeaderValue::from_bytes(value).ok()?))
}
