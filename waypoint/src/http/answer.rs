//! What is answered here, without an application.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode, response};
use tokio::time::timeout;

use super::downstream::{Downstream, Gone};
use crate::limits;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// An answer made here.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its head.
    pub head: response::Parts,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// A status and why, for people.
    pub(super) fn text(status: StatusCode, text: &str) -> Self {
        let mut answer = Self::empty(status);
        answer.body = Bytes::copy_from_slice(text.as_bytes());
        if !text.is_empty() {
            answer.head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        }
        answer
    }

    /// A status alone.
    pub(super) fn empty(status: StatusCode) -> Self {
        let (mut head, ()) = Response::new(()).into_parts();
        head.status = status;
        Self { head, body: Bytes::new() }
    }

    /// A gRPC status, in a response that is nothing but a head (gRPC over HTTP/2, "Trailers-Only").
    pub(super) fn grpc(status: u32, message: &str) -> Self {
        let mut answer = Self::empty(StatusCode::OK);
        let headers = &mut answer.head.headers;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(GRPC_STATUS, HeaderValue::from(status));
        if let Ok(message) = HeaderValue::from_str(&percent_encoded(message)) {
            headers.insert(GRPC_MESSAGE, message);
        }
        answer
    }

    /// The same to a client that speaks gRPC, if this one does.
    pub(super) fn for_client(self, is_grpc: bool) -> Self {
        if !is_grpc || self.head.headers.contains_key(GRPC_STATUS) {
            return self;
        }
        let status = grpc_status_of(self.head.status);
        let message = String::from_utf8_lossy(&self.body);
        let mut answer = Self::grpc(status, &message);
        for (name, value) in &self.head.headers {
            if *name != CONTENT_TYPE && *name != CONTENT_LENGTH {
                answer.head.headers.append(name, value.clone());
            }
        }
        answer
    }

    /// Sends it, as long as the client takes it.
    pub(super) async fn send(
        self,
        downstream: &mut Downstream,
        is_head: bool,
    ) -> Result<u64, Gone> {
        let sending = self.write(downstream, is_head);
        timeout(limits::MESSAGE_SILENCE_MAX, sending).await.map_err(|_| Gone::Silent)?
    }

    async fn write(mut self, downstream: &mut Downstream, is_head: bool) -> Result<u64, Gone> {
        let length = self.body.len();
        let is_bodiless =
            matches!(self.head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if !is_bodiless {
            self.head.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        let is_whole = length == 0 || is_head || is_bodiless;
        downstream.write_head(self.head, is_whole).await?;
        if !is_whole {
            downstream.write(self.body).await?;
        }
        if !is_whole || matches!(downstream, Downstream::One(_)) {
            downstream.finish(None).await?;
        }
        Ok(if is_whole { 0 } else { u64::try_from(length).unwrap_or(u64::MAX) })
    }
}

/// Envoy's and gRPC's table (grpc/doc/http-grpc-status-mapping.md), for answers that are made here.
pub(super) fn grpc_status_of(status: StatusCode) -> u32 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        408 | 504 => 4,
        429 | 502 | 503 => 14,
        _ => 2,
    }
}

/// gRPC over HTTP/2, "Status-Message": what isn't printable ASCII, and `%`, is percent-encoded.
fn percent_encoded(text: &str) -> String {
    use std::fmt::Write;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            // Writing to a String doesn't fail.
            _ => write!(encoded, "%{byte:02X}").unwrap_or_default(),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_of_grpc_are_answered_in_grpc() {
        let answer = Answer::text(StatusCode::FORBIDDEN, "50 %: no").for_client(true);
        assert_eq!(answer.head.status, StatusCode::OK);
        assert_eq!(answer.head.headers[GRPC_STATUS], "7");
        assert_eq!(answer.head.headers[GRPC_MESSAGE], "50 %25: no");
        assert!(answer.body.is_empty());
        let plain = Answer::text(StatusCode::FORBIDDEN, "no").for_client(false);
        assert_eq!(plain.head.status, StatusCode::FORBIDDEN);
    }
}
