//! The session of a request: which endpoint it asks for, and what its client is told.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::SET_COOKIE;
use weft_core::clock;

use super::backing::Place;
use super::forward::Plan;
use crate::session::{EndpointTag, Session, Token};
use crate::upstream::Endpoint;

/// A request where requests stay together.
pub(super) struct Sticky<'a> {
    session: Arc<Session>,
    /// What the client said, if that holds.
    asked: Option<Token>,
    /// Below which all of the rule's paths are.
    root: &'a str,
}

impl<'a> Sticky<'a> {
    /// As the rule says.
    pub(super) fn of_rule(plan: &Plan<'a>, headers: &HeaderMap) -> Option<Self> {
        let session = plan.forward?.session.as_ref()?;
        Some(Self::new(session, headers, plan.root))
    }

    /// As what is set about the backend says.
    pub(super) fn of_backend(place: &Place, headers: &HeaderMap) -> Option<Self> {
        let Place::Backend(backend) = place else { return None };
        let settings = backend.cluster().settings();
        Some(Self::new(settings.session.as_ref()?, headers, "/"))
    }

    fn new(session: &Arc<Session>, headers: &HeaderMap, root: &'a str) -> Self {
        Self { asked: session.asked(headers, now()), session: session.clone(), root }
    }

    /// Which endpoint is asked for.
    pub(super) fn endpoint(&self) -> Option<EndpointTag> {
        self.asked.map(|token| token.endpoint)
    }

    /// Tells the client of the endpoint that answered.
    pub(super) fn tell(&self, place: &Place, endpoint: &Endpoint, headers: &mut HeaderMap) {
        let Place::Backend(backend) = place else { return };
        let tag = backend.tag(endpoint);
        let told = self.session.answer(self.asked.as_ref(), tag, self.root, now());
        // A response with 32,768 headers has no room for another.
        let _full = match told {
            Some((name, value)) if name == SET_COOKIE => headers.try_append(name, value).is_err(),
            Some((name, value)) => headers.try_insert(name, value).is_err(),
            None => false,
        };
    }
}

fn now() -> Duration {
    clock::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
