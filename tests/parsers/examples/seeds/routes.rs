//! Route tables.

use prost::Message as _;
use weft_proto::route as proto;
use weft_proto::route::condition::Kind;
use weft_proto::route::filter::Kind as Filter;
use weft_proto::route::http_action::Outcome;
use weft_proto::route::path_condition::Kind as Path;
use weft_proto::route::text_match::Kind as Text;
use weft_proto::route::weighted_backend::Target;

use crate::Seed;

/// Tables, sound and not.
pub(crate) fn tables() -> Vec<Seed> {
    let mut cut = sound().encode_to_vec();
    cut.truncate(cut.len() / 2);
    let mut later = sound().encode_to_vec();
    later.extend([0x9a, 0x06, 0x01, b'x']);
    vec![
        ("empty", Vec::new()),
        ("sound", sound().encode_to_vec()),
        ("cut-short", cut),
        ("field-of-a-later-version", later),
        ("condition-without-kind", table(vec![proto::Condition::default()]).encode_to_vec()),
        ("expression-without-end", table(vec![path(Path::Regex("(".into()))]).encode_to_vec()),
        (
            "expression-too-large",
            table(vec![path(Path::Regex("a{9999}{9999}".into()))]).encode_to_vec(),
        ),
        (
            "expression-that-leaves-its-group",
            table(vec![path(Path::Regex("a)|(b".into()))]).encode_to_vec(),
        ),
        (
            "prefix-of-nothing",
            table(vec![path(Path::ElementPrefix(String::new()))]).encode_to_vec(),
        ),
    ]
}

fn path(kind: Path) -> proto::Condition {
    let path = proto::PathCondition { kind: Some(kind), ignore_case: false };
    proto::Condition { kind: Some(Kind::Path(path)), negated: false }
}

fn text(kind: Text) -> Option<proto::TextMatch> {
    Some(proto::TextMatch { kind: Some(kind), ignore_case: true })
}

fn table(conditions: Vec<proto::Condition>) -> proto::RouteTable {
    let http = proto::HttpRoutes {
        rules: vec![proto::HttpRule { conditions, action: 0 }],
        actions: vec![forward()],
    };
    proto::RouteTable {
        namespace: "demo".into(),
        hostname: "web".into(),
        sets: vec![proto::RouteSet { http: Some(http), ..proto::RouteSet::default() }],
    }
}

fn forward() -> proto::HttpAction {
    let to = proto::Destination { hostname: "web".into(), port: 80, ..Default::default() };
    let backends = vec![
        proto::WeightedBackend { weight: 95, target: Some(Target::To(to)), filters: Vec::new() },
        proto::WeightedBackend { weight: 5, target: None, filters: Vec::new() },
    ];
    let path = proto::PathRewrite { kind: Some(proto::path_rewrite::Kind::Prefix("/new".into())) };
    let rewrite = proto::Rewrite { authority: "b.example".into(), path: Some(path) };
    proto::HttpAction {
        filters: vec![proto::Filter { kind: Some(Filter::Rewrite(rewrite)) }],
        outcome: Some(Outcome::Forward(proto::Forward { backends, ..Default::default() })),
        origin: None,
    }
}

/// A rule of each kind of condition.
fn sound() -> proto::RouteTable {
    let header =
        proto::HeaderCondition { name: "x-a".into(), value: text(Text::Exact("1,2".into())) };
    let query =
        proto::QueryCondition { name: "a".into(), value: text(Text::Present(proto::Present {})) };
    let grpc =
        proto::GrpcCondition { service: text(Text::Exact("demo.Shop".into())), method: None };
    let mut built = table(vec![path(Path::TextPrefix("/a".into()))]);
    if let Some(http) = built.sets.first_mut().and_then(|set| set.http.as_mut()) {
        let kinds = [Kind::Header(header), Kind::Query(query), Kind::Grpc(grpc)];
        http.rules.extend(kinds.into_iter().map(|kind| proto::HttpRule {
            conditions: vec![proto::Condition { kind: Some(kind), negated: false }],
            action: 0,
        }));
        let regex = path(Path::Regex("/a/[a-z]+/?".into()));
        http.rules.push(proto::HttpRule { conditions: vec![regex], action: 0 });
    }
    built
}
