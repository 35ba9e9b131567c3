//! What finding a rule costs: no memory, and how long it takes.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::hint::black_box;
use std::time::Duration;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use prost::Message;
use weft_proto::route as proto;
use weft_proto::route::condition::Kind;
use weft_proto::route::path_condition::Kind as Path;
use weft_proto::route::text_match::Kind as Text;
use weft_waypoint::route::{HttpRoutes, Request, Source, Table, decode};

const RULES: usize = 1_000;

fn text(kind: Text) -> Option<proto::TextMatch> {
    Some(proto::TextMatch { kind: Some(kind), ignore_case: false })
}

fn condition(kind: Kind) -> proto::Condition {
    proto::Condition { kind: Some(kind), negated: false }
}

/// A thousand rules of a shop: exact paths, prefixes, expressions, each a few with headers, queries and methods.
fn conditions(at: usize) -> Vec<proto::Condition> {
    let (group, item) = (at / 10, at % 10);
    let path = match item {
        0..=3 => Path::Exact(format!("/api/v1/group-{group}/item-{item}")),
        4..=7 => Path::ElementPrefix(format!("/api/v1/group-{group}/tree-{item}")),
        8 => Path::ElementPrefix(format!("/api/v1/group-{group}")),
        _ => Path::Regex(format!("/api/v2/group-{group}/[0-9]+/(x|y)")),
    };
    let mut all =
        vec![condition(Kind::Path(proto::PathCondition { kind: Some(path), ignore_case: false }))];
    if item % 2 == 0 {
        let value = text(Text::Exact("true".into()));
        all.push(condition(Kind::Header(proto::HeaderCondition { name: "x-beta".into(), value })));
    }
    if item % 3 == 0 {
        let value = text(Text::Regex("[0-9]+".into()));
        all.push(condition(Kind::Query(proto::QueryCondition { name: "page".into(), value })));
    }
    if item % 4 == 0 {
        all.push(condition(Kind::Method(text(Text::Exact("POST".into())).unwrap())));
    }
    all
}

/// A thousand rules for one path, told apart by a header.
fn tenant(at: usize) -> Vec<proto::Condition> {
    let path = Path::ElementPrefix("/".into());
    let path = proto::PathCondition { kind: Some(path), ignore_case: false };
    let value = text(Text::Exact(format!("tenant-{at}")));
    let header = proto::HeaderCondition { name: "x-tenant".into(), value };
    vec![condition(Kind::Path(path)), condition(Kind::Header(header))]
}

fn message(rules: usize, conditions: impl Fn(usize) -> Vec<proto::Condition>) -> proto::RouteTable {
    let rules = (0..rules).map(|at| proto::HttpRule { conditions: conditions(at), action: 0 });
    let http =
        proto::HttpRoutes { rules: rules.collect(), actions: vec![proto::HttpAction::default()] };
    proto::RouteTable {
        namespace: "shop".into(),
        hostname: "web".into(),
        sets: vec![proto::RouteSet { http: Some(http), ..proto::RouteSet::default() }],
    }
}

fn table(conditions: impl Fn(usize) -> Vec<proto::Condition>) -> Table {
    decode("shop/web", &message(RULES, conditions).encode_to_vec()).unwrap().table
}

fn headers() -> HeaderMap {
    ["accept", "user-agent", "x-request-id", "traceparent", "x-beta"]
        .iter()
        .map(|name| (HeaderName::from_static(name), HeaderValue::from_static("some value")))
        .chain([
            (HeaderName::from_static("x-beta"), HeaderValue::from_static("false")),
            (HeaderName::from_static("x-tenant"), HeaderValue::from_static("tenant-500")),
        ])
        .collect()
}

fn request<'a>(path: &'a str, headers: &'a HeaderMap) -> Request<'a> {
    Request {
        method: "GET",
        scheme: "http",
        authority: "web.shop:80",
        path,
        query: "page=%61&size=20",
        headers,
        port: 80,
        source: Source::default(),
        claims: None,
    }
}

/// Paths that nearly match, with the rule that they find.
const PATHS: [(&str, Option<usize>); 7] = [
    ("/api/v1/group-50/item-1", Some(501)),
    ("/api/v1/group-99/tree-5/a/b", Some(995)),
    ("/api/v1/group-50/item-0", None),
    ("/api/v1/group-99/tree-4/a/b", None),
    ("/api/v2/group-7/12/z", None),
    ("/api/v1/group-1000", None),
    ("/", None),
];

fn routes(table: &Table) -> &HttpRoutes {
    table.select(80, None).unwrap().http.as_ref().unwrap()
}

#[test]
fn finding_a_rule_takes_no_memory() {
    let (table, headers) = (table(conditions), headers());
    let routes = routes(&table);
    for (path, wanted) in PATHS {
        let request = request(path, &headers);
        // Expressions make their scratch memory at first use.
        let found = routes.find(&request).map(|matched| matched.rank);
        assert_eq!(found, wanted, "{path}");
        let counted = allocation_counter::measure(|| {
            black_box(routes.find(black_box(&request)));
            black_box(table.select(80, Some("client")));
        });
        assert_eq!(counted.count_total, 0, "{path}");
    }
}

/// What a waypoint has to hold: prints it, and bounds it so that a thousand services with ten routes each take a quarter of
/// its 80 MB at most.
#[test]
fn thousand_tables_of_ten_rules_fit_in_20_megabytes() {
    let weigh = |rules: usize, table: &proto::RouteTable| {
        let bytes = table.encode_to_vec();
        let mut kept = None;
        let counted = allocation_counter::measure(|| kept = decode("shop/web", &bytes).ok());
        let weight = counted.bytes_current / i64::try_from(rules).unwrap();
        println!("{weight} bytes a rule, {} on the wire", bytes.len() / rules);
        drop(kept);
        weight
    };
    assert!(weigh(10, &message(10, |at| conditions(at * 10 + 4))) <= 2_000);
    assert!(weigh(100, &message(100, |at| conditions(at * 10 + 9))) <= 40_000);
}

/// Prints what a look-up takes, and fails only far above the aim of 1 µs: builds for tests are ten times slower, and the
/// machine may be busy.
#[test]
fn finding_one_of_a_thousand_rules_takes_microseconds() {
    let (by_path, by_header, headers) = (table(conditions), table(tenant), headers());
    assert_eq!(routes(&by_header).find(&request("/", &headers)).map(|it| it.rank), Some(500));
    let aim =
        if cfg!(debug_assertions) { Duration::from_micros(100) } else { Duration::from_micros(10) };
    let of_paths = PATHS.iter().map(|(path, _)| (*path, routes(&by_path)));
    for (path, routes) in of_paths.chain([("/tenants", routes(&by_header))]) {
        let request = request(path, &headers);
        let find = || {
            black_box(routes.find(black_box(&request)));
        };
        let ask_all = || {
            black_box(routes.find_by_asking_all(black_box(&request)));
        };
        let best = (0..20).map(|_| time(find)).min();
        let asked = time(ask_all);
        let best = best.unwrap_or_default();
        println!("{path}: {best:?} by index, {asked:?} by asking all {RULES} rules");
        assert!(best < aim, "{path} took {best:?}");
    }
}

/// Mean of a hundred runs.
#[expect(clippy::disallowed_methods, reason = "what is measured is real time")]
fn time(run: impl Fn()) -> Duration {
    const RUNS: u32 = 100;
    let start = std::time::Instant::now();
    (0..RUNS).for_each(|_| run());
    start.elapsed() / RUNS
}
