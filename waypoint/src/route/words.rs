//! Rules in words, for who asks what a waypoint does. Values that may be secrets aren't told: what headers are set to, and what
//! those are compared with that carry credentials by their names.

use std::fmt;

use http::HeaderName;
use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, SET_COOKIE};

use super::action::{Filters, Forward, Origin, Outcome};
use super::backend::{Backend, Destination, Target};
use super::condition::{Condition, HostPattern, Kind, SourceMatch};
use super::connection::{ConnectionCondition, ConnectionRule};
use super::fraction::Fraction;
use super::headers::HeaderEdit;
use super::path::{PathKind, PathMatch};
use super::resilience::{Abort, Retry, Timeouts};
use super::rewrite::PathRewrite;
use super::rules::HttpRule;
use super::text::{Compared, TextMatch};
use crate::text::{How, Text};

/// What is shown in place of a value that may be a secret.
const HIDDEN: &str = "(not shown)";

impl HttpRule {
    /// Its conditions, one a line; none: it matches everything, or never.
    pub fn conditions_in_words(&self) -> Vec<String> {
        self.conditions.iter().flatten().map(ToString::to_string).collect()
    }

    /// Its action's place among those of its routes.
    pub fn action(&self) -> usize {
        self.action
    }
}

impl ConnectionRule {
    /// Its conditions, one a line; none: it matches everything, or never.
    pub fn conditions_in_words(&self) -> Vec<String> {
        let word = |condition: &ConnectionCondition| match condition {
            ConnectionCondition::ServerNames(names) => format!("server name {}", any_of(names)),
            ConnectionCondition::Source(source) => source_in_words(source),
            ConnectionCondition::Ports(ports) => format!("port {}", any_of(ports)),
            ConnectionCondition::Destinations(blocks) => format!("destination {}", any_of(blocks)),
        };
        self.conditions.iter().flatten().map(word).collect()
    }

    /// It was not understood, so it never matches.
    pub fn is_never(&self) -> bool {
        self.conditions.is_none()
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_negated {
            f.write_str("not: ")?;
        }
        match &self.kind {
            Kind::Path(path) => write!(f, "{path}"),
            Kind::Method(value) => write!(f, "method {value}"),
            Kind::Scheme(value) => write!(f, "scheme {value}"),
            Kind::Authority(value) => write!(f, "authority {value}"),
            Kind::Header { name, value } if is_secret(name.as_str()) && !value.is_present() => {
                write!(f, "header {name} fits {HIDDEN}")
            }
            Kind::Header { name, value } => write!(f, "header {name} {value}"),
            Kind::Query { name, value } if is_secret(name) && !value.is_present() => {
                write!(f, "query parameter {name} fits {HIDDEN}")
            }
            Kind::Query { name, value } => write!(f, "query parameter {name} {value}"),
            Kind::Hosts(hosts) => write!(f, "host {}", any_of(hosts)),
            Kind::Grpc { service, method } => {
                f.write_str("gRPC")?;
                service.iter().try_for_each(|value| write!(f, " service {value}"))?;
                method.iter().try_for_each(|value| write!(f, " method {value}"))
            }
            Kind::Claim { path, value } => write!(f, "claim {} {value}", path.join(".")),
            Kind::Source(source) => f.write_str(&source_in_words(source)),
            Kind::Ports(ports) => write!(f, "port {}", any_of(ports)),
        }
    }
}

impl TextMatch {
    fn is_present(&self) -> bool {
        matches!(&self.0, Compared::Text(Text { how: How::Present, .. }))
    }
}

impl fmt::Display for TextMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = match &self.0 {
            Compared::Text(own) => own,
            Compared::Pattern(pattern) => return write!(f, "matches {:?}", pattern.as_str()),
        };
        match &own.how {
            How::Exact(text) => write!(f, "is {text:?}"),
            How::Prefix(text) => write!(f, "begins with {text:?}"),
            How::Suffix(text) => write!(f, "ends with {text:?}"),
            How::Present => f.write_str("is there"),
        }?;
        if own.ignores_case { f.write_str(" in any case") } else { Ok(()) }
    }
}

impl fmt::Display for PathMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.how {
            PathKind::Exact(text) => write!(f, "path is {text:?}"),
            PathKind::Elements(text) if text.is_empty() => f.write_str("any path"),
            PathKind::Elements(text) => write!(f, "path is {text:?} or below"),
            PathKind::Text(text) => write!(f, "path begins with {text:?}"),
            PathKind::Pattern(pattern) => write!(f, "path matches {:?}", pattern.as_str()),
        }?;
        if self.ignores_case { f.write_str(" in any case") } else { Ok(()) }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Name(name) => f.write_str(name),
            Self::Below(suffix) => write!(f, "*{suffix}"),
        }
    }
}

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = f64::from(self.numerator) * 100.0 / f64::from(self.denominator);
        write!(f, "{percent} %")
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.hostname)?;
        self.port.iter().try_for_each(|port| write!(f, ":{port}"))?;
        self.subset.iter().try_for_each(|subset| write!(f, ", subset {}", subset.name))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}, rule {}", self.kind, self.namespace, self.name, self.index)?;
        if self.rule.is_empty() { Ok(()) } else { write!(f, " ({})", self.rule) }
    }
}

impl fmt::Display for HeaderEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |edits: &mut dyn Iterator<Item = &HeaderName>| {
            edits.map(HeaderName::as_str).collect::<Vec<_>>().join(", ")
        };
        let mut parts = Vec::new();
        for (what, edits) in [
            ("set", names(&mut self.set.iter().map(|(name, _)| name))),
            ("add", names(&mut self.add.iter().map(|(name, _)| name))),
            ("remove", names(&mut self.remove.iter())),
        ] {
            if !edits.is_empty() {
                parts.push(format!("{what} {edits}"));
            }
        }
        f.write_str(&parts.join("; "))
    }
}

impl Filters {
    /// What is changed on the way, one a line.
    pub fn in_words(&self) -> Vec<String> {
        let mut words = edits(&self.request_headers, &self.response_headers);
        if let Some(authority) = &self.authority {
            words.push(format!(
                "authority becomes {:?}",
                String::from_utf8_lossy(authority.as_bytes())
            ));
        }
        words.extend(self.path.as_ref().map(|path| match path {
            PathRewrite::Full(text) => format!("path becomes {text:?}"),
            PathRewrite::Prefix(text) => format!("what was covered of the path becomes {text:?}"),
            PathRewrite::Pattern { pattern, .. } => {
                format!("path is rewritten where it matches {:?}", pattern.as_str())
            }
        }));
        let copies = self.mirrors.iter();
        words
            .extend(copies.map(|mirror| format!("copies of {} go to {}", mirror.share, mirror.to)));
        if self.cors.is_some() {
            words.push("CORS is answered here".to_owned());
        }
        if let Some((share, wait)) = &self.fault.delay {
            words.push(format!("{share} are delayed by {wait:?}"));
        }
        if let Some((share, abort)) = &self.fault.abort {
            let answer = match abort {
                Abort::Http(status) => format!("{}", status.as_u16()),
                Abort::Grpc(status) => format!("gRPC status {status}"),
            };
            words.push(format!("{share} are answered {answer} here"));
        }
        words
    }
}

impl Backend {
    /// What is changed on the way to it alone, one a line.
    pub fn in_words(&self) -> Vec<String> {
        let mut words = edits(&self.request_headers, &self.response_headers);
        words.extend(self.authority.as_ref().map(|authority| {
            format!("authority becomes {:?}", String::from_utf8_lossy(authority.as_bytes()))
        }));
        words
    }
}

fn edits(request: &HeaderEdit, response: &HeaderEdit) -> Vec<String> {
    let edits = [("request headers", request), ("response headers", response)];
    let edits = edits.into_iter().filter(|(_, edit)| !edit.is_empty());
    edits.map(|(what, edit)| format!("{what}: {edit}")).collect()
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forward(forward) => write!(f, "{forward}"),
            Self::Redirect(redirect) => write!(f, "redirect with {}", redirect.status.as_u16()),
            Self::Direct(direct) => {
                write!(f, "answer {} with {} bytes", direct.status.as_u16(), direct.body.len())
            }
            Self::Broken => f.write_str("answer 500: the rule is not understood"),
        }
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backends = self.backends.weighted().map(|(weight, backend)| match &backend.target {
            Target::To(to) => format!("{to} (weight {weight})"),
            Target::Invalid(why) => format!("500 (weight {weight}): {why}"),
        });
        let backends: Vec<_> = backends.collect();
        match backends.is_empty() {
            true => f.write_str("500: no backend"),
            false => write!(f, "to {}", backends.join(", ")),
        }?;
        let more = self.timeouts.in_words().into_iter();
        let more = more.chain(self.retry.as_ref().map(ToString::to_string));
        let more = more.chain(self.session.as_ref().map(ToString::to_string));
        more.into_iter().try_for_each(|it| write!(f, "; {it}"))
    }
}

impl Timeouts {
    /// What is set, one a line.
    pub fn in_words(&self) -> Vec<String> {
        let request = self.request.map(|it| format!("the request has {it:?}"));
        let attempt = self.attempt.map(|it| format!("an attempt has {it:?}"));
        request.into_iter().chain(attempt).collect()
    }
}

impl fmt::Display for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.retries == 0 {
            return f.write_str("no retries");
        }
        let on = self.on.iter().map(|on| format!("{on:?}"));
        let codes = self.http_codes.iter().map(|code| format!("{code}"));
        let grpc = self.grpc_codes.iter().map(|code| format!("gRPC {code}"));
        let on: Vec<_> = on.chain(codes).chain(grpc).collect();
        let (base, max) = (self.backoff_base, self.backoff_max);
        write!(f, "up to {} retries on {}, after {base:?} to {max:?}", self.retries, on.join(", "))
    }
}

fn source_in_words(source: &SourceMatch) -> String {
    let mut parts = Vec::new();
    if !source.namespaces.is_empty() {
        parts.push(format!("caller's namespace is {}", any_of(&source.namespaces)));
    }
    let labels = source.labels.iter();
    parts.extend(labels.map(|(key, value)| format!("caller's label {key} is {value:?}")));
    parts.extend(source.principal.as_ref().map(|it| format!("caller's identity {it}")));
    parts.join(" and ")
}

fn any_of(items: &[impl fmt::Display]) -> String {
    let items: Vec<_> = items.iter().map(ToString::to_string).collect();
    items.join(" or ")
}

/// Whether a header or a parameter of this name carries credentials, as names go.
fn is_secret(name: &str) -> bool {
    const WORDS: [&str; 7] =
        ["token", "secret", "password", "passwd", "credential", "api-key", "apikey"];
    let name = name.to_ascii_lowercase().replace('_', "-");
    [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE, SET_COOKIE].iter().any(|it| *it == *name)
        || WORDS.iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_read_as_sentences_without_credentials() {
        let is = |text: &str| TextMatch::exact(text);
        let header = |name, value| Kind::Header { name: HeaderName::from_static(name), value };
        for (kind, is_negated, words) in [
            (Kind::Method(is("GET")), false, "method is \"GET\""),
            (header("x-beta-user", is("true")), true, "not: header x-beta-user is \"true\""),
            (header("x-api-key", is("s3cret")), false, "header x-api-key fits (not shown)"),
            (header("cookie", is("s3cret")), false, "header cookie fits (not shown)"),
            (
                Kind::Query { name: "access_token".into(), value: is("s3cret") },
                false,
                "query parameter access_token fits (not shown)",
            ),
            (Kind::Ports([80, 81].into()), false, "port 80 or 81"),
        ] {
            assert_eq!(Condition { kind, is_negated }.to_string(), words);
        }
    }

    #[test]
    fn edits_name_headers_and_not_their_values() {
        let name = HeaderName::from_static("authorization");
        let value = http::HeaderValue::from_static("Bearer s3cret");
        let edit = HeaderEdit { set: vec![(name.clone(), value)], add: vec![], remove: vec![name] };
        assert_eq!(edit.to_string(), "set authorization; remove authorization");
    }
}
