//! Where tokens are in a request.

use http::header::{AUTHORIZATION, COOKIE};
use http::request::Parts;
use http::{HeaderName, HeaderValue};
use weft_proto::route as proto;

/// One place where tokens are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A header, behind a prefix.
    Header { name: HeaderName, prefix: Box<str>, ignores_case: bool },
    /// A parameter of the query.
    Param(Box<str>),
    /// A cookie.
    Cookie(Box<str>),
}

impl Location {
    /// Where the tokens of an issuer are: the two usual places, unless it names others.
    pub(super) fn all_of(message: &proto::JwtProvider, note: &mut impl FnMut(&str)) -> Vec<Self> {
        let mut places = Vec::new();
        for header in &message.headers {
            match HeaderName::from_bytes(header.name.as_bytes()) {
                Ok(name) => {
                    let prefix = header.prefix.as_str().into();
                    places.push(Place::Header { name, prefix, ignores_case: false });
                }
                Err(_) => note(&format!("{:?} is no header's name", header.name)),
            }
        }
        places.extend(message.params.iter().map(|name| Place::Param(name.as_str().into())));
        places.extend(message.cookies.iter().map(|name| Place::Cookie(name.as_str().into())));
        if message.headers.is_empty() && message.params.is_empty() && message.cookies.is_empty() {
            // The scheme's name is in any case (RFC 9110 section 11.1).
            let (name, prefix) = (AUTHORIZATION, "Bearer ".into());
            places.push(Place::Header { name, prefix, ignores_case: true });
            places.push(Place::Param("access_token".into()));
        }
        places.into_iter().map(|place| Self { place }).collect()
    }

    /// Hands over each token at this place.
    pub(super) fn tokens<'a>(&self, request: &'a Parts, found: &mut impl FnMut(&'a str)) {
        match &self.place {
            Place::Header { name, prefix, ignores_case } => {
                for value in texts(request, name) {
                    let Some((start, rest)) = value.split_at_checked(prefix.len()) else {
                        continue;
                    };
                    let fits = match ignores_case {
                        true => start.eq_ignore_ascii_case(prefix),
                        false => *start == **prefix,
                    };
                    if fits && !rest.trim().is_empty() {
                        found(rest.trim());
                    }
                }
            }
            Place::Param(name) => {
                let pairs = request.uri.query().unwrap_or_default().split('&');
                for (own, value) in pairs.filter_map(|pair| pair.split_once('=')) {
                    if *own == **name && !value.is_empty() {
                        found(value);
                    }
                }
            }
            Place::Cookie(name) => {
                for pair in texts(request, &COOKIE).flat_map(|value| value.split(';')) {
                    if let Some((own, value)) = pair.trim().split_once('=')
                        && *own == **name
                        && !value.is_empty()
                    {
                        found(value.trim_matches('"'));
                    }
                }
            }
        }
    }
}

fn texts<'a>(request: &'a Parts, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = request.headers.get_all(name).iter();
    values.map(HeaderValue::to_str).filter_map(Result::ok)
}
