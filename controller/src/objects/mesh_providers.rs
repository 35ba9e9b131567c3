//! What the mesh's configuration (`MeshConfig`) says about telemetry: providers, and what holds without any object.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde_json::Value;

use super::duration;
use super::fields::{self, FieldError};
use super::mesh_raw::{Encoding, RawFileLog, RawMesh, RawOtlp, RawProvider};
use super::telemetry::{Ignored, millionths};

/// The mesh's telemetry.
#[derive(Debug, Clone, PartialEq)]
pub struct MeshTelemetry {
    /// Where telemetry goes, by name.
    pub providers: BTreeMap<Arc<str>, Provider>,
    /// Access logs where no object names any.
    pub default_logs: Box<[Arc<str>]>,
    /// The provider of traces where no object names one.
    pub default_tracing: Option<Arc<str>>,
    /// Of a million requests, where no object says how many are traced.
    pub default_share_millionths: u32,
    /// Fields that have no effect.
    pub ignored: Box<[Ignored]>,
}

/// Where telemetry goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provider {
    /// Standard output, in a format: Istio's default of text if empty.
    TextLog(Arc<str>),
    /// Standard output, an object of formats as JSON: Istio's default if empty.
    JsonLog(Arc<str>),
    /// A collector.
    Otlp(Arc<OtlpProvider>),
    /// Metrics, which are always there.
    Prometheus,
    /// One that isn't spoken to, and why.
    Unsupported(&'static str),
}

/// A collector that speaks OTLP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpProvider {
    /// A host name.
    pub host: Arc<str>,
    /// Its port.
    pub port: u16,
    /// Over HTTP, with this path; else over gRPC.
    pub http_path: Option<Arc<str>>,
    /// For one request.
    pub timeout: Option<Duration>,
    /// In every request.
    pub headers: Box<[(Arc<str>, Arc<str>)]>,
    /// Longest path in a span, bytes.
    pub path_bytes_max: Option<u32>,
}

/// Istio's: one request in a hundred.
const DEFAULT_SHARE: u32 = 10_000;
/// The provider of access logs that is always there.
const BUILT_IN_LOG: &str = "envoy";
const STDOUT: &str = "/dev/stdout";
const UNKNOWN_COMMAND: &str = "its format has a command that isn't known, or that doesn't end: docs/telemetry.md names those that are";

impl Default for MeshTelemetry {
    fn default() -> Self {
        let built_in = [
            (BUILT_IN_LOG.into(), Provider::TextLog("".into())),
            ("prometheus".into(), Provider::Prometheus),
        ];
        Self {
            providers: built_in.into(),
            default_logs: Box::default(),
            default_tracing: None,
            default_share_millionths: DEFAULT_SHARE,
            ignored: Box::default(),
        }
    }
}

impl MeshTelemetry {
    /// What holds where nothing is said.
    pub(crate) fn usual() -> Arc<Self> {
        static USUAL: LazyLock<Arc<MeshTelemetry>> = LazyLock::new(Arc::default);
        USUAL.clone()
    }

    pub(super) fn read(raw: &RawMesh) -> Result<Self, FieldError> {
        let (mut read, mut ignored) = (Self::default(), Vec::new());
        read.built_in_log(raw, &mut ignored);
        for (at, provider) in raw.extension_providers.iter().enumerate() {
            let field = format!("extensionProviders[{at}]");
            let built = built(provider, &field, &mut ignored)?;
            read.providers.insert(provider.name.as_str().into(), built);
        }
        let texts = |names: &[String]| names.iter().map(|name| name.as_str().into()).collect();
        if !raw.default_providers.access_logging.is_empty() {
            read.default_logs = texts(&raw.default_providers.access_logging);
        }
        if raw.enable_tracing != Some(false) {
            read.default_tracing =
                raw.default_providers.tracing.first().map(|it| it.as_str().into());
        }
        if raw.default_providers.metrics.iter().any(|name| name != "prometheus") {
            let reason = "metrics are there for Prometheus alone";
            ignored.push(Ignored { field: "defaultProviders.metrics".to_owned(), reason });
        }
        if let Some(tracing) = &raw.default_config.tracing {
            if let Some(percent) = tracing.sampling {
                read.default_share_millionths = millionths(percent).ok_or_else(|| {
                    let reason = format!("{percent} is no percentage from 0 to 100");
                    FieldError::new("defaultConfig.tracing.sampling", reason)
                })?;
            }
            ignored.extend(tracing.others.keys().map(|key| Ignored {
                field: format!("defaultConfig.tracing.{key}"),
                reason: "name a provider in extensionProviders, and tags in a Telemetry object",
            }));
        }
        read.check_defaults(&mut ignored);
        read.ignored = ignored.into();
        Ok(read)
    }

    fn check_defaults(&self, ignored: &mut Vec<Ignored>) {
        let reason = "the mesh's configuration has no such provider of this";
        let is_log = |name: &Arc<str>| {
            matches!(self.providers.get(name), Some(Provider::TextLog(_) | Provider::JsonLog(_)))
        };
        if !self.default_logs.iter().all(is_log) {
            ignored.push(Ignored { field: "defaultProviders.accessLogging".to_owned(), reason });
        }
        let is_otlp = |name: &Arc<str>| matches!(self.providers.get(name), Some(Provider::Otlp(_)));
        if !self.default_tracing.iter().all(is_otlp) {
            ignored.push(Ignored { field: "defaultProviders.tracing".to_owned(), reason });
        }
    }

    fn built_in_log(&mut self, raw: &RawMesh, ignored: &mut Vec<Ignored>) {
        let format = raw.access_log_format.as_deref().unwrap_or_default();
        let log = match raw.access_log_encoding {
            _ if !has_known_commands(format) => {
                let field = "accessLogFormat".to_owned();
                ignored.push(Ignored { field, reason: UNKNOWN_COMMAND });
                Provider::Unsupported(UNKNOWN_COMMAND)
            }
            Some(Encoding::Json) => Provider::JsonLog(format.into()),
            Some(Encoding::Text) | None => Provider::TextLog(format.into()),
        };
        self.providers.insert(BUILT_IN_LOG.into(), log);
        match raw.access_log_file.as_deref().unwrap_or_default() {
            "" => {}
            STDOUT => self.default_logs = [BUILT_IN_LOG.into()].into(),
            _ => ignored.push(Ignored {
                field: "accessLogFile".to_owned(),
                reason: "a waypoint writes to /dev/stdout alone",
            }),
        }
    }
}

fn built(
    raw: &RawProvider,
    field: &str,
    ignored: &mut Vec<Ignored>,
) -> Result<Provider, FieldError> {
    if let Some(log) = &raw.envoy_file_access_log {
        return file_log(log, &format!("{field}.envoyFileAccessLog"), ignored);
    }
    if let Some(otlp) = &raw.opentelemetry {
        return otlp_provider(otlp, &format!("{field}.opentelemetry"), ignored);
    }
    if raw.prometheus.is_some() {
        return Ok(Provider::Prometheus);
    }
    // Not every kind is for telemetry: the others of `extensionProviders` are somebody else's to read.
    let is_log = |kind: &str| matches!(kind, "envoyOtelAls" | "envoyHttpAls" | "envoyTcpAls");
    Ok(Provider::Unsupported(match raw.others.keys().next() {
        Some(kind) if is_log(kind) => "a waypoint writes access logs to standard output alone",
        None if !raw.is_asked_about_requests() => "the provider says nothing but its name",
        _ => "a waypoint sends spans by OTLP alone (opentelemetry)",
    }))
}

fn file_log(
    raw: &RawFileLog,
    field: &str,
    ignored: &mut Vec<Ignored>,
) -> Result<Provider, FieldError> {
    use weft_proto::contract::telemetry::FORMAT_BYTES_MAX;
    if raw.omit_empty_values.is_some() {
        let reason = "what is missing is written as `-` or null";
        ignored.push(Ignored { field: format!("{field}.omitEmptyValues"), reason });
    }
    if raw.path.as_deref().is_some_and(|path| !matches!(path, "" | STDOUT)) {
        return Ok(Provider::Unsupported("a waypoint writes to /dev/stdout alone"));
    }
    let format = raw.log_format.as_ref();
    let (text, labels) =
        (format.and_then(|it| it.text.as_ref()), format.and_then(|it| it.labels.as_ref()));
    let provider = match (text, labels) {
        (Some(_), Some(_)) => {
            let reason = "has either text or labels";
            return Err(FieldError::new(format!("{field}.logFormat"), reason));
        }
        (Some(text), None) => Provider::TextLog(text.as_str().into()),
        // An empty object is the default one, as in Istio.
        (None, Some(labels)) if labels.is_empty() => Provider::JsonLog("".into()),
        (None, Some(labels)) => Provider::JsonLog(Value::Object(labels.clone()).to_string().into()),
        (None, None) => Provider::TextLog("".into()),
    };
    match &provider {
        Provider::TextLog(text) | Provider::JsonLog(text) if text.len() > FORMAT_BYTES_MAX => {
            let reason = format!("is longer than {FORMAT_BYTES_MAX} bytes");
            Err(FieldError::new(format!("{field}.logFormat"), reason))
        }
        Provider::TextLog(text) | Provider::JsonLog(text) if !has_known_commands(text) => {
            ignored.push(Ignored { field: format!("{field}.logFormat"), reason: UNKNOWN_COMMAND });
            Ok(Provider::Unsupported(UNKNOWN_COMMAND))
        }
        _ => Ok(provider),
    }
}

/// Whether a format, or an object of formats as JSON, has Envoy's commands alone that a waypoint knows. What is within
/// parentheses is the waypoint's to judge.
fn has_known_commands(format: &str) -> bool {
    let mut rest = format;
    while let Some((_, after)) = rest.split_once('%') {
        if let Some(after) = after.strip_prefix('%') {
            rest = after;
            continue;
        }
        let Some((name, mut behind)) =
            after.find(['(', ':', '%']).and_then(|end| after.split_at_checked(end))
        else {
            return false;
        };
        if let Some(inside) = behind.strip_prefix('(') {
            let Some((_, outside)) = inside.split_once(')') else {
                return false;
            };
            behind = outside;
        }
        let Some((_, next)) = behind.split_once('%') else {
            return false;
        };
        if !weft_proto::contract::telemetry::COMMANDS.contains(&name) {
            return false;
        }
        rest = next;
    }
    true
}

fn otlp_provider(
    raw: &RawOtlp,
    field: &str,
    ignored: &mut Vec<Ignored>,
) -> Result<Provider, FieldError> {
    let unused = [
        ("resourceDetectors", raw.resource_detectors.is_some(), "spans name their waypoint alone"),
        ("dynatraceSampler", raw.dynatrace_sampler.is_some(), "sampling is by percentage"),
    ];
    for (name, _, reason) in unused.into_iter().filter(|(_, is_given, _)| *is_given) {
        ignored.push(Ignored { field: format!("{field}.{name}"), reason });
    }
    // Istio's `[<namespace>/]<host>`; host names are unique enough without.
    let host = raw.service.rsplit_once('/').map_or(&*raw.service, |(_, host)| host);
    if !fields::is_dns_subdomain(host) && host.parse::<std::net::IpAddr>().is_err() {
        let reason = format!("{:?} is no host name", raw.service);
        return Err(FieldError::new(format!("{field}.service"), reason));
    }
    let (timeout, raw_headers) = match (&raw.http, &raw.grpc) {
        (Some(_), Some(_)) => {
            return Err(FieldError::new(field, "has either http or grpc"));
        }
        (Some(http), None) => (&http.timeout, http.headers.as_slice()),
        (None, Some(grpc)) => (&grpc.timeout, grpc.initial_metadata.as_slice()),
        (None, None) => (&None, &[][..]),
    };
    let timeout = timeout.as_deref().map(duration::parse).transpose();
    let timeout = timeout.map_err(|reason| FieldError::new(format!("{field}.timeout"), reason))?;
    let mut headers = Vec::new();
    for (at, header) in raw_headers.iter().enumerate() {
        match &header.value {
            Some(value) => headers.push((header.name.as_str().into(), value.as_str().into())),
            None => ignored.push(Ignored {
                field: format!("{field}.headers[{at}]"),
                reason: match header.env_name {
                    Some(_) => "secrets of the controller's environment aren't sent to waypoints",
                    None => "the header has no value",
                },
            }),
        }
    }
    Ok(Provider::Otlp(Arc::new(OtlpProvider {
        host: host.into(),
        port: raw.port.get(),
        http_path: raw.http.as_ref().map(|http| http.path.as_str().into()),
        timeout,
        headers: headers.into(),
        path_bytes_max: raw.max_tag_length,
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<MeshTelemetry, FieldError> {
        MeshTelemetry::read(&RawMesh::read(text)?)
    }

    #[test]
    fn mesh_without_a_word_logs_and_traces_nothing() {
        let read = read("trustDomain: x\n").unwrap();
        assert_eq!(read, MeshTelemetry::default());
        assert!(read.default_logs.is_empty() && read.default_tracing.is_none());
        assert_eq!(read.default_share_millionths, 10_000);
    }

    #[test]
    fn providers_and_defaults_are_read() {
        let read = read(
            r#"
accessLogFile: /dev/stdout
accessLogEncoding: JSON
enableTracing: true
defaultConfig: {tracing: {sampling: 12.5, zipkin: {address: x}}}
defaultProviders: {tracing: [otel], metrics: [prometheus]}
extensionProviders:
- name: otel
  opentelemetry: {service: observability/otel.observability.svc.cluster.local, port: 4317, grpc: {timeout: 5s, initialMetadata: [{name: x-token, value: t}]}}
- name: otel-http
  opentelemetry: {service: otel.example.com, port: 4318, maxTagLength: 64, http: {path: /v1/traces, headers: [{name: a, envName: B}]}, resourceDetectors: {environment: {}}}
- name: lines
  envoyFileAccessLog: {path: /dev/stdout, logFormat: {text: "%PROTOCOL%\n"}}
- name: objects
  envoyFileAccessLog: {path: /dev/stdout, logFormat: {labels: {b: "%PROTOCOL%", a: {c: x}}}}
- name: file
  envoyFileAccessLog: {path: /var/log/x}
- name: zipkin
  zipkin: {service: z, port: 9411}
- name: als
  envoyOtelAls: {service: z, port: 4317}
"#,
        )
        .unwrap();
        assert_eq!(read.default_logs, [Arc::from("envoy")].into());
        assert_eq!(read.default_tracing.as_deref(), Some("otel"));
        assert_eq!(read.default_share_millionths, 125_000);
        let of = |name: &str| &read.providers[name];
        assert_eq!(of("envoy"), &Provider::JsonLog("".into()));
        let Provider::Otlp(otel) = of("otel") else { panic!() };
        assert_eq!(&*otel.host, "otel.observability.svc.cluster.local");
        assert_eq!((otel.port, otel.timeout), (4317, Some(Duration::from_secs(5))));
        assert_eq!(*otel.headers, [("x-token".into(), "t".into())]);
        let Provider::Otlp(http) = of("otel-http") else { panic!() };
        assert_eq!(
            (http.http_path.as_deref(), http.path_bytes_max),
            (Some("/v1/traces"), Some(64))
        );
        assert_eq!(of("lines"), &Provider::TextLog("%PROTOCOL%\n".into()));
        assert_eq!(of("objects"), &Provider::JsonLog(r#"{"a":{"c":"x"},"b":"%PROTOCOL%"}"#.into()));
        for name in ["file", "zipkin", "als"] {
            assert!(matches!(of(name), Provider::Unsupported(_)), "{name}");
        }
        let ignored: Vec<_> = read.ignored.iter().map(|it| it.field.as_str()).collect();
        assert_eq!(
            ignored,
            [
                "extensionProviders[1].opentelemetry.resourceDetectors",
                "extensionProviders[1].opentelemetry.headers[0]",
                "defaultConfig.tracing.zipkin"
            ]
        );
    }

    #[test]
    fn default_that_names_no_provider_of_its_use_is_told() {
        let text = "defaultProviders: {tracing: [prometheus], accessLogging: [none]}";
        let ignored = read(text).unwrap().ignored;
        let fields: Vec<_> = ignored.iter().map(|it| it.field.as_str()).collect();
        assert_eq!(fields, ["defaultProviders.accessLogging", "defaultProviders.tracing"]);
    }

    #[test]
    fn format_with_an_unknown_command_is_told_and_not_sent() {
        for (format, is_known) in [
            ("[%START_TIME(%Y)%] %REQ(:PATH):9% 100%% %PROTOCOL%", true),
            ("%DYNAMIC_METADATA(a)%", false),
            ("100%", false),
            ("%REQ(A", false),
        ] {
            assert_eq!(has_known_commands(format), is_known, "{format}");
        }
        let text = "accessLogFile: /dev/stdout\naccessLogFormat: '%NONE%'\nextensionProviders: [{name: a, envoyFileAccessLog: {logFormat: {labels: {x: '%NONE%'}}}}]";
        let read = read(text).unwrap();
        for name in ["envoy", "a"] {
            assert_eq!(read.providers[name], Provider::Unsupported(UNKNOWN_COMMAND));
        }
        let fields: Vec<_> = read.ignored.iter().map(|it| it.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "accessLogFormat",
                "extensionProviders[0].envoyFileAccessLog.logFormat",
                "defaultProviders.accessLogging"
            ]
        );
    }

    #[test]
    fn what_means_nothing_is_refused_with_its_place() {
        for (text, field) in [
            ("defaultConfig: {tracing: {sampling: 101}}", "defaultConfig.tracing.sampling"),
            (
                "extensionProviders: [{name: a, opentelemetry: {service: 'a b', port: 1}}]",
                "extensionProviders[0].opentelemetry.service",
            ),
            (
                "extensionProviders: [{name: a, opentelemetry: {service: a, port: 1, http: {path: /}, grpc: {}}}]",
                "extensionProviders[0].opentelemetry",
            ),
            (
                "extensionProviders: [{name: a, envoyFileAccessLog: {logFormat: {text: a, labels: {a: b}}}}]",
                "extensionProviders[0].envoyFileAccessLog.logFormat",
            ),
            ("extensionProviders: 3", "data.mesh"),
        ] {
            assert_eq!(read(text).unwrap_err().field, field, "{text}");
        }
    }
}
