//! What rules ask, as the table has it.

use weft_proto::route as proto;
use weft_proto::route::condition::Kind;
use weft_proto::route::path_condition::Kind as Path;
use weft_proto::route::text_match::Kind as Text;

use crate::objects::{RouteMatch, RoutePath, TextMatch};

pub(in crate::translate) fn condition(kind: Kind) -> proto::Condition {
    proto::Condition { kind: Some(kind), negated: false }
}

pub(in crate::translate) fn path(kind: Path) -> proto::Condition {
    condition(Kind::Path(proto::PathCondition { kind: Some(kind), ignore_case: false }))
}

pub(in crate::translate) fn text(text: &TextMatch) -> proto::TextMatch {
    let kind = match text {
        TextMatch::Exact(text) => Text::Exact(text.to_string()),
        TextMatch::Prefix(text) => Text::Prefix(text.to_string()),
        TextMatch::Regex(text) => Text::Regex(text.to_string()),
        TextMatch::Present => Text::Present(proto::Present {}),
    };
    proto::TextMatch { kind: Some(kind), ignore_case: false }
}

pub(in crate::translate) fn header(name: &str, value: &TextMatch) -> proto::Condition {
    let value = Some(text(value));
    condition(Kind::Header(proto::HeaderCondition { name: name.to_owned(), value }))
}

pub(in crate::translate) fn query(name: &str, value: &TextMatch) -> proto::Condition {
    let value = Some(text(value));
    condition(Kind::Query(proto::QueryCondition { name: name.to_owned(), value }))
}

/// All that an alternative asks.
pub(super) fn matched(matched: &RouteMatch, host: Option<&str>) -> Vec<proto::Condition> {
    let host = host
        .map(|host| condition(Kind::Hosts(proto::HostsCondition { hosts: vec![host.to_owned()] })));
    let path = match &matched.path {
        RoutePath::Exact(text) => Some(path(Path::Exact(text.to_string()))),
        RoutePath::Regex(text) => Some(path(Path::Regex(text.to_string()))),
        // Also for "/", which holds always: it says what a rewritten prefix replaces.
        RoutePath::Elements(text) => Some(path(Path::ElementPrefix(text.to_string()))),
        RoutePath::Grpc { service: None, method: None } => None,
        RoutePath::Grpc { service, method } => {
            let (service, method) = (service.as_ref().map(text), method.as_ref().map(text));
            Some(condition(Kind::Grpc(proto::GrpcCondition { service, method })))
        }
    };
    let method = matched
        .method
        .as_ref()
        .map(|method| condition(Kind::Method(text(&TextMatch::Exact(method.clone())))));
    let headers = matched.headers.iter().map(|it| header(&it.name, &it.value));
    let queries = matched.query.iter().map(|it| query(&it.name, &it.value));
    host.into_iter().chain(path).chain(method).chain(headers).chain(queries).collect()
}
