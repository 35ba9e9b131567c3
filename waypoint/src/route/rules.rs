//! HTTP rules, and how one is found for a request.

use super::action::Action;
use super::bucket::Asked;
use super::condition::{Condition, Kind};
use super::index::{Entry, Index, Key};
use super::path::{PathKind, PathMatch, Span};
use super::request::Request;
use super::text::TextMatch;

/// HTTP rules in order of precedence.
#[derive(Debug)]
pub struct HttpRoutes {
    rules: Box<[HttpRule]>,
    actions: Box<[Action]>,
    index: Index,
}

/// One rule.
#[derive(Debug)]
pub struct HttpRule {
    /// All must hold, those that cost least first; `None`: it was not understood and never matches.
    pub(super) conditions: Option<Box<[Condition]>>,
    /// The condition that says which part of the path a rewritten prefix replaces.
    pub(super) path: Option<PathMatch>,
    /// Its action's place.
    pub(super) action: usize,
}

/// A rule that matched.
#[derive(Debug, Clone, Copy)]
pub struct Matched<'a> {
    /// What it does.
    pub action: &'a Action,
    /// Its place among the rules.
    pub rank: usize,
    /// What it covered of the path.
    pub span: Span,
    /// Below which all paths are that it covers.
    pub root: &'a str,
}

impl HttpRoutes {
    /// Every rule's action has to be there.
    pub(super) fn new(rules: Vec<HttpRule>, actions: Vec<Action>) -> Self {
        let index = Index::new(rules.iter().map(HttpRule::entry));
        Self { rules: rules.into(), actions: actions.into(), index }
    }

    /// The first rule that matches. `None`: 404, or UNIMPLEMENTED for gRPC.
    pub fn find(&self, request: &Request<'_>) -> Option<Matched<'_>> {
        let rule = |rank: u32| self.rules.get(usize::try_from(rank).ok()?);
        let holds = |rank| rule(rank).is_some_and(|rule| rule.matches(request));
        let rank = self.index.first(request.path, request.headers, holds)?;
        self.matched(usize::try_from(rank).ok()?, request)
    }

    /// The same by asking every rule in turn: what the index is tested against.
    pub fn find_by_asking_all(&self, request: &Request<'_>) -> Option<Matched<'_>> {
        let rank = self.rules.iter().position(|rule| rule.matches(request))?;
        self.matched(rank, request)
    }

    fn matched(&self, rank: usize, request: &Request<'_>) -> Option<Matched<'_>> {
        let rule = self.rules.get(rank)?;
        let span = rule.path.as_ref().and_then(|path| path.cover(request.path));
        let action = self.actions.get(rule.action)?;
        let root = rule.path.as_ref().map_or("/", PathMatch::root);
        Some(Matched { action, rank, span: span.unwrap_or(Span::Whole), root })
    }

    /// All rules, in order of precedence.
    pub fn rules(&self) -> &[HttpRule] {
        &self.rules
    }

    /// All actions.
    pub fn actions(&self) -> &[Action] {
        &self.actions
    }
}

impl HttpRule {
    pub(super) fn new(mut conditions: Vec<Condition>, action: usize) -> Self {
        let path = conditions.iter().find_map(|condition| match &condition.kind {
            Kind::Path(path) if !condition.is_negated => Some(path.clone()),
            _ => None,
        });
        conditions.sort_by_key(Condition::cost);
        Self { conditions: Some(conditions.into()), path, action }
    }

    /// A rule that wasn't understood.
    pub(super) fn never(action: usize) -> Self {
        Self { conditions: None, path: None, action }
    }

    /// Whether every condition holds.
    pub fn matches(&self, request: &Request<'_>) -> bool {
        self.conditions.as_ref().is_some_and(|all| all.iter().all(|one| one.holds(request)))
    }

    /// It was not understood, so it never matches.
    pub fn is_never(&self) -> bool {
        self.conditions.is_none()
    }

    /// `None`: it never matches.
    fn entry(&self) -> Option<Entry<'_>> {
        let conditions = self.conditions.as_ref()?;
        let header = conditions.iter().filter(|it| !it.is_negated).find_map(|it| match &it.kind {
            Kind::Header { name, value } => Some::<Asked<'_>>((name, value.only()?)),
            _ => None,
        });
        Some(Entry { key: self.key(conditions), header })
    }

    fn key<'a>(&'a self, conditions: &'a [Condition]) -> Key<'a> {
        if let Some(path) = &self.path {
            return path_key(path);
        }
        let asked = conditions.iter().filter(|it| !it.is_negated).find_map(|it| match &it.kind {
            Kind::Grpc { service: Some(service), method } => Some((service.only()?, method)),
            _ => None,
        });
        match asked {
            None => Key::Any,
            Some((service, method)) => match method.as_ref().and_then(TextMatch::only) {
                Some(method) => Key::Exact(format!("/{service}/{method}").into()),
                None => Key::Prefix(format!("/{service}/").into()),
            },
        }
    }
}

fn path_key(path: &PathMatch) -> Key<'_> {
    match &path.how {
        _ if path.ignores_case => Key::Any,
        PathKind::Exact(text) => Key::Exact((&**text).into()),
        PathKind::Elements(text) | PathKind::Text(text) if text.is_empty() => Key::Any,
        PathKind::Elements(text) | PathKind::Text(text) => Key::Prefix((&**text).into()),
        PathKind::Pattern(pattern) => match pattern.literal_prefix() {
            "" => Key::Any,
            text => Key::Prefix(text.into()),
        },
    }
}
