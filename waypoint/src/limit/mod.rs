//! Asking a service whether there were too many requests: `envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit`.
//!
//! ```text
//!  GlobalLimit (whom, about what) + Counted (a request) ──question──▶ bytes ──CheckClient::call──▶ bytes ──verdict──▶ Verdict
//! ```
//!
//! Pure: the exchange itself is that of other services that are asked about requests (`access::check`).
//!
//! Such a limit protects from load, and is no permission: where the service can't be asked requests go on, unless it is said
//! otherwise, for else its outage would be that of everything behind it. What one proxy counts by itself holds meanwhile.

mod decode;
mod descriptors;

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use prost::Message;
use weft_proto::ratelimit as proto;
use weft_proto::ratelimit::rate_limit_response::Code;

use crate::access::check::{CheckError, HeaderChange, Target, editable, frame};

pub use descriptors::{Attribute, Counted, Entry, Value};

/// A service that counts, and what it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlobalLimit {
    /// Its name in the mesh's configuration.
    pub provider: Box<str>,
    /// Where it is.
    pub target: Target,
    /// For the whole exchange.
    pub timeout: Duration,
    /// What a request is answered where the service can't be asked; `None`: it goes on.
    pub refusal: Option<StatusCode>,
    /// Clients of gRPC are told RESOURCE_EXHAUSTED, not UNAVAILABLE.
    pub as_resource_exhausted: bool,
    domain: Box<str>,
    descriptors: Box<[Box<[Entry]>]>,
}

/// What the service says of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may go on.
    Under {
        /// For the request, before it goes on.
        request: Vec<HeaderChange>,
        /// For the response, whenever it comes.
        response: Vec<HeaderChange>,
    },
    /// It was too much.
    Over {
        /// For the answer.
        headers: Vec<HeaderChange>,
        /// The answer's body.
        body: Bytes,
    },
}

/// The method of the service.
pub const PATH: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

impl GlobalLimit {
    /// What the service is asked about a request; nothing if it isn't to be asked.
    pub fn question(&self, request: &Counted<'_>) -> Option<Bytes> {
        let made = self.descriptors.iter().filter_map(|it| descriptors::made(it, request));
        let descriptors: Vec<_> = made.collect();
        if descriptors.is_empty() {
            return None;
        }
        let domain = self.domain.to_string();
        Some(frame(&proto::RateLimitRequest { domain, descriptors, hits_addend: 0 }))
    }
}

/// What the service's answer says.
pub fn verdict(message: &[u8]) -> Result<Verdict, CheckError> {
    let bad = |why: String| CheckError::Answer(why);
    let answer = proto::RateLimitResponse::decode(message).map_err(|it| bad(it.to_string()))?;
    let response = changes(&answer.response_headers_to_add);
    match answer.overall_code() {
        Code::Ok => {
            let request = changes(&answer.request_headers_to_add);
            Ok(Verdict::Under { request, response })
        }
        Code::OverLimit => Ok(Verdict::Over { headers: response, body: answer.raw_body.into() }),
        Code::Unknown => Err(bad("neither under the limit nor over it".to_owned())),
    }
}

/// Further values, as Envoy adds them. The service has no say about how messages are framed.
fn changes(headers: &[proto::HeaderValue]) -> Vec<HeaderChange> {
    let change = |header: &proto::HeaderValue| {
        let value = match header.raw_value.is_empty() {
            true => header.value.as_bytes(),
            false => &header.raw_value,
        };
        let value = HeaderValue::from_bytes(value).ok()?;
        Some(HeaderChange::Append(editable(&header.key)?, value))
    };
    headers.iter().filter_map(change).collect()
}

impl fmt::Display for GlobalLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { provider, domain, timeout, .. } = self;
        write!(f, "{provider} is asked in domain {domain}, for {timeout:?} at most")?;
        match self.refusal {
            None => f.write_str("; where it fails requests go on"),
            Some(status) => write!(f, "; where it fails requests are answered {}", status.as_u16()),
        }
    }
}
