use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::telemetry::LogFormat;
use crate::token::TokenSource;

fn config(pairs: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let env: BTreeMap<String, String> =
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Config::from_env(&env)
}

#[test]
fn empty_environment_gives_the_incumbents_defaults() {
    let config = config(&[]).unwrap();
    assert_eq!(config.xds.endpoint.address, "https://istiod.istio-system.svc:15012");
    assert_eq!(config.ca.ttl, Duration::from_secs(86_400));
    assert_eq!(&*config.mesh.cluster_id, "Kubernetes");
    assert_eq!(config.mesh.trust_domains.own().as_str(), "cluster.local");
    assert_eq!(config.inpod.mark, 1337);
    assert_eq!(config.dns.address.to_string(), "127.0.0.1:15053");
    assert_eq!(config.admin.address.to_string(), "127.0.0.1:15000");
    assert_eq!(config.drain_deadline, Duration::from_secs(5));
    assert_eq!(config.worker_threads, 2);
    assert_eq!(config.pool.streams_max, 100);
    assert_eq!(config.sockets.keepalive.unwrap().retries, 9);
    assert!(config.local_path && config.dns.enabled && !config.admin.open);
    assert_eq!(config.log.format, LogFormat::Text);
}

#[test]
fn every_wrong_key_is_named_with_what_is_expected() {
    let errors = config(&[
        ("SECRET_TTL", "5"),
        ("XDS_ADDRESS", "http://controller:15012"),
        ("TRUST_DOMAIN", "Not A Domain"),
        ("ZTUNNEL_WORKER_THREADS", "many"),
        ("WEFT_LOCAL_PATH", "maybe"),
        ("CRL_PATH", "/crl.pem"),
    ])
    .unwrap_err();
    let keys: Vec<_> = errors.0.iter().map(|error| error.key.as_str()).collect();
    assert_eq!(keys.len(), 6, "{errors}");
    for key in ["SECRET_TTL", "XDS_ADDRESS", "TRUST_DOMAIN", "ZTUNNEL_WORKER_THREADS", "CRL_PATH"] {
        assert!(keys.contains(&key), "{key} is not in {errors}");
    }
    assert!(errors.to_string().contains("\n  WEFT_LOCAL_PATH=maybe: expected true or false"));
}

#[test]
fn drain_ends_before_kubernetes_kills() {
    for (pairs, seconds) in [
        (&[("TERMINATION_GRACE_PERIOD_SECONDS", "30")][..], 25),
        (&[("TERMINATION_GRACE_PERIOD_SECONDS", "10")], 9),
        (&[("TERMINATION_GRACE_PERIOD_SECONDS", "1")], 1),
        (
            &[
                ("TERMINATION_GRACE_PERIOD_SECONDS", "30"),
                ("CONNECTION_TERMINATION_DEADLINE", "7s"),
            ],
            7,
        ),
    ] {
        assert_eq!(config(pairs).unwrap().drain_deadline, Duration::from_secs(seconds));
    }
}

#[test]
fn threads_follow_number_share_limit_or_processors() {
    for (pairs, threads) in [
        (&[("ZTUNNEL_WORKER_THREADS", "3")][..], 3),
        (&[("ZTUNNEL_WORKER_THREADS", "0")], 4),
        (&[("ZTUNNEL_WORKER_THREADS", "50%")], 2),
        (&[("ZTUNNEL_RESOURCE_CPU_LIMIT", "6")], 6),
        (&[("ZTUNNEL_CPU_LIMIT", "64")], 16),
        (&[("ZTUNNEL_RESOURCE_CPU_REQUEST", "3")], 3),
    ] {
        assert_eq!(config(pairs).unwrap().worker_threads, threads, "{pairs:?}");
    }
}

#[test]
fn address_without_a_scheme_is_https_and_roots_may_be_inline() {
    let pem = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----";
    let read = config(&[
        ("CA_ADDRESS", "10.44.0.1:15012"),
        ("CA_ROOT_CA", pem),
        ("CA_HEADER_X-Realm", "a"),
        ("XDS_ROOT_CA", "/roots.pem"),
    ])
    .unwrap();
    assert_eq!(read.ca.endpoint.address, "https://10.44.0.1:15012");
    assert_eq!(read.ca.endpoint.roots, Roots::Pem(pem.into()));
    assert_eq!(read.ca.endpoint.headers, [("x-realm".to_owned(), "a".to_owned())]);
    assert_eq!(read.xds.endpoint.roots, Roots::File("/roots.pem".into()));
    assert!(config(&[("CA_ROOT_CA", "SYSTEM")]).is_err());
}

#[test]
fn token_and_headers_never_show_in_a_dump() {
    let secret = "eyJhbGciOiJFUzI1NiJ9.e30.c2VjcmV0";
    let config = config(&[("AUTH_TOKEN", secret), ("XDS_HEADER_AUTH", "hush")]).unwrap();
    assert_eq!(config.xds.endpoint.token, TokenSource::Literal(secret.into()));
    let dump = serde_json::to_string(&config).unwrap();
    assert!(!dump.contains("eyJ") && !dump.contains("hush"), "{dump}");
    assert!(!format!("{:?}", config.ca.endpoint.token).contains("eyJ"));
}

#[test]
fn metadata_of_the_node_is_collected() {
    let config = config(&[
        ("ISTIO_META_CLUSTER_ID", "east"),
        ("ISTIO_META_DNS_CAPTURE", "false"),
        ("ISTIO_METAJSON_LABELS", r#"{"a":"b"}"#),
    ])
    .unwrap();
    assert_eq!(config.xds.metadata["CLUSTER_ID"], "east");
    assert_eq!(&*config.mesh.cluster_id, "east");
    assert_eq!(config.xds.metadata_json["LABELS"]["a"], "b");
    assert!(!config.dns.enabled);
}

#[test]
fn trust_domain_aliases_are_accepted_besides_the_own() {
    let config =
        config(&[("TRUST_DOMAIN", "cluster"), ("TRUST_DOMAINS", "cluster, old.example")]).unwrap();
    let domains = config.mesh.trust_domains;
    assert!(domains.accepts(&"cluster".parse().unwrap()));
    assert!(domains.accepts(&"old.example".parse().unwrap()));
    assert!(!domains.accepts(&"cluster.local".parse().unwrap()));
}

#[test]
fn silence_of_requests_is_set_and_a_message_is_never_waited_for_for_ever() {
    let read = config(&[
        ("WEFT_HTTP_MESSAGE_IDLE_TIMEOUT", "90s"),
        ("WEFT_HTTP_STREAM_IDLE_TIMEOUT", "0"),
    ]);
    let read = read.unwrap().http;
    assert_eq!(read.message_idle, Some(Duration::from_secs(90)));
    assert_eq!((read.stream_idle, read.live_idle), (Some(Duration::ZERO), None));
    assert!(config(&[("WEFT_HTTP_MESSAGE_IDLE_TIMEOUT", "0")]).is_err());
}
