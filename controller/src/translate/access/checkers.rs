//! Services that CUSTOM policies ask, from the mesh's configuration.

use weft_proto::route as proto;
use weft_proto::route::checker::Protocol;
use weft_proto::route::text_match::Kind as TextKind;

use crate::objects::{ExtensionChecker, HttpChecker};

pub(super) fn checker(name: &str, checker: &ExtensionChecker) -> proto::Checker {
    let asked = &checker.asked;
    let protocol = match &checker.http {
        Some(http) => Protocol::Http(http_check(http)),
        None => Protocol::Grpc(proto::GrpcCheck {}),
    };
    proto::Checker {
        name: name.to_owned(),
        namespace: asked.namespace.as_deref().unwrap_or_default().to_owned(),
        hostname: asked.host.to_string(),
        port: asked.port.into(),
        timeout_ms: asked.timeout_ms(),
        fail_open: asked.fails_open,
        status_on_error: asked.status_on_error.map_or(0, u32::from),
        body: checker.body.map(|body| proto::CheckedBody {
            max_bytes: body.max_request_bytes,
            allow_partial: body.allow_partial_message,
            as_bytes: body.pack_as_bytes,
        }),
        protocol: Some(protocol),
    }
}

fn http_check(http: &HttpChecker) -> proto::HttpCheck {
    let header = |(name, value): (&String, &String)| proto::Header {
        name: name.clone(),
        value: value.clone(),
    };
    proto::HttpCheck {
        path_prefix: http.path_prefix.clone(),
        request_headers: names(&http.request_headers),
        additional_headers: http.additional.iter().map(header).collect(),
        to_upstream: names(&http.to_upstream),
        to_downstream_allowed: names(&http.to_downstream_allowed),
        to_downstream_denied: names(&http.to_downstream_denied),
    }
}

/// Names with a `*` at one end, in either case.
fn names(names: &[String]) -> Vec<proto::TextMatch> {
    let build = |name: &String| {
        let kind = match (name.strip_prefix('*'), name.strip_suffix('*')) {
            (Some(""), _) => TextKind::Present(proto::Present {}),
            (Some(rest), _) => TextKind::Suffix(rest.to_owned()),
            (None, Some(rest)) => TextKind::Prefix(rest.to_owned()),
            (None, None) => TextKind::Exact(name.clone()),
        };
        proto::TextMatch { kind: Some(kind), ignore_case: true }
    };
    names.iter().filter(|name| !name.is_empty()).map(build).collect()
}
