//! TLS to endpoints that BackendTLSPolicies ask for.

use weft_proto::route as proto;

use crate::objects::{ObjectChange, Pool};
use crate::translate::Translator;

use super::{WEB, added, decoded, message, objects, waypoint, with};

const CA: &str = include_str!("../../objects/ca.test.pem");

const SERVICES: &str = r"
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{name: http, port: 80}, {name: tls, port: 443}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: bank, namespace: shop}
spec: {hosts: [api.bank.example], ports: [{number: 443, name: https, protocol: HTTPS}], resolution: DNS, subjectAltNames: [other.example]}
---
";

/// Attached to `web`, the older the shorter its name.
fn policy(name: &str, section: &str, validation: &str) -> String {
    let section = if section.is_empty() { "" } else { &format!(", sectionName: {section}") };
    let target = format!("{{group: '', kind: Service, name: web{section}}}");
    attached(name, &target, validation)
}

fn attached(name: &str, target: &str, validation: &str) -> String {
    let created = name.len();
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\n\
         metadata: {{name: {name}, namespace: shop, creationTimestamp: '2026-01-0{created}T00:00:00Z'}}\n\
         spec: {{targetRefs: [{target}], validation: {{{validation}}}}}\n---\n"
    )
}

fn config_map(name: &str, text: &str) -> String {
    let text = text.trim_end().replace('\n', "\n    ");
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: shop}}\ndata:\n  ca.crt: |\n    {text}\n---\n"
    )
}

fn rule(spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: r, namespace: shop}}\nspec: {{host: web, {spec}}}\n---\n"
    )
}

fn system(host: &str) -> String {
    format!("wellKnownCACertificates: System, hostname: {host}")
}

fn named(maps: &[&str]) -> String {
    let refs = maps.iter().map(|name| format!("{{group: '', kind: ConfigMap, name: {name}}}"));
    let refs: Vec<_> = refs.collect();
    format!("caCertificateRefs: [{}], hostname: web.example", refs.join(", "))
}

fn world(parts: &[&str]) -> Translator {
    with(SERVICES, parts)
}

/// TLS on port 80, and on port 443.
fn tls(translator: &Translator) -> [Option<proto::UpstreamTls>; 2] {
    let Some(found) = decoded(translator).backends.remove(WEB) else {
        return [None, None];
    };
    [80, 443].map(|port| found.ports.get(&port).or(found.settings.as_ref()).unwrap().tls.clone())
}

fn hosts(translator: &Translator) -> [String; 2] {
    tls(translator).map(|it| it.map(|tls| tls.server_name).unwrap_or_default())
}

fn status(translator: &Translator, name: &str) -> String {
    message(translator, &format!("BackendTLSPolicy shop/{name}"))
}

#[test]
fn policy_says_whom_endpoints_have_to_be() {
    let alt_names = "subjectAltNames: [{type: Hostname, hostname: A.example}, {type: URI, uri: 'spiffe://td/ns/a/sa/b'}]";
    let map = config_map("ca", CA);
    let asked = policy("a", "", &format!("{}, {alt_names}", named(&["ca"])));
    let expected = proto::UpstreamTls {
        mode: proto::TlsMode::Simple.into(),
        server_name: "web.example".into(),
        subject_alt_names: vec!["a.example".into(), "spiffe://td/ns/a/sa/b".into()],
        ca_pem: CA.into(),
        ..Default::default()
    };
    let translator = world(&[&map, &asked, &waypoint("shop", "w", "", "Same")]);
    assert_eq!(tls(&translator), [Some(expected.clone()), Some(expected)]);
    let origins = &decoded(&translator).backends[WEB].origins;
    assert_eq!((origins.len(), origins[0].kind.as_str()), (1, "BackendTLSPolicy"));
    let told = status(&translator, "a");
    assert!(told.contains("Accepted=true/Accepted"), "{told}");
    assert!(told.contains("ResolvedRefs=true/ResolvedRefs"), "{told}");
    // The system's own.
    let [found, _] = tls(&world(&[&policy("a", "", &system("web.example"))]));
    let found = found.unwrap();
    assert!(found.ca_pem.is_empty() && found.subject_alt_names.is_empty(), "{found:?}");
    assert!(found.unavailable.is_empty() && found.server_name == "web.example");
}

#[test]
fn policy_of_a_port_speaks_before_the_service_s_and_of_equals_the_oldest() {
    let all = policy("aaa", "", &system("all"));
    let of_port = policy("aaaa", "tls", &system("port"));
    assert_eq!(hosts(&world(&[&all, &of_port])), ["all", "port"]);
    assert_eq!(hosts(&world(&[&of_port])), ["", "port"]);
    let older = policy("a", "tls", &system("older"));
    let twin = policy("b", "tls", &system("twin"));
    let translator = world(&[&all, &of_port, &twin, &older]);
    assert_eq!(hosts(&translator), ["all", "older"]);
    for name in ["aaaa", "b"] {
        let told = status(&translator, name);
        assert!(told.contains("Accepted=false/Conflicted"), "{told}");
        assert!(told.contains("a has the same target"), "{told}");
    }
    assert!(status(&translator, "a").contains("Accepted=true"));
    let origins = &decoded(&translator).backends[WEB].origins;
    assert_eq!(origins.iter().map(|it| &*it.name).collect::<Vec<_>>(), ["aaa", "a"]);
}

#[test]
fn destination_rule_that_says_which_tls_counts_before_a_policy() {
    let asked = policy("a", "", &system("policy"));
    let own = "tls: {mode: SIMPLE, sni: rule}";
    for (spec, wanted, told) in [
        (format!("trafficPolicy: {{{own}}}"), ["rule", "rule"], "false/Conflicted"),
        ("trafficPolicy: {tls: {mode: DISABLE}}".into(), ["", ""], "false/Conflicted"),
        ("trafficPolicy: {outlierDetection: {}}".into(), ["policy", "policy"], "true/Accepted"),
        (
            format!("trafficPolicy: {{portLevelSettings: [{{port: {{number: 80}}, {own}}}]}}"),
            ["rule", "policy"],
            "true/PartiallyConflicted",
        ),
        (
            format!("trafficPolicy: {{{own}, portLevelSettings: [{{port: {{number: 80}}}}]}}"),
            ["policy", "rule"],
            "true/PartiallyConflicted",
        ),
        (
            format!("subsets: [{{name: v1, trafficPolicy: {{{own}}}}}]"),
            ["policy", "policy"],
            "true/PartiallyConflicted",
        ),
    ] {
        let translator = world(&[&asked, &rule(&spec)]);
        assert_eq!(hosts(&translator), wanted, "{spec}");
        let status = status(&translator, "a");
        assert!(status.contains(&format!("Accepted={told}")), "{spec}: {status}");
    }
}

#[test]
fn policy_is_nearer_than_a_destination_rule_of_all_hosts_below() {
    let wide = rule("trafficPolicy: {tls: {mode: DISABLE}, outlierDetection: {}}")
        .replace("host: web", "host: '*.svc.cluster.local'");
    let translator = world(&[&policy("a", "tls", &system("policy")), &wide]);
    assert_eq!(hosts(&translator), ["", "policy"]);
    assert!(decoded(&translator).backends[WEB].ports[&443].outlier_detection.is_some());
    let told = status(&translator, "a");
    assert!(told.contains("Accepted=true/Accepted"), "{told}");
}

#[test]
fn subsets_have_the_policy_too_each_port_its_own() {
    let subsets = "subsets: [{name: v1, trafficPolicy: {loadBalancer: {simple: RANDOM}}}]";
    let of_port = policy("a", "tls", &system("port"));
    let all = policy("b", "", &system("all"));
    let found = decoded(&world(&[&of_port, &all, &rule(subsets)])).backends.remove(WEB).unwrap();
    let subset = &found.subsets["v1"];
    let host = |it: &proto::BackendSettings| it.tls.clone().unwrap().server_name;
    assert_eq!(host(subset.settings.as_ref().unwrap()), "all");
    assert_eq!(host(&subset.ports[&443]), "port");
    assert!(subset.ports[&443].load_balancer.is_some());
}

#[test]
fn entry_s_own_names_do_not_widen_what_a_policy_asks_for() {
    let target = "{group: networking.istio.io, kind: ServiceEntry, name: bank}";
    let found = decoded(&world(&[&attached("a", target, &system("api.bank.example"))]));
    let tls = found.backends["shop/api.bank.example"].settings.clone().unwrap().tls.unwrap();
    assert_eq!((tls.server_name.as_str(), tls.subject_alt_names.len()), ("api.bank.example", 0));
}

#[test]
fn connections_fail_where_certificates_can_not_be_had() {
    let foreign = "caCertificateRefs: [{group: '', kind: Secret, name: ca}], hostname: web.example";
    for (maps, validation, wanted) in [
        ("", named(&["ca"]), "InvalidCACertificateRef"),
        (&*config_map("ca", "none"), named(&["ca"]), "InvalidCACertificateRef"),
        ("", foreign.to_owned(), "InvalidKind"),
    ] {
        // A younger policy that could be had doesn't stand in.
        let translator =
            world(&[maps, &policy("a", "", &validation), &policy("aa", "", &system("younger"))]);
        for tls in tls(&translator) {
            let tls = tls.expect("never plaintext");
            assert!(tls.unavailable.contains("BackendTLSPolicy shop/a: "), "{tls:?}");
        }
        let told = status(&translator, "a");
        assert!(told.contains("Accepted=false/NoValidCACertificate"), "{told}");
        let resolved = format!("ResolvedRefs=false/{wanted} [\"spec.validation.caCert");
        assert!(told.contains(&resolved), "{told}");
    }
}

#[test]
fn references_that_lead_nowhere_leave_the_others_trusted() {
    let translator = world(&[&config_map("ca", CA), &policy("a", "", &named(&["absent", "ca"]))]);
    let [found, _] = tls(&translator);
    assert_eq!(found.unwrap().ca_pem, CA);
    let told = status(&translator, "a");
    assert!(told.contains("Accepted=true/Accepted"), "{told}");
    let resolved = "ResolvedRefs=false/InvalidCACertificateRef [\"spec.validation.caCertificateRefs[0]\"] there is no ConfigMap absent";
    assert!(told.contains(resolved), "{told}");
}

#[test]
fn config_maps_are_read_if_they_have_certificates() {
    let kind = |text: &str| objects::header(text.trim_end_matches("---\n")).unwrap().kind();
    let map = config_map("ca", CA);
    assert!(kind(&map).is_some());
    assert!(kind(&map.replace("ca.crt", "other")).is_none());
    for data in ["[ca.crt]", "ca.crt", "{1: ca.crt}", "1", "null", "{}"] {
        let text = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: x}}\ndata: {data}");
        assert!(kind(&text).is_none(), "{data}");
    }
    // One that is being broken stays in force as it was.
    let broken = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ca\ndata: {ca.crt: [";
    assert!(objects::header(broken).is_err() && objects::sniff(broken).key().is_some());
    // The mesh's own is always read.
    assert!(kind(&map.replace("name: ca", "name: istio").replace("ca.crt", "other")).is_some());
}

#[test]
fn change_of_a_config_map_reaches_the_policies_that_name_it() {
    let mut translator = world(&[&policy("a", "", &named(&["ca"]))]);
    let map = |text: &str| added(objects(&config_map("ca", text)));
    let pem = |translator: &Translator| tls(translator)[0].clone().unwrap().ca_pem;
    assert_eq!(pem(&translator), "");
    assert_eq!(translator.apply(map(CA)).len(), 1);
    assert_eq!(pem(&translator), CA);
    translator.apply(map(&CA.repeat(2)));
    assert_eq!(pem(&translator), CA.repeat(2));
    // Another one concerns nobody.
    assert!(translator.apply(added(objects(&config_map("other", CA)))).is_empty());
    let mut gone = map(CA);
    gone[0].object = None;
    translator.apply(gone);
    assert!(tls(&translator)[0].clone().unwrap().unavailable.contains("no ConfigMap ca"));
    assert_eq!(pem(&translator), "");
}

#[test]
fn target_that_is_not_there_is_told() {
    let absent = "{group: '', kind: Service, name: absent}";
    let translator =
        world(&[&attached("a", absent, &system("a")), &policy("b", "absent", &system("b"))]);
    for name in ["a", "b"] {
        let told = status(&translator, name);
        assert!(told.contains("Accepted=false/TargetNotFound"), "{told}");
    }
    assert_eq!(tls(&translator), [None, None]);
    let no_waypoint = status(&world(&[&policy("c", "", &system("c"))]), "c");
    assert!(no_waypoint.contains("none stands before it"), "{no_waypoint}");
}

#[test]
fn policy_that_can_not_be_read_lets_connections_fail() {
    let text = policy("a", "tls", &system("a")).replace("hostname", "hostnames");
    let text = text.trim_end_matches("---\n");
    let key = objects::header(text).unwrap().key().unwrap();
    assert!(objects::read(key.kind, text, &mut Pool::default()).is_err());
    let object = objects::unreadable(&key, text, &mut Pool::default());
    let mut translator = world(&[]);
    translator.apply(vec![ObjectChange { key, object }]);
    let [plain, refused] = tls(&translator);
    assert_eq!(plain, None);
    assert!(refused.unwrap().unavailable.contains("can't be read"));
    assert!(status(&translator, "a").contains("Accepted=false/Invalid"));
}

#[test]
fn certificates_for_very_many_settings_are_too_many() {
    let subsets: Vec<_> = (0..999)
        .map(|at| format!("{{name: s{at}, trafficPolicy: {{loadBalancer: {{simple: RANDOM}}}}}}"))
        .collect();
    let rule = rule(&format!("subsets: [{}]", subsets.join(", ")));
    let map = config_map("ca", &CA.repeat(300));
    let translator = world(&[&rule, &map, &policy("a", "", &named(&["ca"]))]);
    assert!(tls(&translator)[0].clone().unwrap().unavailable.contains("too many"));
    let told = status(&translator, "a");
    assert!(told.contains("NoValidCACertificate") && told.contains("too many"), "{told}");
}
