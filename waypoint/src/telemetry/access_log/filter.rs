//! Which requests have a line: a CEL expression over Envoy's attributes, as in a Telemetry object's `filter.expression`.
//!
//! ```text
//! response.code >= 400 || request.headers['x-debug'] == '1'
//! ```
//!
//! An expression that names an unknown attribute or function is refused when it is compiled; one that fails for a request,
//! since the request lacks what it asks for, leaves that request out, as Envoy's does.

use std::collections::HashMap;
use std::sync::Arc;

use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use cel::{Context, Env, Program, Value};
use http::HeaderMap;

use super::Subject;
use crate::limits;
use crate::telemetry::record::{Http, Stream};

/// A compiled expression.
pub struct Filter {
    program: Program,
    environment: Arc<Env>,
    roots: Vec<&'static str>,
}

/// Why an expression can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// It isn't CEL.
    #[error("access log filter: {0}")]
    Syntax(String),
    /// It names what a waypoint doesn't know of a request.
    #[error("access log filter: there is no attribute {0}")]
    Attribute(String),
    /// It calls what doesn't exist here.
    #[error("access log filter: function {0} is not supported")]
    Function(String),
    /// Longer or deeper than allowed.
    #[error(
        "access log filter: it is longer than {bytes} bytes or nested deeper than {depth} levels",
        bytes = limits::FILTER_BYTES_MAX, depth = limits::FILTER_NESTING_MAX
    )]
    TooLarge,
}

/// The attributes, by the name before the dot.
const ATTRIBUTES: [(&str, &[&str]); 7] = [
    (
        "request",
        &[
            "path",
            "url_path",
            "query",
            "host",
            "scheme",
            "method",
            "headers",
            "referer",
            "useragent",
            "id",
            "protocol",
            "size",
            "total_size",
        ],
    ),
    (
        "response",
        &[
            "code",
            "code_details",
            "flags",
            "grpc_status",
            "headers",
            "trailers",
            "size",
            "total_size",
        ],
    ),
    (
        "connection",
        &[
            "id",
            "mtls",
            "requested_server_name",
            "uri_san_peer_certificate",
            "uri_san_local_certificate",
            "termination_details",
        ],
    ),
    ("source", &["address", "port", "principal", "workload", "namespace"]),
    ("destination", &["address", "port", "principal", "workload", "namespace", "service"]),
    (
        "upstream",
        &["address", "port", "local_address", "transport_failure_reason", "request_attempt_count"],
    ),
    ("xds", &["cluster_name", "route_name"]),
];

/// Functions of the standard library that need no clock. `duration` and `timestamp` do.
const FUNCTIONS: [&str; 11] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "type",
];

impl Filter {
    /// From its text. It is read on a thread of its own, since a parser that recurses takes more stack than a worker has.
    pub fn new(expression: &str) -> Result<Self, FilterError> {
        if expression.len() > limits::FILTER_BYTES_MAX || !fits_the_stack(expression) {
            return Err(FilterError::TooLarge);
        }
        let thread = std::thread::Builder::new()
            .name("filter".into())
            .stack_size(limits::FILTER_STACK_BYTES);
        std::thread::scope(|scope| {
            let compiling = thread.spawn_scoped(scope, || Self::compile(expression));
            let compiled = compiling.map_err(|_| FilterError::TooLarge)?.join();
            compiled.unwrap_or(Err(FilterError::Syntax("the parser gave up".to_owned())))
        })
    }

    fn compile(expression: &str) -> Result<Self, FilterError> {
        let environment = Arc::new(Env::stdlib());
        let program = environment
            .compile(expression)
            .map_err(|error| FilterError::Syntax(error.to_string().replace('\n', " ")))?;
        Names::default().check(program.expression())?;
        let references = program.references();
        let is_operator = |name: &str| !name.starts_with(|c: char| c.is_ascii_alphabetic());
        let is_unknown = |name: &&str| !is_operator(name) && !FUNCTIONS.contains(name);
        if let Some(unknown) = references.functions().into_iter().find(is_unknown) {
            return Err(FilterError::Function(unknown.to_owned()));
        }
        let has = |root: &&str| references.has_variable(root);
        let roots = ATTRIBUTES.iter().map(|(root, _)| *root).filter(has).collect();
        drop(references);
        Ok(Self { program, environment, roots })
    }

    /// Whether the request or connection has a line.
    pub(super) fn allows(&self, subject: &Subject<'_>) -> bool {
        let mut context = Context::with_env(Arc::clone(&self.environment));
        for root in &self.roots {
            context.add_variable_from_value(*root, attributes(root, subject));
        }
        matches!(self.program.execute(&context), Ok(Value::Bool(true)))
    }
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filter").field("roots", &self.roots).finish_non_exhaustive()
    }
}

/// Whether [`limits::FILTER_STACK_BYTES`] do for a parser that recurses: every level of an expression takes an operator, a dot or
/// a bracket. Those in strings count as well, since only the parser knows where a string ends. The parser's own bound
/// doesn't hold: past it, it may recurse without end. Nor is there one for long chains.
fn fits_the_stack(expression: &str) -> bool {
    let count = |of: &[u8]| expression.bytes().filter(|byte| of.contains(byte)).count();
    count(b"([{") <= limits::FILTER_BRACKETS_MAX
        && count(b".!-+*/%?&|") <= limits::FILTER_OPERATORS_MAX
}

/// Refuses names that stand for nothing, and more levels than evaluation has stack for.
#[derive(Default)]
struct Names {
    /// Variables of macros around.
    bound: Vec<String>,
    depth: usize,
}

impl Names {
    fn check(&mut self, expression: &IdedExpr) -> Result<(), FilterError> {
        if self.depth >= limits::FILTER_NESTING_MAX {
            return Err(FilterError::TooLarge);
        }
        self.depth += 1;
        let checked = self.check_one(&expression.expr);
        self.depth -= 1;
        checked
    }

    fn check_one(&mut self, expression: &Expr) -> Result<(), FilterError> {
        match expression {
            Expr::Ident(name) => self.check_name(name),
            Expr::Select(select) => {
                self.check_field(&select.operand.expr, &select.field)?;
                self.check(&select.operand)
            }
            Expr::Call(call) => {
                call.target.iter().try_for_each(|target| self.check(target))?;
                call.args.iter().try_for_each(|argument| self.check(argument))
            }
            Expr::List(list) => list.elements.iter().try_for_each(|element| self.check(element)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => {
                    self.check(&entry.key)?;
                    self.check(&entry.value)
                }
                EntryExpr::StructField(field) => self.check(&field.value),
            }),
            Expr::Comprehension(inner) => {
                self.check(&inner.iter_range)?;
                let before = self.bound.len();
                self.bound.extend([inner.iter_var.clone(), inner.accu_var.clone()]);
                self.bound.extend(inner.iter_var2.clone());
                let parts = [&inner.accu_init, &inner.loop_cond, &inner.loop_step, &inner.result];
                let checked = parts.into_iter().try_for_each(|part| self.check(part));
                self.bound.truncate(before);
                checked
            }
            Expr::Literal(_) | Expr::Unspecified => Ok(()),
            Expr::Struct(structure) => Err(FilterError::Attribute(structure.type_name.clone())),
        }
    }

    fn check_name(&self, name: &String) -> Result<(), FilterError> {
        let is_attribute = ATTRIBUTES.iter().any(|(root, _)| root == name);
        // What macros make for themselves begins with `@` or `_`.
        if is_attribute || self.bound.contains(name) || name.starts_with(['@', '_']) {
            return Ok(());
        }
        Err(FilterError::Attribute(name.clone()))
    }

    fn check_field(&self, operand: &Expr, field: &str) -> Result<(), FilterError> {
        let Expr::Ident(root) = operand else {
            return Ok(());
        };
        match ATTRIBUTES.iter().find(|(known, _)| known == root) {
            Some((_, fields)) if !self.bound.contains(root) && !fields.contains(&field) => {
                Err(FilterError::Attribute(format!("{root}.{field}")))
            }
            _ => Ok(()),
        }
    }
}

type Attributes = HashMap<&'static str, Value>;

/// The attributes under `root`. What isn't known is left out, so that `has()` tells.
fn attributes(root: &str, subject: &Subject<'_>) -> Attributes {
    let (stream, mut found) = (subject.stream, Attributes::new());
    match root {
        "request" => subject.http.into_iter().for_each(|it| request(&mut found, stream, it)),
        "response" => response(&mut found, stream, subject.http),
        "connection" => connection(&mut found, stream),
        "source" => {
            party(&mut found, stream.parties.source);
            address(&mut found, stream.downstream.remote);
        }
        "destination" => {
            party(&mut found, stream.parties.destination);
            let service = stream.parties.service.map_or("", |service| &*service.host);
            text(&mut found, "service", service);
            address(&mut found, stream.downstream.local);
        }
        "upstream" => {
            address(&mut found, stream.upstream.address);
            let local = stream.upstream.local.map(|local| local.to_string());
            text(&mut found, "local_address", &local.unwrap_or_default());
            text(&mut found, "transport_failure_reason", stream.upstream.transport_failure);
            number(&mut found, "request_attempt_count", stream.upstream.attempts.into());
        }
        "xds" => {
            text(&mut found, "cluster_name", stream.upstream.cluster);
            text(&mut found, "route_name", stream.route);
        }
        _ => {}
    }
    found
}

fn request(found: &mut Attributes, stream: &Stream<'_>, http: &Http<'_>) {
    let (path, query) = http.path.split_once('?').unwrap_or((http.path, ""));
    found.insert("path", http.path.into());
    found.insert("url_path", path.into());
    found.insert("query", query.into());
    found.insert("host", http.authority.into());
    found.insert("method", http.method.as_str().into());
    text(found, "scheme", http.scheme);
    found.insert("headers", headers(http.request_headers));
    for (name, header) in
        [("referer", "referer"), ("useragent", "user-agent"), ("id", "x-request-id")]
    {
        if let Some(value) = http.request_headers.get(header) {
            found.insert(name, lossy(value.as_bytes()));
        }
    }
    found.insert("protocol", format!("{:?}", http.version).replace("/2.0", "/2").into());
    number(found, "size", stream.sizes.received);
    number(found, "total_size", stream.sizes.received + stream.sizes.request_headers);
}

fn response(found: &mut Attributes, stream: &Stream<'_>, http: Option<&Http<'_>>) {
    number(found, "flags", stream.flags.bits().into());
    text(found, "code_details", stream.details);
    number(found, "size", stream.sizes.sent);
    number(found, "total_size", stream.sizes.sent + stream.sizes.response_headers);
    let Some(http) = http else {
        return;
    };
    if http.status != 0 {
        number(found, "code", http.status.into());
    }
    if let Some(status) = http.grpc_status {
        number(found, "grpc_status", status.into());
    }
    found.insert("headers", http.response_headers.map_or_else(empty, headers));
    found.insert("trailers", http.response_trailers.map_or_else(empty, headers));
}

fn connection(found: &mut Attributes, stream: &Stream<'_>) {
    let downstream = &stream.downstream;
    number(found, "id", downstream.connection_id);
    found.insert("mtls", Value::Bool(!downstream.peer_identity.is_empty()));
    text(found, "requested_server_name", downstream.server_name);
    text(found, "uri_san_peer_certificate", downstream.peer_identity);
    text(found, "uri_san_local_certificate", downstream.local_identity);
    text(found, "termination_details", stream.termination_details);
}

fn party(found: &mut Attributes, party: &weft_core::telemetry::SharedParty) {
    let party = party.party();
    text(found, "principal", &party.principal);
    text(found, "workload", &party.workload);
    text(found, "namespace", &party.namespace);
}

fn address(found: &mut Attributes, address: Option<std::net::SocketAddr>) {
    if let Some(address) = address {
        found.insert("address", address.to_string().into());
        number(found, "port", address.port().into());
    }
}

fn text(found: &mut Attributes, name: &'static str, value: &str) {
    if !value.is_empty() {
        found.insert(name, value.into());
    }
}

fn number(found: &mut Attributes, name: &'static str, value: u64) {
    found.insert(name, Value::Int(i64::try_from(value).unwrap_or(i64::MAX)));
}

/// Several headers of one name are one value with commas between (RFC 9110, section 5.2).
fn headers(headers: &HeaderMap) -> Value {
    let mut values: HashMap<&str, String> = HashMap::with_capacity(headers.keys_len());
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        match values.get_mut(name.as_str()) {
            Some(joined) => {
                joined.push(',');
                joined.push_str(&value);
            }
            None => {
                values.insert(name.as_str(), value.into_owned());
            }
        }
    }
    values.into()
}

fn empty() -> Value {
    HashMap::<&str, Value>::new().into()
}

fn lossy(bytes: &[u8]) -> Value {
    String::from_utf8_lossy(bytes).into_owned().into()
}
