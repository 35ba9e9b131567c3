//! Which requests go on.

use super::*;

fn allow(rules: Vec<proto::AccessRule>) -> Access {
    decoded(&proto::AccessPolicy { allow: vec![policy("a", rules)], ..message() })
}

fn deny(rules: Vec<proto::AccessRule>) -> Access {
    decoded(&proto::AccessPolicy { deny: vec![policy("d", rules)], ..message() })
}

fn checker(name: &str) -> proto::Checker {
    proto::Checker {
        name: name.into(),
        hostname: "authz.shop.svc.cluster.local".into(),
        port: 9000,
        protocol: Some(proto::checker::Protocol::Grpc(proto::GrpcCheck {})),
        ..proto::Checker::default()
    }
}

fn custom(
    name: &str,
    checker: Option<proto::Checker>,
    rules: Vec<proto::AccessRule>,
) -> proto::CustomPolicy {
    proto::CustomPolicy { policy: Some(policy(name, rules)), checker }
}

#[test]
fn without_policies_everything_goes_on() {
    assert_eq!(verdict(&decoded(&message()), &Call::get("/")), "allow");
}

#[test]
fn allow_without_rules_lets_nobody_in_and_one_empty_rule_everybody() {
    assert!(!is_allowed(&allow(vec![]), &Call::get("/")));
    assert!(is_allowed(&allow(vec![proto::AccessRule::default()]), &Call::get("/")));
    assert!(!is_allowed(&deny(vec![proto::AccessRule::default()]), &Call::get("/")));
    assert!(is_allowed(&deny(vec![]), &Call::get("/")));
}

#[test]
fn denial_names_its_policy_and_rule_as_envoy_does() {
    let rules = vec![to(vec![is(Kind::Method(texts(&["POST"])))]), proto::AccessRule::default()];
    assert_eq!(
        verdict(&deny(rules), &Call::get("/")),
        "rbac_access_denied_matched_policy[ns[shop]-policy[d]-rule[1]]"
    );
    assert_eq!(verdict(&allow(vec![]), &Call::get("/")), "rbac_access_denied_matched_policy[none]");
}

/// The first example of Istio's reference: GET below /info or POST to /data, by one account or from one namespace, with a
/// token of one issuer.
#[test]
fn documented_example_decides_as_documented() {
    let rule = proto::AccessRule {
        from: vec![
            term(vec![is(Kind::SourcePrincipal(texts(&["cluster.local/ns/default/sa/curl"])))]),
            term(vec![is(Kind::SourceNamespace(texts(&["test"])))]),
        ],
        to: vec![
            term(vec![is(Kind::Method(texts(&["GET"]))), is(paths(&["/info*"]))]),
            term(vec![is(Kind::Method(texts(&["POST"]))), is(paths(&["/data"]))]),
        ],
        when: vec![is(claim(&["iss"], &["https://accounts.google.com"]))],
    };
    let access = allow(vec![rule]);
    let token = |issuer: &str| {
        let claims = serde_json::json!({"iss": issuer, "sub": "x"});
        Some(Authenticated::new(claims.as_object().unwrap().clone(), &[], 0))
    };
    let google = || token("https://accounts.google.com");
    let curl = "spiffe://cluster.local/ns/default/sa/curl";
    let call = |method, path, who: &str, authenticated| {
        is_allowed(&access, &Call { method, authenticated, ..Call::get(path).from(who) })
    };
    assert!(call("GET", "/info/a", curl, google()));
    assert!(call("POST", "/data", "spiffe://cluster.local/ns/test/sa/any", google()));
    assert!(!call("POST", "/data/x", curl, google()));
    assert!(!call("GET", "/data", curl, google()));
    assert!(!call("GET", "/info", "spiffe://cluster.local/ns/default/sa/other", google()));
    assert!(!call("GET", "/info", curl, token("https://evil.example")));
    assert!(!call("GET", "/info", curl, None));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn each_field_is_compared_and_its_negation_is_the_opposite() {
    let account = |namespace: &str, name: &str| {
        let (namespace, name) = (namespace.into(), name.into());
        Kind::SourceAccount(proto::AccountValues {
            values: vec![proto::AccountMatch { namespace, name }],
        })
    };
    let ports =
        |values: &[u32]| Kind::DestinationPort(proto::PortValues { values: values.to_vec() });
    let hosts = |values: &[&str]| {
        let mut values = texts(values);
        values.values.iter_mut().for_each(|value| value.ignore_case = true);
        Kind::Host(values)
    };
    let get = || Call::get("/a/b");
    let table = [
        (Kind::SourcePrincipal(texts(&["cluster.local/ns/shop/*"])), get(), true),
        (Kind::SourcePrincipal(texts(&["*/sa/we"])), get(), false),
        (Kind::SourcePrincipal(texts(&["*"])), Call { source: None, ..get() }, false),
        (Kind::SourceNamespace(texts(&["shop"])), get(), true),
        (Kind::SourceNamespace(texts(&["sho"])), get(), false),
        (account("shop", "web"), get(), true),
        (account("shop", "w.b"), get(), false),
        (Kind::SourceTrustDomain(texts(&["cluster.local"])), get(), true),
        (Kind::SourceTrustDomain(texts(&["other"])), get(), false),
        (Kind::SourceIp(blocks(&["10.0.0.0/8"])), get(), true),
        (Kind::SourceIp(blocks(&["::ffff:10.0.0.0/104"])), get(), true),
        (
            Kind::SourceIp(blocks(&["10.0.0.0/8"])),
            Call { source_ip: "::ffff:10.1.1.1", ..get() },
            true,
        ),
        (Kind::SourceIp(blocks(&["10.0.0.2/32"])), get(), false),
        (
            Kind::RemoteIp(blocks(&["203.0.113.0/24"])),
            Call { remote_ip: "203.0.113.9", ..get() },
            true,
        ),
        (Kind::RemoteIp(blocks(&["203.0.113.0/24"])), get(), false),
        (Kind::DestinationIp(blocks(&["10.96.0.1/32"])), get(), true),
        (ports(&[80, 81]), get(), true),
        (ports(&[8080]), get(), false),
        (hosts(&["stock.example"]), Call { host: "Stock.Example:8080", ..get() }, true),
        (hosts(&["stock.example"]), Call { host: "stock.example.", ..get() }, true),
        (hosts(&["stock.example:8080"]), Call { host: "stock.example:8080", ..get() }, true),
        (hosts(&["stock.example:8080"]), Call { host: "stock.example", ..get() }, false),
        (hosts(&["*.example"]), Call { host: "a.example:80", ..get() }, true),
        (hosts(&["stock.example"]), Call { host: "stock.example.evil", ..get() }, false),
        (Kind::Method(texts(&["GET"])), get(), true),
        (Kind::Method(texts(&["get"])), get(), false),
        (paths(&["/a/b"]), get(), true),
        (paths(&["/a*"]), get(), true),
        (paths(&["*/b"]), get(), true),
        (paths(&["/a/{*}"]), get(), true),
        (paths(&["/{**}/c"]), get(), false),
        (paths(&["*"]), get(), true),
        (header("x-a", &["1"]), get().with("x-a", "1"), true),
        (header("x-a", &["*"]), get().with("x-a", ""), true),
        (header("x-a", &["*"]), get(), false),
        (header(":method", &["GET"]), get(), true),
        (Kind::ServerName(texts(&["a.example"])), Call { sni: Some("a.example"), ..get() }, true),
        (Kind::ServerName(texts(&["*"])), get(), false),
        (Kind::RequestPrincipal(texts(&["*"])), get(), false),
        (Kind::Audience(texts(&["*"])), get(), false),
        (Kind::Presenter(texts(&["*"])), get(), false),
        (claim(&["groups"], &["*"]), get(), false),
    ];
    for (kind, call, fits) in table {
        let own = allow(vec![from(vec![is(kind.clone())])]);
        assert_eq!(own.problems(), [""; 0], "{kind:?}");
        assert_eq!(is_allowed(&own, &call), fits, "{kind:?}");
        let negated = allow(vec![from(vec![not(kind.clone())])]);
        assert_eq!(is_allowed(&negated, &call), !fits, "not {kind:?}");
    }
}

/// Istio joined the values of one name once, so that a second value hid the first.
#[test]
fn each_value_of_a_header_is_compared_by_itself() {
    let denied = deny(vec![when(vec![is(header("x-role", &["guest"]))])]);
    let call = Call::get("/").with("x-role", "guest").with("x-role", "admin");
    assert!(!is_allowed(&denied, &call));
    assert!(!is_allowed(&denied, &Call::get("/").with("x-role", "admin").with("x-role", "guest")));
    let joined = Call::get("/").with("x-role", "guest,admin");
    assert!(is_allowed(&denied, &joined));
    let unless_admin = deny(vec![when(vec![not(header("x-role", &["admin"]))])]);
    assert!(!is_allowed(&unless_admin, &joined));
}

#[test]
fn claims_are_compared_by_element_and_scope_is_a_list() {
    let claims = serde_json::json!({
        "iss": "i", "sub": "s", "aud": ["a", "b"], "azp": "p", "scope": "read write",
        "groups": ["g1", "g2"], "nested": {"deep": "x"}, "roles": "r1 r2", "admin": true, "level": 3
    });
    let token = |split: &[&str]| {
        let split: Vec<Box<str>> = split.iter().map(|name| (*name).into()).collect();
        Authenticated::new(claims.as_object().unwrap().clone(), &split, 0)
    };
    let fits = |kind: Kind, split: &[&str]| {
        let call = Call { authenticated: Some(token(split)), ..Call::get("/") };
        is_allowed(&allow(vec![when(vec![is(kind)])]), &call)
    };
    assert!(fits(Kind::RequestPrincipal(texts(&["i/s"])), &[]));
    assert!(fits(Kind::Audience(texts(&["b"])), &[]));
    assert!(fits(Kind::Presenter(texts(&["p"])), &[]));
    assert!(fits(claim(&["scope"], &["write"]), &[]));
    assert!(!fits(claim(&["scope"], &["read write"]), &[]));
    assert!(fits(claim(&["groups"], &["g2"]), &[]));
    assert!(!fits(claim(&["groups"], &["g"]), &[]));
    assert!(fits(claim(&["nested", "deep"], &["x"]), &[]));
    assert!(!fits(claim(&["roles"], &["r2"]), &[]));
    assert!(fits(claim(&["roles"], &["r2"]), &["roles"]));
    assert!(fits(claim(&["admin"], &["true"]), &[]));
    assert!(fits(claim(&["level"], &["3"]), &[]));
}

#[test]
fn deny_wins_over_allow_and_custom_is_asked_before_both() {
    let everything = || vec![proto::AccessRule::default()];
    let access = decoded(&proto::AccessPolicy {
        custom: vec![
            custom("c1", Some(checker("one")), vec![to(vec![is(paths(&["/a*"]))])]),
            custom("c2", Some(checker("two")), vec![to(vec![is(paths(&["/a/b"]))])]),
            custom("c3", Some(checker("one")), everything()),
        ],
        deny: vec![policy("d", vec![to(vec![is(paths(&["/a/x"]))])])],
        allow: vec![policy("a", everything())],
        ..message()
    });
    let asked = |path| {
        let (call, mut reports) = (Call::get(path), Vec::new());
        let (mut asked, mut step) = (Vec::new(), Step::default());
        loop {
            match access.evaluate(&call.request(), step, &mut reports) {
                Verdict::Check { checker, next, .. } => {
                    asked.push(checker.name.to_string());
                    step = next;
                }
                Verdict::Allow => return (asked, true),
                Verdict::Deny(_) => return (asked, false),
            }
        }
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(asked("/a"), (names(&["one"]), true));
    assert_eq!(asked("/a/b"), (names(&["one", "two"]), true));
    assert_eq!(asked("/a/x"), (names(&["one"]), false));
    assert_eq!(asked("/z"), (names(&["one"]), true));
}

#[test]
fn custom_policy_whose_checker_is_not_understood_refuses() {
    let unknown = proto::Checker { protocol: None, ..checker("later") };
    for checker in [None, Some(unknown)] {
        let rules = vec![to(vec![is(paths(&["/a"]))])];
        let custom = vec![custom("c", checker, rules)];
        let access = decoded(&proto::AccessPolicy { custom, ..message() });
        assert!(verdict(&access, &Call::get("/a")).contains("policy[c]-rule[0]"));
        assert_eq!(verdict(&access, &Call::get("/b")), "allow");
    }
}

#[test]
fn audit_and_dry_run_are_reported_and_never_enforced() {
    let everything = || vec![proto::AccessRule::default()];
    let dry = |name: &str, rules| proto::Policy { dry_run: true, ..policy(name, rules) };
    let access = decoded(&proto::AccessPolicy {
        audit: vec![policy("audit", everything()), policy("quiet", vec![])],
        deny: vec![dry("dry-deny", everything())],
        allow: vec![dry("dry-allow", vec![])],
        ..message()
    });
    let call = Call::get("/");
    let mut reports = Vec::new();
    let verdict = access.evaluate(&call.request(), Step::default(), &mut reports);
    assert!(matches!(verdict, Verdict::Allow));
    let said: Vec<_> =
        reports.iter().map(|it| (it.policy.map(|name| name.to_string()), it.what)).collect();
    assert_eq!(
        said,
        [
            (Some("ns[shop]-policy[audit]".to_owned()), Reported::Audit),
            (Some("ns[shop]-policy[dry-deny]".to_owned()), Reported::WouldDeny),
            (None, Reported::WouldDeny),
        ]
    );
}

/// Istio's rule for ports that aren't HTTP: stricter either way.
#[test]
fn of_a_connection_what_only_requests_have_lets_nothing_in_and_keeps_out() {
    let namespace = || is(Kind::SourceNamespace(texts(&["shop"])));
    let method = || is(Kind::Method(texts(&["GET"])));
    let rule = |from: Vec<_>, to: Vec<_>| proto::AccessRule {
        from: vec![term(from)],
        to: vec![term(to)],
        when: Vec::new(),
    };
    let both = || rule(vec![namespace()], vec![method()]);
    let plain = || from(vec![namespace()]);
    let call = Call::get("/");
    let judged = |access: &Access, source: &str| {
        let source = source.parse().unwrap();
        let connection = AccessConnection {
            source: Some(&source),
            source_ip: call.source_ip.parse().unwrap(),
            destination_ip: "10.96.0.1".parse().unwrap(),
            destination_port: 80,
            sni: None,
        };
        matches!(access.evaluate_connection(&connection, &mut Vec::new()), Verdict::Allow)
    };
    let (own, other) =
        ("spiffe://cluster.local/ns/shop/sa/web", "spiffe://cluster.local/ns/x/sa/web");
    let asks = custom("c", Some(checker("one")), vec![both()]);
    let asks = decoded(&proto::AccessPolicy { custom: vec![asks], ..message() });
    let unusable = decoded(&proto::AccessPolicy { unusable: "x".into(), ..message() });
    let unknown = || when(vec![proto::AccessMatcher::default()]);
    let table = [
        (decoded(&message()), true, true),
        (allow(vec![plain()]), true, false),
        (allow(vec![both()]), false, false),
        (allow(vec![both(), plain()]), true, false),
        (allow(vec![from(vec![not(Kind::Method(texts(&["GET"])))])]), false, false),
        (allow(vec![unknown()]), false, false),
        (deny(vec![both()]), false, true),
        (deny(vec![to(vec![method()])]), false, false),
        (deny(vec![to(vec![not(Kind::Method(texts(&["GET"])))])]), false, false),
        (deny(vec![unknown()]), false, false),
        (asks, false, true),
        (unusable, false, false),
    ];
    for (at, (access, lets_own_in, lets_other_in)) in table.into_iter().enumerate() {
        assert_eq!(judged(&access, own), lets_own_in, "row {at}");
        assert_eq!(judged(&access, other), lets_other_in, "row {at}");
    }
}

#[test]
fn looking_at_a_request_takes_no_memory() {
    let access = decoded(&proto::AccessPolicy {
        deny: vec![policy("d", vec![when(vec![is(header("x-a", &["1"]))])])],
        allow: vec![policy(
            "a",
            vec![
                from(vec![is(Kind::SourceNamespace(texts(&["other"])))]),
                to(vec![is(Kind::Host(texts(&["stock"]))), is(paths(&["/a/{*}", "/b"]))]),
            ],
        )],
        ..message()
    });
    let call = Call::get("/a/b");
    let request = call.request();
    let mut reports = Vec::new();
    let used = allocation_counter::measure(|| {
        let verdict = access.evaluate(&request, Step::default(), &mut reports);
        assert!(matches!(verdict, Verdict::Allow));
    });
    assert_eq!(used.count_total, 0);
}
