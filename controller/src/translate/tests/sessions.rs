//! Requests that stay together, and limits that others count: what services and their routes say.

use weft_proto::route as proto;
use weft_proto::route::http_action::Outcome;
use weft_proto::route::session::Carrier;

use crate::translate::{Settings, Translator};

use super::policies::refused;
use super::{decoded, message, translated};

const WEB: &str = "shop/web.shop.svc.cluster.local";

fn service(more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: shop{more}}}\n\
         spec: {{ports: [{{name: http, port: 80}}]}}\n---\n"
    )
}

fn route(kind: &str, rules: &[&str]) -> String {
    let rules: Vec<_> = rules
        .iter()
        .map(|rule| format!("{{{rule}, backendRefs: [{{name: web, port: 80}}]}}"))
        .collect();
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: r, namespace: shop}}\n\
         spec: {{parentRefs: [{{group: '', kind: Service, name: web}}], rules: [{}]}}\n---\n",
        rules.join(", ")
    )
}

fn world(yaml: &str) -> Translator {
    translated(Settings::standalone(), yaml)
}

fn sessions(kind: &str, rules: &[&str]) -> Vec<proto::Session> {
    let table = decoded(&world(&(service("") + &route(kind, rules)))).routes.remove(WEB).unwrap();
    let actions = table.sets[0].http.clone().unwrap().actions;
    let session = |action: proto::HttpAction| match action.outcome {
        Some(Outcome::Forward(forward)) => forward.session,
        _ => None,
    };
    actions.into_iter().filter_map(session).collect()
}

fn persistence(text: &str) -> String {
    format!("sessionPersistence: {{{text}}}")
}

#[test]
fn sessions_of_rules_are_converted() {
    let cookie = persistence(
        "sessionName: Cart, absoluteTimeout: 12h, idleTimeout: 30m, cookieConfig: {lifetimeType: Permanent}",
    );
    let header = persistence("type: Header, sessionName: X-Cart");
    for kind in ["HTTPRoute", "GRPCRoute"] {
        let found = sessions(kind, &[&cookie, &header]);
        let permanent = proto::SessionCookie {
            name: "Cart".into(),
            path: String::new(),
            is_permanent: true,
            attributes: vec!["SameSite=Strict".into()],
        };
        let expected = proto::Session {
            scope: format!("{kind} shop/r 0"),
            carrier: Some(Carrier::Cookie(permanent)),
            absolute_ms: 43_200_000,
            idle_ms: 1_800_000,
        };
        assert_eq!(found[0], expected);
        assert_eq!(found[1].carrier, Some(Carrier::Header("x-cart".into())));
        assert_eq!((found[1].absolute_ms, found[1].idle_ms), (0, 0));
    }
}

#[test]
fn rules_share_no_sessions_and_have_names_of_their_own() {
    let plain = persistence("");
    let named = format!("name: a, {plain}");
    let found = sessions("HTTPRoute", &[&plain, &plain, &named]);
    let names: std::collections::BTreeSet<_> = found
        .iter()
        .map(|it| match &it.carrier {
            Some(Carrier::Cookie(cookie)) => cookie.name.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names.len(), 3);
    assert!(names.iter().all(|name| name.starts_with("weft-session-")), "{names:?}");
    let scopes: Vec<_> = found.iter().map(|it| &*it.scope).collect();
    // A rule with a name keeps its sessions wherever it stands.
    assert_eq!(scopes, ["HTTPRoute shop/r 0", "HTTPRoute shop/r 1", "HTTPRoute shop/r /a"]);
}

#[test]
fn sessions_that_mean_nothing_are_refused_with_their_field() {
    for (text, field) in [
        ("sessionName: 'a b'", "sessionName"),
        ("type: Header, sessionName: Host", "sessionName"),
        ("type: Header, sessionName: content-length", "sessionName"),
        ("absoluteTimeout: soon", "absoluteTimeout"),
        ("idleTimeout: 0s", "idleTimeout"),
        ("cookieConfig: {lifetimeType: Permanent}", "absoluteTimeout"),
        ("type: Header, cookieConfig: {lifetimeType: Session}", "cookieConfig"),
    ] {
        for kind in ["HTTPRoute", "GRPCRoute"] {
            let error = refused(&route(kind, &[&persistence(text)]));
            let field = format!("spec.rules[0].sessionPersistence.{field}");
            assert_eq!(error.field, Some(field), "{text}: {error}");
            assert_eq!(error.line, Some(4), "{text}: {error}");
        }
    }
    let long = persistence(&format!("sessionName: {}", "x".repeat(129)));
    assert!(refused(&route("HTTPRoute", &[&long])).to_string().contains("128"));
}

fn settings(yaml: &str) -> Option<proto::BackendSettings> {
    decoded(&world(yaml)).backends.remove(WEB)?.settings
}

#[test]
fn labels_of_a_service_say_whose_requests_stay_together() {
    let labelled = |labels: &str| service(&format!(", labels: {{{labels}}}"));
    let carrier = |labels: &str| settings(&labelled(labels))?.session?.carrier;
    let cookie = |name: &str, path: &str| {
        let (name, path) = (name.to_owned(), path.to_owned());
        Some(Carrier::Cookie(proto::SessionCookie { name, path, ..Default::default() }))
    };
    assert_eq!(carrier("istio.io/persistent-session: sid"), cookie("sid", "/"));
    assert_eq!(carrier("istio.io/persistent-session: 'sid:/a'"), cookie("sid", "/a"));
    let header = Some(Carrier::Header("x-sid".into()));
    assert_eq!(carrier("istio.io/persistent-session-header: X-Sid"), header);
    let both = "istio.io/persistent-session: sid, istio.io/persistent-session-header: x-sid";
    assert_eq!(carrier(both), cookie("sid", "/"));
    assert_eq!(settings(&service("")), None);
    for (label, value) in [
        ("istio.io/persistent-session", "a b"),
        ("istio.io/persistent-session", "sid:a"),
        ("istio.io/persistent-session-header", "host"),
    ] {
        let translator = world(&labelled(&format!("{label}: '{value}'")));
        assert!(decoded(&translator).backends.is_empty());
        let status = message(&translator, "Service shop/web");
        let expected =
            format!("weft.io/SessionPersistence=false/InvalidValue [\"metadata.labels.{label}\"]");
        assert!(status.contains(&expected), "{value}: {status}");
    }
}

fn mesh(provider: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata:\n  mesh: |\n    \
         extensionProviders: [{{name: limiter, envoyRateLimitGrpc: {{{provider}}}}}]\n---\n"
    )
}

const PROVIDER: &str = "service: shop/limiter.shop.svc.cluster.local, port: 8081";
const ASKED: &str =
    "provider: limiter, domain: shop, descriptors: [[{from: path}, {header: X-User, key: user}]]";

fn limited(text: &str) -> String {
    service(&format!(", annotations: {{weft.io/global-rate-limit: '{{{text}}}'}}"))
}

#[test]
fn limit_that_a_service_counts_is_converted_with_its_provider() {
    let of = |provider: &str| {
        settings(&(mesh(provider) + &limited(ASKED))).unwrap().global_rate_limit.unwrap()
    };
    let entry = |key: &str, value| proto::LimitEntry { key: key.into(), value: Some(value) };
    let entries = vec![
        entry("path", proto::limit_entry::Value::Attribute(proto::LimitAttribute::Path.into())),
        entry("user", proto::limit_entry::Value::Header("x-user".into())),
    ];
    let expected = proto::GlobalRateLimit {
        provider: "limiter".into(),
        namespace: "shop".into(),
        hostname: "limiter.shop.svc.cluster.local".into(),
        port: 8081,
        domain: "shop".into(),
        descriptors: vec![proto::LimitDescriptor { entries }],
        ..Default::default()
    };
    assert_eq!(of(PROVIDER), expected);
    let more = "timeout: 50ms, failOpen: false, statusOnError: '503', rateLimitedAsResourceExhausted: true";
    let strict = proto::GlobalRateLimit {
        timeout_ms: 50,
        fails_closed: true,
        status_on_error: 503,
        as_resource_exhausted: true,
        ..expected
    };
    assert_eq!(of(&format!("{PROVIDER}, {more}")), strict);
}

#[test]
fn limit_that_nobody_can_count_is_said() {
    for (yaml, reason) in [
        (limited(ASKED), "ProviderNotFound"),
        (mesh("service: 'a b', port: 1") + &limited(ASKED), "ProviderNotFound"),
        (
            mesh(PROVIDER) + &limited("provider: other, domain: a, descriptors: [[{from: path}]]"),
            "ProviderNotFound",
        ),
        (
            mesh(PROVIDER) + &limited("provider: limiter, domain: a, descriptors: []"),
            "InvalidValue",
        ),
    ] {
        let translator = world(&yaml);
        assert!(decoded(&translator).backends.is_empty());
        let status = message(&translator, "Service shop/web");
        let expected = format!(
            "weft.io/GloballyRateLimited=false/{reason} [\"metadata.annotations.weft.io/global-rate-limit\"]"
        );
        assert!(status.contains(&expected), "{yaml}: {status}");
    }
    for bad in [
        "service: 'a b', port: 1",
        "service: a, port: 1, timeout: 11s",
        "service: a, port: 1, more: 1",
    ] {
        let status = message(&world(&mesh(bad)), "ConfigMap istio-system/istio");
        assert!(status.contains("weft.io/Accepted=false/PartiallyInvalid"), "{bad}: {status}");
    }
}

#[test]
fn limit_follows_the_meshs_configuration() {
    let yaml = limited(ASKED);
    assert_eq!(settings(&yaml), None);
    assert!(settings(&(yaml + &mesh(PROVIDER))).is_some());
}
