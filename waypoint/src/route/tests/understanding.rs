//! What a table says, and what follows from what isn't understood.

use weft_proto::route::filter::Kind as FilterKind;

use super::super::{Effect, Outcome as Built, Span, TableError, Target as BuiltTarget};
use super::*;
use crate::limits;

fn one_action(action: proto::HttpAction) -> proto::RouteTable {
    let mut message = table(vec![vec![]]);
    message.sets[0].http.as_mut().unwrap().actions = vec![action];
    message
}

fn filtered(kinds: Vec<FilterKind>) -> proto::HttpAction {
    let filters = kinds.into_iter().map(|kind| proto::Filter { kind: Some(kind) }).collect();
    proto::HttpAction { filters, ..forward("web") }
}

fn action(found: &Decoded) -> &super::super::Action {
    &found.table.sets()[0].http.as_ref().unwrap().actions()[0]
}

#[test]
fn rule_with_an_unknown_condition_never_matches() {
    let unknown = proto::Condition { kind: None, negated: false };
    let negated = proto::Condition { kind: None, negated: true };
    let empty = path_without_kind();
    for condition in [unknown, negated, empty] {
        let found = decoded(&table(vec![vec![condition], vec![]]));
        assert_eq!(rank(&found, &Call::get("/")), Some(1));
        assert_eq!(found.problems[0].effect, Effect::NeverMatches);
        assert!(found.problems[0].field.starts_with("sets[0].http.rules[0].conditions[0]"));
    }
}

fn path_without_kind() -> proto::Condition {
    condition(Kind::Path(proto::PathCondition::default()))
}

#[test]
fn bad_conditions_are_named() {
    let long = "x".repeat(limits::TEXT_BYTES_MAX + 1);
    let no_value = proto::HeaderCondition { name: "x-a".into(), value: None };
    for (bad, field) in [
        (path(Path::Regex("(".into())), "path.regex"),
        (path(Path::Exact(long)), "path"),
        (header("a b", exact("x")), "header.name"),
        (header(":path", exact("x")), "header.name"),
        (condition(Kind::Header(no_value)), "header.value"),
        (condition(Kind::Hosts(proto::HostsCondition::default())), "hosts.hosts"),
        (
            condition(Kind::Hosts(proto::HostsCondition { hosts: vec!["a.*".into()] })),
            "hosts.hosts[0]",
        ),
        (condition(Kind::Ports(proto::PortsCondition { ports: vec![70_000] })), "ports.ports"),
        (condition(Kind::Claim(proto::ClaimCondition::default())), "claim.value"),
    ] {
        let found = decoded(&table(vec![vec![bad]]));
        let wanted = format!("sets[0].http.rules[0].conditions[0].{field}");
        assert_eq!(found.problems[0].field, wanted);
        assert_eq!(rank(&found, &Call::get("/")), None);
    }
}

#[test]
fn action_with_an_unknown_filter_answers_500() {
    let unknown = proto::HttpAction { filters: vec![proto::Filter { kind: None }], ..forward("w") };
    let no_outcome = proto::HttpAction { outcome: None, ..forward("w") };
    for message in [unknown, no_outcome] {
        let found = decoded(&one_action(message));
        assert!(matches!(action(&found).outcome, Built::Broken));
        assert_eq!(found.problems[0].effect, Effect::Answers500);
        assert_eq!(rank(&found, &Call::get("/")), Some(0));
    }
}

#[test]
fn bad_filters_are_named() {
    let set = |name: &str, value: &str| {
        let header = proto::Header { name: name.into(), value: value.into() };
        proto::HeaderEdit { set: vec![header], ..proto::HeaderEdit::default() }
    };
    let rewrite = |authority: &str, path: Option<proto::path_rewrite::Kind>| proto::Rewrite {
        authority: authority.into(),
        path: path.map(|kind| proto::PathRewrite { kind: Some(kind) }),
    };
    use weft_proto::route::path_rewrite::Kind as New;
    let group = proto::RegexRewrite { pattern: "a".into(), replacement: r"\1".into() };
    for (kind, field) in [
        (FilterKind::RequestHeaders(set("content-length", "1")), "request_headers.set[0].name"),
        (FilterKind::RequestHeaders(set("host", "a b")), "request_headers.set[0]"),
        (FilterKind::ResponseHeaders(set("x", "a\nb")), "response_headers.set[0].value"),
        (FilterKind::ResponseHeaders(set("host", "a")), "response_headers.set[0].name"),
        (FilterKind::Rewrite(rewrite("a/b", None)), "rewrite.authority"),
        (FilterKind::Rewrite(rewrite("", Some(New::Full("/a?b".into())))), "rewrite.path.full"),
        (
            FilterKind::Rewrite(rewrite("", Some(New::Regex(group)))),
            "rewrite.path.regex.replacement",
        ),
        (FilterKind::Mirror(proto::Mirror::default()), "mirror.to"),
        (
            FilterKind::Fault(proto::Fault { abort: Some(proto::Abort::default()), delay: None }),
            "fault.abort.answer",
        ),
        (
            FilterKind::Cors(proto::Cors {
                allow_methods: vec!["A B".into()],
                ..Default::default()
            }),
            "cors.allow_methods",
        ),
    ] {
        let found = decoded(&one_action(filtered(vec![kind])));
        let wanted = format!("sets[0].http.actions[0].filters[0].{field}");
        assert_eq!(found.problems[0].field, wanted, "{:?}", found.problems);
        assert!(matches!(action(&found).outcome, Built::Broken));
    }
}

#[test]
fn backend_that_is_not_understood_answers_500_for_its_share() {
    let mut message = forward("web");
    let Some(Outcome::Forward(forward)) = &mut message.outcome else { unreachable!() };
    forward.backends.push(proto::WeightedBackend { weight: 1, ..Default::default() });
    let found = decoded(&one_action(message));
    let Built::Forward(forward) = &action(&found).outcome else { panic!("not forwarded") };
    let target = |random| &forward.backends.choose(random).unwrap().target;
    assert!(matches!(target(0), BuiltTarget::To(_)));
    assert!(matches!(target(u64::MAX), BuiltTarget::Invalid(_)));
    assert_eq!(found.problems[0].effect, Effect::BackendAnswers500);
}

#[test]
fn unknown_retry_conditions_are_skipped() {
    let mut message = forward("web");
    let Some(Outcome::Forward(forward)) = &mut message.outcome else { unreachable!() };
    let on = vec![proto::RetryOn::Reset.into(), 99];
    forward.retry = Some(proto::Retry { retries: 1_000, on, ..Default::default() });
    let found = decoded(&one_action(message));
    let Built::Forward(forward) = &action(&found).outcome else { panic!("not forwarded") };
    let retry = forward.retry.as_ref().unwrap();
    assert_eq!(*retry.on, [super::super::RetryOn::Reset]);
    assert_eq!(retry.retries, limits::RETRIES_MAX);
    assert_eq!(found.problems[0].field, "sets[0].http.actions[0].forward.retry.on[1]");
    assert_eq!(found.problems[0].effect, Effect::Skipped);
}

#[test]
fn redirects_need_a_status_of_theirs() {
    let redirect = |status, port| {
        let redirect = proto::Redirect { status, port, ..proto::Redirect::default() };
        one_action(proto::HttpAction {
            outcome: Some(Outcome::Redirect(redirect)),
            ..proto::HttpAction::default()
        })
    };
    use weft_proto::route::redirect::Port;
    assert!(matches!(action(&decoded(&redirect(307, None))).outcome, Built::Redirect(_)));
    for message in [
        redirect(200, None),
        redirect(301, Some(Port::Number(0))),
        redirect(301, Some(Port::PortFrom(9))),
    ] {
        assert!(matches!(action(&decoded(&message)).outcome, Built::Broken));
    }
}

#[test]
fn rewritten_prefix_is_the_rules_own() {
    let prefix = weft_proto::route::path_rewrite::Kind::Prefix("/new".into());
    let path_rewrite = proto::PathRewrite { kind: Some(prefix) };
    let rewrite = proto::Rewrite { path: Some(path_rewrite), authority: String::new() };
    let mut message = table(vec![
        vec![path(Path::ElementPrefix("/old/".into()))],
        vec![path(Path::TextPrefix("/o".into()))],
    ]);
    let http = message.sets[0].http.as_mut().unwrap();
    http.actions = vec![filtered(vec![FilterKind::Rewrite(rewrite)])];
    http.rules[1].action = 0;
    let found = decoded(&message);
    let routes = found.table.sets()[0].http.as_ref().unwrap();
    for (path, span, new) in
        [("/old/x", Span::Elements(4), "/new/x"), ("/oldest", Span::Text(2), "/newldest")]
    {
        let call = Call::get(path);
        let matched = routes.find(&call.request()).unwrap();
        assert_eq!(matched.span, span);
        let rewrite = matched.action.filters.path.as_ref().unwrap();
        assert_eq!(rewrite.apply(path, matched.span), new);
    }
}

#[test]
fn table_under_another_name_or_beyond_bounds_is_refused() {
    let message = table(vec![]);
    let bytes = message.encode_to_vec();
    let own = TableError::Name(NAME.to_owned());
    assert_eq!(decode("shop/other", &bytes).unwrap_err(), own);
    assert!(matches!(decode(NAME, b"\xff\xff"), Err(TableError::Malformed(_))));
    let many = table(vec![vec![]; limits::RULES_MAX + 1]);
    let refused = decode(NAME, &many.encode_to_vec()).unwrap_err();
    assert!(matches!(refused, TableError::TooMany { .. }), "{refused}");
}

#[test]
fn expressions_beyond_the_tables_bound_never_match() {
    let rules = (0..=limits::PATTERNS_MAX).map(|at| vec![path(Path::Regex(format!("/{at}")))]);
    let found = decoded(&table(rules.collect()));
    assert_eq!(found.problem_count, 1);
    assert_eq!(rank(&found, &Call::get("/999")), Some(999));
    assert_eq!(rank(&found, &Call::get("/1000")), None);
}

#[test]
fn rule_without_its_action_never_matches() {
    let mut message = table(vec![vec![], vec![]]);
    message.sets[0].http.as_mut().unwrap().rules[0].action = 7;
    let found = decoded(&message);
    assert_eq!(rank(&found, &Call::get("/")), Some(1));
    assert_eq!(found.problems[0].field, "sets[0].http.rules[0].action");
}

#[test]
fn host_in_an_edit_of_headers_is_the_authority() {
    let host = proto::Header { name: "Host".into(), value: "b.example:81".into() };
    let edit = proto::HeaderEdit { set: vec![host], ..proto::HeaderEdit::default() };
    let found = decoded(&one_action(filtered(vec![FilterKind::RequestHeaders(edit)])));
    let filters = &action(&found).filters;
    assert_eq!(filters.authority.as_ref().unwrap(), "b.example:81");
    assert!(filters.request_headers.is_empty());
}

#[test]
fn consumers_see_their_own_set() {
    let mut message = table(vec![vec![path(Path::Exact("/only".into()))]]);
    message.sets[0].source_namespaces = vec!["client".to_owned()];
    message.sets.push(table(vec![vec![]]).sets.remove(0));
    let found = decoded(&message);
    assert_eq!(rank(&found, &Call::get("/x").from("client")), None);
    assert_eq!(rank(&found, &Call::get("/x").from("other")), Some(0));
}

#[test]
fn session_that_is_not_understood_is_none_and_is_named() {
    use crate::session::Carrier;
    use proto::session::Carrier as WireCarrier;
    let with = |carrier| {
        let session = proto::Session { carrier, ..Default::default() };
        let mut action = forward("web");
        if let Some(Outcome::Forward(forward)) = &mut action.outcome {
            forward.session = Some(session);
        }
        decoded(&one_action(action))
    };
    let session = |found: &Decoded| match &action(found).outcome {
        Built::Forward(forward) => forward.session.clone(),
        other => panic!("{other:?}"),
    };
    let known = with(Some(WireCarrier::Header("X-Session".into())));
    let name = HeaderName::from_static("x-session");
    assert_eq!(session(&known).unwrap().carrier, Carrier::Header(name));
    let nameless = WireCarrier::Cookie(proto::SessionCookie::default());
    for carrier in [None, Some(WireCarrier::Header("a b".into())), Some(nameless)] {
        let found = with(carrier);
        assert!(session(&found).is_none());
        assert_eq!(found.problems[0].effect, Effect::Skipped);
        assert!(found.problems[0].field.ends_with("forward.session"), "{:?}", found.problems);
    }
}
