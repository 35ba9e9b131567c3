//! Envoy's commands: what stands between two `%`.

use super::Subject;
use super::header::{HeaderValues, Of};
use super::layout::FormatError;
use super::time::TimeFormat;
use super::value::Value;
use crate::limits;
use crate::telemetry::metrics::millis;

/// A command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    StartTime(TimeFormat),
    Header(Of, HeaderValues),
    GrpcStatus(GrpcStyle),
    Plain(Plain),
}

/// How a gRPC status is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GrpcStyle {
    Camel,
    Snake,
    Number,
}

macro_rules! plain {
    ($($name:ident = $text:literal $(| $other:literal)*;)*) => {
        /// A command without arguments.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Plain { $($name,)* }

        impl Plain {
            #[cfg(test)]
            pub(super) const NAMES: &[&str] = &[$($text, $($other,)*)*];

            fn parse(name: &str) -> Option<Self> {
                match name {
                    $($text $(| $other)* => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

plain! {
    Protocol = "PROTOCOL";
    ResponseCode = "RESPONSE_CODE";
    ResponseCodeDetails = "RESPONSE_CODE_DETAILS";
    ResponseFlags = "RESPONSE_FLAGS";
    ResponseFlagsLong = "RESPONSE_FLAGS_LONG";
    ConnectionTermination = "CONNECTION_TERMINATION_DETAILS";
    TransportFailure = "UPSTREAM_TRANSPORT_FAILURE_REASON";
    BytesReceived = "BYTES_RECEIVED";
    BytesSent = "BYTES_SENT";
    RequestHeadersBytes = "REQUEST_HEADERS_BYTES";
    ResponseHeadersBytes = "RESPONSE_HEADERS_BYTES";
    Duration = "DURATION";
    RequestDuration = "REQUEST_DURATION";
    ResponseDuration = "RESPONSE_DURATION";
    ResponseTxDuration = "RESPONSE_TX_DURATION";
    UpstreamHost = "UPSTREAM_HOST" | "UPSTREAM_REMOTE_ADDRESS";
    UpstreamIp = "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT";
    UpstreamPort = "UPSTREAM_REMOTE_PORT";
    UpstreamLocal = "UPSTREAM_LOCAL_ADDRESS";
    UpstreamLocalIp = "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT";
    UpstreamLocalPort = "UPSTREAM_LOCAL_PORT";
    UpstreamCluster = "UPSTREAM_CLUSTER" | "UPSTREAM_CLUSTER_RAW";
    Attempts = "UPSTREAM_REQUEST_ATTEMPT_COUNT";
    Remote = "DOWNSTREAM_REMOTE_ADDRESS";
    RemoteIp = "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT";
    RemotePort = "DOWNSTREAM_REMOTE_PORT";
    DirectRemote = "DOWNSTREAM_DIRECT_REMOTE_ADDRESS";
    DirectRemoteIp = "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT";
    DirectRemotePort = "DOWNSTREAM_DIRECT_REMOTE_PORT";
    Local = "DOWNSTREAM_LOCAL_ADDRESS" | "DOWNSTREAM_DIRECT_LOCAL_ADDRESS";
    LocalIp = "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT";
    LocalPort = "DOWNSTREAM_LOCAL_PORT";
    PeerSan = "DOWNSTREAM_PEER_URI_SAN";
    LocalSan = "DOWNSTREAM_LOCAL_URI_SAN";
    ServerName = "REQUESTED_SERVER_NAME";
    ConnectionId = "CONNECTION_ID";
    RouteName = "ROUTE_NAME";
    TraceId = "TRACE_ID";
}

impl Command {
    /// From its name, what stands in parentheses after it, and the length after a colon.
    pub(super) fn parse(
        name: &str,
        argument: Option<&str>,
        bytes_max: Option<usize>,
    ) -> Result<Self, FormatError> {
        let refused = || FormatError::Argument {
            command: name.to_owned(),
            argument: argument.unwrap_or_default().to_owned(),
        };
        let of = match name {
            "REQ" => Some(Of::Request),
            "REQ_WITHOUT_QUERY" => Some(Of::RequestWithoutQuery),
            "RESP" => Some(Of::Response),
            "TRAILER" => Some(Of::Trailers),
            _ => None,
        };
        if let Some(of) = of {
            let max = limits::ACCESS_VALUE_BYTES_MAX;
            let bytes_max = bytes_max.map_or(max, |bytes| bytes.min(max));
            let headers = argument.and_then(|text| HeaderValues::parse(text, bytes_max));
            return Ok(Self::Header(of, headers.ok_or_else(refused)?));
        }
        match (name, argument) {
            ("START_TIME", None) => Ok(Self::StartTime(TimeFormat::default())),
            ("START_TIME", Some(format)) => {
                TimeFormat::parse(format).map(Self::StartTime).ok_or_else(refused)
            }
            ("GRPC_STATUS", None | Some("CAMEL_STRING")) => Ok(Self::GrpcStatus(GrpcStyle::Camel)),
            ("GRPC_STATUS", Some("SNAKE_STRING")) => Ok(Self::GrpcStatus(GrpcStyle::Snake)),
            ("GRPC_STATUS", Some("NUMBER")) | ("GRPC_STATUS_NUMBER", None) => {
                Ok(Self::GrpcStatus(GrpcStyle::Number))
            }
            ("GRPC_STATUS", Some(_)) => Err(refused()),
            _ => match (Plain::parse(name), argument) {
                (Some(plain), None) => Ok(Self::Plain(plain)),
                (Some(_), Some(_)) => Err(refused()),
                (None, _) => Err(FormatError::Command(name.to_owned())),
            },
        }
    }

    /// What it stands for.
    pub(super) fn value<'a>(&'a self, subject: &Subject<'a>) -> Value<'a> {
        match self {
            Self::StartTime(format) => Value::Time(subject.stream.start, format),
            Self::Header(of, headers) => headers.value(*of, subject),
            Self::GrpcStatus(style) => match subject.http.and_then(|http| http.grpc_status) {
                Some(status) => grpc_status(status, *style),
                None => Value::Missing,
            },
            Self::Plain(plain) => match plain.of_stream(subject) {
                Some(value) => value,
                None => plain.of_addresses(subject),
            },
        }
    }
}

impl Plain {
    fn of_stream<'a>(self, subject: &Subject<'a>) -> Option<Value<'a>> {
        let (stream, http) = (subject.stream, subject.http);
        let sizes = &stream.sizes;
        let millis_of = |duration: Option<std::time::Duration>| {
            duration.map_or(Value::Missing, |it| Value::Number(millis(it)))
        };
        Some(match self {
            Self::Protocol => http.map_or(Value::Missing, |http| version(http.version)),
            Self::ResponseCode => Value::Number(http.map_or(0, |http| http.status.into())),
            Self::ResponseCodeDetails => Value::text(stream.details),
            Self::ResponseFlags => Value::Flags(stream.flags),
            Self::ResponseFlagsLong => Value::FlagsLong(stream.flags),
            Self::ConnectionTermination => Value::text(stream.termination_details),
            Self::TransportFailure => Value::text(stream.upstream.transport_failure),
            Self::BytesReceived => Value::Number(sizes.received),
            Self::BytesSent => Value::Number(sizes.sent),
            Self::RequestHeadersBytes => Value::Number(sizes.request_headers),
            Self::ResponseHeadersBytes => Value::Number(sizes.response_headers),
            Self::Duration => Value::Number(millis(stream.duration)),
            Self::RequestDuration => millis_of(http.and_then(|http| http.request_duration)),
            Self::ResponseDuration => millis_of(http.and_then(|http| http.response_duration)),
            Self::ResponseTxDuration => millis_of(http.and_then(|http| http.response_tx_duration)),
            Self::UpstreamCluster => Value::text(stream.upstream.cluster),
            Self::Attempts => Value::Number(stream.upstream.attempts.into()),
            Self::PeerSan => Value::text(stream.downstream.peer_identity),
            Self::LocalSan => Value::text(stream.downstream.local_identity),
            Self::ServerName => Value::peer(stream.downstream.server_name),
            Self::ConnectionId => Value::Number(stream.downstream.connection_id),
            Self::RouteName => Value::text(stream.route),
            Self::TraceId => Value::text(http.map_or("", |http| http.trace_id)),
            _ => return None,
        })
    }

    fn of_addresses<'a>(self, subject: &Subject<'a>) -> Value<'a> {
        let (upstream, downstream) = (&subject.stream.upstream, &subject.stream.downstream);
        let direct = downstream.direct_remote.or(downstream.remote);
        let address = match self {
            Self::UpstreamHost | Self::UpstreamIp | Self::UpstreamPort => upstream.address,
            Self::UpstreamLocal | Self::UpstreamLocalIp | Self::UpstreamLocalPort => upstream.local,
            Self::Remote | Self::RemoteIp | Self::RemotePort => downstream.remote,
            Self::DirectRemote | Self::DirectRemoteIp | Self::DirectRemotePort => direct,
            Self::Local | Self::LocalIp | Self::LocalPort => downstream.local,
            _ => None,
        };
        let Some(address) = address else {
            return Value::Missing;
        };
        match self {
            Self::UpstreamPort
            | Self::UpstreamLocalPort
            | Self::RemotePort
            | Self::DirectRemotePort
            | Self::LocalPort => Value::Number(address.port().into()),
            Self::UpstreamIp
            | Self::UpstreamLocalIp
            | Self::RemoteIp
            | Self::DirectRemoteIp
            | Self::LocalIp => Value::Ip(address.ip()),
            _ => Value::Address(address),
        }
    }
}

/// Envoy's names of HTTP's versions.
fn version(version: http::Version) -> Value<'static> {
    Value::Text(match version {
        http::Version::HTTP_09 | http::Version::HTTP_10 => "HTTP/1.0",
        http::Version::HTTP_2 => "HTTP/2",
        http::Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    })
}

/// Status codes of gRPC (its "Status codes and their use"), in order.
const GRPC: [(&str, &str); 17] = [
    ("OK", "OK"),
    ("Canceled", "CANCELLED"),
    ("Unknown", "UNKNOWN"),
    ("InvalidArgument", "INVALID_ARGUMENT"),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED"),
    ("NotFound", "NOT_FOUND"),
    ("AlreadyExists", "ALREADY_EXISTS"),
    ("PermissionDenied", "PERMISSION_DENIED"),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
    ("FailedPrecondition", "FAILED_PRECONDITION"),
    ("Aborted", "ABORTED"),
    ("OutOfRange", "OUT_OF_RANGE"),
    ("Unimplemented", "UNIMPLEMENTED"),
    ("Internal", "INTERNAL"),
    ("Unavailable", "UNAVAILABLE"),
    ("DataLoss", "DATA_LOSS"),
    ("Unauthenticated", "UNAUTHENTICATED"),
];

fn grpc_status(status: u32, style: GrpcStyle) -> Value<'static> {
    let names = usize::try_from(status).ok().and_then(|nth| GRPC.get(nth));
    match (names, style) {
        (Some((camel, _)), GrpcStyle::Camel) => Value::Text(camel),
        (Some((_, snake)), GrpcStyle::Snake) => Value::Text(snake),
        _ => Value::Number(status.into()),
    }
}
