//! What becomes of a request that a rule matched.

use std::sync::Arc;

use http::StatusCode;
use http::header::HeaderValue;

use super::backend::{Backends, Destination};
use super::cors::Cors;
use super::fraction::Fraction;
use super::headers::HeaderEdit;
use super::redirect::Redirect;
use super::resilience::{Fault, Retry, Timeouts};
use super::rewrite::PathRewrite;
use crate::session::Session;

/// An action.
#[derive(Debug)]
pub struct Action {
    /// Where it comes from.
    pub origin: Origin,
    /// What is changed on the way.
    pub filters: Filters,
    /// Where it ends.
    pub outcome: Outcome,
}

/// Which object a rule comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    /// Such as `HTTPRoute`.
    pub kind: Box<str>,
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// The rule's name; empty if it has none.
    pub rule: Box<str>,
    /// The rule's place in the object, from 0.
    pub index: u32,
}

/// What is changed on the way.
#[derive(Debug, Default)]
pub struct Filters {
    /// On the request.
    pub request_headers: HeaderEdit,
    /// On the response.
    pub response_headers: HeaderEdit,
    /// The authority that backends see.
    pub authority: Option<HeaderValue>,
    /// The path that backends see.
    pub path: Option<PathRewrite>,
    /// Copies.
    pub mirrors: Vec<Mirror>,
    /// Who may read responses from a script.
    pub cors: Option<Cors>,
    /// Faults that are injected.
    pub fault: Fault,
}

/// A copy of some requests.
#[derive(Debug)]
pub struct Mirror {
    /// Where it goes.
    pub to: Destination,
    /// Of how many requests.
    pub share: Fraction,
}

/// Where a request ends.
#[derive(Debug)]
pub enum Outcome {
    /// At a backend.
    Forward(Forward),
    /// Back at the client, which is sent elsewhere.
    Redirect(Redirect),
    /// Here, with a fixed answer.
    Direct(DirectResponse),
    /// Here, with 500: something of the action was not understood.
    Broken,
}

/// On to a backend.
#[derive(Debug)]
pub struct Forward {
    /// One is chosen for each request.
    pub backends: Backends,
    /// How long it may take.
    pub timeouts: Timeouts,
    /// `None`: the mesh's default.
    pub retry: Option<Retry>,
    /// Whose requests stay together; `None`: as the backend's settings say.
    pub session: Option<Arc<Session>>,
}

/// A fixed answer.
#[derive(Debug)]
pub struct DirectResponse {
    /// 200 to 599.
    pub status: StatusCode,
    /// Its body.
    pub body: Box<[u8]>,
    /// The body's type.
    pub content_type: HeaderValue,
}
