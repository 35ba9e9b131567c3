//! Which rule a request finds.

use proptest::prelude::*;

use super::*;

#[test]
fn first_rule_that_matches_wins_whatever_its_kind() {
    let found = decoded(&table(vec![
        vec![path(Path::Exact("/a/b".into())), header("x-beta", exact("true"))],
        vec![path(Path::Regex("/a/[a-z]+".into())), header("x-beta", exact("maybe"))],
        vec![path(Path::Exact("/a/b".into()))],
        vec![path(Path::ElementPrefix("/a/".into()))],
        vec![path(Path::TextPrefix("/a".into()))],
        vec![],
    ]));
    assert_eq!(found.problems, []);
    for (call, wanted) in [
        (Call::get("/a/b").with("x-beta", "true"), 0),
        (Call::get("/a/c").with("x-beta", "maybe"), 1),
        (Call::get("/a/b").with("x-beta", "maybe"), 1),
        (Call::get("/a/b"), 2),
        (Call::get("/a/c"), 3),
        (Call::get("/a"), 3),
        (Call::get("/ab"), 4),
        (Call::get("/b"), 5),
    ] {
        assert_eq!(rank(&found, &call), Some(wanted), "{call:?}");
    }
}

#[test]
fn negated_condition_holds_for_an_absent_header() {
    let mut not_beta = header("x-beta", exact("true"));
    not_beta.negated = true;
    let found = decoded(&table(vec![vec![not_beta]]));
    assert_eq!(rank(&found, &Call::get("/")), Some(0));
    assert_eq!(rank(&found, &Call::get("/").with("x-beta", "false")), Some(0));
    assert_eq!(rank(&found, &Call::get("/").with("x-beta", "true")), None);
}

#[test]
fn grpc_methods_are_found_by_name() {
    let grpc = |service: Option<proto::TextMatch>, method: Option<proto::TextMatch>| {
        vec![condition(Kind::Grpc(proto::GrpcCondition { service, method }))]
    };
    let found = decoded(&table(vec![
        grpc(Some(exact("pay.Cards")), Some(exact("Charge"))),
        grpc(Some(exact("pay.Cards")), None),
        grpc(None, Some(exact("Ping"))),
        grpc(Some(text(Text::Regex("p.*".into()))), None),
    ]));
    for (path, wanted) in [
        ("/pay.Cards/Charge", Some(0)),
        ("/pay.Cards/Refund", Some(1)),
        ("/x.Y/Ping", Some(2)),
        ("/pay.Bank/Charge", Some(3)),
        ("/x.Y/Z", None),
        ("/pay.Cards", None),
        ("/pay.Cards/Charge/x", None),
    ] {
        assert_eq!(rank(&found, &Call::get(path)), wanted, "{path}");
    }
}

#[test]
fn sets_are_chosen_by_port_and_by_the_callers_namespace() {
    let set = |ports: &[u32], namespaces: &[&str]| proto::RouteSet {
        ports: ports.to_vec(),
        source_namespaces: namespaces.iter().map(|it| (*it).to_owned()).collect(),
        ..proto::RouteSet::default()
    };
    let found = decoded(&of_sets(vec![
        set(&[80], &["client"]),
        set(&[80], &[]),
        set(&[90], &["client"]),
        set(&[], &["other"]),
    ]));
    let place = |port, namespace| {
        let chosen = found.table.select(port, namespace)?;
        found.table.sets().iter().position(|set| std::ptr::eq(set, chosen))
    };
    assert_eq!(place(80, Some("client")), Some(0));
    assert_eq!(place(80, Some("other")), Some(1));
    assert_eq!(place(80, None), Some(1));
    assert_eq!(place(90, Some("client")), Some(2));
    assert_eq!(place(90, None), None);
    assert_eq!(place(91, Some("other")), Some(3));
}

#[test]
fn connections_are_found_by_name_address_and_caller() {
    use weft_proto::route::connection_condition::Kind as Condition;
    let rule = |kind| proto::ConnectionRule {
        conditions: vec![proto::ConnectionCondition { kind: Some(kind) }],
        ..proto::ConnectionRule::default()
    };
    let names = vec!["*.example".to_owned()];
    let subnets = vec!["10.0.0.0/8".to_owned()];
    let namespaces = vec!["client".to_owned()];
    let rules = vec![
        rule(Condition::ServerNames(proto::HostsCondition { hosts: names })),
        rule(Condition::Destinations(proto::SubnetsCondition { subnets })),
        rule(Condition::Ports(proto::PortsCondition { ports: vec![3306] })),
        rule(Condition::Source(proto::SourceCondition { namespaces, ..Default::default() })),
    ];
    let tls = Some(proto::ConnectionRoutes { rules });
    let found = decoded(&of_sets(vec![proto::RouteSet { tls, ..Default::default() }]));
    assert_eq!(found.problems, []);
    let routes = found.table.sets()[0].tls.as_ref().unwrap();
    let place = |server_name, destination: &str, namespace| {
        let source = Source { namespace, ..Source::default() };
        let destination = destination.parse().unwrap();
        let rule = routes.find(&super::super::Connection { server_name, destination, source })?;
        routes.rules().iter().position(|own| std::ptr::eq(own, rule))
    };
    assert_eq!(place(Some("A.example"), "10.1.1.1:80", None), Some(0));
    assert_eq!(place(None, "[::ffff:10.1.1.1]:80", None), Some(1));
    assert_eq!(place(None, "11.1.1.1:3306", None), Some(2));
    assert_eq!(place(None, "11.1.1.1:80", Some("client")), Some(3));
    assert_eq!(place(Some("example"), "11.1.1.1:80", None), None);
}

/// Few letters, so that paths, prefixes and patterns meet.
fn some_path() -> impl Strategy<Value = String> {
    "(/[ab]{0,2}){0,3}/?"
}

fn some_condition() -> impl Strategy<Value = proto::Condition> {
    let kind = prop_oneof![
        some_path().prop_map(Path::Exact),
        some_path().prop_map(Path::ElementPrefix),
        some_path().prop_map(Path::TextPrefix),
        some_path().prop_map(|text| Path::Regex(format!("{text}[ab/]?"))),
        some_path().prop_map(|text| Path::Regex(format!("({text}|/b).*"))),
    ];
    let of_path = (kind, proptest::bool::weighted(0.2)).prop_map(|(kind, ignore_case)| {
        condition(Kind::Path(proto::PathCondition { kind: Some(kind), ignore_case }))
    });
    let of_grpc = ("[ab]", proptest::option::of("[ab]")).prop_map(|(service, method)| {
        let method = method.map(|it| exact(&it));
        condition(Kind::Grpc(proto::GrpcCondition { service: Some(exact(&service)), method }))
    });
    let of_header = ("x-[ab]", "[ab]").prop_map(|(name, value)| header(&name, exact(&value)));
    (prop_oneof![4 => of_path, 1 => of_grpc, 4 => of_header], proptest::bool::weighted(0.2))
        .prop_map(|(condition, negated)| proto::Condition { negated, ..condition })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn index_finds_what_asking_every_rule_finds(
        rules in proptest::collection::vec(
            proptest::collection::vec(some_condition(), 0..3), 0..60),
        is_repeated: bool,
        paths in proptest::collection::vec("/?[abA/]{0,8}", 1..20),
    ) {
        let found = decoded(&table(rules));
        let routes = found.table.sets()[0].http.as_ref().unwrap();
        for path in &paths {
            let call = Call::get("/").with("x-a", "a");
            let call = if is_repeated { call.with("x-a", "b") } else { call.with("x-b", "b") };
            let request = Request { path, ..call.request() };
            let (indexed, asked) = (routes.find(&request), routes.find_by_asking_all(&request));
            prop_assert_eq!(indexed.map(|it| it.rank), asked.map(|it| it.rank), "{}", path);
            prop_assert_eq!(indexed.map(|it| it.span), asked.map(|it| it.span));
        }
    }
}
