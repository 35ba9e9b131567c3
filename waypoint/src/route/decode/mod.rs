//! Bytes of a table → compiled table. What isn't understood costs its own rule, and is named.

mod actions;
mod at;
mod conditions;
mod connections;
mod filters;

use prost::Message;
use weft_proto::route as proto;

use crate::limits;

use super::rules::{HttpRoutes, HttpRule};
use super::table::{RouteSet, Table};
use at::At;

/// A table, and what of it wasn't understood.
#[derive(Debug)]
pub struct Decoded {
    /// Ready to be asked.
    pub table: Table,
    /// The first of them; [`Decoded::problem_count`] counts all.
    pub problems: Vec<Problem>,
    /// How many there are.
    pub problem_count: usize,
}

/// Something that wasn't understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Path of the field, such as `sets[0].http.rules[3].conditions[1].header.name`.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
    /// What follows.
    pub effect: Effect,
}

/// What follows from something that wasn't understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The rule never matches.
    NeverMatches,
    /// What matches the rule is answered 500.
    Answers500,
    /// The backend's share is answered 500, or its connections are closed.
    BackendAnswers500,
    /// It does less than was asked for.
    Skipped,
}

/// Why there is no table at all. The service's requests are answered 500 unless an earlier table is there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// No valid message at all.
    #[error("not a valid RouteTable message: {0}")]
    Malformed(String),
    /// The content belongs under another name.
    #[error("the resource's name is not its content's namespace/hostname, which is {0}")]
    Name(String),
    /// More than a proxy takes.
    #[error("{field} has {count} entries; {max} are the most")]
    TooMany {
        /// Of what.
        field: String,
        /// How many.
        count: usize,
        /// The bound.
        max: usize,
    },
}

/// Decodes the table with resource name `name`.
pub fn decode(name: &str, bytes: &[u8]) -> Result<Decoded, TableError> {
    let message = proto::RouteTable::decode(bytes)
        .map_err(|error| TableError::Malformed(error.to_string()))?;
    let own_name = format!("{}/{}", message.namespace, message.hostname);
    if own_name != name {
        return Err(TableError::Name(own_name));
    }
    check_size(&message)?;
    let mut report = Report::default();
    let sets = message.sets.iter().enumerate();
    let sets = sets.map(|(at, set)| route_set(set, &At::TOP.entry("sets", at), &mut report));
    let sets = sets.collect();
    let table = Table::new(&message.namespace, &message.hostname, sets);
    Ok(Decoded { table, problems: report.problems, problem_count: report.count })
}

/// What went wrong so far.
#[derive(Debug, Default)]
struct Report {
    problems: Vec<Problem>,
    count: usize,
    /// Regular expressions so far.
    patterns: usize,
}

impl Report {
    fn note(&mut self, error: Bad, effect: Effect) {
        self.count += 1;
        if self.problems.len() < limits::PROBLEMS_LISTED_MAX {
            let Bad { field, reason } = error;
            self.problems.push(Problem { field, reason, effect });
        }
    }

    /// A bound of the whole table: regular expressions are what costs memory.
    fn count_pattern(&mut self) -> Result<(), String> {
        self.patterns += 1;
        if self.patterns > limits::PATTERNS_MAX {
            return Err(format!("is beyond the table's {} expressions", limits::PATTERNS_MAX));
        }
        Ok(())
    }
}

/// A field that wasn't understood.
#[derive(Debug)]
struct Bad {
    field: String,
    reason: String,
}

impl Bad {
    fn new(at: &At<'_>, reason: impl Into<String>) -> Self {
        Self { field: at.to_string(), reason: reason.into() }
    }

    /// What a newer controller knows.
    fn unknown(at: &At<'_>) -> Self {
        Self::new(at, "has no kind that this version knows")
    }
}

fn check_size(message: &proto::RouteTable) -> Result<(), TableError> {
    let check = |field: String, count, max| match count > max {
        true => Err(TableError::TooMany { field, count, max }),
        false => Ok(()),
    };
    check("sets".to_owned(), message.sets.len(), limits::SETS_MAX)?;
    let http = message.sets.iter().filter_map(|set| set.http.as_ref());
    let http_rules: usize = http.clone().map(|http| http.rules.len()).sum();
    let actions: usize = http.map(|http| http.actions.len()).sum();
    let connections = message.sets.iter().flat_map(|set| [&set.tls, &set.tcp]).flatten();
    let rules = http_rules + connections.map(|routes| routes.rules.len()).sum::<usize>();
    check("sets[..].rules".to_owned(), rules, limits::RULES_MAX)?;
    check("sets[..].http.actions".to_owned(), actions, limits::RULES_MAX)
}

fn route_set(set: &proto::RouteSet, at: &At<'_>, report: &mut Report) -> RouteSet {
    // A set without its ports would be for all: one that is cut short must be for none. Ports that are none fit none.
    let ports = set.ports.iter().map(|port| u16::try_from(*port).unwrap_or(0)).collect();
    RouteSet {
        ports,
        source_namespaces: set.source_namespaces.iter().map(|it| it.as_str().into()).collect(),
        http: set.http.as_ref().map(|routes| http_routes(routes, &at.field("http"), report)),
        tls: set.tls.as_ref().map(|it| connections::routes(it, &at.field("tls"), report)),
        tcp: set.tcp.as_ref().map(|it| connections::routes(it, &at.field("tcp"), report)),
    }
}

fn http_routes(routes: &proto::HttpRoutes, at: &At<'_>, report: &mut Report) -> HttpRoutes {
    let actions = routes.actions.iter().enumerate();
    let actions: Vec<_> = actions
        .map(|(place, action)| actions::action(action, &at.entry("actions", place), report))
        .collect();
    let mut rules = Vec::with_capacity(routes.rules.len());
    for (place, rule) in routes.rules.iter().enumerate() {
        let at = at.entry("rules", place);
        let action = usize::try_from(rule.action).unwrap_or(usize::MAX);
        let built = match action < actions.len() {
            true => conditions::all(&rule.conditions, &at, report),
            false => Err(Bad::new(&at.field("action"), "there is no such action")),
        };
        rules.push(match built {
            Ok(conditions) => HttpRule::new(conditions, action),
            Err(bad) => {
                report.note(bad, Effect::NeverMatches);
                HttpRule::never(action)
            }
        });
    }
    HttpRoutes::new(rules, actions)
}
