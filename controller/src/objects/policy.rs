//! Policies. Every field is known and typed: what isn't understood makes the whole policy unreadable, because a
//! matcher that is overlooked widens an ALLOW.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;

use super::Pool;
use super::fields::{self, FieldError, Given};
use super::meta::{Labels, Meta};
use super::policy_rules::{self, RawRule};
use super::target::{self, PolicyTarget, RawTarget};

/// What a policy does to a connection that one of its rules matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Action {
    /// Let it in; anything that no ALLOW policy matches stays out.
    #[default]
    Allow,
    /// Keep it out.
    Deny,
    /// Write it down. Not carried out at L4.
    Audit,
    /// Ask somebody else. Not carried out at L4.
    Custom,
}

/// A text of a policy, with an optional `*` at one end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// This text.
    Exact(Arc<str>),
    /// Any text that starts so.
    Prefix(Arc<str>),
    /// Any text that ends so.
    Suffix(Arc<str>),
    /// Any text at all, but not none.
    Present,
}

/// A path of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathPattern {
    /// As a text.
    Text(Pattern),
    /// With `{*}` for one element and `{**}` for any number of them.
    Template(Arc<str>),
}

/// A service account as a policy names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccountName {
    /// Its namespace, or the policy's own.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

/// An address block that a policy names.
pub type Block = IpNet;

/// A list of matchers and its negation.
pub type Both<T> = (Box<[T]>, Box<[T]>);

/// Who calls. All that is given must hold.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Source {
    /// Identities without `spiffe://`.
    pub principals: Both<Pattern>,
    /// Namespaces of identities.
    pub namespaces: Both<Pattern>,
    /// Service accounts of identities.
    pub service_accounts: Both<ServiceAccountName>,
    /// Addresses.
    pub blocks: Both<Block>,
    /// Trust domains of identities. L7 only, as all that follow.
    pub trust_domains: Both<Pattern>,
    /// Issuer and subject of the caller's token.
    pub request_principals: Both<Pattern>,
    /// Addresses of clients, as trusted proxies name them.
    pub remote_blocks: Both<Block>,
    /// Fields that need an L7 proxy, by name.
    pub l7_fields: Vec<&'static str>,
}

/// What is called. All that is given must hold.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Operation {
    /// Ports.
    pub ports: Both<u16>,
    /// Hosts, in lower case. L7 only, as all that follow.
    pub hosts: Both<Pattern>,
    /// Methods.
    pub methods: Both<Pattern>,
    /// Paths.
    pub paths: Both<PathPattern>,
    /// Fields that need an L7 proxy, by name.
    pub l7_fields: Vec<&'static str>,
}

/// The attribute of a condition, with its values.
#[derive(Debug, Clone, PartialEq)]
pub enum WhenKey {
    /// `source.ip`
    SourceIp(Both<Block>),
    /// `source.namespace`
    SourceNamespace(Both<Pattern>),
    /// `source.principal`
    SourcePrincipal(Both<Pattern>),
    /// `destination.ip`
    DestinationIp(Both<Block>),
    /// `destination.port`
    DestinationPort(Both<u16>),
    /// Needs an L7 proxy.
    L7(Arc<str>, L7When),
}

/// The attribute of a condition that only an L7 proxy can tell, with its values.
#[derive(Debug, Clone, PartialEq)]
pub enum L7When {
    /// `request.headers[name]`, in lower case.
    Header(Arc<str>, Both<Pattern>),
    /// `source.serviceAccount`
    SourceAccount(Both<ServiceAccountName>),
    /// `source.trustDomain`
    SourceTrustDomain(Both<Pattern>),
    /// `remote.ip`
    RemoteIp(Both<Block>),
    /// `request.auth.principal`
    RequestPrincipal(Both<Pattern>),
    /// `request.auth.audiences`
    Audience(Both<Pattern>),
    /// `request.auth.presenter`
    Presenter(Both<Pattern>),
    /// `request.auth.claims[a][b]`
    Claim(Box<[Arc<str>]>, Both<Pattern>),
    /// `connection.sni`
    ServerName(Both<Pattern>),
    /// Known, and not carried out: `experimental.envoy.filters.…`
    Unsupported,
}

/// A further condition.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// Attribute and values.
    pub key: WhenKey,
}

/// One alternative of a policy: somebody of `from`, and something of `to`, and every condition.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rule {
    /// Empty: anybody.
    pub from: Box<[Source]>,
    /// Empty: anything.
    pub to: Box<[Operation]>,
    /// Empty: always.
    pub when: Box<[Condition]>,
}

/// What a policy says.
#[derive(Debug, Clone, PartialEq)]
pub enum PolicyBody {
    /// Read whole.
    Rules {
        /// What happens on a match.
        action: Action,
        /// Alternatives.
        rules: Box<[Rule]>,
        /// Whom a CUSTOM policy asks, by the name in the mesh's configuration.
        provider: Option<Arc<str>>,
    },
    /// It couldn't be read and no earlier version is known, so it denies all that it covers.
    Unreadable,
}

/// An authorisation policy.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthorizationPolicy {
    /// Name, labels and so on.
    pub meta: Meta,
    /// The workloads that it covers; nothing: all of its namespace. Never empty.
    pub selector: Option<Arc<Labels>>,
    /// What it is attached to; it is waypoints' affair then.
    pub targets: Box<[PolicyTarget]>,
    /// `istio.io/dry-run: "true"`
    pub is_dry_run: bool,
    /// What it says.
    pub body: PolicyBody,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawAuthorizationPolicy {
    #[serde(default, deserialize_with = "fields::not_null")]
    selector: Option<RawSelector>,
    #[serde(default, deserialize_with = "fields::not_null")]
    target_ref: Option<RawTarget>,
    #[serde(default, deserialize_with = "fields::not_null")]
    target_refs: Option<Vec<Given<RawTarget>>>,
    #[serde(default, deserialize_with = "fields::not_null")]
    rules: Option<Vec<Given<RawRule>>>,
    #[serde(default, deserialize_with = "fields::not_null")]
    action: Option<Action>,
    #[serde(default, deserialize_with = "fields::not_null")]
    provider: Option<RawProvider>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawSelector {
    #[serde(default, deserialize_with = "fields::not_null")]
    match_labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawProvider {
    name: String,
}

impl AuthorizationPolicy {
    /// Whether it is attached to waypoints, so that node proxies don't enforce it.
    pub fn has_targets(&self) -> bool {
        !self.targets.is_empty()
    }
}

impl RawSelector {
    /// An empty selector selects everything, as no selector does.
    pub(super) fn build(
        selector: Option<&Self>,
        pool: &mut Pool,
    ) -> Result<Option<Arc<Labels>>, FieldError> {
        let Some(selector) = selector else {
            return Ok(None);
        };
        let field = "spec.selector.matchLabels";
        let Some(labels) = &selector.match_labels else {
            return Ok(None);
        };
        let labels = Labels::of_selector(labels, field, pool)?;
        Ok(if labels.is_empty() { None } else { Some(pool.labels(labels)) })
    }
}

pub(super) fn authorization_policy(
    meta: Meta,
    raw: &RawAuthorizationPolicy,
    pool: &mut Pool,
) -> Result<AuthorizationPolicy, FieldError> {
    let (single, list) = (raw.target_ref.as_ref(), raw.target_refs.as_ref());
    let targets = target::targets(single, list, raw.selector.is_some(), &meta, pool)?;
    let raw_rules = raw.rules.as_deref().unwrap_or_default();
    let mut rules = Vec::with_capacity(raw_rules.len());
    for (at, Given(rule)) in raw_rules.iter().enumerate() {
        rules.push(policy_rules::rule(rule, &format!("spec.rules[{at}]"), &meta, pool)?);
    }
    Ok(AuthorizationPolicy {
        selector: RawSelector::build(raw.selector.as_ref(), pool)?,
        targets,
        is_dry_run: meta.annotations.get("istio.io/dry-run") == Some("true"),
        body: PolicyBody::Rules {
            action: raw.action.unwrap_or_default(),
            rules: rules.into(),
            provider: provider(raw, pool)?,
        },
        meta,
    })
}

/// A CUSTOM policy has one, and no other.
fn provider(raw: &RawAuthorizationPolicy, pool: &mut Pool) -> Result<Option<Arc<str>>, FieldError> {
    let name = raw.provider.as_ref().map(|provider| provider.name.as_str());
    let is_custom = raw.action == Some(Action::Custom);
    match name.filter(|name| !name.is_empty()) {
        None if is_custom => Err(FieldError::new("spec.provider", "is missing for CUSTOM")),
        Some(_) if !is_custom => {
            Err(FieldError::new("spec.provider", "is for policies with action CUSTOM"))
        }
        name => Ok(name.map(|name| pool.text(name))),
    }
}

/// What can be told about the reach of a policy that can't be read otherwise.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawReach {
    selector: Option<RawSelector>,
    target_ref: Option<Value>,
    target_refs: Option<Value>,
}

impl RawReach {
    /// What it is attached to, as far as that can be told; nothing if it isn't attached to anything. Waypoints deny
    /// what it covers.
    pub(super) fn targets(&self, pool: &mut Pool) -> Option<Box<[PolicyTarget]>> {
        let list = match &self.target_refs {
            Some(Value::Array(list)) => list.as_slice(),
            Some(other) => std::slice::from_ref(other),
            None => &[],
        };
        let all: Vec<&Value> = self.target_ref.iter().chain(list).collect();
        let raw = all.iter().filter_map(|it| RawTarget::deserialize(*it).ok());
        (!all.is_empty()).then(|| raw.filter_map(|raw| raw.guess(pool)).collect())
    }

    /// The selector; nothing, that is the whole namespace, where it can't be told.
    pub(super) fn selector(&self, pool: &mut Pool) -> Option<Arc<Labels>> {
        RawSelector::build(self.selector.as_ref(), pool).ok().flatten()
    }
}
