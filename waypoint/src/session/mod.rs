//! Sessions: requests that say, in a cookie or a header, which endpoint took the first of them. Pure; the time is given.
//!
//! ```text
//!  request ──Session::asked──▶ Token (endpoint's tag, times) ──▶ the backend's endpoint with that tag, if it is there
//!  the endpoint that answered ──Session::answer──▶ a cookie or header of the response, where the client's isn't right
//! ```
//!
//! Invariants: whoever made a value up, it leads to one of the backend's own endpoints or to none, since it is only ever
//! compared with theirs; it shows neither names nor addresses; replicas and restarts agree on it, since nothing but names
//! goes into it. So there is no key to be shared, and none to be lost. What a client can do by changing its own value is what
//! it could do by asking again and again without one, and to prolong its own session.

mod decode;
mod token;

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue, SET_COOKIE};

use crate::cookie;

pub(crate) use decode::decode;
pub use token::{EndpointTag, Scope, Token};

/// What is set about the sessions of a rule or a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Values of others don't count.
    pub scope: Scope,
    /// How clients say which is theirs.
    pub carrier: Carrier,
    /// Longest, from the first request.
    pub absolute: Option<Duration>,
    /// Longest without a request.
    pub idle: Option<Duration>,
}

/// How clients say which session is theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carrier {
    /// By a cookie.
    Cookie(SessionCookie),
    /// By a header, that they are given as a response's.
    Header(HeaderName),
}

/// A cookie that names a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionCookie {
    /// Its name.
    pub name: Box<str>,
    /// Its path; `None`: what the rule covers.
    pub path: Option<Box<str>>,
    /// It stays for as long as the session may, not only until the client ends.
    pub is_permanent: bool,
    /// Further attributes.
    pub attributes: Box<[Box<str>]>,
}

impl Session {
    /// What a request says, if that is a session that holds at `now` (since the epoch).
    pub fn asked(&self, headers: &HeaderMap, now: Duration) -> Option<Token> {
        let holds = |value: &[u8]| {
            let token = Token::read(value, self.scope)?;
            self.is_alive(&token, now).then_some(token)
        };
        match &self.carrier {
            Carrier::Cookie(cookie) => cookie::values(headers, &cookie.name).find_map(holds),
            Carrier::Header(name) => {
                headers.get_all(name).iter().find_map(|it| holds(it.as_bytes()))
            }
        }
    }

    fn is_alive(&self, token: &Token, now: Duration) -> bool {
        let is_within = |limit: Option<Duration>, since: Duration| {
            limit.is_none_or(|limit| now.saturating_sub(since) < limit)
        };
        is_within(self.absolute, token.began) && is_within(self.idle, token.used)
    }

    /// What the response of `endpoint` tells the client; nothing where what it said is right and stays so. `root` is the path
    /// below which all of the rule's requests are.
    pub fn answer(
        &self,
        asked: Option<&Token>,
        endpoint: EndpointTag,
        root: &str,
        now: Duration,
    ) -> Option<(HeaderName, HeaderValue)> {
        let same = asked.filter(|token| token.endpoint == endpoint);
        if same.is_some() && self.idle.is_none() {
            return None;
        }
        let began = same.map_or(now, |token| token.began);
        let value = Token { endpoint, began, used: now }.write(self.scope);
        match &self.carrier {
            Carrier::Header(name) => Some((name.clone(), HeaderValue::from_str(&value).ok()?)),
            Carrier::Cookie(cookie) => {
                // A client may say that it began later than now.
                let left = self.absolute.map(|all| all.saturating_sub(now.saturating_sub(began)));
                let max_age = left.filter(|_| cookie.is_permanent);
                let path = cookie.path.as_deref().unwrap_or(root);
                let named = (&*cookie.name, value.as_str());
                let header = cookie::written(named, path, max_age, &cookie.attributes)?;
                Some((SET_COOKIE, header))
            }
        }
    }
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.carrier {
            Carrier::Cookie(cookie) => write!(f, "sessions by cookie {}", cookie.name),
            Carrier::Header(name) => write!(f, "sessions by header {name}"),
        }?;
        self.absolute.iter().try_for_each(|it| write!(f, ", of {it:?} at most"))?;
        self.idle.iter().try_for_each(|it| write!(f, ", idle for {it:?} at most"))
    }
}
