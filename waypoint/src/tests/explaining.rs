//! Explanations agree with what is done, and dumps tell no secret.

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use weft_core::admin::explanation::Explanation;
use weft_proto::contract::type_url;
use weft_proto::route::condition::Kind;
use weft_proto::route::filter::Kind as Filter;
use weft_proto::route::http_action::Outcome;
use weft_proto::route::path_condition::Kind as Path;
use weft_proto::route::text_match::Kind as Text;
use weft_proto::route::weighted_backend::Target;
use weft_proto::route::{self, access_matcher, access_path, checker};

use super::app::App;
use super::stage::{Stage, WEB, WEB_VIP, request};
use crate::dump::dump;
use crate::explain::{Asked, ExplainError, explain};

const PATHS: [&str; 9] =
    ["/", "/a", "/a/b", "/ab", "/a/../c", "/a/%2e%2e/c/d", "/c", "/a/b?x=1", "/a/%zz"];
const PREFIXES: [&str; 4] = ["", "/a", "/a/b", "/c"];

/// A rule: a prefix, perhaps a header, perhaps a method, perhaps negated.
type Asks = (usize, Option<u8>, Option<bool>, bool);
/// A request: a path, perhaps a header, whether it deletes.
type Sent = (usize, Option<u8>, bool);

fn text(text: impl ToString) -> Option<route::TextMatch> {
    Some(route::TextMatch { kind: Some(Text::Exact(text.to_string())), ignore_case: false })
}

fn rule(at: usize, (prefix, user, deletes, is_negated): &Asks) -> route::HttpRule {
    let path = Path::ElementPrefix(PREFIXES[*prefix].to_owned());
    let path = Kind::Path(route::PathCondition { kind: Some(path), ignore_case: false });
    let user = user.map(|user| {
        Kind::Header(route::HeaderCondition { name: "x-user".to_owned(), value: text(user) })
    });
    let method = deletes.map(|it| if it { "DELETE" } else { "GET" });
    let method = method.and_then(|method| text(method).map(Kind::Method));
    let conditions = [Some(path), user, method].into_iter().flatten();
    let conditions = conditions.enumerate().map(|(place, kind)| route::Condition {
        kind: Some(kind),
        negated: *is_negated && place > 0,
    });
    route::HttpRule { conditions: conditions.collect(), action: u32::try_from(at).unwrap() }
}

/// It marks its response with its place; every third one answers here.
fn action(at: usize) -> route::HttpAction {
    let mark = route::Header { name: "x-rule".to_owned(), value: at.to_string() };
    let edit = route::HeaderEdit { set: vec![mark], ..Default::default() };
    let to = route::Destination {
        namespace: "shop".to_owned(),
        hostname: WEB.to_owned(),
        port: 80,
        ..Default::default()
    };
    let backend =
        route::WeightedBackend { weight: 1, target: Some(Target::To(to)), ..Default::default() };
    let outcome = match at % 3 {
        0 => Outcome::Direct(route::DirectResponse { status: 418, ..Default::default() }),
        _ => Outcome::Forward(route::Forward { backends: vec![backend], ..Default::default() }),
    };
    route::HttpAction {
        outcome: Some(outcome),
        filters: vec![route::Filter { kind: Some(Filter::ResponseHeaders(edit)) }],
        ..Default::default()
    }
}

/// Nobody may do anything at `/c` and below.
fn denial() -> route::AccessPolicy {
    let text = |kind| route::TextMatch { kind: Some(kind), ignore_case: false };
    let path = |kind| route::AccessPath { kind: Some(access_path::Kind::Text(text(kind))) };
    let values = vec![path(Text::Exact("/c".to_owned())), path(Text::Prefix("/c/".to_owned()))];
    let kind = Some(access_matcher::Kind::Path(route::PathValues { values }));
    let term = route::AccessTerm { all: vec![route::AccessMatcher { negated: false, kind }] };
    let rule = route::AccessRule { to: vec![term], ..Default::default() };
    let policy = route::Policy {
        name: "ns[shop]-policy[closed]".to_owned(),
        dry_run: false,
        rules: vec![rule],
    };
    route::AccessPolicy { deny: vec![policy], ..Default::default() }
}

fn asked(path: &str) -> Asked {
    Asked {
        source: "shop/client".to_owned(),
        service: WEB.to_owned(),
        port: None,
        method: "GET".to_owned(),
        path: path.to_owned(),
        headers: vec!["host: web.shop".to_owned()],
        server_name: None,
    }
}

/// `web` with one application, and a client that the mesh knows.
async fn stage() -> (Stage, App) {
    let app = App::named("web").await;
    let stage = Stage::with_web(app.at).await;
    stage.workload("client", "10.44.9.9", &[]);
    (stage, app)
}

async fn compare(stage: &Stage, (path, user, deletes): &Sent) -> Result<(), TestCaseError> {
    let method = if *deletes { "DELETE" } else { "GET" };
    let mut question = Asked { method: method.to_owned(), ..asked(PATHS[*path]) };
    let mut sent = request(method, PATHS[*path], "");
    if let Some(user) = user {
        sent.headers_mut().insert("x-user", u16::from(*user).into());
        question.headers.push(format!("x-user:{user}"));
    }
    let answered = stage.ask(sent).await;
    let told = explain(&stage.shared, &question).unwrap();
    let mark = answered.headers.get("x-rule").map(|it| it.to_str().unwrap().to_owned());
    prop_assert_eq!(told.rule.as_ref().map(|it| it.rank.to_string()), mark, "{:?}", &told);
    match told.answers {
        Some(status) => prop_assert_eq!(status, answered.status, "{:?}", &told),
        None => prop_assert_eq!(&*answered.body, "web", "{:?}", &told),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn explanation_is_what_a_request_meets(
        rules in prop::collection::vec(
            (0..PREFIXES.len(), prop::option::of(1_u8..3), prop::option::of(any::<bool>()), any::<bool>()),
            0..12,
        ),
        requests in prop::collection::vec(
            (0..PATHS.len(), prop::option::of(1_u8..3), any::<bool>()),
            1..16,
        ),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (stage, _app) = stage().await;
            stage.access(WEB, denial());
            let actions = (0..rules.len()).map(action).collect();
            let rules = rules.iter().enumerate().map(|(at, it)| rule(at, it)).collect();
            stage.routes(rules, actions);
            for sent in &requests {
                Box::pin(compare(&stage, sent)).await?;
            }
            Ok::<(), TestCaseError>(())
        })?;
    }
}

fn steps(told: &Explanation) -> Vec<&str> {
    told.steps.iter().map(|step| step.phase.as_str()).collect()
}

#[tokio::test]
async fn explanation_goes_from_the_binding_to_the_endpoints() {
    let (stage, _app) = stage().await;
    stage.routes(vec![rule(1, &(1, None, None, false))], vec![action(0), action(1)]);
    let told = explain(&stage.shared, &asked("/a/b")).unwrap();
    let wanted = ["binding", "path", "access", "route", "rule", "filters", "backend", "attempts"];
    assert_eq!(steps(&told), wanted, "{told:?}");
    assert_eq!(told.destination, format!("shop/{WEB}:80"));
    assert!(told.backends[0].endpoints[0].takes_requests, "{told:?}");
    let unmatched = explain(&stage.shared, &asked("/x")).unwrap();
    assert_eq!((unmatched.answers, unmatched.rule), (Some(404), None));
}

#[tokio::test]
async fn explanation_names_the_policy_that_refuses() {
    let (stage, _app) = stage().await;
    stage.access(WEB, denial());
    let told = explain(&stage.shared, &asked("/a/../c")).unwrap();
    assert_eq!(told.answers, Some(403));
    assert_eq!(steps(&told), ["binding", "path", "access"]);
    assert_eq!(told.steps[1].text, "the path /a/../c is read as /c (BASE)");
    assert!(told.steps[2].text.contains("ns[shop]-policy[closed]"), "{told:?}");
    assert_eq!(stage.get("/a/../c").await.status, 403);
}

#[tokio::test]
async fn service_without_a_waypoint_is_left_to_ztunnel() {
    let (stage, _app) = stage().await;
    stage.service("plain", "10.96.0.9", &[(80, 80, Default::default())], false);
    let told =
        explain(&stage.shared, &Asked { service: "shop/plain".to_owned(), ..asked("/") }).unwrap();
    assert_eq!(steps(&told), ["binding"]);
    assert!(told.steps[0].details[0].contains("ztunnel"), "{told:?}");
}

#[tokio::test]
async fn question_about_nobody_or_nothing_is_refused() {
    let (stage, _app) = stage().await;
    let ask = |change: &dyn Fn(&mut Asked)| {
        let mut question = asked("/");
        change(&mut question);
        explain(&stage.shared, &question).unwrap_err()
    };
    assert!(matches!(ask(&|it| it.source = "shop/no".into()), ExplainError::Source(_)));
    assert!(matches!(ask(&|it| it.service = "shop/no".into()), ExplainError::Service(_)));
    assert!(matches!(ask(&|it| it.port = Some(81)), ExplainError::Port { .. }));
    let error = ask(&|it| it.headers = vec!["authorization s3cret".into()]);
    assert!(!error.to_string().contains("s3cret"));
    let pairs = [("source".to_owned(), "a".to_owned())];
    assert!(matches!(Asked::read(&pairs), Err(ExplainError::Question(_))));
}

#[tokio::test]
async fn dump_shows_what_is_in_force() {
    let (stage, _app) = stage().await;
    stage.access(WEB, denial());
    stage.routes(vec![rule(0, &(1, Some(1), None, false))], vec![action(1)]);
    assert_eq!(stage.get("/x").await.status, 404);
    stage.routes(vec![rule(0, &(1, None, None, false))], vec![action(1)]);
    assert_eq!(stage.get("/a").await.body, "web");
    let dump = dump(&stage.shared);
    assert_eq!(dump.waypoint.services, ["shop/waypoint.shop.svc.cluster.local"]);
    let [web] = &dump.services[..] else { panic!("{:?}", dump.services) };
    assert_eq!(web.vips, [format!("/{WEB_VIP}")]);
    let rule = &web.routes.sets[0].http[0];
    assert_eq!(rule.conditions, ["path is \"/a\" or below"]);
    assert_eq!(rule.outcome, format!("to shop/{WEB}:80 (weight 1)"));
    let policy = &web.access.policies[0];
    assert_eq!((&*policy.action, policy.rules), ("DENY", 1));
    let [cluster] = &dump.clusters[..] else { panic!("{:?}", dump.clusters) };
    assert_eq!((&*cluster.service, cluster.port), (&*format!("shop/{WEB}"), 80));
    assert_eq!(cluster.endpoints.len(), 1);
    assert!(cluster.endpoints[0].takes_requests);
}

const SECRET: &str = "s3cret";

fn secret_header(name: &str) -> route::Header {
    route::Header { name: name.into(), value: SECRET.into() }
}

/// Routes and policies with everything that is a secret, or may be one.
fn tell_secret_rules(stage: &Stage) {
    let edit =
        route::HeaderEdit { set: vec![secret_header("authorization")], ..Default::default() };
    let mut forwarding = action(1);
    forwarding.filters.push(route::Filter { kind: Some(Filter::RequestHeaders(edit)) });
    let condition = route::HeaderCondition { name: "x-api-key".to_owned(), value: text(SECRET) };
    let condition = route::Condition { kind: Some(Kind::Header(condition)), negated: false };
    let guarded = route::HttpRule { conditions: vec![condition], action: 0 };
    let direct = Outcome::Direct(route::DirectResponse {
        status: 200,
        body: SECRET.as_bytes().to_vec(),
        ..Default::default()
    });
    let fixed = route::HttpAction { outcome: Some(direct), ..Default::default() };
    stage.routes(vec![guarded, rule(1, &(0, None, None, false))], vec![forwarding, fixed]);
    let keys =
        format!(r#"{{"keys":[{{"kty":"EC","crv":"P-256","d":"{SECRET}","k":"{SECRET}"}}]}}"#);
    let http = route::HttpCheck {
        additional_headers: vec![secret_header("authorization")],
        ..Default::default()
    };
    let asks = route::Checker {
        name: "opa".to_owned(),
        hostname: "opa.shop.svc.cluster.local".to_owned(),
        port: 9191,
        protocol: Some(checker::Protocol::Http(http)),
        ..Default::default()
    };
    let provider =
        route::JwtProvider { issuer: "https://issuer".to_owned(), keys, ..Default::default() };
    stage.access(
        WEB,
        route::AccessPolicy {
            providers: vec![provider],
            custom: vec![route::CustomPolicy {
                policy: Some(route::Policy::default()),
                checker: Some(asks),
            }],
            ..denial()
        },
    );
}

/// The same of how endpoints are treated and what is told.
fn tell_secret_settings(stage: &Stage) {
    let tls = route::UpstreamTls {
        mode: route::TlsMode::Mutual.into(),
        private_key_file: format!("/keys/{SECRET}"),
        client_certificate_file: "/keys/cert".to_owned(),
        ..Default::default()
    };
    let settings = route::BackendSettings { tls: Some(tls), ..Default::default() };
    stage.backends(WEB, route::BackendPolicy { settings: Some(settings), ..Default::default() });
    let tracing = route::TracingRule {
        collector_host: "otel".to_owned(),
        collector_port: 4317,
        headers: vec![route::TracingHeader { name: "api-key".into(), value: SECRET.into() }],
        ..Default::default()
    };
    let telemetry = route::TelemetryPolicy {
        namespace: "shop".to_owned(),
        hostname: WEB.to_owned(),
        tracing: Some(tracing),
        ..Default::default()
    };
    let bytes = prost::Message::encode_to_vec(&telemetry);
    stage.tell(type_url::TELEMETRY_POLICY, &format!("shop/{WEB}"), Some(bytes));
}

#[tokio::test]
async fn dump_never_shows_a_secret() {
    let (stage, _app) = stage().await;
    tell_secret_rules(&stage);
    tell_secret_settings(&stage);
    let own = stage.shared.own.identity.clone();
    stage.shared.certs.certificate(&own).await.unwrap();
    let dump = dump(&stage.shared);
    let web = &dump.services[0];
    assert_eq!(web.telemetry.tracing.as_ref().unwrap().headers, ["api-key"]);
    assert_eq!((web.access.issuers.len(), &*web.access.policies[0].checker), (1, "opa"));
    assert!(web.backends.settings[0].settings["tls"].starts_with("mutual"));
    assert_eq!(dump.certificates.len(), 1);
    let text = serde_json::to_string(&dump).unwrap();
    assert!(!text.contains(SECRET), "{text}");
    for certificate in &dump.certificates {
        for cert in certificate.cert_chain.iter().chain(&certificate.root_certs) {
            use base64::Engine as _;
            let pem = base64::engine::general_purpose::STANDARD.decode(&cert.pem).unwrap();
            let pem = String::from_utf8(pem).unwrap();
            assert!(pem.contains("BEGIN CERTIFICATE") && !pem.contains("PRIVATE"), "{pem}");
        }
    }
    let told = explain(&stage.shared, &asked("/")).unwrap();
    assert!(!format!("{told:?}").contains(SECRET), "{told:?}");
}
