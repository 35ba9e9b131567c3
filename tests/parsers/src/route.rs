//! Route tables, from their bytes to a rule.

use http::{HeaderMap, HeaderValue};
use prost::Message as _;
use weft_proto::route as proto;
use weft_waypoint::route::{Outcome, Request, RouteSet, Source, decode};

/// One table. Whatever it says, looking by index finds what asking every rule finds; what isn't understood never matches;
/// and what follows from a match can be carried out.
pub fn route_table(data: &[u8]) {
    let message = proto::RouteTable::decode(data).ok();
    let own = message.as_ref().map(|it| format!("{}/{}", it.namespace, it.hostname));
    let Ok(found) = decode(own.as_deref().unwrap_or("demo/web"), data) else {
        return;
    };
    assert!(found.problem_count >= found.problems.len());
    assert!(found.problems.iter().all(|it| !it.reason.is_empty() && !it.field.is_empty()));
    for namespace in [None, Some("demo")] {
        let _chosen = found.table.select(80, namespace);
    }
    for set in found.table.sets() {
        for path in ["/", "", "*", "/a", "/a/b", "/a/b/", "/demo.Shop/Buy", "/ä", "/%2F//x"] {
            ask(set, path);
        }
    }
}

fn ask(set: &RouteSet, path: &str) {
    let Some(routes) = &set.http else {
        return;
    };
    let mut headers = HeaderMap::new();
    headers.append("x-a", HeaderValue::from_static("1"));
    headers.append("x-a", HeaderValue::from_static("2"));
    let request = Request {
        method: "GET",
        scheme: "http",
        authority: "web.demo:80",
        path,
        query: "a=%31&b",
        headers: &headers,
        port: 80,
        source: Source { namespace: Some("demo"), ..Source::default() },
        claims: None,
    };
    let (found, asked) = (routes.find(&request), routes.find_by_asking_all(&request));
    assert_eq!(found.map(|it| it.rank), asked.map(|it| it.rank), "{path}");
    let Some(found) = found else {
        return;
    };
    assert!(routes.rules().get(found.rank).is_some_and(|rule| !rule.is_never()));
    if let Some(rewrite) = &found.action.filters.path {
        assert!(rewrite.apply(path, found.span).starts_with('/'));
    }
    found.action.filters.request_headers.apply(&mut headers.clone());
    match &found.action.outcome {
        Outcome::Redirect(redirect) => assert!(!redirect.location(&request, found.span).is_empty()),
        Outcome::Forward(forward) => {
            let has_weight = forward.backends.weighted().any(|(weight, _)| weight > 0);
            for random in [0, u64::MAX / 3, u64::MAX] {
                assert_eq!(forward.backends.choose(random).is_some(), has_weight);
            }
        }
        Outcome::Direct(_) | Outcome::Broken => {}
    }
}

/// What the controller sends is understood whole; but that only the proxy knows how large an expression becomes.
pub(crate) fn check_sent(name: &str, bytes: &[u8]) {
    let found = decode(name, bytes).expect("a waypoint takes what is sent");
    let is_size = |reason: &str| reason.contains("size") || reason.contains("beyond");
    let others: Vec<_> = found.problems.iter().filter(|it| !is_size(&it.reason)).collect();
    assert!(
        others.is_empty(),
        "a waypoint doesn't understand what the controller sends: {others:?}"
    );
    route_table(bytes);
}
