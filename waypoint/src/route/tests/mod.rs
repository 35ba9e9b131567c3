//! Whole tables, from their message to a request's end.

mod damage;
mod finding;
mod understanding;

use std::collections::BTreeMap;

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Uri};
use prost::Message;
use weft_proto::route as proto;
use weft_proto::route::condition::Kind;
use weft_proto::route::http_action::Outcome;
use weft_proto::route::path_condition::Kind as Path;
use weft_proto::route::text_match::Kind as Text;
use weft_proto::route::weighted_backend::Target;

use super::{Decoded, Request, Source, decode};

const NAME: &str = "shop/web.shop.svc.cluster.local";

fn condition(kind: Kind) -> proto::Condition {
    proto::Condition { kind: Some(kind), negated: false }
}

fn text(kind: Text) -> proto::TextMatch {
    proto::TextMatch { kind: Some(kind), ignore_case: false }
}

fn exact(value: &str) -> proto::TextMatch {
    text(Text::Exact(value.to_owned()))
}

fn path(kind: Path) -> proto::Condition {
    condition(Kind::Path(proto::PathCondition { kind: Some(kind), ignore_case: false }))
}

fn header(name: &str, value: proto::TextMatch) -> proto::Condition {
    condition(Kind::Header(proto::HeaderCondition { name: name.to_owned(), value: Some(value) }))
}

/// To a service of that name.
fn forward(name: &str) -> proto::HttpAction {
    let to = proto::Destination {
        namespace: "shop".to_owned(),
        hostname: name.to_owned(),
        port: 80,
        ..proto::Destination::default()
    };
    let backend = proto::WeightedBackend {
        weight: 1,
        target: Some(Target::To(to)),
        ..proto::WeightedBackend::default()
    };
    let forward = proto::Forward { backends: vec![backend], ..proto::Forward::default() };
    proto::HttpAction { outcome: Some(Outcome::Forward(forward)), ..Default::default() }
}

/// A table with one set for everybody: a rule for each list of conditions, with an action of its own.
fn table(rules: Vec<Vec<proto::Condition>>) -> proto::RouteTable {
    let actions = (0..rules.len()).map(|at| forward(&format!("backend-{at}"))).collect();
    let rules = (0..).zip(rules);
    let rules = rules.map(|(action, conditions)| proto::HttpRule { conditions, action }).collect();
    of_sets(vec![proto::RouteSet {
        http: Some(proto::HttpRoutes { rules, actions }),
        ..proto::RouteSet::default()
    }])
}

fn of_sets(sets: Vec<proto::RouteSet>) -> proto::RouteTable {
    let (namespace, hostname) = NAME.split_once('/').unwrap();
    proto::RouteTable { namespace: namespace.to_owned(), hostname: hostname.to_owned(), sets }
}

fn decoded(table: &proto::RouteTable) -> Decoded {
    decode(NAME, &table.encode_to_vec()).unwrap()
}

/// A request that owns its parts.
#[derive(Debug, Clone)]
struct Call {
    method: &'static str,
    uri: Uri,
    headers: HeaderMap,
    port: u16,
    namespace: Option<&'static str>,
    labels: BTreeMap<String, String>,
}

impl Call {
    fn get(uri: &str) -> Self {
        Self {
            method: "GET",
            uri: uri.parse().unwrap(),
            headers: HeaderMap::new(),
            port: 80,
            namespace: None,
            labels: BTreeMap::new(),
        }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        self.headers.append(name, HeaderValue::from_str(value).unwrap());
        self
    }

    fn from(mut self, namespace: &'static str) -> Self {
        self.namespace = Some(namespace);
        self
    }

    fn request(&self) -> Request<'_> {
        Request {
            method: self.method,
            scheme: "http",
            authority: self.uri.authority().map_or("web.shop", |authority| authority.as_str()),
            path: self.uri.path(),
            query: self.uri.query().unwrap_or_default(),
            headers: &self.headers,
            port: self.port,
            source: Source {
                principal: None,
                namespace: self.namespace,
                labels: Some(&self.labels),
            },
            claims: None,
        }
    }
}

/// The place of the rule that a call matches.
fn rank(decoded: &Decoded, call: &Call) -> Option<usize> {
    let set = decoded.table.select(call.port, call.namespace)?;
    set.http.as_ref()?.find(&call.request()).map(|matched| matched.rank)
}
