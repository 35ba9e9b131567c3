//! What this waypoint knows and does, in the shape that `weft` reads. No secret is in it: see the types.

use std::collections::HashMap;

use tokio::time::Instant;
use weft_core::admin::dump::Certificate;
use weft_core::admin::waypoint_dump as json;
use weft_core::clock;
use weft_core::mesh::{AppProtocol, Service};
use weft_core::telemetry::rfc3339;

use crate::access::{Access, Level};
use crate::balance::EndpointState;
use crate::resources::ServiceRules;
use crate::route::{ConnectionRoutes, HttpRoutes, Origin, RouteSet};
use crate::shared::Shared;
use crate::telemetry::{Share, Told};
use crate::upstream::{Backend, Listed};

/// The whole dump, of one snapshot.
pub(crate) fn dump(shared: &Shared) -> json::WaypointDump {
    let snapshot = shared.mesh.load();
    let bound = snapshot.services().filter(|it| shared.own.serves(&snapshot, it));
    let mut services: Vec<_> = bound.map(|it| service(it, &shared.rules.of(&it.key))).collect();
    services.sort_by(|a, b| (&a.namespace, &a.hostname).cmp(&(&b.namespace, &b.hostname)));
    let mut clusters: Vec<_> = shared.backends.list().into_iter().map(cluster).collect();
    clusters.sort_by(|a, b| (&a.service, a.port, &a.subset).cmp(&(&b.service, b.port, &b.subset)));
    json::WaypointDump {
        waypoint: name(shared),
        version: serde_json::json!({ "version": shared.config.version }),
        config: serde_json::to_value(&shared.config).unwrap_or_default(),
        services,
        clusters,
        certificates: shared.certs.entries().iter().map(Certificate::of).collect(),
    }
}

fn name(shared: &Shared) -> json::WaypointName {
    let own = &shared.own;
    let services = shared.own_workload();
    let services =
        services.iter().flat_map(|it| it.services.iter().map(|(key, _)| key.to_string()));
    json::WaypointName {
        identity: own.identity.to_string(),
        namespace: own.identity.namespace().to_owned(),
        service_account: own.identity.service_account().to_owned(),
        address: own.address.to_string(),
        network: own.network.to_string(),
        services: services.collect(),
    }
}

fn service(service: &Service, rules: &ServiceRules) -> json::BoundService {
    let vip = |vip: &weft_core::mesh::Vip| match vip.ip() {
        Some(ip) => format!("{}/{ip}", vip.network),
        None => format!("{}/{}", vip.network, vip.block),
    };
    let port = |port: &weft_core::mesh::Port| json::ServicePort {
        port: port.service_port,
        protocol: protocol(port.app_protocol).to_owned(),
    };
    json::BoundService {
        name: service.name.to_string(),
        namespace: service.namespace.to_string(),
        hostname: service.hostname.to_string(),
        vips: service.vips.iter().map(vip).collect(),
        ports: service.ports.iter().map(port).collect(),
        routes: routes(rules),
        access: access(rules.access().map(|it| &**it)),
        backends: backends(rules),
        telemetry: rules.told().map(|told| telemetry(told)).unwrap_or_default(),
    }
}

/// What a port declares to speak.
pub(crate) fn protocol(protocol: AppProtocol) -> &'static str {
    match protocol {
        AppProtocol::Unknown => "sniffed",
        AppProtocol::Http11 => "HTTP/1.1",
        AppProtocol::Http2 => "HTTP/2",
        AppProtocol::Grpc => "gRPC",
        AppProtocol::Tcp => "TCP",
        AppProtocol::Tls => "TLS",
    }
}

fn state(is_unusable: bool, is_there: bool) -> String {
    let state = match (is_unusable, is_there) {
        (true, _) => "Unusable",
        (_, true) => "InForce",
        _ => "None",
    };
    state.to_owned()
}

fn routes(rules: &ServiceRules) -> json::Routes {
    let sets = rules.table().map(|table| table.sets().iter().map(set).collect());
    json::Routes {
        state: state(rules.has_unusable_routes(), sets.is_some()),
        sets: sets.unwrap_or_default(),
    }
}

fn set(set: &RouteSet) -> json::RouteSet {
    json::RouteSet {
        ports: set.ports.to_vec(),
        source_namespaces: set.source_namespaces.iter().map(ToString::to_string).collect(),
        http: set.http.as_ref().map(http_rules).unwrap_or_default(),
        tls: set.tls.as_ref().map(connection_rules).unwrap_or_default(),
        tcp: set.tcp.as_ref().map(connection_rules).unwrap_or_default(),
    }
}

fn http_rules(routes: &HttpRoutes) -> Vec<json::RouteRule> {
    let rule = |(rank, rule): (usize, &crate::route::HttpRule)| {
        let action = routes.actions().get(rule.action())?;
        Some(json::RouteRule {
            rank,
            origin: origin(&action.origin),
            conditions: rule.conditions_in_words(),
            is_never: rule.is_never(),
            filters: action.filters.in_words(),
            outcome: action.outcome.to_string(),
        })
    };
    routes.rules().iter().enumerate().filter_map(rule).collect()
}

fn connection_rules(routes: &ConnectionRoutes) -> Vec<json::RouteRule> {
    let rule = |(rank, rule): (usize, &crate::route::ConnectionRule)| {
        let backends = rule.backends.weighted().map(|(weight, backend)| match &backend.target {
            crate::route::Target::To(to) => format!("{to} (weight {weight})"),
            crate::route::Target::Invalid(why) => format!("closed (weight {weight}): {why}"),
        });
        let backends: Vec<_> = backends.collect();
        json::RouteRule {
            rank,
            origin: origin(&rule.origin),
            conditions: rule.conditions_in_words(),
            is_never: rule.is_never(),
            filters: Vec::new(),
            outcome: format!("to {}", backends.join(", ")),
        }
    };
    routes.rules().iter().enumerate().map(rule).collect()
}

/// An origin, as dumps have it.
pub(crate) fn origin(origin: &Origin) -> json::RuleOrigin {
    json::RuleOrigin {
        kind: origin.kind.to_string(),
        namespace: origin.namespace.to_string(),
        name: origin.name.to_string(),
        rule: origin.rule.to_string(),
        index: origin.index,
    }
}

fn access(access: Option<&Access>) -> json::Access {
    let Some(access) = access else {
        return json::Access { state: "Missing".to_owned(), ..json::Access::default() };
    };
    let policy = |policy: crate::access::PolicyView<'_>| json::AccessPolicy {
        name: policy.name.to_string(),
        action: policy.action.to_owned(),
        rules: policy.rules,
        dry_run: policy.is_dry_run,
        checker: policy.checker.map(ToString::to_string).unwrap_or_default(),
    };
    let issuer = |issuer: crate::access::IssuerView<'_>| json::TokenIssuer {
        issuer: issuer.issuer.to_owned(),
        audiences: issuer.audiences.iter().map(ToString::to_string).collect(),
        keys: issuer.keys,
    };
    let state = access.unusable().map(|why| format!("Unusable: {why}"));
    json::Access {
        state: state.unwrap_or_else(|| "InForce".to_owned()),
        path_normalisation: normalisation(access.level()).to_owned(),
        policies: access.policies().map(policy).collect(),
        issuers: access.issuers().map(issuer).collect(),
        problems: access.problems().to_vec(),
    }
}

/// Istio's words.
pub(crate) fn normalisation(level: Level) -> &'static str {
    match level {
        Level::None => "NONE",
        Level::Base => "BASE",
        Level::MergeSlashes => "MERGE_SLASHES",
        Level::DecodeAndMergeSlashes => "DECODE_AND_MERGE_SLASHES",
    }
}

fn backends(rules: &ServiceRules) -> json::BackendPolicy {
    let settings = rules.backends().map(|policy| {
        let settings = policy.all().map(|(subset, port, settings)| json::BackendSettings {
            subset: subset.unwrap_or_default().to_owned(),
            port,
            settings: settings.in_words(),
        });
        settings.collect()
    });
    json::BackendPolicy {
        state: state(rules.hides_backends(), settings.is_some()),
        settings: settings.unwrap_or_default(),
    }
}

fn telemetry(told: &Told) -> json::Telemetry {
    let log = |log: &crate::telemetry::access_log::AccessLog| {
        let of = match log.share == Share::ALL {
            true => "every request".to_owned(),
            false => format!("{} % of requests", log.share.percent()),
        };
        match &log.filter {
            Some(_) => format!("{of} that a filter lets through"),
            None => of,
        }
    };
    let tracing = told.traced().map(|it| json::Tracing {
        collector: it.collector.clone(),
        headers: it.headers.clone(),
        sampled: format!("{} %", it.percent),
    });
    json::Telemetry {
        logs: told.logs().iter().map(log).collect(),
        changes_metrics: told.changes_metrics(),
        tracing,
    }
}

fn cluster(Listed { service, port, subset, backend }: Listed) -> json::LiveCluster {
    let counts = backend.cluster().counts();
    json::LiveCluster {
        service: service.to_string(),
        port,
        subset: subset.map(String::from).unwrap_or_default(),
        settings: backend.cluster().settings().in_words(),
        counts: json::ClusterCounts {
            requests: counts.requests,
            pending: counts.pending,
            connections: counts.connections,
            retries: counts.retries,
            ejected: counts.ejected,
            is_panic: counts.is_panic,
            ejections_total: counts.ejections_total,
            ejections_refused_total: counts.ejections_refused_total,
            overflows_total: counts.overflows_total,
        },
        endpoints: endpoints(&backend),
    }
}

/// The endpoints of a backend as they are now.
pub(crate) fn endpoints(backend: &Backend) -> Vec<json::LiveEndpoint> {
    let now = Instant::now();
    backend.cluster().tick(now);
    let states = backend.cluster().endpoints(now);
    let states: HashMap<&str, &EndpointState> = states.iter().map(|it| (&*it.id, it)).collect();
    let taking = backend.cluster().taking();
    let endpoint = |endpoint: crate::upstream::Endpoint| {
        let uid = &endpoint.workload.uid;
        let state = states.get(&**uid)?;
        let left = state.ejected_until.map(|until| until.saturating_duration_since(now));
        Some(json::LiveEndpoint {
            workload: uid.to_string(),
            address: endpoint.address.to_string(),
            protocol: if endpoint.hop.is_some() { "HBONE" } else { "TCP" }.to_owned(),
            weight: state.weight,
            is_healthy: state.is_healthy,
            takes_requests: taking.iter().any(|it| **it == **uid),
            ejected_until: left.map(|left| rfc3339(clock::now() + left)),
            ejections: state.ejections,
            active_requests: state.active,
            warmth_percent: state.warmth / 10_000,
        })
    };
    backend.endpoints().into_iter().filter_map(endpoint).collect()
}
