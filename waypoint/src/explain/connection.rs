//! What would become of a connection that isn't HTTP.

use weft_core::admin::explanation::FollowedRule;
use weft_core::mesh::AppProtocol;

use super::access::because;
use super::story::Story;
use super::{Asked, Journey};
use crate::access::Verdict;
use crate::dump;
use crate::route::{ConnectionRoutes, ConnectionRule};
use crate::serve::{Followed, Greeting, SeenConnection, follow};

/// What the client of a question begins with; `None`: a request.
pub(super) fn greeting(asked: &Asked, declared: AppProtocol) -> Option<Greeting> {
    match (&asked.server_name, declared) {
        // The name in the handshake of a port that declares TCP isn't read.
        (_, AppProtocol::Tcp) => Some(Greeting::Plain),
        (Some(name), AppProtocol::Tls | AppProtocol::Unknown) => {
            Some(Greeting::Tls(Some(name.to_ascii_lowercase().into())))
        }
        (None, AppProtocol::Tls) => Some(Greeting::Tls(None)),
        _ => None,
    }
}

impl Journey<'_> {
    /// One that begins with `greeting`.
    pub(super) fn connection(&self, greeting: &Greeting, story: &mut Story) {
        let protocol = dump::protocol(self.target.declared());
        let names = match greeting {
            Greeting::Plain => "no name of a server is read".to_owned(),
            Greeting::Tls(None) => "TLS in which the client names no server (--sni)".to_owned(),
            Greeting::Tls(Some(name)) => format!("TLS in which the client asks for {name}"),
        };
        let text = format!("{names} ({protocol}): method, path and headers don't count");
        story.step("protocol", text);
        let seen = SeenConnection {
            caller: &self.caller.identity,
            caller_ip: self.caller.address,
            labels: self.caller.labels.as_ref(),
            target: self.target,
            own: self.shared.own.address,
            greeting,
        };
        if !self.lets_in(&seen, story) {
            return;
        }
        match follow(self.rules, &seen) {
            Followed::Nothing => {
                story.step("route", "no routes: connections go to the service itself");
                let itself = self.chosen(self.service, self.target.port(), None);
                self.tell_backends(vec![(itself, None)], story);
            }
            Followed::NoneOf(routes) => {
                story.step("route", "none of these rules fits: the connection is closed");
                story.details(routes.rules().iter().map(in_words).collect());
            }
            Followed::Rule(routes, rank, rule) => self.tell_rule(routes, rank, rule, story),
        }
    }

    /// Whether policies let it.
    fn lets_in(&self, seen: &SeenConnection<'_>, story: &mut Story) -> bool {
        let Some(access) = self.rules.access() else {
            story.step("access", "closed: the policies of the service haven't arrived");
            return false;
        };
        match access.evaluate_connection(&seen.asked(), &mut Vec::new()) {
            Verdict::Allow => {
                story.step("access", "allowed, as far as policies can be asked about connections");
                true
            }
            Verdict::Deny(denial) => {
                story.step("access", format!("closed: {}", because(&denial)));
                false
            }
            Verdict::Check { policy, .. } => {
                let text = format!("closed: {policy} asks a service, which connections can't be");
                story.step("access", text);
                false
            }
        }
    }

    fn tell_rule(
        &self,
        routes: &ConnectionRoutes,
        rank: usize,
        rule: &ConnectionRule,
        story: &mut Story,
    ) {
        let all = routes.rules();
        story.step("route", format!("the first of {} rules that fits the connection", all.len()));
        let place = |at| if at == rank { "this one" } else { "not this one" };
        let tried = all.iter().take(rank.saturating_add(1)).enumerate();
        story.details(
            tried.map(|(at, rule)| format!("{}: {}", place(at), in_words(rule))).collect(),
        );
        let origin = dump::origin(&rule.origin);
        let text = format!("{}: rule {} of {} fits first", origin.sentence(), rank + 1, all.len());
        story.step("rule", text);
        story.details(rule.conditions_in_words());
        story.told.rule = Some(FollowedRule { rank, origin });
        let backends = rule.backends.weighted();
        let backends =
            backends.map(|(weight, backend)| (self.backend(weight, backend), Some(backend)));
        self.tell_backends(backends.collect(), story);
    }
}

fn in_words(rule: &ConnectionRule) -> String {
    let conditions = match (rule.is_never(), rule.conditions_in_words()) {
        (true, _) => "never, since it isn't understood".to_owned(),
        (false, conditions) if conditions.is_empty() => "every connection".to_owned(),
        (false, conditions) => conditions.join(" and "),
    };
    format!("{}: {conditions}", rule.origin)
}
