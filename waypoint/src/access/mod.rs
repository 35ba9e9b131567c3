//! Who may do what with one service.
//!
//! ```text
//!  AccessPolicy (bytes) ──decode──▶ Access ─┬ authenticate(request) ─▶ Authenticated, or 401
//!                                           └ evaluate(request) ─▶ Allow │ Deny │ Check ──check──▶ (evaluate again)
//!  raw path ──path::normalise──▶ the path that routes and rules see, or 400
//! ```
//!
//! Pure but for [`check`], which asks services whether a request may go on.
//!
//! Invariants: bytes that aren't understood deny what they cover; a rule that isn't understood never matches where it
//! would let in, and always where it would keep out; identities come from [`AccessRequest`], never from a header.

pub mod check;
mod decode;
mod evaluate;
pub mod jwt;
mod matcher;
pub mod path;
mod request;
pub mod sanitise;
mod template;
mod text;
mod view;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use check::{CheckClient, CheckError, CheckOutcome, CheckedRequest, Checker, Dial};
pub use decode::AccessError;
pub use evaluate::{DENIED, Denial, Report, Reported, Step, Verdict};
pub use jwt::{Authenticated, JwtRefusal};
pub use path::Level;
pub use request::{AccessConnection, AccessRequest};
pub use view::{IssuerView, PolicyView};

use jwt::Providers;
use matcher::Rule;

/// All that applies to one service.
#[derive(Debug)]
pub struct Access {
    level: Level,
    forwards_identity: bool,
    body_bytes_max: Option<u64>,
    /// Why everything is refused.
    unusable: Option<Arc<str>>,
    custom: Box<[Custom]>,
    deny: Box<[Policy]>,
    allow: Box<[Policy]>,
    audit: Box<[Policy]>,
    providers: Providers,
    problems: Vec<String>,
}

#[derive(Debug)]
struct Policy {
    name: Arc<str>,
    is_dry_run: bool,
    rules: Box<[PolicyRule]>,
}

#[derive(Debug)]
struct Custom {
    policy: Policy,
    /// Nothing: refused.
    checker: Option<Arc<Checker>>,
}

/// A rule, or one that isn't understood.
#[derive(Debug)]
enum PolicyRule {
    Known(Rule),
    Unknown,
}

impl Access {
    /// Decodes the resource called `name`. What isn't understood denies; [`Self::problems`] says what that was.
    pub fn decode(name: &str, bytes: &[u8]) -> Self {
        decode::decode(name, bytes).unwrap_or_else(|error| Self::refusing(&error.to_string()))
    }

    /// Refuses everything: for a service that should have a policy and has none.
    pub fn refusing(reason: &str) -> Self {
        Self {
            level: Level::Base,
            forwards_identity: false,
            body_bytes_max: None,
            unusable: Some(reason.into()),
            custom: Box::default(),
            deny: Box::default(),
            allow: Box::default(),
            audit: Box::default(),
            providers: Providers::default(),
            problems: vec![reason.to_owned()],
        }
    }

    /// What wasn't understood, by path of the field; empty if all was.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// What is done with a path before routes and rules see it.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Whether the caller's identity is written into `x-forwarded-client-cert`.
    pub fn forwards_identity(&self) -> bool {
        self.forwards_identity
    }

    /// Bytes that a request's body may have; `None`: any.
    pub fn body_bytes_max(&self) -> Option<u64> {
        self.body_bytes_max
    }

    /// Whether requests carry tokens that are looked at.
    pub fn authenticates(&self) -> bool {
        !self.providers.is_empty()
    }

    /// Verifies the tokens of a request. Nothing: there are none, which policies may or may not let in.
    ///
    /// `now` in seconds since 1970.
    pub fn authenticate(
        &self,
        request: &http::request::Parts,
        now: u64,
    ) -> Result<Option<Authenticated>, JwtRefusal> {
        self.providers.authenticate(request, now)
    }

    /// Whether somebody still says that tokens of this one's issuer hold.
    pub fn trusts(&self, authenticated: &Authenticated) -> bool {
        let issuer = authenticated.issuer();
        issuer.is_some_and(|issuer| self.providers.issuers().any(|it| *it.issuer == *issuer))
    }

    /// Headers that only verified tokens give. They are removed from every request before anything else.
    pub fn token_headers(&self) -> &[http::HeaderName] {
        self.providers.output_headers()
    }
}
