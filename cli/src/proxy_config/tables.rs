//! Routes, clusters, endpoints, policies.

use weft_core::admin::waypoint_dump::{
    AccessPolicy, BoundService, LiveCluster, LiveEndpoint, RouteRule, TokenIssuer,
};

use crate::table::{Cell, Tone, table};

const GAP: usize = 2;

pub(super) fn routes(services: &[&BoundService]) -> String {
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    for service in services {
        if service.routes.sets.is_empty() {
            let state = match service.routes.state.as_str() {
                "Unusable" => "answered 500: its routes can't be read",
                _ => "to the service itself",
            };
            rows.push(row([&service.hostname, "*", "*", "-", "-", "-", state]));
        }
        for set in &service.routes.sets {
            let ports: Vec<_> = set.ports.iter().map(ToString::to_string).collect();
            let (ports, callers) = (any(&ports), any(&set.source_namespaces));
            for (kind, rules) in [("", &set.http), ("tls ", &set.tls), ("tcp ", &set.tcp)] {
                rows.extend(rules.iter().map(|rule| {
                    let rank = format!("{kind}{}", rule.rank);
                    let (origin, conditions) = (rule.origin.sentence(), conditions(rule));
                    let outcome = outcome(rule);
                    row([
                        &service.hostname,
                        &ports,
                        &callers,
                        &rank,
                        &origin,
                        &conditions,
                        &outcome,
                    ])
                }));
            }
        }
    }
    let header = ["SERVICE", "PORTS", "CALLERS", "RANK", "FROM", "MATCH", "THEN"];
    table(&header, &rows, GAP, false)
}

fn conditions(rule: &RouteRule) -> String {
    match (rule.is_never, rule.conditions.is_empty()) {
        (true, _) => "never (not understood)".to_owned(),
        (_, true) => "everything".to_owned(),
        _ => rule.conditions.join(" and "),
    }
}

fn outcome(rule: &RouteRule) -> String {
    let filters = rule.filters.iter().map(String::as_str);
    filters.chain([rule.outcome.as_str()]).collect::<Vec<_>>().join("; ")
}

fn any(items: &[String]) -> String {
    if items.is_empty() { "*".to_owned() } else { items.join(",") }
}

pub(super) fn clusters(clusters: &[&LiveCluster]) -> String {
    let rows = clusters.iter().map(|it| {
        let open = it.endpoints.iter().filter(|it| it.takes_requests).count();
        let ready = format!("{open}/{}", it.endpoints.len());
        let balancer = it.settings.get("balancer").map_or("", String::as_str);
        let counts = &it.counts;
        let number = |number: u32| Cell::from(number.to_string());
        vec![
            Cell::from(host(&it.service)),
            it.port.to_string().into(),
            subset(it).into(),
            balancer.into(),
            ready.into(),
            counts.ejected.to_string().into(),
            number(counts.requests),
            number(counts.pending),
            number(counts.connections),
            counts.overflows_total.to_string().into(),
        ]
    });
    let rows: Vec<_> = rows.collect();
    let header = [
        "SERVICE FQDN",
        "PORT",
        "SUBSET",
        "BALANCER",
        "ENDPOINTS",
        "EJECTED",
        "REQUESTS",
        "PENDING",
        "CONNECTIONS",
        "OVERFLOWS",
    ];
    table(&header, &rows, GAP, false)
}

pub(super) fn endpoints(clusters: &[&LiveCluster]) -> String {
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    for cluster in clusters {
        let subset = match cluster.subset.as_str() {
            "" => String::new(),
            subset => format!(" subset {subset}"),
        };
        let name = format!("{}:{}{subset}", host(&cluster.service), cluster.port);
        rows.extend(cluster.endpoints.iter().map(|it| endpoint(it, &name)));
    }
    let header = ["ENDPOINT", "STATUS", "OUTLIER CHECK", "PROTOCOL", "WEIGHT", "ACTIVE", "CLUSTER"];
    table(&header, &rows, GAP, false)
}

fn endpoint(it: &LiveEndpoint, cluster: &str) -> Vec<Cell> {
    let status = match (it.is_healthy, it.takes_requests) {
        (false, _) => Cell::new("UNHEALTHY", Tone::Bad),
        (true, true) => Cell::new("HEALTHY", Tone::Good),
        (true, false) if it.ejected_until.is_some() => Cell::new("HEALTHY", Tone::Plain),
        // Others are nearer.
        (true, false) => Cell::new("SPARE", Tone::Plain),
    };
    let outlier = match &it.ejected_until {
        Some(until) => Cell::new(format!("FAILED until {until}"), Tone::Bad),
        None => Cell::new("OK", Tone::Good),
    };
    let (weight, active) = (it.weight.to_string(), it.active_requests.to_string());
    vec![
        it.address.as_str().into(),
        status,
        outlier,
        it.protocol.as_str().into(),
        weight.into(),
        active.into(),
        cluster.into(),
    ]
}

pub(super) fn policies(services: &[&BoundService]) -> String {
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    for service in services {
        let host = service.hostname.as_str();
        if service.access.state != "InForce" {
            rows.push(row([host, "-", &service.access.state, "-", ""]));
        }
        rows.extend(service.access.issuers.iter().map(|it| issuer(host, it)));
        rows.extend(service.access.policies.iter().map(|it| policy(host, it)));
    }
    table(&["SERVICE", "ACTION", "POLICY", "RULES", "NOTES"], &rows, GAP, false)
}

fn policy(host: &str, it: &AccessPolicy) -> Vec<Cell> {
    let dry = it.dry_run.then_some("dry run".to_owned());
    let asks = match (it.action.as_str(), it.checker.as_str()) {
        ("CUSTOM", "") => Some("denies: its checker isn't known".to_owned()),
        ("CUSTOM", checker) => Some(format!("asks {checker}")),
        _ => None,
    };
    let notes: Vec<_> = dry.into_iter().chain(asks).collect();
    row([host, &it.action, &it.name, &it.rules.to_string(), &notes.join(", ")])
}

fn issuer(host: &str, it: &TokenIssuer) -> Vec<Cell> {
    let keys = match it.keys {
        0 => "its tokens are refused: no key is known".to_owned(),
        keys => format!("{keys} keys"),
    };
    row([host, "JWT", &it.issuer, "-", &keys])
}

fn host(key: &str) -> &str {
    key.split_once('/').map_or(key, |(_, host)| host)
}

fn subset(cluster: &LiveCluster) -> &str {
    if cluster.subset.is_empty() { "-" } else { &cluster.subset }
}

fn row<const COUNT: usize>(texts: [&str; COUNT]) -> Vec<Cell> {
    texts.into_iter().map(Cell::from).collect()
}
