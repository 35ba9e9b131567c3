//! Sessions: of rules, and of services by Istio's labels.

use sha2::{Digest as _, Sha256};
use weft_proto::route as proto;
use weft_proto::route::session::Carrier;

use crate::objects::{FieldError, Meta, Route, RouteRule, check_session_name};

use super::http::milliseconds;

/// Istio's: a cookie's name, and behind a colon its path.
pub(super) const COOKIE_LABEL: &str = "istio.io/persistent-session";
/// Istio's: a header's name.
pub(super) const HEADER_LABEL: &str = "istio.io/persistent-session-header";
/// GEP-1619 asks for `Secure` too: inside of the mesh clients speak HTTP without TLS of their own, and would never send it.
const SAME_SITE: &str = "SameSite=Strict";

/// The sessions of a rule. They are its own: by the scope another rule's values count for nothing.
pub(super) fn of_rule(route: &Route, at: usize, rule: &RouteRule) -> Option<proto::Session> {
    let session = rule.session.as_ref()?;
    let (kind, meta) = (route.kind.kind(), &route.meta);
    let place = rule.name.as_ref().map_or_else(|| at.to_string(), |name| format!("/{name}"));
    let scope = format!("{kind} {}/{} {place}", meta.namespace, meta.name);
    let own_name = || format!("weft-session-{}", digits(&scope));
    let name = session.name.as_ref().map_or_else(own_name, ToString::to_string);
    let carrier = match session.is_header {
        true => Carrier::Header(name.to_ascii_lowercase()),
        false => Carrier::Cookie(proto::SessionCookie {
            name,
            path: String::new(),
            is_permanent: session.is_permanent,
            attributes: vec![SAME_SITE.to_owned()],
        }),
    };
    Some(proto::Session {
        scope,
        carrier: Some(carrier),
        absolute_ms: milliseconds(session.absolute),
        idle_ms: milliseconds(session.idle),
    })
}

/// Eight that tell rules apart.
fn digits(scope: &str) -> String {
    let digest = Sha256::digest(scope.as_bytes());
    digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// The sessions of a service, by its labels; or the label that isn't understood, and why. As with Istio the cookie comes
/// first, and ends with the client's own session.
pub(super) fn of_labels(meta: &Meta) -> Option<Result<proto::Session, (&'static str, String)>> {
    let given = |label| meta.labels.get(label).filter(|value| !value.is_empty());
    let checked = |label: &'static str, name: &str| {
        check_session_name(name, label).map_err(|error: FieldError| (label, error.reason))
    };
    let carrier = if let Some(text) = given(COOKIE_LABEL) {
        let (name, path) = text.split_once(':').unwrap_or((text, "/"));
        checked(COOKIE_LABEL, name).and_then(|()| match path.starts_with('/') {
            false => Err((COOKIE_LABEL, format!("{path:?} is no path"))),
            true => Ok(Carrier::Cookie(proto::SessionCookie {
                name: name.to_owned(),
                path: path.to_owned(),
                ..Default::default()
            })),
        })
    } else {
        let name = given(HEADER_LABEL)?;
        checked(HEADER_LABEL, name).map(|()| Carrier::Header(name.to_ascii_lowercase()))
    };
    Some(carrier.map(|carrier| proto::Session {
        scope: String::new(),
        carrier: Some(carrier),
        ..Default::default()
    }))
}
