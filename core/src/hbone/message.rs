//! CONNECT and its answer, to and from HTTP messages.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header,
};

use super::error::HboneError;
use super::headers::{Authority, Baggage, Forwarded, TraceParent};
use crate::limits;

const BAGGAGE: HeaderName = HeaderName::from_static("baggage");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const FORWARDED_NETWORK: HeaderName = HeaderName::from_static("x-forwarded-network");

/// What a CONNECT says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelRequest {
    /// Where the tunnel shall lead.
    pub authority: Authority,
    /// What the client's workload is called.
    pub baggage: Baggage,
    /// Who opened the connection, and to which service.
    pub forwarded: Option<Forwarded>,
    /// Trace context; a receiver who gets none starts a trace.
    pub traceparent: TraceParent,
    /// Network that the request comes from; set on the inner request of a tunnel between networks.
    pub forwarded_network: Option<String>,
}

impl TunnelRequest {
    /// A request with nothing but its target and a fresh trace.
    pub fn new(authority: Authority) -> Self {
        Self {
            authority,
            baggage: Baggage::default(),
            forwarded: None,
            traceparent: TraceParent::random(),
            forwarded_network: None,
        }
    }

    pub(super) fn to_http(&self) -> Result<Request<()>, HboneError> {
        // Host names and addresses are a subset of what a URI's authority may hold, so this holds for any value.
        let uri = Uri::try_from(self.authority.to_string())
            .map_err(|error| HboneError::Lost(error.to_string()))?;
        let mut request = Request::new(());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = uri;
        *request.version_mut() = http::Version::HTTP_2;
        let headers = request.headers_mut();
        insert(headers, BAGGAGE, &self.baggage.to_string());
        if let Some(forwarded) = &self.forwarded {
            insert(headers, header::FORWARDED, &forwarded.to_string());
        }
        insert(headers, TRACEPARENT, &self.traceparent.to_string());
        insert(headers, FORWARDED_NETWORK, self.forwarded_network.as_deref().unwrap_or_default());
        Ok(request)
    }

    /// The status to refuse with, if it is no request for a tunnel.
    pub(super) fn from_http<B>(request: &Request<B>) -> Result<Self, StatusCode> {
        let headers = request.headers();
        if headers.len() > limits::HBONE_HEADER_FIELDS_MAX {
            return Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        }
        if *request.method() != Method::CONNECT {
            return Err(StatusCode::BAD_REQUEST);
        }
        let authority = request.uri().authority().ok_or(StatusCode::BAD_REQUEST)?;
        let authority = authority.as_str().parse().map_err(|_| StatusCode::BAD_REQUEST)?;
        Ok(Self {
            authority,
            baggage: read_baggage(headers),
            forwarded: single(headers, &header::FORWARDED).and_then(Forwarded::parse),
            traceparent: single(headers, &TRACEPARENT)
                .and_then(TraceParent::parse)
                .unwrap_or_else(TraceParent::random),
            forwarded_network: single(headers, &FORWARDED_NETWORK).and_then(read_network),
        })
    }
}

/// What a 200 says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TunnelResponse {
    /// What the server's workload is called.
    pub baggage: Baggage,
}

impl TunnelResponse {
    pub(super) fn to_http(baggage: Option<&Baggage>) -> Response<()> {
        let mut response = Response::new(());
        if let Some(baggage) = baggage {
            insert(response.headers_mut(), BAGGAGE, &baggage.to_string());
        }
        response
    }

    pub(super) fn from_http<B>(response: &Response<B>) -> Result<Self, HboneError> {
        if response.status() != StatusCode::OK {
            return Err(HboneError::Status(response.status()));
        }
        Ok(Self { baggage: read_baggage(response.headers()) })
    }
}

/// Leaves out what is empty. What a header can't carry was left out by the encoders already.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value)
        && !value.is_empty()
    {
        headers.insert(name, value);
    }
}

fn read_baggage(headers: &HeaderMap) -> Baggage {
    Baggage::parse(headers.get_all(BAGGAGE).iter().map(HeaderValue::as_bytes))
}

/// The value of a field that stands once; a repeated one is malformed.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_some() { None } else { Some(first.as_bytes()) }
}

fn read_network(value: &[u8]) -> Option<String> {
    let text = str::from_utf8(value).ok()?;
    let is_name = !text.is_empty()
        && text.len() <= limits::NAME_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_name.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(authority: &str) -> Request<()> {
        let uri: Uri = authority.parse().unwrap();
        Request::builder().method(Method::CONNECT).uri(uri).body(()).unwrap()
    }

    #[test]
    fn request_reads_back_as_it_was_sent() {
        let request = TunnelRequest {
            baggage: Baggage { namespace: Some("demo".into()), ..Baggage::default() },
            forwarded: Some(Forwarded::new(
                "10.0.0.1:99".parse().unwrap(),
                "shop.demo".parse().ok(),
            )),
            forwarded_network: Some("n1".into()),
            ..TunnelRequest::new("[fd00::7]:80".parse().unwrap())
        };
        let sent = request.to_http().unwrap();
        assert_eq!(sent.uri().to_string(), "[fd00::7]:80");
        assert_eq!(TunnelRequest::from_http(&sent), Ok(request));
    }

    #[test]
    fn bad_authority_and_other_methods_are_refused() {
        let mut get = connect("a:80");
        *get.method_mut() = Method::GET;
        assert_eq!(TunnelRequest::from_http(&get), Err(StatusCode::BAD_REQUEST));
        assert_eq!(TunnelRequest::from_http(&connect("a")), Err(StatusCode::BAD_REQUEST));
        assert_eq!(TunnelRequest::from_http(&connect("u@a:80")), Err(StatusCode::BAD_REQUEST));
    }

    #[test]
    fn malformed_telemetry_headers_do_not_refuse_a_tunnel() {
        let mut request = connect("10.0.0.1:80");
        let headers = request.headers_mut();
        let garbage = HeaderValue::from_bytes(b"\xff\"=;,").unwrap();
        for name in [BAGGAGE, TRACEPARENT, FORWARDED_NETWORK, header::FORWARDED] {
            headers.append(name, garbage.clone());
        }
        let read = TunnelRequest::from_http(&request).unwrap();
        assert_eq!((read.baggage, read.forwarded, read.forwarded_network), Default::default());
    }

    #[test]
    fn too_many_fields_are_refused() {
        let mut request = connect("10.0.0.1:80");
        for _ in 0..=limits::HBONE_HEADER_FIELDS_MAX {
            request.headers_mut().append(BAGGAGE, HeaderValue::from_static("a=b"));
        }
        assert_eq!(
            TunnelRequest::from_http(&request),
            Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
        );
    }
}
