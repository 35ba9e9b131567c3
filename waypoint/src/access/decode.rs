//! Bytes of an access policy → typed policy. What is damaged denies everything; a rule that isn't understood errs by itself
//! towards keeping out.

use std::sync::Arc;

use http::HeaderName;
use ipnet::IpNet;
use prost::Message;
use weft_core::seal;
use weft_proto::route as proto;
use weft_proto::route::access_matcher::Kind as WireKind;
use weft_proto::route::access_path::Kind as WirePath;
use weft_proto::route::text_match::Kind as WireText;

use super::check::Checker;
use super::jwt::Providers;
use super::matcher::{Account, Kind, Matcher, PathValue, Pseudo, Rule, Texts};
use super::path::{self, Level};
use super::template::Template;
use super::text::{How, Text};
use super::{Access, Custom, Policy, PolicyRule};
use crate::limits::access as limits;

/// Why everything that a policy covers is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// It was damaged, or is no access policy.
    #[error("the seal is broken or missing: the policy was damaged")]
    Seal,
    /// No valid message at all.
    #[error("not a valid AccessPolicy message: {0}")]
    Malformed(String),
    /// The content belongs under another name.
    #[error("the resource's name is not its content's namespace/hostname, which is {0}")]
    Name(String),
    /// More than a proxy takes.
    #[error("there are more than {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// The controller couldn't translate what applies.
    #[error("{0}")]
    Unusable(String),
}

/// What was counted, and what wasn't understood.
#[derive(Debug, Default)]
pub(super) struct Decoding {
    rules: usize,
    values: usize,
    problems: Vec<String>,
}

impl Decoding {
    pub(super) fn note(&mut self, field: &str, reason: &str) {
        if self.problems.len() < limits::PROBLEMS_LISTED_MAX {
            self.problems.push(format!("{field}: {reason}"));
        }
    }
}

pub(super) fn decode(name: &str, bytes: &[u8]) -> Result<Access, AccessError> {
    let message = seal::open(bytes).ok_or(AccessError::Seal)?;
    let message = proto::AccessPolicy::decode(message)
        .map_err(|error| AccessError::Malformed(error.to_string()))?;
    let own_name = format!("{}/{}", message.namespace, message.hostname);
    if own_name != name {
        return Err(AccessError::Name(own_name));
    }
    if !message.unusable.is_empty() {
        return Err(AccessError::Unusable(message.unusable));
    }
    let count = message.custom.len()
        + [&message.deny, &message.allow, &message.audit].map(Vec::len).iter().sum::<usize>();
    check("policies", count, limits::POLICIES_MAX)?;
    check("issuers of tokens", message.providers.len(), limits::PROVIDERS_MAX)?;
    let mut decoding = Decoding::default();
    let custom = message.custom.iter().enumerate();
    let custom = custom.map(|(at, it)| custom_policy(it, &format!("custom[{at}]"), &mut decoding));
    let custom = custom.collect();
    let access = Access {
        level: level(message.normalisation),
        forwards_identity: message.forward_client_identity,
        body_bytes_max: Some(message.request_body_bytes_max).filter(|it| *it > 0),
        unusable: None,
        custom,
        deny: policies(&message.deny, "deny", &mut decoding),
        allow: policies(&message.allow, "allow", &mut decoding),
        audit: policies(&message.audit, "audit", &mut decoding),
        providers: Providers::decode(&message.providers, &mut decoding),
        problems: Vec::new(),
    };
    check("rules", decoding.rules, limits::RULES_MAX)?;
    check("values", decoding.values, limits::VALUES_MAX)?;
    Ok(Access { problems: decoding.problems, ..access })
}

fn check(what: &'static str, count: usize, max: usize) -> Result<(), AccessError> {
    if count > max { Err(AccessError::TooMany { what, max }) } else { Ok(()) }
}

/// A level that isn't known is the furthest one.
fn level(number: i32) -> Level {
    use proto::PathNormalisation as Wire;
    match Wire::try_from(number) {
        Ok(Wire::None) => Level::None,
        Ok(Wire::Base) => Level::Base,
        Ok(Wire::MergeSlashes) => Level::MergeSlashes,
        Ok(Wire::DecodeAndMergeSlashes) | Err(_) => Level::DecodeAndMergeSlashes,
    }
}

fn custom_policy(message: &proto::CustomPolicy, field: &str, decoding: &mut Decoding) -> Custom {
    let none = proto::Policy::default();
    let policy = policy(message.policy.as_ref().unwrap_or(&none), field, decoding);
    let checker = message.checker.as_ref().and_then(|checker| {
        let built = Checker::decode(checker);
        if let Err(reason) = &built {
            decoding.note(&format!("{field}.checker"), reason);
        }
        built.ok().map(Arc::new)
    });
    Custom { policy, checker }
}

fn policies(messages: &[proto::Policy], field: &str, decoding: &mut Decoding) -> Box<[Policy]> {
    let messages = messages.iter().enumerate();
    messages.map(|(at, it)| policy(it, &format!("{field}[{at}]"), decoding)).collect()
}

fn policy(message: &proto::Policy, field: &str, decoding: &mut Decoding) -> Policy {
    let mut rules = Vec::with_capacity(message.rules.len().min(limits::RULES_MAX));
    for (at, one) in message.rules.iter().enumerate() {
        decoding.rules += 1;
        if decoding.rules > limits::RULES_MAX {
            break;
        }
        rules.push(rule(one, decoding).map_or_else(
            |reason| {
                decoding.note(&format!("{field}.rules[{at}]"), &reason);
                PolicyRule::Unknown
            },
            PolicyRule::Known,
        ));
    }
    Policy { name: message.name.as_str().into(), is_dry_run: message.dry_run, rules: rules.into() }
}

fn rule(message: &proto::AccessRule, decoding: &mut Decoding) -> Result<Rule, String> {
    let mut terms = |terms: &[proto::AccessTerm]| {
        let term = |term: &proto::AccessTerm| match term.all.is_empty() {
            true => Err("an alternative asks for nothing".to_owned()),
            false => matchers(&term.all, decoding),
        };
        terms.iter().map(term).collect::<Result<Box<[_]>, _>>()
    };
    Ok(Rule {
        from: terms(&message.from)?,
        to: terms(&message.to)?,
        when: matchers(&message.when, decoding)?,
    })
}

fn matchers(
    messages: &[proto::AccessMatcher],
    decoding: &mut Decoding,
) -> Result<Box<[Matcher]>, String> {
    let built = |message: &proto::AccessMatcher| {
        let wire = message.kind.as_ref().ok_or("asks for a kind that this version doesn't know")?;
        let (kind, count) = kind(wire)?;
        if count == 0 {
            return Err("asks for none of no values".to_owned());
        }
        decoding.values += count;
        Ok(Matcher { is_negated: message.negated, kind })
    };
    messages.iter().map(built).collect()
}

/// The condition, and how many values it has.
fn kind(wire: &WireKind) -> Result<(Kind, usize), String> {
    let of = |it: &proto::TextValues| Ok::<_, String>((texts(&it.values)?, it.values.len()));
    let nets = |it: &proto::BlockValues| Ok::<_, String>((blocks(&it.values)?, it.values.len()));
    Ok(match wire {
        WireKind::SourcePrincipal(it) => of(it).map(|(it, n)| (Kind::Principal(it), n))?,
        WireKind::SourceNamespace(it) => of(it).map(|(it, n)| (Kind::Namespace(it), n))?,
        WireKind::SourceTrustDomain(it) => of(it).map(|(it, n)| (Kind::TrustDomain(it), n))?,
        WireKind::Host(it) => of(it).map(|(it, n)| (Kind::Host(it), n))?,
        WireKind::Method(it) => of(it).map(|(it, n)| (Kind::Method(it), n))?,
        WireKind::RequestPrincipal(it) => of(it).map(|(it, n)| (Kind::RequestPrincipal(it), n))?,
        WireKind::Audience(it) => of(it).map(|(it, n)| (Kind::Audience(it), n))?,
        WireKind::Presenter(it) => of(it).map(|(it, n)| (Kind::Presenter(it), n))?,
        WireKind::ServerName(it) => of(it).map(|(it, n)| (Kind::ServerName(it), n))?,
        WireKind::SourceIp(it) => nets(it).map(|(it, n)| (Kind::SourceIp(it), n))?,
        WireKind::RemoteIp(it) => nets(it).map(|(it, n)| (Kind::RemoteIp(it), n))?,
        WireKind::DestinationIp(it) => nets(it).map(|(it, n)| (Kind::DestinationIp(it), n))?,
        WireKind::SourceAccount(it) => (Kind::Account(accounts(&it.values)?), it.values.len()),
        WireKind::DestinationPort(it) => (Kind::Port(ports(&it.values)?), it.values.len()),
        WireKind::Path(it) => {
            let values = it.values.iter().map(path_value).collect::<Result<_, _>>()?;
            (Kind::Path(values), it.values.len())
        }
        WireKind::Header(it) => (header(it)?, it.values.len()),
        WireKind::Claim(it) => {
            if it.path.is_empty() || it.path.iter().any(String::is_empty) {
                return Err("names no claim".to_owned());
            }
            let path = it.path.iter().map(|name| name.as_str().into()).collect();
            (Kind::Claim(path, texts(&it.values)?), it.values.len())
        }
    })
}

fn header(message: &proto::HeaderValues) -> Result<Kind, String> {
    let values = texts(&message.values)?;
    let pseudo = match message.name.to_ascii_lowercase().as_str() {
        ":authority" | "host" => Pseudo::Authority,
        ":method" => Pseudo::Method,
        ":path" => Pseudo::Path,
        name => {
            let name = HeaderName::from_bytes(name.as_bytes());
            let name = name.map_err(|_| format!("{:?} is no header's name", message.name))?;
            return Ok(Kind::Header(name, values));
        }
    };
    Ok(Kind::Pseudo(pseudo, values))
}

pub(super) fn texts(messages: &[proto::TextMatch]) -> Result<Texts, String> {
    messages.iter().map(text).collect()
}

fn text(message: &proto::TextMatch) -> Result<Text, String> {
    let how = match message.kind.as_ref() {
        Some(WireText::Exact(text)) => How::Exact(bounded(text)?),
        Some(WireText::Prefix(text)) => How::Prefix(bounded(text)?),
        Some(WireText::Suffix(text)) => How::Suffix(bounded(text)?),
        Some(WireText::Present(_)) => How::Present,
        Some(WireText::Regex(_)) | None => {
            return Err("compares in a way that this version doesn't know".to_owned());
        }
    };
    Ok(Text { how, ignores_case: message.ignore_case })
}

fn bounded(text: &str) -> Result<Box<str>, String> {
    if text.is_empty() {
        return Err("compares with an empty text".to_owned());
    }
    if text.len() > limits::TEXT_BYTES_MAX {
        return Err(format!("compares with more than {} bytes", limits::TEXT_BYTES_MAX));
    }
    Ok(text.into())
}

fn path_value(message: &proto::AccessPath) -> Result<PathValue, String> {
    Ok(match message.kind.as_ref() {
        Some(WirePath::Text(message)) => {
            let text = text(message)?;
            let fold = |it: Box<str>| path::folded(&it).into();
            let how = match text.how {
                How::Exact(it) => How::Exact(fold(it)),
                How::Prefix(it) => How::Prefix(fold(it)),
                How::Suffix(it) => How::Suffix(fold(it)),
                How::Present => How::Present,
            };
            PathValue::Text(Text { how, ..text })
        }
        Some(WirePath::Template(template)) => {
            let template = bounded(template)?;
            let read = Template::read(&template);
            PathValue::Template(read.ok_or_else(|| format!("{template:?} is no path template"))?)
        }
        None => return Err("compares a path in a way that this version doesn't know".to_owned()),
    })
}

fn accounts(messages: &[proto::AccountMatch]) -> Result<Box<[Account]>, String> {
    let account = |it: &proto::AccountMatch| Ok((bounded(&it.namespace)?, bounded(&it.name)?));
    messages.iter().map(account).collect()
}

fn blocks(texts: &[String]) -> Result<Box<[IpNet]>, String> {
    let block = |text: &String| {
        let block: IpNet = text.parse().map_err(|_| format!("{text:?} is no block"))?;
        Ok(canonical(block).trunc())
    };
    texts.iter().map(block).collect()
}

/// Addresses are compared in canonical form: ::ffff:10.0.0.0/104 is 10.0.0.0/8.
fn canonical(block: IpNet) -> IpNet {
    match (block.addr().to_canonical(), block.addr().is_ipv6()) {
        (std::net::IpAddr::V4(address), true) if block.prefix_len() >= 96 => {
            ipnet::Ipv4Net::new(address, block.prefix_len() - 96).map_or(block, IpNet::V4)
        }
        _ => block,
    }
}

fn ports(numbers: &[u32]) -> Result<Box<[u16]>, String> {
    let port = |it: &u32| {
        u16::try_from(*it).ok().filter(|it| *it > 0).ok_or_else(|| format!("{it} is no port"))
    };
    numbers.iter().map(port).collect()
}
