//! From an AuthorizationPolicy's rules to a waypoint's.

use weft_core::identity::TrustDomain;
use weft_proto::contract::DEFAULT_TRUST_DOMAIN;
use weft_proto::route as proto;
use weft_proto::route::access_matcher::Kind;
use weft_proto::route::access_path::Kind as PathKind;
use weft_proto::route::text_match::Kind as TextKind;

use crate::objects::{
    AuthorizationPolicy, Block, Both, L7When, Operation, PathPattern, Pattern, PolicyBody, Rule,
    ServiceAccountName, Source, WhenKey,
};

/// The trust domains that mean the mesh's own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Domains<'a> {
    pub(super) own: &'a TrustDomain,
    pub(super) aliases: &'a [TrustDomain],
}

/// The rules of a policy, and their name in logs.
pub(super) fn policy(policy: &AuthorizationPolicy, domains: Domains<'_>) -> proto::Policy {
    let rules = match &policy.body {
        // A rule that asks for nothing matches everything.
        PolicyBody::Unreadable => vec![proto::AccessRule::default()],
        PolicyBody::Rules { rules, .. } => rules.iter().map(|it| rule(it, domains)).collect(),
    };
    let (namespace, name) = (&policy.meta.namespace, &policy.meta.name);
    proto::Policy {
        name: format!("ns[{namespace}]-policy[{name}]"),
        dry_run: policy.is_dry_run,
        rules,
    }
}

fn rule(rule: &Rule, domains: Domains<'_>) -> proto::AccessRule {
    let term = |all| proto::AccessTerm { all };
    proto::AccessRule {
        from: rule.from.iter().map(|it| term(source(it, domains))).collect(),
        to: rule.to.iter().map(|it| term(operation(it))).collect(),
        when: rule.when.iter().flat_map(|it| when(&it.key, domains)).collect(),
    }
}

fn source(source: &Source, domains: Domains<'_>) -> Vec<proto::AccessMatcher> {
    [
        both(&source.principals, |it| Kind::SourcePrincipal(principals(it, domains))),
        both(&source.namespaces, |it| Kind::SourceNamespace(texts(it))),
        both(&source.service_accounts, |it| Kind::SourceAccount(accounts(it))),
        both(&source.trust_domains, |it| Kind::SourceTrustDomain(trust_domains(it, domains))),
        both(&source.blocks, |it| Kind::SourceIp(blocks(it))),
        both(&source.remote_blocks, |it| Kind::RemoteIp(blocks(it))),
        both(&source.request_principals, |it| Kind::RequestPrincipal(texts(it))),
    ]
    .concat()
}

fn operation(operation: &Operation) -> Vec<proto::AccessMatcher> {
    [
        both(&operation.hosts, |it| Kind::Host(hosts(it))),
        both(&operation.ports, |it| Kind::DestinationPort(ports(it))),
        both(&operation.methods, |it| Kind::Method(texts(it))),
        both(&operation.paths, |it| Kind::Path(paths(it))),
    ]
    .concat()
}

fn when(key: &WhenKey, domains: Domains<'_>) -> Vec<proto::AccessMatcher> {
    let l7 = match key {
        WhenKey::SourceIp(it) => return both(it, |it| Kind::SourceIp(blocks(it))),
        WhenKey::SourceNamespace(it) => return both(it, |it| Kind::SourceNamespace(texts(it))),
        WhenKey::SourcePrincipal(it) => {
            return both(it, |it| Kind::SourcePrincipal(principals(it, domains)));
        }
        WhenKey::DestinationIp(it) => return both(it, |it| Kind::DestinationIp(blocks(it))),
        WhenKey::DestinationPort(it) => return both(it, |it| Kind::DestinationPort(ports(it))),
        WhenKey::L7(_, l7) => l7,
    };
    match l7 {
        L7When::Header(name, it) => both(it, |it| {
            Kind::Header(proto::HeaderValues { name: name.to_string(), values: texts(it).values })
        }),
        L7When::SourceAccount(it) => both(it, |it| Kind::SourceAccount(accounts(it))),
        L7When::SourceTrustDomain(it) => {
            both(it, |it| Kind::SourceTrustDomain(trust_domains(it, domains)))
        }
        L7When::RemoteIp(it) => both(it, |it| Kind::RemoteIp(blocks(it))),
        L7When::RequestPrincipal(it) => both(it, |it| Kind::RequestPrincipal(texts(it))),
        L7When::Audience(it) => both(it, |it| Kind::Audience(texts(it))),
        L7When::Presenter(it) => both(it, |it| Kind::Presenter(texts(it))),
        L7When::Claim(path, it) => both(it, |it| {
            let path = path.iter().map(ToString::to_string).collect();
            Kind::Claim(proto::ClaimValues { path, values: texts(it).values })
        }),
        L7When::ServerName(it) => both(it, |it| Kind::ServerName(texts(it))),
        // One without a kind isn't understood: its rule lets nothing in, or keeps everything out.
        L7When::Unsupported => vec![proto::AccessMatcher::default()],
    }
}

/// A field and its negation, each where it is given.
fn both<T>((yes, no): &Both<T>, kind: impl Fn(&[T]) -> Kind) -> Vec<proto::AccessMatcher> {
    let matcher = |values: &[T], negated| {
        (!values.is_empty()).then(|| proto::AccessMatcher { negated, kind: Some(kind(values)) })
    };
    matcher(yes, false).into_iter().chain(matcher(no, true)).collect()
}

fn text(pattern: &Pattern) -> proto::TextMatch {
    let kind = match pattern {
        Pattern::Exact(text) => TextKind::Exact(text.to_string()),
        Pattern::Prefix(text) => TextKind::Prefix(text.to_string()),
        Pattern::Suffix(text) => TextKind::Suffix(text.to_string()),
        Pattern::Present => TextKind::Present(proto::Present {}),
    };
    proto::TextMatch { kind: Some(kind), ignore_case: false }
}

fn texts(patterns: &[Pattern]) -> proto::TextValues {
    proto::TextValues { values: patterns.iter().map(text).collect() }
}

fn hosts(patterns: &[Pattern]) -> proto::TextValues {
    let values = patterns.iter().map(|it| proto::TextMatch { ignore_case: true, ..text(it) });
    proto::TextValues { values: values.collect() }
}

fn paths(patterns: &[PathPattern]) -> proto::PathValues {
    let path = |pattern: &PathPattern| match pattern {
        PathPattern::Text(pattern) => PathKind::Text(text(pattern)),
        PathPattern::Template(template) => PathKind::Template(template.to_string()),
    };
    let values = patterns.iter().map(|it| proto::AccessPath { kind: Some(path(it)) });
    proto::PathValues { values: values.collect() }
}

fn accounts(accounts: &[ServiceAccountName]) -> proto::AccountValues {
    let account = |it: &ServiceAccountName| proto::AccountMatch {
        namespace: it.namespace.to_string(),
        name: it.name.to_string(),
    };
    proto::AccountValues { values: accounts.iter().map(account).collect() }
}

fn blocks(blocks: &[Block]) -> proto::BlockValues {
    proto::BlockValues { values: blocks.iter().map(ToString::to_string).collect() }
}

fn ports(ports: &[u16]) -> proto::PortValues {
    proto::PortValues { values: ports.iter().map(|port| u32::from(*port)).collect() }
}

/// A principal that names the mesh's own trust domain, or an alias of it, means all of them.
fn principals(patterns: &[Pattern], domains: Domains<'_>) -> proto::TextValues {
    let expand = |pattern: &Pattern| match pattern {
        Pattern::Exact(own) | Pattern::Prefix(own) => {
            let Some((domain, rest)) = own.split_once('/').filter(|it| domains.means_own(it.0))
            else {
                return vec![text(pattern)];
            };
            let names = domains.names(domain).into_iter();
            let named = names.map(|domain| format!("{domain}/{rest}").into());
            let built = |named| match pattern {
                Pattern::Prefix(_) => Pattern::Prefix(named),
                _ => Pattern::Exact(named),
            };
            named.map(|named| text(&built(named))).collect()
        }
        Pattern::Suffix(_) | Pattern::Present => vec![text(pattern)],
    };
    proto::TextValues { values: patterns.iter().flat_map(expand).collect() }
}

fn trust_domains(patterns: &[Pattern], domains: Domains<'_>) -> proto::TextValues {
    let expand = |pattern: &Pattern| match pattern {
        Pattern::Exact(own) if domains.means_own(own) => {
            let names = domains.names(own).into_iter();
            names.map(|name| text(&Pattern::Exact(name.into()))).collect()
        }
        pattern => vec![text(pattern)],
    };
    proto::TextValues { values: patterns.iter().flat_map(expand).collect() }
}

impl Domains<'_> {
    /// `cluster.local` always means the mesh's own, as with Istio.
    fn means_own(&self, name: &str) -> bool {
        name == self.own.as_str()
            || name == DEFAULT_TRUST_DOMAIN
            || self.aliases.iter().any(|alias| alias.as_str() == name)
    }

    /// All names of the mesh's own, that which was written among them, each once.
    fn names<'a>(&'a self, written: &'a str) -> Vec<&'a str> {
        let mut names = vec![self.own.as_str()];
        let more = self.aliases.iter().map(TrustDomain::as_str).chain([written]);
        for name in more {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}
