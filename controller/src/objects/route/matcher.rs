//! What routes ask of texts.

use std::sync::Arc;

use serde::Deserialize;
use weft_proto::contract::route as limits;

use crate::objects::Pool;
use crate::objects::fields::FieldError;

/// A comparison of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextMatch {
    /// This text.
    Exact(Arc<str>),
    /// Any text that starts so.
    Prefix(Arc<str>),
    /// RE2 syntax; the whole text.
    Regex(Arc<str>),
    /// Any text at all, but not none.
    Present,
}

/// A header or a query parameter, and what is asked of its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedMatch {
    /// Headers in lower case.
    pub name: Arc<str>,
    /// What is asked of the value.
    pub value: TextMatch,
}

/// What is asked of the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoutePath {
    /// This path.
    Exact(Arc<str>),
    /// Any that starts with these elements.
    Elements(Arc<str>),
    /// RE2 syntax; the whole path.
    Regex(Arc<str>),
    /// A gRPC method by its names; absent ones are any.
    Grpc {
        /// With its package.
        service: Option<TextMatch>,
        /// Its name.
        method: Option<TextMatch>,
    },
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(super) enum ValueType {
    #[default]
    Exact,
    RegularExpression,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawNamed {
    #[serde(rename = "type", default)]
    kind: ValueType,
    name: String,
    value: String,
}

impl ValueType {
    pub(super) fn build(
        self,
        text: &str,
        field: &str,
        pool: &mut Pool,
    ) -> Result<TextMatch, FieldError> {
        check_length(text, field)?;
        Ok(match self {
            Self::Exact => TextMatch::Exact(pool.text(text)),
            Self::RegularExpression => TextMatch::Regex(checked_regex(text, field, pool)?),
        })
    }
}

/// Headers by name in either case. Of several with one name the first counts.
pub(super) fn headers(
    raw: &[RawNamed],
    field: &str,
    pool: &mut Pool,
) -> Result<Box<[NamedMatch]>, FieldError> {
    named(raw, field, pool, |name| {
        let is_name = ::http::HeaderName::from_bytes(name.as_bytes()).is_ok();
        is_name.then(|| name.to_ascii_lowercase())
    })
}

/// Query parameters. Of several with one name the first counts.
pub(super) fn query(
    raw: &[RawNamed],
    field: &str,
    pool: &mut Pool,
) -> Result<Box<[NamedMatch]>, FieldError> {
    named(raw, field, pool, |name| (!name.is_empty()).then(|| name.to_owned()))
}

fn named(
    raw: &[RawNamed],
    field: &str,
    pool: &mut Pool,
    checked: impl Fn(&str) -> Option<String>,
) -> Result<Box<[NamedMatch]>, FieldError> {
    check_count(raw.len(), 16, field)?;
    let mut built: Vec<NamedMatch> = Vec::with_capacity(raw.len());
    for (at, RawNamed { kind, name, value }) in raw.iter().enumerate() {
        let name = checked(name).ok_or_else(|| {
            FieldError::new(format!("{field}[{at}].name"), format!("{name:?} is no name"))
        })?;
        check_length(&name, &format!("{field}[{at}].name"))?;
        let value = kind.build(value, &format!("{field}[{at}].value"), pool)?;
        if !built.iter().any(|other| *other.name == name) {
            built.push(NamedMatch { name: pool.text(&name), value });
        }
    }
    Ok(built.into())
}

/// What is longer would be a rule that never matches.
pub(in crate::objects) fn check_length(text: &str, field: &str) -> Result<(), FieldError> {
    match text.len() > limits::TEXT_BYTES_MAX {
        true => {
            let reason = format!("is longer than {} bytes", limits::TEXT_BYTES_MAX);
            Err(FieldError::new(field, reason))
        }
        false => Ok(()),
    }
}

/// A list with more entries than the Gateway API allows.
pub(in crate::objects) fn check_count(
    count: usize,
    max: usize,
    field: &str,
) -> Result<(), FieldError> {
    match count > max {
        true => Err(FieldError::new(field, format!("has {count} entries; {max} are the most"))),
        false => Ok(()),
    }
}

/// A regular expression that proxies take: RE2's syntax, ASCII classes, at most 4,096 bytes.
pub(in crate::objects) fn checked_regex(
    text: &str,
    field: &str,
    pool: &mut Pool,
) -> Result<Arc<str>, FieldError> {
    check_length(text, field)?;
    let bad = |reason: String| FieldError::new(field, reason);
    let mut parser = regex_syntax::ParserBuilder::new()
        .unicode(false)
        .utf8(false)
        .nest_limit(limits::PATTERN_NESTING_MAX)
        .build();
    parser.parse(text).map_err(|error| {
        let drawn = error.to_string();
        let reason = drawn.lines().last().unwrap_or_default().trim_start_matches("error: ");
        bad(format!("{text:?} is no regular expression: {reason}"))
    })?;
    Ok(pool.text(text))
}
