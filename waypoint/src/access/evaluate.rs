//! The verdict on one request.

use std::fmt;
use std::sync::Arc;

use super::matcher::HttpFields;
use super::request::{AccessConnection, AccessRequest};
use super::{Access, Checker, Policy, PolicyRule};

/// Whether a request may go on.
#[derive(Debug, Clone)]
pub enum Verdict<'a> {
    /// It may.
    Allow,
    /// It may not: 403.
    Deny(Denial<'a>),
    /// Ask this service. If it lets the request go on, evaluate again from `next`.
    Check {
        /// Whom to ask.
        checker: &'a Arc<Checker>,
        /// The policy that asks.
        policy: &'a Arc<str>,
        /// Where to go on.
        next: Step,
    },
}

/// The body of a 403: people look for it.
pub const DENIED: &str = "RBAC: access denied";

/// How far the evaluation of a request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Step {
    /// CUSTOM policies that are dealt with.
    done: usize,
}

/// Why a request may not go on. Written out it is Envoy's `response_code_details`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denial<'a> {
    /// A rule of this policy matched: a DENY policy, or a CUSTOM one whose checker isn't known.
    Policy {
        /// `ns[foo]-policy[bar]`
        name: &'a Arc<str>,
        /// Place of the rule, from 0.
        rule: usize,
    },
    /// ALLOW policies are in force and none matched.
    NoMatch,
    /// The service's policies aren't understood.
    Unusable(&'a str),
}

impl fmt::Display for Denial<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy { name, rule } => {
                write!(f, "rbac_access_denied_matched_policy[{name}-rule[{rule}]]")
            }
            Self::NoMatch => f.write_str("rbac_access_denied_matched_policy[none]"),
            Self::Unusable(_) => f.write_str("rbac_access_denied_policy_unusable"),
        }
    }
}

/// What a policy that isn't enforced has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report<'a> {
    /// Which; nothing: no ALLOW policy matched.
    pub policy: Option<&'a Arc<str>>,
    /// What.
    pub what: Reported,
}

/// See [`Report`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reported {
    /// An AUDIT policy matched.
    Audit,
    /// A dry-run policy would have let the request in.
    WouldAllow,
    /// A dry-run policy would have kept the request out.
    WouldDeny,
    /// A dry-run policy would have asked its checker.
    WouldCheck,
}

impl Report<'_> {
    /// Writes it to the log.
    pub(crate) fn tell(&self, service: &str) {
        let policy = self.policy.map_or("none", |policy| &**policy);
        let what = match self.what {
            Reported::Audit => "audit",
            Reported::WouldAllow => "would allow",
            Reported::WouldDeny => "would deny",
            Reported::WouldCheck => "would check",
        };
        tracing::info!(target: "policy", service, policy, what, "not enforced");
    }
}

impl Access {
    /// Judges one request: CUSTOM, then DENY, then ALLOW, as Istio does. Pure.
    ///
    /// Start with [`Step::default`]. `reports` takes what AUDIT and dry-run policies say, once the verdict is Allow or
    /// Deny; without such policies nothing here takes memory.
    pub fn evaluate<'a>(
        &'a self,
        request: &AccessRequest<'_>,
        step: Step,
        reports: &mut Vec<Report<'a>>,
    ) -> Verdict<'a> {
        if let Some(reason) = &self.unusable {
            return Verdict::Deny(Denial::Unusable(reason));
        }
        if let Some(verdict) = self.evaluate_custom(request, step) {
            return verdict;
        }
        let compared = HttpFields::Compared;
        self.conclude(request, (compared, compared), reports)
    }

    /// Judges a connection that isn't HTTP, as Istio does: of an ALLOW policy a rule that asks what only requests have lets
    /// nothing in; of others such conditions are overlooked, so that more is kept out. A checker can't be asked about a
    /// connection, so what a CUSTOM policy matches is refused.
    pub fn evaluate_connection<'a>(
        &'a self,
        connection: &AccessConnection<'_>,
        reports: &mut Vec<Report<'a>>,
    ) -> Verdict<'a> {
        if let Some(reason) = &self.unusable {
            return Verdict::Deny(Denial::Unusable(reason));
        }
        let headers = http::HeaderMap::new();
        let request = AccessRequest {
            source: connection.source,
            source_ip: connection.source_ip,
            remote_ip: connection.source_ip,
            destination_ip: connection.destination_ip,
            destination_port: connection.destination_port,
            method: "",
            host: "",
            path: "",
            headers: &headers,
            authenticated: None,
            sni: connection.sni,
        };
        let custom = self.custom.iter().map(|it| &it.policy).filter(|it| !it.is_dry_run);
        for policy in custom {
            if let Some(rule) = policy.keeping_out(&request, HttpFields::Overlooked) {
                return Verdict::Deny(Denial::Policy { name: &policy.name, rule });
            }
        }
        self.conclude(&request, (HttpFields::Overlooked, HttpFields::NeverMet), reports)
    }

    /// What is left behind CUSTOM. The first of `http` is for policies that keep out, the second for those that let in.
    fn conclude<'a>(
        &'a self,
        request: &AccessRequest<'_>,
        http: (HttpFields, HttpFields),
        reports: &mut Vec<Report<'a>>,
    ) -> Verdict<'a> {
        self.report(request, http, reports);
        let enforced = |policy: &&Policy| !policy.is_dry_run;
        for policy in self.deny.iter().filter(enforced) {
            if let Some(rule) = policy.keeping_out(request, http.0) {
                return Verdict::Deny(Denial::Policy { name: &policy.name, rule });
            }
        }
        let mut allow = self.allow.iter().filter(enforced).peekable();
        let is_open = allow.peek().is_none();
        if is_open || allow.any(|policy| policy.letting_in(request, http.1).is_some()) {
            return Verdict::Allow;
        }
        Verdict::Deny(Denial::NoMatch)
    }

    fn evaluate_custom<'a>(
        &'a self,
        request: &AccessRequest<'_>,
        step: Step,
    ) -> Option<Verdict<'a>> {
        for (at, custom) in self.custom.iter().enumerate().skip(step.done) {
            if custom.policy.is_dry_run {
                continue;
            }
            let compared = HttpFields::Compared;
            let Some(rule) = custom.policy.keeping_out(request, compared) else { continue };
            let Some(checker) = &custom.checker else {
                return Some(Verdict::Deny(Denial::Policy { name: &custom.policy.name, rule }));
            };
            // One service is asked once for a request.
            let was_asked = self.custom.iter().take(at).any(|other| {
                other.checker.as_ref().is_some_and(|it| it.name == checker.name)
                    && !other.policy.is_dry_run
                    && other.policy.keeping_out(request, compared).is_some()
            });
            if !was_asked {
                let next = Step { done: at + 1 };
                return Some(Verdict::Check { checker, policy: &custom.policy.name, next });
            }
        }
        None
    }

    fn report<'a>(
        &'a self,
        request: &AccessRequest<'_>,
        http: (HttpFields, HttpFields),
        reports: &mut Vec<Report<'a>>,
    ) {
        let mut note = |policies: &mut dyn Iterator<Item = &'a Policy>, what| {
            for policy in policies {
                if policy.keeping_out(request, http.0).is_some() {
                    reports.push(Report { policy: Some(&policy.name), what });
                }
            }
        };
        let dry = |policy: &&Policy| policy.is_dry_run;
        note(&mut self.audit.iter(), Reported::Audit);
        note(&mut self.custom.iter().map(|it| &it.policy).filter(dry), Reported::WouldCheck);
        note(&mut self.deny.iter().filter(dry), Reported::WouldDeny);
        for policy in
            self.allow.iter().filter(dry).filter(|it| it.letting_in(request, http.1).is_some())
        {
            reports.push(Report { policy: Some(&policy.name), what: Reported::WouldAllow });
        }
        let has_dry = self.allow.iter().any(|policy| policy.is_dry_run);
        if has_dry && !self.allow.iter().any(|policy| policy.letting_in(request, http.1).is_some())
        {
            reports.push(Report { policy: None, what: Reported::WouldDeny });
        }
    }
}

impl Policy {
    /// The first rule of a policy that keeps out, or asks, which matches; one that isn't understood does.
    fn keeping_out(&self, request: &AccessRequest<'_>, http: HttpFields) -> Option<usize> {
        self.rules.iter().position(|rule| match rule {
            PolicyRule::Known(rule) => rule.matches(request, http),
            PolicyRule::Unknown => true,
        })
    }

    /// The first rule of a policy that lets in which matches; one that isn't understood doesn't.
    pub(super) fn letting_in(
        &self,
        request: &AccessRequest<'_>,
        http: HttpFields,
    ) -> Option<usize> {
        self.rules.iter().position(|rule| match rule {
            PolicyRule::Known(rule) => rule.matches(request, http),
            PolicyRule::Unknown => false,
        })
    }
}
