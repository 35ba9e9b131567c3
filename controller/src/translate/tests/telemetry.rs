//! Telemetry objects.

use weft_proto::route::access_log_rule::Format;
use weft_proto::route::metric_tag::Value;
use weft_proto::route::tracing_tag::Source;
use weft_proto::route::{AccessLogRule, TelemetryPolicy};

use crate::translate::{Settings, Translator};

use super::{WEB, decoded, mesh_config, message, translated, waypoint};

const SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, labels: {istio.io/use-waypoint: wp}}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: api, namespace: shop, labels: {istio.io/use-waypoint: wp}}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: far, namespace: app, labels: {istio.io/use-waypoint: wp, istio.io/use-waypoint-namespace: shop}}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: plain, namespace: shop}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: out, namespace: shop, labels: {istio.io/use-waypoint: wp}}
spec: {hosts: [a.example.com, b.example.com], ports: [{number: 80, name: http}], resolution: DNS}
---
";

/// A mesh with a collector and a log of its own.
pub(super) const MESH: &str = r#"
defaultProviders: {tracing: [otel]}
extensionProviders:
- name: otel
  opentelemetry: {service: otel.observability.svc.cluster.local, port: 4317}
- name: json
  envoyFileAccessLog: {path: /dev/stdout, logFormat: {labels: {code: "%RESPONSE_CODE%"}}}
- name: zipkin
  zipkin: {service: z, port: 9411}
"#;

/// The translation of what a mesh's configuration says, if there is one, and of objects.
fn of(mesh: &str, objects: &str) -> Translator {
    let gateway = waypoint("shop", "wp", "istio.io/waypoint-for: all", "All");
    let config = match mesh {
        "" => String::new(),
        mesh => mesh_config(mesh),
    };
    translated(Settings::standalone(), &format!("{config}{SERVICES}{objects}---\n{gateway}"))
}

fn object(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{{spec}}}\n---\n"
    )
}

const OF_WEB: &str = "targetRefs: [{group: '', kind: Service, name: web}],";
const OF_WP: &str = "targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: wp}],";

fn policy(translator: &Translator, host: &str) -> TelemetryPolicy {
    decoded(translator).telemetry.remove(host).unwrap_or_default()
}

const API: &str = "shop/api.shop.svc.cluster.local";
const FAR: &str = "app/far.app.svc.cluster.local";

fn text_log(filter: &str) -> AccessLogRule {
    let format = Some(Format::Text(String::new()));
    AccessLogRule { format, filter: filter.into(), share_millionths: None }
}

#[test]
fn mesh_without_a_word_gives_no_policies() {
    assert!(decoded(&of("", "")).telemetry.is_empty());
}

#[test]
fn service_without_a_waypoint_has_none() {
    let objects = object("istio-system", "all", "accessLogging: [{providers: [{name: envoy}]}]");
    let hosts: Vec<_> = decoded(&of(MESH, &objects)).telemetry.into_keys().collect();
    assert_eq!(hosts, [FAR, "shop/a.example.com", API, "shop/b.example.com", WEB]);
}

#[test]
fn narrower_objects_change_what_they_name() {
    let objects = [
        object("istio-system", "mesh", "accessLogging: [{providers: [{name: envoy}], filter: {expression: response.code >= 400}}], tracing: [{randomSamplingPercentage: 10}]"),
        object("shop", "ns", "tracing: [{customTags: {a: {literal: {value: x}}}}]"),
        object("shop", "gw", &format!("{OF_WP} accessLogging: [{{providers: [{{name: json}}]}}]")),
        object("shop", "web", &format!("{OF_WEB} accessLogging: [{{disabled: true}}], tracing: [{{randomSamplingPercentage: 0.5, disableSpanReporting: true, enableIstioTags: false}}]")),
    ]
    .concat();
    let translator = of(MESH, &objects);
    let (web, api) = (policy(&translator, WEB), policy(&translator, API));
    let json = Format::Json(r#"{"code":"%RESPONSE_CODE%"}"#.into());
    let json = AccessLogRule { format: Some(json), ..AccessLogRule::default() };
    assert_eq!((web.access_logs, api.access_logs), (vec![], vec![json]));
    let (web, api) = (web.tracing.unwrap(), api.tracing.unwrap());
    assert_eq!((web.share_millionths, api.share_millionths), (5_000, 100_000));
    assert!(web.is_silent && web.omits_istio_tags && !api.is_silent && !api.omits_istio_tags);
    assert_eq!(web.tags[0].source, Some(Source::Literal("x".into())));
    assert_eq!((web.collector_port, web.http_path.as_str()), (4317, ""));
    assert_eq!(policy(&translator, FAR).tracing.unwrap(), api, "the waypoint's namespace counts");
}

#[test]
fn filter_and_share_of_a_log_are_kept() {
    let objects = "
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: t, namespace: shop, annotations: {weft.io/access-log-sampling: '2.5'}}
spec: {accessLogging: [{providers: [{name: envoy}], filter: {expression: 'response.code >= 500'}}]}
";
    let policy = policy(&of("", objects), WEB);
    let share_millionths = Some(25_000);
    assert_eq!(
        policy.access_logs,
        [AccessLogRule { share_millionths, ..text_log("response.code >= 500") }]
    );
}

#[test]
fn log_of_the_whole_mesh_can_be_turned_off_for_one_service() {
    let objects = object("shop", "web", &format!("{OF_WEB} accessLogging: [{{disabled: true}}]"));
    let translator = of("accessLogFile: /dev/stdout", &objects);
    assert_eq!(policy(&translator, API).access_logs, [text_log("")]);
    assert!(policy(&translator, WEB).access_logs.is_empty());
}

#[test]
fn labels_of_metrics_change_by_name() {
    let objects = [
        object("shop", "ns", "metrics: [{providers: [{name: prometheus}], overrides: [{match: {metric: REQUEST_COUNT}, tagOverrides: {source_app: {operation: REMOVE}, region: {value: \"'eu'\"}, port: {value: string(destination.port)}}}, {match: {metric: RESPONSE_SIZE}, disabled: true}]}]"),
        object("shop", "web", &format!("{OF_WEB} metrics: [{{overrides: [{{match: {{metric: REQUEST_COUNT}}, tagOverrides: {{region: {{value: request.method}}}}}}]}}]")),
    ]
    .concat();
    let translator = of("", &objects);
    let shown = |policy: &TelemetryPolicy| -> Vec<String> {
        let tags = policy.metrics[0].tags.iter().map(|tag| match &tag.value {
            None => format!("-{}", tag.name),
            Some(Value::Literal(text)) => format!("{}={text}", tag.name),
            Some(Value::Attribute(number)) => format!("{}@{number}", tag.name),
        });
        tags.collect()
    };
    let (web, api) = (policy(&translator, WEB), policy(&translator, API));
    assert_eq!(shown(&api), ["port@5", "region=eu", "-source_app"]);
    assert_eq!(shown(&web), ["port@5", "region@1", "-source_app"]);
    assert_eq!(
        (api.metrics.len(), api.metrics[1].metric, api.metrics[1].is_disabled),
        (2, 4, true)
    );
}

#[test]
fn status_says_what_counts_and_what_has_no_effect() {
    let objects = [
        object("shop", "a", "accessLogging: [{match: {mode: CLIENT}}, {providers: [{name: none}, {name: zipkin}, {name: otel}]}], tracing: [{useRequestIdForTraceSampling: true, providers: [{name: json}], customTags: {t: {formatter: {value: x}}}}]"),
        object("shop", "b", "tracing: [{randomSamplingPercentage: 1}]"),
        object("shop", "c", "selector: {matchLabels: {app: x}}, tracing: [{randomSamplingPercentage: 1}]"),
        object("shop", "d", "targetRefs: [{group: '', kind: Service, name: web}, {group: '', kind: Service, name: plain}, {group: '', kind: Service, name: gone}, {group: '', kind: Service, name: lost}]"),
        object("shop", "e", "metrics: [{reportingInterval: 5s, overrides: [{match: {metric: REQUEST_COUNT}, tagOverrides: {host: {value: request.host}, x: {value: 'a + b'}}}, {match: {metric: TCP_SENT_BYTES}}]}]"),
    ]
    .concat();
    let translator = of(MESH, &objects);
    let of = |name: &str| message(&translator, &format!("Telemetry shop/{name}"));
    let a = of("a");
    assert!(a.contains("istio.io/WaypointAccepted=true/Accepted"), "{a}");
    for part in [
        "weft.io/FieldsHonoured=false/NotHonoured",
        "spec.accessLogging[0].match.mode",
        "spec.accessLogging[1].providers[0]",
        "spec.accessLogging[1].providers[2]",
        "spec.tracing[0].providers[0]",
        "spec.tracing[0].useRequestIdForTraceSampling",
        "spec.tracing[0].customTags.t",
        "the mesh's configuration has no provider none",
        "provider zipkin: a waypoint sends spans by OTLP alone",
        "provider otel is for something else",
    ] {
        assert!(a.contains(part), "{part} is not in {a}");
    }
    assert!(of("b").contains("false/Conflict [] a is older"), "{}", of("b"));
    assert!(of("c").contains("false/NotApplied [\"spec.selector\"]"), "{}", of("c"));
    let d = of("d");
    for part in [
        "true/Accepted [] counts for Service shop/web",
        "false/AncestorNotBound [\"spec.targetRefs[1]\"]",
        "false/TargetNotFound [\"spec.targetRefs[2]\"]",
        "false/TargetNotFound [\"spec.targetRefs[3]\"]",
    ] {
        assert!(d.contains(part), "{part} is not in {d}");
    }
    let e = of("e");
    for part in [
        "spec.metrics[0].reportingInterval",
        "spec.metrics[0].overrides[0].tagOverrides.host",
        "spec.metrics[0].overrides[0].tagOverrides.x",
        "spec.metrics[0].overrides[1].match.metric",
        "any number of series",
    ] {
        assert!(e.contains(part), "{part} is not in {e}");
    }
}

#[test]
fn what_cant_be_meant_is_refused_with_its_place() {
    for (spec, field) in [
        ("tracing: [{randomSamplingPercentage: 101}]", "spec.tracing[0].randomSamplingPercentage"),
        (
            "selector: {matchLabels: {a: b}}, targetRefs: [{kind: Service, name: a}]",
            "spec.selector",
        ),
        ("targetRefs: [{kind: Service, name: a, namespace: b}]", "spec.targetRefs[0].namespace"),
        (
            "metrics: [{overrides: [{match: {metric: NONE}}]}]",
            "spec.metrics[0].overrides[0].match.metric",
        ),
        ("accessLoging: []", "spec.accessLoging"),
    ] {
        let text = object("shop", "t", spec).replace("---\n", "");
        let mut pool = crate::objects::Pool::default();
        let error = crate::objects::read(crate::objects::Kind::Telemetry, &text, &mut pool);
        assert_eq!(error.unwrap_err().field.as_deref(), Some(field), "{spec}");
    }
}
