//! Sessions of rules (GEP-1619).

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::filter::check_header;
use crate::objects::Pool;
use crate::objects::duration;
use crate::objects::fields::FieldError;

/// Whose requests go to the endpoint that took the first of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRule {
    /// Of the cookie or header; absent: one that no other rule has.
    pub name: Option<Arc<str>>,
    /// By a header, not by a cookie.
    pub is_header: bool,
    /// The cookie stays for as long as the session may, not only until the client ends.
    pub is_permanent: bool,
    /// Longest, from the first request.
    pub absolute: Option<Duration>,
    /// Longest without a request.
    pub idle: Option<Duration>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawSession {
    session_name: Option<String>,
    absolute_timeout: Option<String>,
    idle_timeout: Option<String>,
    #[serde(rename = "type", default)]
    kind: SessionType,
    cookie_config: Option<RawCookie>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
enum SessionType {
    #[default]
    Cookie,
    Header,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawCookie {
    #[serde(default)]
    lifetime_type: Lifetime,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
enum Lifetime {
    #[default]
    Session,
    Permanent,
}

/// The specification's bound.
const NAME_BYTES_MAX: usize = 128;

impl RawSession {
    pub(super) fn build(&self, field: &str, pool: &mut Pool) -> Result<SessionRule, FieldError> {
        let bad = |name: &str, reason: &str| FieldError::new(format!("{field}.{name}"), reason);
        let limit = |text: &Option<String>, name: &str| {
            let parsed = text.as_deref().map(duration::parse).transpose();
            let limit = parsed.map_err(|reason| bad(name, &reason))?;
            match limit.is_some_and(|limit| limit.as_millis() == 0) {
                true => Err(bad(name, "is no time at all")),
                false => Ok(limit),
            }
        };
        let absolute = limit(&self.absolute_timeout, "absoluteTimeout")?;
        let idle = limit(&self.idle_timeout, "idleTimeout")?;
        let is_header = self.kind == SessionType::Header;
        if is_header && self.cookie_config.is_some() {
            return Err(bad("cookieConfig", "is for sessions of the type Cookie"));
        }
        let lifetime = self.cookie_config.as_ref().map(|it| it.lifetime_type);
        let is_permanent = lifetime == Some(Lifetime::Permanent);
        if is_permanent && absolute.is_none() {
            let reason = "is needed where the cookie's lifetimeType is Permanent";
            return Err(bad("absoluteTimeout", reason));
        }
        let name = self.session_name.as_deref().filter(|name| !name.is_empty());
        if let Some(name) = name {
            check_name(name, &format!("{field}.sessionName"))?;
        }
        Ok(SessionRule {
            name: name.map(|name| pool.text(name)),
            is_header,
            is_permanent,
            absolute,
            idle,
        })
    }
}

/// Of a cookie (RFC 6265 section 4.1.1) or a header: of the same letters.
pub(crate) fn check_name(name: &str, field: &str) -> Result<(), FieldError> {
    if name.len() > NAME_BYTES_MAX {
        let reason = format!("is longer than {NAME_BYTES_MAX} bytes");
        return Err(FieldError::new(field, reason));
    }
    if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
        return Err(FieldError::new(field, format!("{name:?} has another meaning")));
    }
    check_header(name, Some(""), field)
}
