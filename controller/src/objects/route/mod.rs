//! Routes of the Gateway API, and what they share with Istio's.
//!
//! All kinds become one type: HTTPRoute and GRPCRoute differ in how a path is asked for and in which filters they have, and
//! TCPRoute and TLSRoute ask for nothing but a name. A field
//! that isn't known is refused with the whole object, because a match that is overlooked routes more than was written; a
//! field that is known and not honoured is kept by name, for the status.

mod filter;
mod grant;
mod grpc;
mod http;
mod matcher;
mod raw;
mod refs;
mod session;
mod stream;

use std::sync::Arc;
use std::time::Duration;

pub use filter::{
    CorsRule, HeaderEdit, MirrorRule, PathChange, RedirectRule, RewriteRule, RouteFilter,
};
pub use grant::{GrantFrom, GrantTo, ReferenceGrant};
pub use matcher::{NamedMatch, RoutePath, TextMatch};
pub use refs::{BackendRef, ParentKind, ParentRef};
pub use session::SessionRule;

pub(super) use filter::check_header;
pub(super) use grant::{RawGrant, reference_grant};
pub(super) use grpc::{RawGrpcRoute, grpc_route};
pub(super) use http::{RawHttpRoute, http_route};
pub(super) use matcher::{check_count, check_length, checked_regex};
pub(crate) use session::check_name as check_session_name;
pub(super) use stream::{RawStreamRoute, stream_route};

use super::Kind;
use super::meta::Meta;

/// Which kind of route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteKind {
    /// HTTPRoute
    Http,
    /// GRPCRoute
    Grpc,
    /// TLSRoute
    Tls,
    /// TCPRoute
    Tcp,
}

impl RouteKind {
    /// As an object's kind.
    pub fn kind(self) -> Kind {
        match self {
            Self::Http => Kind::HTTPRoute,
            Self::Grpc => Kind::GRPCRoute,
            Self::Tls => Kind::TLSRoute,
            Self::Tcp => Kind::TCPRoute,
        }
    }
}

/// An HTTPRoute, a GRPCRoute, a TLSRoute or a TCPRoute.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Name, labels and so on.
    pub meta: Meta,
    /// Which kind.
    pub kind: RouteKind,
    /// What it is attached to.
    pub parents: Box<[ParentRef]>,
    /// Hosts that it is for; empty: all. Not looked at by HTTP where the parent is a service; for TLS, names in the handshake.
    pub hostnames: Box<[Arc<str>]>,
    /// Its rules.
    pub rules: Box<[RouteRule]>,
    /// Fields that are known and not honoured.
    pub ignored: Box<[String]>,
}

/// One rule of a route.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteRule {
    /// Its name.
    pub name: Option<Arc<str>>,
    /// Alternatives; at least one, but for TLS and TCP.
    pub matches: Box<[RouteMatch]>,
    /// What is done on the way.
    pub filters: Box<[RouteFilter]>,
    /// Where requests go.
    pub backends: Box<[RouteBackend]>,
    /// For the whole request; zero: none, absent: not said.
    pub request_timeout: Option<Duration>,
    /// For one attempt.
    pub attempt_timeout: Option<Duration>,
    /// Retries; absent: the mesh's default.
    pub retry: Option<RetryRule>,
    /// Whose requests stay together; absent: nobody's by this rule.
    pub session: Option<SessionRule>,
}

/// One alternative of a rule. All that is given must hold.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteMatch {
    /// What is asked of the path.
    pub path: RoutePath,
    /// The method.
    pub method: Option<Arc<str>>,
    /// Headers, each name once.
    pub headers: Box<[NamedMatch]>,
    /// Query parameters, each name once.
    pub query: Box<[NamedMatch]>,
}

/// A backend and its share.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteBackend {
    /// Where it is.
    pub to: BackendRef,
    /// Its share.
    pub weight: u32,
    /// What is done on the way to it.
    pub filters: Box<[RouteFilter]>,
}

/// Retries of a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryRule {
    /// Besides the first attempt.
    pub attempts: u32,
    /// Statuses of responses.
    pub codes: Box<[u16]>,
    /// Shortest wait.
    pub backoff: Option<Duration>,
}
