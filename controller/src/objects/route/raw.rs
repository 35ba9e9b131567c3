//! What all kinds of routes are written with.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::matcher::check_count;
use super::refs::{self, RawParentRef};
use super::{Route, RouteKind, RouteMatch, RouteRule};
use crate::objects::Pool;
use crate::objects::fields::{self, AllHosts, FieldError};
use crate::objects::meta::Meta;

/// The specification of a route whose rules are written as `Rule`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[serde(bound(deserialize = "Rule: Deserialize<'de>"))]
pub(in crate::objects) struct RawRoute<Rule> {
    #[serde(default, deserialize_with = "fields::or_default")]
    parent_refs: Vec<RawParentRef>,
    #[serde(default, deserialize_with = "fields::or_default")]
    pub(super) hostnames: Vec<String>,
    #[serde(default, deserialize_with = "fields::or_default")]
    pub(super) rules: Vec<Rule>,
    use_default_gateways: Option<IgnoredAny>,
}

// Not derived: that would ask it of the rule.
impl<Rule> Default for RawRoute<Rule> {
    fn default() -> Self {
        Self {
            parent_refs: Vec::new(),
            hostnames: Vec::new(),
            rules: Vec::new(),
            use_default_gateways: None,
        }
    }
}

/// What reading a rule needs to know.
pub(super) struct Reading<'a> {
    pub(super) meta: &'a Meta,
    /// The rule's path within the object.
    pub(super) field: &'a str,
    pub(super) pool: &'a mut Pool,
}

/// A route of `raw_rules`, which are `raw`'s own or the kind's default.
pub(super) fn route<Rule>(
    kind: RouteKind,
    meta: Meta,
    raw: &RawRoute<Rule>,
    raw_rules: &[Rule],
    pool: &mut Pool,
    read_rule: impl Fn(&Rule, Reading<'_>) -> Result<RouteRule, FieldError>,
) -> Result<Route, FieldError> {
    let mut ignored = Vec::new();
    if raw.use_default_gateways.is_some() {
        ignored.push("spec.useDefaultGateways".to_owned());
    }
    check_count(raw_rules.len(), 16, "spec.rules")?;
    let mut rules = Vec::with_capacity(raw_rules.len());
    for (at, raw) in raw_rules.iter().enumerate() {
        let field = format!("spec.rules[{at}]");
        let reading = Reading { meta: &meta, field: &field, pool };
        rules.push(read_rule(raw, reading)?);
    }
    Ok(Route {
        kind,
        parents: refs::parents(&raw.parent_refs, &meta, pool)?,
        hostnames: hostnames(&raw.hostnames, pool)?,
        rules: rules.into(),
        ignored: ignored.into(),
        meta,
    })
}

fn hostnames(raw: &[String], pool: &mut Pool) -> Result<Box<[Arc<str>]>, FieldError> {
    check_count(raw.len(), 16, "spec.hostnames")?;
    fields::host_patterns(raw, "spec.hostnames", AllHosts::Refused, pool)
}

/// A rule's alternatives. One without any has one that asks for nothing.
pub(super) fn matches<Match: Default>(
    raw: &[Match],
    field: &str,
    pool: &mut Pool,
    read_match: impl Fn(&Match, &str, &mut Pool) -> Result<RouteMatch, FieldError>,
) -> Result<Box<[RouteMatch]>, FieldError> {
    let default = [Match::default()];
    let raw = if raw.is_empty() { &default[..] } else { raw };
    check_count(raw.len(), 64, &format!("{field}.matches"))?;
    let matches = raw.iter().enumerate();
    matches.map(|(at, it)| read_match(it, &format!("{field}.matches[{at}]"), pool)).collect()
}
