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
    Both, Condition, Operation, Pattern, Rule, ServiceAccountName, Source, WhenKey,
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
            operation(&raw.0.operation.0, &format!("{field}.operation"))
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
        l7_fields: given(
            &[
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

fn operation(raw: &RawOperation, field: &str) -> Result<Operation, FieldError> {
    let built = Operation {
        ports: both(
            (&raw.ports, "ports"),
            (&raw.not_ports, "notPorts"),
            field,
            fields::port_of_text,
        )?,
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

/// Attributes that only an L7 proxy knows (Istio's list of authorisation conditions); a trailing `[` takes a name.
const L7_KEYS: [&str; 8] = [
    "request.headers[",
    "remote.ip",
    "request.auth.principal",
    "request.auth.audiences",
    "request.auth.presenter",
    "request.auth.claims[",
    "connection.sni",
    "experimental.envoy.filters.",
];

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
        key => {
            let is_known = |known: &str| match known.ends_with(['[', '.']) {
                true => key.starts_with(known),
                false => key == known,
            };
            if !L7_KEYS.iter().any(|known| is_known(known)) {
                let reason = format!("{key:?} is no attribute that a policy can ask for");
                return Err(FieldError::new(format!("{field}.key"), reason));
            }
            given(&[yes, no], field)?;
            WhenKey::L7(context.pool.text(key))
        }
    };
    Ok(Condition { key })
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
