//! Policies as messages, and what becomes of requests.

mod checking;
mod damage;
mod deciding;
mod tokens;

use http::HeaderMap;
use prost::Message;
use weft_core::identity::SpiffeId;
use weft_core::seal;
use weft_proto::route as proto;
use weft_proto::route::access_matcher::Kind;
use weft_proto::route::text_match::Kind as TextKind;

use super::*;

const NAME: &str = "shop/stock.shop.svc.cluster.local";

fn message() -> proto::AccessPolicy {
    proto::AccessPolicy {
        namespace: "shop".into(),
        hostname: "stock.shop.svc.cluster.local".into(),
        ..proto::AccessPolicy::default()
    }
}

fn decoded(message: &proto::AccessPolicy) -> Access {
    Access::decode(NAME, &seal::seal(message.encode_to_vec()))
}

/// `*`, `x*`, `*x` or `x`, as in YAML.
fn text(text: &str) -> proto::TextMatch {
    let kind = match (text.strip_prefix('*'), text.strip_suffix('*')) {
        (Some(""), _) => TextKind::Present(proto::Present {}),
        (Some(rest), _) => TextKind::Suffix(rest.into()),
        (None, Some(rest)) => TextKind::Prefix(rest.into()),
        (None, None) => TextKind::Exact(text.into()),
    };
    proto::TextMatch { kind: Some(kind), ignore_case: false }
}

fn texts(values: &[&str]) -> proto::TextValues {
    proto::TextValues { values: values.iter().map(|value| text(value)).collect() }
}

fn is(kind: Kind) -> proto::AccessMatcher {
    proto::AccessMatcher { negated: false, kind: Some(kind) }
}

fn not(kind: Kind) -> proto::AccessMatcher {
    proto::AccessMatcher { negated: true, kind: Some(kind) }
}

fn paths(values: &[&str]) -> Kind {
    use proto::access_path::Kind as Path;
    let path = |value: &&str| proto::AccessPath {
        kind: Some(match value.contains('{') {
            true => Path::Template((*value).into()),
            false => Path::Text(text(value)),
        }),
    };
    Kind::Path(proto::PathValues { values: values.iter().map(path).collect() })
}

fn header(name: &str, values: &[&str]) -> Kind {
    Kind::Header(proto::HeaderValues { name: name.into(), values: texts(values).values })
}

fn claim(path: &[&str], values: &[&str]) -> Kind {
    let path = path.iter().map(|name| (*name).to_owned()).collect();
    Kind::Claim(proto::ClaimValues { path, values: texts(values).values })
}

fn blocks(values: &[&str]) -> proto::BlockValues {
    proto::BlockValues { values: values.iter().map(|value| (*value).to_owned()).collect() }
}

fn term(all: Vec<proto::AccessMatcher>) -> proto::AccessTerm {
    proto::AccessTerm { all }
}

fn from(all: Vec<proto::AccessMatcher>) -> proto::AccessRule {
    proto::AccessRule { from: vec![term(all)], ..proto::AccessRule::default() }
}

fn to(all: Vec<proto::AccessMatcher>) -> proto::AccessRule {
    proto::AccessRule { to: vec![term(all)], ..proto::AccessRule::default() }
}

fn when(when: Vec<proto::AccessMatcher>) -> proto::AccessRule {
    proto::AccessRule { when, ..proto::AccessRule::default() }
}

fn policy(name: &str, rules: Vec<proto::AccessRule>) -> proto::Policy {
    proto::Policy { name: format!("ns[shop]-policy[{name}]"), dry_run: false, rules }
}

/// A request that a test changes as it needs.
#[derive(Debug, Clone)]
struct Call {
    source: Option<SpiffeId>,
    method: &'static str,
    host: &'static str,
    path: &'static str,
    headers: HeaderMap,
    source_ip: &'static str,
    remote_ip: &'static str,
    port: u16,
    sni: Option<&'static str>,
    authenticated: Option<Authenticated>,
}

impl Call {
    fn get(path: &'static str) -> Self {
        Self {
            source: Some("spiffe://cluster.local/ns/shop/sa/web".parse().unwrap()),
            method: "GET",
            host: "stock",
            path,
            headers: HeaderMap::new(),
            source_ip: "10.0.0.1",
            remote_ip: "10.0.0.1",
            port: 80,
            sni: None,
            authenticated: None,
        }
    }

    fn from(self, identity: &str) -> Self {
        Self { source: Some(identity.parse().unwrap()), ..self }
    }

    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.append(name, http::HeaderValue::from_static(value));
        self
    }

    fn request(&self) -> AccessRequest<'_> {
        AccessRequest {
            source: self.source.as_ref(),
            source_ip: self.source_ip.parse().unwrap(),
            remote_ip: self.remote_ip.parse().unwrap(),
            destination_ip: "10.96.0.1".parse().unwrap(),
            destination_port: self.port,
            method: self.method,
            host: self.host,
            path: self.path,
            headers: &self.headers,
            authenticated: self.authenticated.as_ref(),
            sni: self.sni,
        }
    }
}

/// The verdict in words.
fn verdict(access: &Access, call: &Call) -> String {
    let mut reports = Vec::new();
    match access.evaluate(&call.request(), Step::default(), &mut reports) {
        Verdict::Allow => "allow".into(),
        Verdict::Deny(denial) => denial.to_string(),
        Verdict::Check { checker, .. } => format!("check {}", checker.name),
    }
}

fn is_allowed(access: &Access, call: &Call) -> bool {
    verdict(access, call) == "allow"
}
