//! Destination rules, and rate limits of services.

use std::collections::BTreeMap;

use weft_proto::route as proto;
use weft_proto::route::consistent_hash::{Algorithm, Key};
use weft_proto::route::load_balancer::Kind;

use crate::translate::{Settings, Translator};

use super::policies::refused;
use super::{WEB, decoded, message, translated, waypoint, with};

const SERVICES: &str = r"
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{name: http, port: 80}, {name: grpc, port: 90}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: bank, namespace: shop}
spec: {hosts: [api.bank.example], ports: [{number: 443, name: https, protocol: HTTPS}], resolution: DNS, subjectAltNames: [bank.example]}
---
";

fn rule(namespace: &str, name: &str, spec: &str) -> String {
    let created = name.len();
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}, namespace: {namespace}, creationTimestamp: '2026-01-0{created}T00:00:00Z'}}\n\
         spec: {spec}\n---\n"
    )
}

fn world(objects: &[String]) -> Translator {
    with(SERVICES, objects)
}

fn backends(objects: &[String]) -> BTreeMap<String, proto::BackendPolicy> {
    decoded(&world(objects)).backends
}

/// The policy that one rule of the shop gives to `web`.
fn policy(spec: &str) -> proto::BackendPolicy {
    let spec = format!("{{host: web, {spec}}}");
    backends(&[rule("shop", "a", &spec)]).remove(WEB).expect("a policy")
}

fn settings(parts: &str) -> proto::BackendSettings {
    policy(&format!("trafficPolicy: {{{parts}}}")).settings.unwrap()
}

/// What marks settings in tests about who has which.
fn requests_max(settings: &proto::BackendSettings) -> u32 {
    settings.connection_pool.as_ref().map_or(0, |pool| pool.requests_max)
}

fn marked(mark: u32) -> String {
    format!("connectionPool: {{http: {{http2MaxRequests: {mark}}}}}")
}

fn every_bound() -> proto::ConnectionPool {
    proto::ConnectionPool {
        connections_max: 1,
        connect_timeout_ms: 2_000,
        tcp_idle_timeout_ms: Some(0),
        connection_duration_max_ms: 6_000,
        keepalive: Some(proto::TcpKeepalive { probes: 3, time_ms: 4_000, interval_ms: 5_000 }),
        pending_requests_max: 7,
        requests_max: 8,
        requests_per_connection_max: 9,
        retries_max: 10,
        http_idle_timeout_ms: Some(11_000),
        concurrent_streams_max: 12,
        uses_client_protocol: true,
        h2_upgrade: proto::H2Upgrade::Always.into(),
    }
}

fn every_threshold() -> proto::OutlierDetection {
    proto::OutlierDetection {
        consecutive_5xx: Some(0),
        consecutive_gateway_errors: 2,
        splits_local_origin: true,
        consecutive_local_failures: Some(1),
        interval_ms: 3_000,
        base_ejection_ms: 4_000,
        ejection_max_ms: 0,
        ejected_percent_max: Some(50),
        healthy_percent_min: 6,
        error_statuses: vec![
            proto::StatusRange { first: 429, last: 429 },
            proto::StatusRange { first: 500, last: 599 },
        ],
    }
}

#[test]
fn every_field_of_a_traffic_policy_reaches_the_waypoint() {
    let built = settings(
        "loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 30s, aggression: 1.5, minimumPercent: 20}, \
           localityLbSetting: {failover: [{from: eu, to: us}], failoverPriority: [topology.istio.io/network, topology.kubernetes.io/zone]}}, \
         connectionPool: {tcp: {maxConnections: 1, connectTimeout: 2s, tcpKeepalive: {probes: 3, time: 4s, interval: 5s}, \
             maxConnectionDuration: 6s, idleTimeout: 0s}, \
           http: {http1MaxPendingRequests: 7, http2MaxRequests: 8, maxRequestsPerConnection: 9, maxRetries: 10, idleTimeout: 11s, \
             h2UpgradePolicy: UPGRADE, useClientProtocol: true, maxConcurrentStreams: 12}}, \
         outlierDetection: {splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 1, consecutiveGatewayErrors: 2, \
           consecutive5xxErrors: 0, interval: 3s, baseEjectionTime: 4s, maxEjectionPercent: 50, minHealthPercent: 6, \
           outlierDetectionHttpErrorCodes: [429, {start: 500, end: 599}]}, \
         retryBudget: {percent: 12.5, minRetryConcurrency: 0}, \
         tls: {mode: MUTUAL, clientCertificate: /c.pem, privateKey: /k.pem, caCertificates: /ca.pem, caCrl: /crl.pem, \
           subjectAltNames: [a.example], sni: b.example, insecureSkipVerify: true}",
    );
    let expected = proto::BackendSettings {
        load_balancer: Some(proto::LoadBalancer {
            kind: Some(Kind::RoundRobin(proto::RoundRobin {})),
            warmup: Some(proto::Warmup {
                duration_ms: 30_000,
                aggression_thousandths: 1_500,
                percent_min: Some(20),
            }),
            locality: Some(proto::LocalityBalancing {
                failover: vec![proto::Failover { from: "eu".into(), to: "us".into() }],
                priority: vec![
                    proto::LocalityScope::Network.into(),
                    proto::LocalityScope::Zone.into(),
                ],
                ..Default::default()
            }),
        }),
        connection_pool: Some(every_bound()),
        outlier_detection: Some(every_threshold()),
        retry_budget: Some(proto::RetryBudget {
            percent_thousandths: Some(12_500),
            retries_min: Some(0),
        }),
        tls: Some(proto::UpstreamTls {
            mode: proto::TlsMode::Mutual.into(),
            server_name: "b.example".into(),
            subject_alt_names: vec!["a.example".into()],
            ca_pem: String::new(),
            ca_file: "/ca.pem".into(),
            client_certificate_file: "/c.pem".into(),
            private_key_file: "/k.pem".into(),
            credential: String::new(),
            revocation_file: "/crl.pem".into(),
            is_unverified: true,
            unavailable: String::new(),
        }),
        rate_limit: None,
        session: None,
        global_rate_limit: None,
    };
    assert_eq!(built, expected);
}

#[test]
fn balancers_are_converted() {
    let kind = |text: &str| settings(&format!("loadBalancer: {{{text}}}")).load_balancer.unwrap();
    let simple = |name: &str| kind(&format!("simple: {name}")).kind;
    for name in ["LEAST_REQUEST", "LEAST_CONN", "UNSPECIFIED"] {
        assert_eq!(simple(name), Some(Kind::LeastRequest(proto::LeastRequest::default())));
    }
    assert_eq!(simple("RANDOM"), Some(Kind::Random(proto::Random {})));
    assert_eq!(simple("PASSTHROUGH"), Some(Kind::Passthrough(proto::Passthrough {})));
    let hash = |text: &str| match kind(&format!("consistentHash: {{{text}}}")).kind {
        Some(Kind::ConsistentHash(hash)) => (hash.key.unwrap(), hash.algorithm.unwrap()),
        other => panic!("{other:?}"),
    };
    let ring = |size_min| Algorithm::Ring(proto::RingHash { size_min });
    assert_eq!(hash("httpHeaderName: X-User"), (Key::Header("x-user".into()), ring(0)));
    assert_eq!(
        hash("httpQueryParameterName: q, ringHash: {minimumRingSize: 2048}"),
        (Key::QueryParameter("q".into()), ring(2_048))
    );
    assert_eq!(
        hash("useSourceIp: true, minimumRingSize: 9"),
        (Key::SourceAddress(proto::SourceAddress {}), ring(9))
    );
    let cookie = "httpCookie: {name: sid, path: /, ttl: 0s, attributes: [{name: Secure}, {name: SameSite, value: Lax}]}";
    let expected = proto::HashCookie {
        name: "sid".into(),
        path: "/".into(),
        ttl_ms: Some(0),
        attributes: vec!["Secure".into(), "SameSite=Lax".into()],
    };
    let maglev = Algorithm::Maglev(proto::Maglev { table_size: 65_537 });
    let found = hash(&format!("{cookie}, maglev: {{tableSize: 65537}}"));
    assert_eq!(found, (Key::Cookie(expected), maglev));
    let warmup = kind("warmupDurationSecs: 1m").warmup.unwrap();
    assert_eq!((warmup.duration_ms, warmup.percent_min), (60_000, None));
    let locality = kind(
        "localityLbSetting: {distribute: [{from: eu/*, to: {eu/a/*: 80, us: 20}}], enabled: false}",
    );
    let locality = locality.locality.unwrap();
    assert!(locality.is_off && locality.distribute[0].to["us"] == 20);
}

#[test]
fn settings_of_a_port_replace_all_others_also_where_they_say_nothing() {
    let found = policy(&format!(
        "trafficPolicy: {{{}, outlierDetection: {{}}, retryBudget: {{percent: 50}}, \
           portLevelSettings: [{{port: {{number: 90}}, loadBalancer: {{simple: RANDOM}}}}]}}",
        marked(1)
    ));
    let all = found.settings.unwrap();
    assert!(all.outlier_detection.is_some() && requests_max(&all) == 1);
    let port = &found.ports[&90];
    assert!(port.load_balancer.is_some() && port.retry_budget == all.retry_budget);
    assert!(port.outlier_detection.is_none() && port.connection_pool.is_none());
}

#[test]
fn settings_of_a_subset_replace_parts_and_inherit_the_others() {
    let found = policy(&format!(
        "trafficPolicy: {{{}, outlierDetection: {{}}, portLevelSettings: [{{port: {{number: 90}}, {}}}]}}, \
         subsets: [{{name: v1}}, {{name: v2, trafficPolicy: {{loadBalancer: {{simple: RANDOM}}, \
           portLevelSettings: [{{port: {{number: 91}}, {}}}]}}}}]",
        marked(1),
        marked(2),
        marked(3)
    ));
    // One without a policy has the service's.
    assert_eq!(found.subsets.keys().collect::<Vec<_>>(), ["v2"]);
    let subset = &found.subsets["v2"];
    let all = subset.settings.as_ref().unwrap();
    assert!(all.load_balancer.is_some() && all.outlier_detection.is_some());
    assert_eq!(requests_max(all), 1);
    // The service's own port, with the subset's part over it.
    let port = &subset.ports[&90];
    assert!(port.load_balancer.is_some() && port.outlier_detection.is_none());
    assert_eq!(requests_max(port), 2);
    let port = &subset.ports[&91];
    assert!(port.load_balancer.is_none() && port.outlier_detection.is_none());
    assert_eq!(requests_max(port), 3);
}

#[test]
fn short_names_are_of_the_rules_own_namespace() {
    let other = rule("app", "a", &format!("{{host: web, trafficPolicy: {{{}}}}}", marked(1)));
    assert_eq!(backends(&[other]), BTreeMap::new());
    let full = "{host: web.shop.svc.cluster.local, trafficPolicy: {connectionPool: {}}}";
    // Not the service's namespace, its waypoint's, nor the root one.
    let translator = world(&[rule("app", "a", full)]);
    assert!(decoded(&translator).backends.is_empty());
    let status = message(&translator, "DestinationRule app/a");
    assert!(status.contains("WaypointAccepted=false/NotApplied"), "{status}");
}

/// `web` behind a waypoint of namespace `edge`.
fn bound(objects: &[String]) -> Translator {
    let labels = "labels: {istio.io/use-waypoint: wp, istio.io/use-waypoint-namespace: edge}";
    let services =
        SERVICES.replacen("namespace: shop}", &format!("namespace: shop, {labels}}}"), 1);
    let gateway = waypoint("edge", "wp", "istio.io/waypoint-for: all", "All");
    translated(Settings::standalone(), &(services + &objects.concat() + "---\n" + &gateway))
}

#[test]
fn waypoints_namespace_speaks_before_the_services_and_that_before_the_root() {
    const HOST: &str = "host: web.shop.svc.cluster.local";
    let of = |namespace: &str, mark: u32, more: &str| {
        rule(namespace, "a", &format!("{{{HOST}, {more} trafficPolicy: {{{}}}}}", marked(mark)))
    };
    let found = |objects: &[String]| {
        let found = decoded(&bound(objects)).backends.remove(WEB);
        found.map(|policy| requests_max(policy.settings.as_ref().unwrap()))
    };
    let [edge, shop, root] = [("edge", 1), ("shop", 2), ("istio-system", 3)];
    let [edge, shop, root] = [edge, shop, root].map(|(home, mark)| of(home, mark, ""));
    assert_eq!(found(&[root.clone(), shop.clone(), edge.clone()]), Some(1));
    assert_eq!(found(&[root.clone(), shop.clone()]), Some(2));
    assert_eq!(found(std::slice::from_ref(&root)), Some(3));
    // One that the waypoint's namespace isn't to see is as none.
    let kept = of("shop", 4, "exportTo: [.],");
    assert_eq!(found(&[root.clone(), kept.clone()]), Some(3));
    assert_eq!(found(&[root.clone(), of("shop", 5, "exportTo: [edge],")]), Some(5));
    assert_eq!(found(&[of("edge", 6, "exportTo: [.],")]), Some(6));
    let status = message(&bound(&[root, kept]), "DestinationRule shop/a");
    assert!(status.contains("WaypointAccepted=false/NotApplied"), "{status}");
    // Without the waypoint the service's own namespace looks.
    assert_eq!(backends(&[of("shop", 7, "exportTo: [.],"), edge]).len(), 1);
}

#[test]
fn rule_for_a_service_without_a_waypoint_says_so() {
    let rules = [rule("shop", "a", "{host: web, trafficPolicy: {}}")];
    let status = |translator: &Translator| message(translator, "DestinationRule shop/a");
    assert!(status(&world(&rules)).contains("none stands before it"));
    assert!(!status(&bound(&rules)).contains("none stands before it"));
}

#[test]
fn nearest_host_of_a_namespace_speaks() {
    let of = |name: &str, host: &str, mark| {
        rule("shop", name, &format!("{{host: '{host}', trafficPolicy: {{{}}}}}", marked(mark)))
    };
    let rules = [
        of("a", "*", 1),
        of("bb", "*.shop.svc.cluster.local", 2),
        of("ccc", "web", 3),
        of("dddd", "*.bank.example", 4),
    ];
    let marks = |rules: &[String]| -> Vec<u32> {
        let found = backends(rules).into_values();
        found.map(|policy| requests_max(policy.settings.as_ref().unwrap())).collect()
    };
    // The bank, then the shop.
    assert_eq!(marks(&rules), [4, 3]);
    assert_eq!(marks(&rules[..2]), [1, 2]);
    let translator = world(&rules);
    for (name, expected) in [
        ("a", "WaypointAccepted=false/NotApplied"),
        ("bb", "WaypointAccepted=false/NotApplied"),
        ("ccc", "WaypointAccepted=true/Accepted [] it counts for web.shop"),
    ] {
        let status = message(&translator, &format!("DestinationRule shop/{name}"));
        assert!(status.contains(expected), "{name}: {status}");
    }
}

#[test]
fn oldest_of_several_rules_speaks_and_subsets_are_those_of_all() {
    let subset =
        |name: &str, mark| format!("{{name: {name}, trafficPolicy: {{{}}}}}", marked(mark));
    let old = format!("{{host: web, subsets: [{}]}}", subset("v1", 1));
    let middle = format!(
        "{{host: web, trafficPolicy: {{{}}}, subsets: [{}, {}]}}",
        marked(2),
        subset("v1", 3),
        subset("v2", 4)
    );
    let young = format!("{{host: web, trafficPolicy: {{{}}}}}", marked(5));
    let rules = [rule("shop", "ccc", &young), rule("shop", "bb", &middle), rule("shop", "a", &old)];
    let found = backends(&rules).remove(WEB).unwrap();
    assert_eq!(requests_max(found.settings.as_ref().unwrap()), 2);
    let marks = found
        .subsets
        .iter()
        .map(|(name, it)| (name.as_str(), requests_max(it.settings.as_ref().unwrap())));
    assert_eq!(marks.collect::<Vec<_>>(), [("v1", 1), ("v2", 4)]);
    let origins: Vec<_> = found.origins.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(origins, ["a", "bb", "ccc"]);
    let translator = world(&rules);
    for (name, expected) in [
        ("a", "WaypointAccepted=true/Accepted"),
        ("bb", "WaypointAccepted=true/PartiallyConflicted [\"spec.subsets[0].trafficPolicy\"]"),
        ("ccc", "WaypointAccepted=true/PartiallyConflicted [\"spec.trafficPolicy\"]"),
    ] {
        let status = message(&translator, &format!("DestinationRule shop/{name}"));
        assert!(status.contains(expected), "{name}: {status}");
    }
}

#[test]
fn what_is_not_honoured_is_named() {
    let spec = "{host: web, trafficPolicy: {tunnel: {targetHost: a}, proxyProtocol: {version: V2}, \
        loadBalancer: {consistentHash: {useSourceIp: true}, warmup: {duration: 1s}, zoneAwareLbSetting: {}, \
          localityLbSetting: {failoverPriority: [topology.kubernetes.io/region, tier, topology.kubernetes.io/zone]}}, \
        connectionPool: {http: {http2KeepAlive: {interval: 1s}}}, \
        outlierDetection: {consecutiveErrors: 5}, retryBudget: {budgetInterval: 1s}}, \
        subsets: [{name: v1, trafficPolicy: {tunnel: {}}}]}";
    let translator = world(&[rule("shop", "a", spec)]);
    let status = message(&translator, "DestinationRule shop/a");
    for field in [
        "spec.trafficPolicy.tunnel",
        "spec.trafficPolicy.proxyProtocol",
        "spec.trafficPolicy.loadBalancer.warmup",
        "spec.trafficPolicy.loadBalancer.zoneAwareLbSetting",
        "spec.trafficPolicy.loadBalancer.localityLbSetting.failoverPriority[1]",
        "spec.trafficPolicy.loadBalancer.localityLbSetting.failoverPriority[2]",
        "spec.trafficPolicy.connectionPool.http.http2KeepAlive",
        "spec.trafficPolicy.outlierDetection.consecutiveErrors",
        "spec.trafficPolicy.retryBudget.budgetInterval",
        "spec.subsets[0].trafficPolicy.tunnel",
    ] {
        assert!(status.contains(&format!("\"{field}\"")), "{field}: {status}");
    }
    assert!(status.contains("weft.io/FieldsHonoured=false/NotHonoured"), "{status}");
    let selected = "{host: web, workloadSelector: {matchLabels: {a: b}}, trafficPolicy: {}}";
    let translator = world(&[rule("shop", "a", selected)]);
    assert!(decoded(&translator).backends.is_empty());
    let status = message(&translator, "DestinationRule shop/a");
    assert!(status.contains("false/UnsupportedValue [\"spec.workloadSelector\"]"), "{status}");
    let nowhere = world(&[rule("shop", "a", "{host: none, trafficPolicy: {}}")]);
    let status = message(&nowhere, "DestinationRule shop/a");
    assert!(status.contains("false/NoMatchingHost [\"spec.host\"]"), "{status}");
}

#[test]
fn tls_is_what_the_rule_says() {
    let spec = "{host: api.bank.example, trafficPolicy: {tls: {mode: SIMPLE}}}";
    let translator = world(&[rule("shop", "a", spec)]);
    let found = decoded(&translator).backends.remove("shop/api.bank.example").unwrap();
    let tls = found.settings.unwrap().tls.unwrap();
    // Names of certificates are the entry's.
    assert_eq!(
        (tls.subject_alt_names, tls.unavailable),
        (vec!["bank.example".into()], String::new())
    );
    let mesh = settings("tls: {mode: ISTIO_MUTUAL}").tls.unwrap();
    assert_eq!(mesh.mode(), proto::TlsMode::Mesh);
    assert_eq!(settings("tls: {mode: DISABLE}").tls.unwrap().mode(), proto::TlsMode::Disabled);
}

#[test]
fn nonsense_is_refused_with_its_field() {
    let of = |spec: &str| refused(&rule("shop", "a", spec)).to_string();
    let policy = |parts: &str| of(&format!("{{host: web, trafficPolicy: {{{parts}}}}}"));
    for (parts, field) in [
        ("loadBalancer: {simple: FASTEST}", "spec.trafficPolicy.loadBalancer.simple"),
        ("loadBalancer: {simple: RANDOM, consistentHash: {useSourceIp: true}}", "loadBalancer"),
        ("loadBalancer: {consistentHash: {}}", "consistentHash"),
        (
            "loadBalancer: {consistentHash: {useSourceIp: true, httpHeaderName: a}}",
            "consistentHash",
        ),
        ("loadBalancer: {consistentHash: {httpHeaderName: 'a b'}}", "httpHeaderName"),
        ("loadBalancer: {consistentHash: {httpCookie: {name: 'a;b'}}}", "httpCookie.name"),
        ("loadBalancer: {consistentHash: {httpCookie: {name: a, path: '/;x'}}}", "httpCookie.path"),
        (
            "loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 65536}}}",
            "tableSize",
        ),
        (
            "loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 5000011}}}",
            "tableSize",
        ),
        (
            "loadBalancer: {consistentHash: {useSourceIp: true, ringHash: {minimumRingSize: 9000000}}}",
            "minimumRingSize",
        ),
        ("loadBalancer: {warmup: {duration: 0s}}", "warmup.duration"),
        ("loadBalancer: {warmup: {duration: 1s, aggression: 0}}", "warmup.aggression"),
        ("loadBalancer: {warmup: {duration: 1s}, warmupDurationSecs: 1s}", "warmupDurationSecs"),
        (
            "loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {b: 99}}]}}",
            "distribute[0].to",
        ),
        (
            "loadBalancer: {localityLbSetting: {distribute: [{from: '*/a', to: {b: 100}}]}}",
            "distribute[0].from",
        ),
        ("loadBalancer: {localityLbSetting: {failover: [{from: a, to: a}]}}", "failover[0]"),
        ("connectionPool: {tcp: {maxConnections: -1}}", "tcp.maxConnections"),
        ("connectionPool: {tcp: {connectTimeout: 1us}}", "tcp.connectTimeout"),
        ("connectionPool: {http: {maxRetries: 5000000000}}", "http.maxRetries"),
        ("connectionPool: {http: {http3: true}}", "http"),
        ("outlierDetection: {maxEjectionPercent: 101}", "maxEjectionPercent"),
        ("outlierDetection: {baseEjectionTime: soon}", "baseEjectionTime"),
        (
            "outlierDetection: {outlierDetectionHttpErrorCodes: [600]}",
            "outlierDetectionHttpErrorCodes[0]",
        ),
        ("retryBudget: {percent: 101}", "retryBudget.percent"),
        ("tls: {mode: MUTUAL}", "tls.clientCertificate"),
        ("tls: {mode: ISTIO_MUTUAL, sni: a}", "tls.sni"),
        ("tls: {mode: SIMPLE, credentialName: a, caCertificates: b}", "tls.caCertificates"),
        ("portLevelSettings: [{tls: {mode: DISABLE}}]", "portLevelSettings[0].port.number"),
        (
            "portLevelSettings: [{port: {number: 1}}, {port: {number: 1}}]",
            "portLevelSettings[1].port.number",
        ),
    ] {
        let message = policy(parts);
        assert!(message.contains(field), "{parts}: {message}");
    }
    for (spec, field) in [
        ("{host: 'we b'}", "spec.host"),
        ("{host: web, exportTo: ['a b']}", "spec.exportTo[0]"),
        ("{host: web, subsets: [{name: a}, {name: a}]}", "spec.subsets[1].name"),
    ] {
        let message = of(spec);
        assert!(message.contains(field), "{spec}: {message}");
    }
}

#[test]
fn rate_limit_of_a_service_is_for_all_of_its_endpoints() {
    let limited = |text: &str| {
        let annotations = format!("annotations: {{weft.io/local-rate-limit: {text}}}");
        let services =
            SERVICES.replace("namespace: shop}", &format!("namespace: shop, {annotations}}}"));
        let rule = "{host: web, subsets: [{name: v1, trafficPolicy: {}}]}";
        translated(Settings::standalone(), &(services + &rule_of_shop(rule)))
    };
    let found = decoded(&limited("5/1s burst 9")).backends;
    assert_eq!(found.len(), 2);
    let limit = Some(proto::RateLimit { burst: 9, tokens: 5, interval_ms: 1_000 });
    assert_eq!(found[WEB].settings.as_ref().unwrap().rate_limit, limit);
    assert_eq!(found[WEB].subsets["v1"].settings.as_ref().unwrap().rate_limit, limit);
    let translator = limited("often");
    assert_eq!(decoded(&translator).backends[WEB].settings.as_ref().unwrap().rate_limit, None);
    for key in ["Service shop/web", "ServiceEntry shop/bank"] {
        let status = message(&translator, key);
        assert!(status.contains("weft.io/RateLimited=false/InvalidValue"), "{key}: {status}");
    }
}

fn rule_of_shop(spec: &str) -> String {
    rule("shop", "a", spec)
}
