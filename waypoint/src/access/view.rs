//! What is in force for a service, for who asks. No keys, and nothing that rules compare with.

use std::sync::Arc;

use super::matcher::HttpFields;
use super::{Access, AccessRequest, Policy};

/// A policy, for who asks.
#[derive(Debug, Clone, Copy)]
pub struct PolicyView<'a> {
    /// `ns[foo]-policy[bar]`
    pub name: &'a Arc<str>,
    /// `CUSTOM`, `DENY`, `ALLOW` or `AUDIT`.
    pub action: &'static str,
    /// How many rules it has.
    pub rules: usize,
    /// It is told and not carried out.
    pub is_dry_run: bool,
    /// Who is asked, of a CUSTOM policy.
    pub checker: Option<&'a Arc<str>>,
}

/// An issuer of tokens, for who asks.
#[derive(Debug, Clone, Copy)]
pub struct IssuerView<'a> {
    /// Its name.
    pub issuer: &'a str,
    /// For whom its tokens must be.
    pub audiences: &'a [Box<str>],
    /// How many keys are known.
    pub keys: usize,
}

impl Access {
    /// Why everything is refused, if it is.
    pub fn unusable(&self) -> Option<&str> {
        self.unusable.as_deref()
    }

    /// All policies, in the order in which they are asked.
    pub fn policies(&self) -> impl Iterator<Item = PolicyView<'_>> {
        let custom = self.custom.iter().map(|it| {
            let checker = it.checker.as_ref().map(|checker| &checker.name);
            PolicyView { checker, ..it.policy.view("CUSTOM") }
        });
        let deny = self.deny.iter().map(|policy| policy.view("DENY"));
        let allow = self.allow.iter().map(|policy| policy.view("ALLOW"));
        let audit = self.audit.iter().map(|policy| policy.view("AUDIT"));
        custom.chain(deny).chain(allow).chain(audit)
    }

    /// Whose tokens are looked at.
    pub fn issuers(&self) -> impl Iterator<Item = IssuerView<'_>> {
        self.providers.issuers()
    }

    /// The first ALLOW policy that lets a request in, and its rule's place. `None`: none does.
    pub fn allowing(&self, request: &AccessRequest<'_>) -> Option<(&Arc<str>, usize)> {
        let enforced = self.allow.iter().filter(|policy| !policy.is_dry_run);
        enforced
            .filter_map(|it| Some((&it.name, it.letting_in(request, HttpFields::Compared)?)))
            .next()
    }
}

impl Policy {
    fn view(&self, action: &'static str) -> PolicyView<'_> {
        let (name, rules, is_dry_run) = (&self.name, self.rules.len(), self.is_dry_run);
        PolicyView { name, action, rules, is_dry_run, checker: None }
    }
}
