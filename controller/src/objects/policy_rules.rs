//! The rules of an authorisation policy.
//!
//! A list that is there but empty is refused: a template that was filled with nothing means "nobody", and would be
//! read as "anybody".

use std::sync::Arc;

use serde::Deserialize;

use super::Pool;
use super::fields::{self, FieldError, Given};
use super::meta::Meta;
use super::policy::{
    Both, Condition, L7When, Operation, PathPattern, Pattern, Rule, ServiceAccountName, Source,
    WhenKey,
};

type Texts = Option<Vec<String>>;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawRule {
    #[serde(default, deserialize_with = "fields::not_null")]
    from: Option<Vec<Given<RawFrom>>>,
    #[serde(default, deserialize_with = "fields::not_null")]
    to: Option<Vec<Given<RawTo>>>,
    #[serde(default, deserialize_with = "fields::not_null")]
    when: Option<Vec<Given<RawWhen>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFrom {
    source: Given<RawSource>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTo {
    operation: Given<RawOperation>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawSource {
    #[serde(default, deserialize_with = "fields::not_null")]
    principals: Texts,
    #[serde(default, deserialize_with = "fields::not_null")]
    not_principals: Texts,
    #[serde(default, deserialize_with = "fields::not_null")]
    request_principals: Texts,
    #[serde(default, deserialize_with = "fields::not_null")]
    not_request_principals: Texts,
    #[serde(default, deserialize_with = "fields::not_null")]
    namespaces: Texts,
    #[serde(default, deserialize_with = "fields::not_null")]
    not_namespaces: Texts,
    #[serde(default, deserialize_with = "fields::not_null")]
    ip_blocks: Texts,
    #[serde(default, deserialize_with = "fields::not_null")]
    not_ip_blocks: Texts,
    #[serde(default, deserialize_with = "fields::not_null")]
    remote_ip_blocks: Texts,
    #[serde(default, deserialize_with = "fields::not_null")]
    not_remote_ip_blocks: Texts,
    #[serde(default, deserialize_with = "fields::not_null")]
    service_accounts: Texts,
    #[serde(default, deserialize_with = "fields::not_null")]
    not_service_accounts: Texts,
    #[serde(default, deserialize_with = "fields::not_null")]
    trust_domains: Texts,
    #[serde(default, deserialize_with = "fields::not_null")]
    not_trust_domains: Texts,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawOperation {
    #[serde(default, deserialize_with = "fields::not_null")]
    hosts: Texts,
    #[serde(default, deserialize_with = "fields::not_null")]
    not_hosts: Texts,
    #[serde(default, deserialize_with = "fields::not_null")]
    ports: Texts,
    #[serde(default, deserialize_with = "fields::not_null")]
    not_ports: Texts,
    #[serde(default, deserialize_with = "fields::not_null")]
    methods: Texts,
    #[serde(default, deserialize_with = "fields::not_null")]
    not_methods: Texts,
    #[serde(default, deserialize_with = "fields::not_null")]
    paths: Texts,
    #[serde(default, deserialize_with = "fields::not_null")]
    not_paths: Texts,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawWhen {
    key: String,
    #[serde(default, deserialize_with = "fields::not_null")]
    values: Texts,
    #[serde(default, deserialize_with = "fields::not_null")]
    not_values: Texts,
}

/// Where a value sits, for the message, and what turns it into a matcher.
struct Context<'a> {
    pool: &'a mut Pool,
    namespace: &'a str,
}

pub(super) fn rule(
    raw: &RawRule,
    field: &str,
    meta: &Meta,
    pool: &mut Pool,
) -> Result<Rule, FieldError> {
    let mut context = Context { pool, namespace: &meta.namespace };
    let mut rule = Rule::default();
    if let Some(from) = &raw.from {
        rule.from = each(from, &format!("{field}.from"), |raw, field| {
            source(&raw.0.source.0, &format!("{field}.source"), &mut context)
        })?;
    }
    if let Some(to) = &raw.to {
        rule.to = each(to, &format!("{field}.to"), |raw, field| {
            operation(&raw.0.operation.0, &format!("{field}.operation"), context.pool)
        })?;
    }
    if let Some(when) = &raw.when {
        rule.when = each(when, &format!("{field}.when"), |raw, field| {
            condition(&raw.0, field, &mut context)
        })?;
    }
    Ok(rule)
}

fn source(raw: &RawSource, field: &str, context: &mut Context<'_>) -> Result<Source, FieldError> {
    let built = Source {
        principals: both(
            (&raw.principals, "principals"),
            (&raw.not_principals, "notPrincipals"),
            field,
            |text| principal(text, context.pool),
        )?,
        namespaces: both(
            (&raw.namespaces, "namespaces"),
            (&raw.not_namespaces, "notNamespaces"),
            field,
            |text| pattern(text, context.pool),
        )?,
        service_accounts: both(
            (&raw.service_accounts, "serviceAccounts"),
            (&raw.not_service_accounts, "notServiceAccounts"),
            field,
            |text| service_account(text, context),
        )?,
        blocks: both(
            (&raw.ip_blocks, "ipBlocks"),
            (&raw.not_ip_blocks, "notIpBlocks"),
            field,
            fields::block_of_text,
        )?,
        trust_domains: both(
            (&raw.trust_domains, "trustDomains"),
            (&raw.not_trust_domains, "notTrustDomains"),
            field,
            |text| pattern(text, context.pool),
        )?,
        request_principals: both(
            (&raw.request_principals, "requestPrincipals"),
            (&raw.not_request_principals, "notRequestPrincipals"),
            field,
            |text| l7_pattern(text, context.pool),
        )?,
        remote_blocks: both(
            (&raw.remote_ip_blocks, "remoteIpBlocks"),
            (&raw.not_remote_ip_blocks, "notRemoteIpBlocks"),
            field,
            fields::block_of_text,
        )?,
        l7_fields: given(
            &[
                (&raw.trust_domains, "trustDomains"),
                (&raw.not_trust_domains, "notTrustDomains"),
                (&raw.request_principals, "requestPrincipals"),
                (&raw.not_request_principals, "notRequestPrincipals"),
                (&raw.remote_ip_blocks, "remoteIpBlocks"),
                (&raw.not_remote_ip_blocks, "notRemoteIpBlocks"),
            ],
            field,
        )?,
    };
    if built == Source::default() {
        return Err(FieldError::new(field, "says nothing; at least one field is needed"));
    }
    let is_given = |both: &Both<Pattern>| !both.0.is_empty() || !both.1.is_empty();
    let has_accounts = raw.service_accounts.is_some() || raw.not_service_accounts.is_some();
    if has_accounts && (is_given(&built.principals) || is_given(&built.namespaces)) {
        let reason = "can't be given together with principals or namespaces";
        return Err(FieldError::new(format!("{field}.serviceAccounts"), reason));
    }
    Ok(built)
}

fn operation(raw: &RawOperation, field: &str, pool: &mut Pool) -> Result<Operation, FieldError> {
    let built = Operation {
        ports: both(
            (&raw.ports, "ports"),
            (&raw.not_ports, "notPorts"),
            field,
            fields::port_of_text,
        )?,
        hosts: both((&raw.hosts, "hosts"), (&raw.not_hosts, "notHosts"), field, |text| {
            l7_pattern(&text.to_ascii_lowercase(), pool)
        })?,
        methods: both(
            (&raw.methods, "methods"),
            (&raw.not_methods, "notMethods"),
            field,
            |text| l7_pattern(text, pool),
        )?,
        paths: both((&raw.paths, "paths"), (&raw.not_paths, "notPaths"), field, |text| {
            path_pattern(text, pool)
        })?,
        l7_fields: given(
            &[
                (&raw.hosts, "hosts"),
                (&raw.not_hosts, "notHosts"),
                (&raw.methods, "methods"),
                (&raw.not_methods, "notMethods"),
                (&raw.paths, "paths"),
                (&raw.not_paths, "notPaths"),
            ],
            field,
        )?,
    };
    if built == Operation::default() {
        return Err(FieldError::new(field, "says nothing; at least one field is needed"));
    }
    Ok(built)
}

fn condition(
    raw: &RawWhen,
    field: &str,
    context: &mut Context<'_>,
) -> Result<Condition, FieldError> {
    let (yes, no) = ((&raw.values, "values"), (&raw.not_values, "notValues"));
    if raw.values.is_none() && raw.not_values.is_none() {
        return Err(FieldError::new(field, "needs values or notValues"));
    }
    let key = match raw.key.as_str() {
        "source.ip" => WhenKey::SourceIp(both(yes, no, field, fields::block_of_text)?),
        "destination.ip" => WhenKey::DestinationIp(both(yes, no, field, fields::block_of_text)?),
        "destination.port" => WhenKey::DestinationPort(both(yes, no, field, fields::port_of_text)?),
        "source.namespace" => {
            WhenKey::SourceNamespace(both(yes, no, field, |text| pattern(text, context.pool))?)
        }
        "source.principal" => {
            WhenKey::SourcePrincipal(both(yes, no, field, |text| principal(text, context.pool))?)
        }
        key => WhenKey::L7(context.pool.text(key), l7_when(raw, field, context)?),
    };
    Ok(Condition { key })
}

/// Attributes that only an L7 proxy knows (Istio's list of authorisation conditions).
fn l7_when(raw: &RawWhen, field: &str, context: &mut Context<'_>) -> Result<L7When, FieldError> {
    let (yes, no) = ((&raw.values, "values"), (&raw.not_values, "notValues"));
    let bad = |reason: String| FieldError::new(format!("{field}.key"), reason);
    if raw.key == "source.serviceAccount" {
        let accounts = both(yes, no, field, |text| service_account(text, context))?;
        return Ok(L7When::SourceAccount(accounts));
    }
    if raw.key == "remote.ip" {
        return Ok(L7When::RemoteIp(both(yes, no, field, fields::block_of_text)?));
    }
    let values = both(yes, no, field, |text| l7_pattern(text, context.pool))?;
    Ok(match raw.key.as_str() {
        "source.trustDomain" => L7When::SourceTrustDomain(values),
        "request.auth.principal" => L7When::RequestPrincipal(values),
        "request.auth.audiences" => L7When::Audience(values),
        "request.auth.presenter" => L7When::Presenter(values),
        "connection.sni" => L7When::ServerName(values),
        key if key.starts_with("experimental.envoy.filters.") => L7When::Unsupported,
        key => {
            if let Some(rest) = key.strip_prefix("request.headers") {
                let name = names_in_brackets(rest).filter(|names| names.len() == 1);
                let name =
                    name.and_then(|names| names.into_iter().next()).filter(|it| is_header(it));
                let name = name.ok_or_else(|| bad(format!("{key:?} names no header")))?;
                return Ok(L7When::Header(context.pool.text(&name.to_ascii_lowercase()), values));
            }
            let Some(rest) = key.strip_prefix("request.auth.claims") else {
                return Err(bad(format!("{key:?} is no attribute that a policy can ask for")));
            };
            let names = names_in_brackets(rest);
            let names = names.ok_or_else(|| bad(format!("{key:?} names no claim")))?;
            L7When::Claim(names.into_iter().map(|name| context.pool.text(name)).collect(), values)
        }
    })
}

/// `[a][b]`
fn names_in_brackets(text: &str) -> Option<Vec<&str>> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    let names: Vec<&str> = inner.split("][").collect();
    let is_sound = |name: &&str| !name.is_empty() && !name.contains(['[', ']']);
    names.iter().all(is_sound).then_some(names)
}

/// A token of RFC 9110 section 5.6.2, or a part of the request that has a name of that kind.
fn is_header(name: &str) -> bool {
    let name = name.strip_prefix(':').unwrap_or(name);
    http::HeaderName::from_bytes(name.as_bytes()).is_ok()
}

fn each<T, U>(
    list: &[T],
    field: &str,
    mut build: impl FnMut(&T, &str) -> Result<U, FieldError>,
) -> Result<Box<[U]>, FieldError> {
    if list.is_empty() {
        return Err(FieldError::new(field, "is empty; leave it out to mean anything"));
    }
    list.iter().enumerate().map(|(at, item)| build(item, &format!("{field}[{at}]"))).collect()
}

fn both<T>(
    (yes, yes_name): (&Texts, &str),
    (no, no_name): (&Texts, &str),
    field: &str,
    mut build: impl FnMut(&str) -> Result<T, String>,
) -> Result<Both<T>, FieldError> {
    let mut list = |texts: &Texts, name: &str| match texts {
        None => Ok(Box::default()),
        Some(texts) => each(texts, &format!("{field}.{name}"), |text, field| {
            build(text).map_err(|reason| FieldError::new(field, reason))
        }),
    };
    Ok((list(yes, yes_name)?, list(no, no_name)?))
}

/// The names of those L7 fields that are given.
fn given(texts: &[(&Texts, &'static str)], field: &str) -> Result<Vec<&'static str>, FieldError> {
    let mut names = Vec::new();
    for (texts, name) in texts {
        if let Some(texts) = texts {
            each(texts, &format!("{field}.{name}"), |_, _| Ok(()))?;
            names.push(*name);
        }
    }
    Ok(names)
}

fn pattern(text: &str, pool: &mut Pool) -> Result<Pattern, String> {
    let built = match (text.strip_prefix('*'), text.strip_suffix('*')) {
        (Some(""), _) => return Ok(Pattern::Present),
        (Some(rest), _) => (rest, Pattern::Suffix(pool.text(rest))),
        (None, Some(rest)) => (rest, Pattern::Prefix(pool.text(rest))),
        (None, None) => (text, Pattern::Exact(pool.text(text))),
    };
    let (rest, pattern) = built;
    if rest.is_empty() {
        Err("is empty".to_owned())
    } else if rest.contains('*') {
        Err(format!("{text:?}: a `*` may stand at one end only"))
    } else {
        Ok(pattern)
    }
}

/// As [`pattern`], but a further `*` is itself: `*/*` is what ends with `/*`, as in Istio.
fn l7_pattern(text: &str, pool: &mut Pool) -> Result<Pattern, String> {
    let (rest, pattern) = match (text.strip_prefix('*'), text.strip_suffix('*')) {
        (Some(""), _) => return Ok(Pattern::Present),
        (Some(rest), _) => (rest, Pattern::Suffix(pool.text(rest))),
        (None, Some(rest)) => (rest, Pattern::Prefix(pool.text(rest))),
        (None, None) => (text, Pattern::Exact(pool.text(text))),
    };
    let bytes_max = weft_proto::contract::access::TEXT_BYTES_MAX;
    match rest.len() {
        0 => Err("is empty".to_owned()),
        length if length > bytes_max => Err(format!("is longer than {bytes_max} bytes")),
        _ => Ok(pattern),
    }
}

/// One with `{*}` or `{**}` in it is a template: these stand for whole elements, and `{**}` is the last of them.
fn path_pattern(text: &str, pool: &mut Pool) -> Result<PathPattern, String> {
    if !text.contains("{*}") && !text.contains("{**}") {
        return l7_pattern(text, pool).map(PathPattern::Text);
    }
    let bad = |what: &str| Err(format!("{text:?} is no path template: {what}"));
    let Some(inner) = text.strip_prefix('/') else {
        return bad("it doesn't begin with a slash");
    };
    let mut is_over = false;
    for element in inner.split('/') {
        match element {
            "{*}" | "{**}" if is_over => return bad("nothing of the kind may follow {**}"),
            "{*}" => {}
            "{**}" => is_over = true,
            plain if plain.contains(['{', '}', '*']) => {
                return bad("{*} and {**} stand for whole elements, and nothing else has { } or *");
            }
            _ => {}
        }
    }
    Ok(PathPattern::Template(pool.text(text)))
}

fn principal(text: &str, pool: &mut Pool) -> Result<Pattern, String> {
    // It would never match: principals are compared without the scheme.
    if text.contains("://") {
        return Err(format!("{text:?}: principals are written without spiffe://"));
    }
    pattern(text, pool)
}

fn service_account(text: &str, context: &mut Context<'_>) -> Result<ServiceAccountName, String> {
    let (namespace, name) = text.split_once('/').unwrap_or((context.namespace, text));
    if !fields::is_dns_label(namespace) || !fields::is_dns_subdomain(name) {
        return Err(format!("{text:?} is neither <namespace>/<name> nor <name>"));
    }
    let text = |text: &str| Arc::from(text);
    Ok(ServiceAccountName { namespace: text(namespace), name: text(name) })
}
