//! What would become of a request or a connection, step by step, without sending anything.
//!
//! ```text
//!  Asked ─▶ parties (who calls what) ─┬▶ path ─▶ access ─▶ route ─┬▶ backends ─▶ Explanation
//!                                     └▶ greeting ─▶ access ─▶ route ─┘
//! ```
//!
//! Every verdict is asked of the code that serves (`http::check`, `Access`, `http::decide`, `serve::follow`, the live clusters), so
//! that an explanation can't differ from what happens. What is drawn by lot or asked of other services is told as such.

mod access;
mod asked;
mod backends;
mod connection;
mod parties;
mod story;

use http::request;
use weft_core::admin::explanation::{Explanation, FollowedRule};
use weft_core::mesh::{Service, Snapshot};

use crate::access::Level;
use crate::dump;
use crate::http::{Decision, check, decide, routes_for};
use crate::resources::ServiceRules;
use crate::route::{RouteSet, Table};
use crate::serve::{Greeting, Target};
use crate::shared::Shared;

pub(crate) use asked::Asked;
use parties::Caller;
use story::Story;

/// Why nothing can be explained.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ExplainError {
    /// A part of the question is missing or can't be read.
    #[error("{0}")]
    Question(String),
    /// The mesh has no such workload.
    #[error(
        "the mesh has no workload {0}; give NAMESPACE/POD, NAMESPACE/WORKLOAD or NAMESPACE/SERVICE-ACCOUNT"
    )]
    Source(String),
    /// The mesh has no such service.
    #[error("the mesh has no service {0}; give NAMESPACE/NAME or a full host name")]
    Service(String),
    /// It isn't said which port, and there are several; or there is none of that number.
    #[error("say which port of {service}: {ports}")]
    Port {
        /// The service.
        service: String,
        /// Those that it has.
        ports: String,
    },
}

/// A request on its way.
struct Journey<'a> {
    shared: &'a Shared,
    snapshot: &'a Snapshot,
    caller: &'a Caller,
    service: &'a Service,
    target: &'a Target,
    rules: &'a ServiceRules,
    /// What the client of a connection that isn't HTTP begins with.
    greeting: Option<&'a Greeting>,
}

/// Explains one request.
pub(crate) fn explain(shared: &Shared, asked: &Asked) -> Result<Explanation, ExplainError> {
    let snapshot = shared.mesh.load();
    let caller = parties::caller(&snapshot, shared, &asked.source)?;
    let (service, port) = parties::service(&snapshot, shared, asked)?;
    let mut story = Story::new(&caller, &service, port);
    if !shared.own.serves(&snapshot, &service) {
        parties::tell_unbound(&service, &mut story);
        return Ok(story.end());
    }
    parties::tell_bound(&service, &caller, &mut story);
    let address = service.vips.iter().find_map(weft_core::mesh::Vip::ip);
    let address = address.map(|ip| (ip, port).into());
    let target = Target::Service { service: service.clone(), port, address };
    let rules = shared.rules.of(&service.key);
    let greeting = connection::greeting(asked, target.declared());
    let journey = Journey {
        shared,
        snapshot: &snapshot,
        caller: &caller,
        service: &service,
        target: &target,
        rules: &rules,
        greeting: greeting.as_ref(),
    };
    match &greeting {
        Some(greeting) => journey.connection(greeting, &mut story),
        None => journey.request(asked.head(&service)?, &mut story),
    }
    Ok(story.end())
}

impl Journey<'_> {
    fn request(&self, mut head: request::Parts, story: &mut Story) {
        let level = self.rules.access().map_or(Level::Base, |access| access.level());
        let raw = head.uri.path().to_owned();
        let mut seen = match check(&head, level) {
            Ok(seen) => seen,
            Err((status, why)) => {
                story.step("path", format!("answered {}: {why}", status.as_u16()));
                return story.answered(status);
            }
        };
        let form = dump::normalisation(level);
        story.step(
            "path",
            match *seen.path == *raw {
                true => format!("the path is {raw}"),
                false => format!("the path {raw} is read as {} ({form})", seen.path),
            },
        );
        seen.caller_labels = self.caller.labels.clone();
        if !self.admit(&mut head, &mut seen, story) {
            return;
        }
        let caller = &self.caller.identity;
        let routes = routes_for(self.target, caller, self.rules);
        let request = seen.request(&head.headers, self.target.port(), caller);
        let matched = routes.and_then(|routes| routes.find(&request));
        self.tell_set(story);
        if let (Some(routes), Some(matched)) = (routes, &matched) {
            let origin = dump::origin(&matched.action.origin);
            let place = format!("rule {} of {}", matched.rank + 1, routes.rules().len());
            story.step("rule", format!("{}: {place} matches first", origin.sentence()));
            let rule = routes.rules().get(matched.rank);
            story.details(rule.map(|rule| rule.conditions_in_words()).unwrap_or_default());
            story.told.rule = Some(FollowedRule { rank: matched.rank, origin });
            let filters = matched.action.filters.in_words();
            if !filters.is_empty() {
                story.step("filters", "on the way");
                story.details(filters);
            }
        }
        match decide(self.target, caller, self.rules, &seen, &head.headers) {
            Decision::Answer(answer, flag) => {
                let status = answer.head.status;
                let why = flag.map(|(_, why)| format!(" ({why})")).unwrap_or_default();
                story.step("answer", format!("the waypoint answers {}{why}", status.as_u16()));
                story.answered(status);
            }
            Decision::Forward(plan) => self.forward(&plan, &seen, &head, story),
        }
    }

    /// Which rules are looked at.
    fn tell_set(&self, story: &mut Story) {
        let protocol = dump::protocol(self.target.declared());
        if self.rules.is_unusable() {
            return story.step("route", "what was set about the way of requests can't be read");
        }
        let (port, namespace) = (self.target.port(), self.caller.identity.namespace());
        let table = self.rules.table();
        let set = table.and_then(|table| Some((table, table.select(port, Some(namespace))?)));
        match set {
            None => story.step(
                "route",
                format!(
                    "no routes for port {port} ({protocol}) and callers of namespace {namespace}"
                ),
            ),
            Some((table, set)) => story.step("route", set_in_words(table, set)),
        }
    }
}

fn set_in_words(table: &Table, set: &RouteSet) -> String {
    let place = table.sets().iter().position(|it| std::ptr::eq(it, set)).unwrap_or_default();
    let ports: Vec<_> = set.ports.iter().map(ToString::to_string).collect();
    let ports = if ports.is_empty() { "all".to_owned() } else { ports.join(", ") };
    let callers = match set.source_namespaces.is_empty() {
        true => "everybody".to_owned(),
        false => format!("callers of {}", set.source_namespaces.join(", ")),
    };
    let of = table.sets().len();
    let count = set.http.as_ref().map_or(0, |http| http.rules().len());
    format!("route set {} of {of} counts: ports {ports}, for {callers}, {count} rules", place + 1)
}
