//! From environment keys to the sections, with the incumbent's defaults.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use weft_proto::contract;

use super::read::Reader;
use super::sections::{
    AdminConfig, CaConfig, Config, ControllerEndpoint, DnsConfig, HboneConfig, HttpConfig,
    InpodConfig, Keepalive, LogConfig, MeshConfig, OwnPod, PoolConfig, Roots, SocketConfig,
    XdsConfig,
};
use super::{ConfigErrors, Env};
use crate::identity::{TrustDomain, TrustDomains};
use crate::telemetry::LogFormat;
use crate::token::TokenSource;

const XDS_ADDRESS: &str = "https://istiod.istio-system.svc:15012";
const ROOTS: &str = "./var/run/secrets/istio/root-cert.pem";
const TOKEN: &str = "./var/run/secrets/tokens/istio-token";
/// A certificate can't be asked for a shorter time: renewal at half life would no longer keep up.
const TTL_LEAST: Duration = Duration::from_secs(60);

impl Config {
    /// Reads the environment; on failure, everything that is wrong with it.
    pub fn from_env(env: &dyn Env) -> Result<Self, ConfigErrors> {
        let mut reader = Reader::new(env);
        let r = &mut reader;
        refuse_unsupported(r);
        let config = Self {
            mesh: mesh(r),
            own_pod: own_pod(r),
            xds: xds(r),
            ca: ca(r),
            hbone: hbone(r),
            pool: PoolConfig {
                streams_max: r.number("POOL_MAX_STREAMS_PER_CONNECTION", 1, 10_000).unwrap_or(100),
                idle: r.duration("POOL_UNUSED_RELEASE_TIMEOUT").unwrap_or(Duration::from_secs(300)),
            },
            http: http(r),
            inpod: inpod(r),
            sockets: sockets(r),
            dns: dns(r),
            admin: admin(r),
            log: log(r),
            drain_deadline: drain_deadline(r),
            worker_threads: worker_threads(r),
            local_path: r.flag("WEFT_LOCAL_PATH").unwrap_or(true),
            version: r
                .text("ISTIO_META_ISTIO_VERSION")
                .unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned()),
        };
        reader.finish(config)
    }
}

fn refuse_unsupported(r: &mut Reader<'_>) {
    r.only("PROXY_MODE", &["shared"], "this proxy serves the pods of a node");
    r.only("FAKE_CA", &["false"], "certificates come from a controller");
    r.only("XDS_ON_DEMAND", &["false"], "discovery holds the whole mesh");
    r.only("UNSTABLE_ENABLE_SOCKS5", &["false"], "there is no SOCKS listener");
    r.only("ENABLE_PROXY", &["true"], "a proxy without its proxy has nothing to do");
    r.only("LOCAL_XDS_PATH", &[], "run the controller over a folder of manifests instead");
    r.only("LOCAL_XDS", &[], "run the controller over a folder of manifests instead");
    r.only("PROXY_CONFIG", &[], "set the environment keys themselves");
    r.only("CRL_PATH", &[], "revocation lists aren't checked yet, and must not be ignored");
}

fn mesh(r: &mut Reader<'_>) -> MeshConfig {
    let cluster_id = r.text("CLUSTER_ID").or_else(|| r.text("ISTIO_META_CLUSTER_ID"));
    let domain = "a DNS domain such as cluster.local";
    let cluster_domain = r.read("CLUSTER_DOMAIN", domain, |text| {
        let text = text.trim_end_matches('.').to_ascii_lowercase();
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
        (!text.is_empty() && text.bytes().all(is_allowed)).then(|| Arc::from(text))
    });
    MeshConfig {
        network: r.text("NETWORK").unwrap_or_default().into(),
        node: r.text("NODE_NAME").map(Arc::from),
        cluster_id: cluster_id.unwrap_or_else(|| contract::DEFAULT_CLUSTER_ID.into()).into(),
        cluster_domain: cluster_domain.unwrap_or_else(|| "cluster.local".into()),
        trust_domains: trust(r),
        instance_ip: r.parsed("INSTANCE_IP", "an IP address"),
    }
}

fn trust(r: &mut Reader<'_>) -> TrustDomains {
    let expected = "a SPIFFE trust domain such as cluster.local";
    let own: TrustDomain = r.parsed("TRUST_DOMAIN", expected).unwrap_or_default();
    let expected = "SPIFFE trust domains with commas between them";
    let aliases: Option<Vec<TrustDomain>> = r.read("TRUST_DOMAINS", expected, |text| {
        text.split(',').map(|domain| domain.trim().parse().ok()).collect()
    });
    let aliases = aliases.unwrap_or_default().into_iter().filter(|alias| *alias != own);
    TrustDomains::new(own.clone(), aliases.collect::<Vec<_>>())
}

fn own_pod(r: &mut Reader<'_>) -> Option<OwnPod> {
    Some(OwnPod {
        name: r.text("POD_NAME")?,
        namespace: r.text("POD_NAMESPACE")?,
        service_account: r.text("SERVICE_ACCOUNT")?,
    })
}

fn xds(r: &mut Reader<'_>) -> XdsConfig {
    let endpoint = endpoint(r, "XDS_ADDRESS", "XDS_ROOT_CA", "XDS_HEADER_");
    let metadata = r.env().with_prefix("ISTIO_META_").into_iter();
    let metadata = metadata.map(|(key, value)| (strip(&key, "ISTIO_META_"), value)).collect();
    let mut metadata_json = BTreeMap::new();
    for (key, value) in r.env().with_prefix("ISTIO_METAJSON_") {
        match serde_json::from_str(&value) {
            Ok(json) => {
                metadata_json.insert(strip(&key, "ISTIO_METAJSON_"), json);
            }
            Err(_) => r.error(&key, &value, "JSON"),
        }
    }
    XdsConfig { endpoint, metadata, metadata_json }
}

fn ca(r: &mut Reader<'_>) -> CaConfig {
    let endpoint = endpoint(r, "CA_ADDRESS", "CA_ROOT_CA", "CA_HEADER_");
    let ttl = r.duration("SECRET_TTL").unwrap_or(Duration::from_secs(24 * 3600));
    if ttl < TTL_LEAST {
        let value = r.text("SECRET_TTL").unwrap_or_default();
        r.error("SECRET_TTL", &value, "at least 1m");
    }
    CaConfig { endpoint, ttl }
}

fn endpoint(r: &mut Reader<'_>, address: &str, roots: &str, headers: &str) -> ControllerEndpoint {
    let expected = "https://host:port (the token must not travel in the clear)";
    let address = r.read(address, expected, |text| match text.split_once("://") {
        Some(("https", _)) => Some(text.to_owned()),
        Some(_) => None,
        None => Some(format!("https://{text}")),
    });
    let expected = "a file of PEM certificates, or the PEM itself; the mesh trusts no public CA";
    let roots = r.read(roots, expected, |text| match text {
        "SYSTEM" => None,
        pem if pem.contains("-----BEGIN CERTIFICATE-----") => Some(Roots::Pem(pem.into())),
        path => Some(Roots::File(path.into())),
    });
    let headers = r.env().with_prefix(headers).into_iter().map(|(key, value)| {
        // HTTP/2 header names are lower case; the part after the prefix is the name.
        (strip(&key, headers).to_ascii_lowercase(), value)
    });
    ControllerEndpoint {
        address: address.unwrap_or_else(|| XDS_ADDRESS.into()),
        roots: roots.unwrap_or_else(|| Roots::File(ROOTS.into())),
        token: token(r),
        headers: headers.collect(),
    }
}

fn token(r: &Reader<'_>) -> TokenSource {
    match r.text("AUTH_TOKEN") {
        // A JWT is three parts of base64url, of which the first encodes `{"`. No sensible path looks like that.
        Some(text) if text.starts_with("eyJ") && text.split('.').count() == 3 => {
            TokenSource::Literal(text.trim().into())
        }
        Some(path) => TokenSource::File(path.into()),
        None => TokenSource::File(TOKEN.into()),
    }
}

fn hbone(r: &mut Reader<'_>) -> HboneConfig {
    // RFC 9113: a window has at most 2^31-1 bytes (6.9.1), a frame 2^14 to 2^24-1 (4.2).
    let (window, frame) = ((65_535, i32::MAX.unsigned_abs()), (1 << 14, (1 << 24) - 1));
    HboneConfig {
        stream_window_bytes: r.number("HTTP2_STREAM_WINDOW_SIZE", window.0, window.1),
        connection_window_bytes: r.number("HTTP2_CONNECTION_WINDOW_SIZE", window.0, window.1),
        frame_bytes: r.number("HTTP2_FRAME_SIZE", frame.0, frame.1),
        response_baggage: r.flag("ENABLE_RESPONSE_BAGGAGE").unwrap_or(true),
    }
}

fn http(r: &mut Reader<'_>) -> HttpConfig {
    const MESSAGE: &str = "WEFT_HTTP_MESSAGE_IDLE_TIMEOUT";
    let message_idle = r.duration(MESSAGE);
    if message_idle.is_some_and(|it| it.is_zero()) {
        r.error(MESSAGE, "0", "above 0: a message that never comes would be waited for for ever");
    }
    HttpConfig {
        message_idle,
        stream_idle: r.duration("WEFT_HTTP_STREAM_IDLE_TIMEOUT"),
        live_idle: r.duration("WEFT_HTTP_LIVE_IDLE_TIMEOUT"),
    }
}

fn inpod(r: &mut Reader<'_>) -> InpodConfig {
    InpodConfig {
        socket: r.text("INPOD_UDS").unwrap_or_else(|| contract::ZDS_SOCKET.into()).into(),
        mark: r.number("PACKET_MARK", 1, u32::MAX).unwrap_or(contract::mark::PROXY),
        reuse_port: r.flag("INPOD_PORT_REUSE").unwrap_or(true),
    }
}

fn sockets(r: &mut Reader<'_>) -> SocketConfig {
    let keepalive = Keepalive {
        time: r.duration("KEEPALIVE_TIME").unwrap_or(Duration::from_secs(180)),
        interval: r.duration("KEEPALIVE_INTERVAL").unwrap_or(Duration::from_secs(180)),
        retries: r.number("KEEPALIVE_RETRIES", 1, 127).unwrap_or(9),
    };
    SocketConfig {
        keepalive: r.flag("KEEPALIVE_ENABLED").unwrap_or(true).then_some(keepalive),
        user_timeout: r.flag("USER_TIMEOUT_ENABLED").unwrap_or(false),
        original_source: r.flag("ENABLE_ORIG_SRC"),
    }
}

fn dns(r: &mut Reader<'_>) -> DnsConfig {
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, contract::port::DNS));
    let expected = "an address with its port, such as 127.0.0.1:15053";
    DnsConfig {
        // The incumbent proxies names unless this key says something other than "true".
        enabled: r.flag("ISTIO_META_DNS_CAPTURE").unwrap_or(true),
        address: r.parsed("ISTIO_META_DNS_PROXY_ADDR", expected).unwrap_or(loopback),
        // The incumbent's spelling comes first, ours is for people.
        preferred_namespace: r
            .text("PREFERED_SERVICE_NAMESPACE")
            .or_else(|| r.text("PREFERRED_SERVICE_NAMESPACE"))
            .map(Arc::from),
        ipv6: r.flag("IPV6_ENABLED").unwrap_or(true),
    }
}

fn admin(r: &mut Reader<'_>) -> AdminConfig {
    AdminConfig {
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, contract::port::ADMIN)),
        metrics: SocketAddr::from((Ipv6Addr::UNSPECIFIED, contract::port::METRICS)),
        ready: SocketAddr::from((Ipv6Addr::UNSPECIFIED, contract::port::READY)),
        token_file: r.text("WEFT_ADMIN_TOKEN_FILE").map(PathBuf::from),
        open: r.flag("WEFT_ADMIN_OPEN").unwrap_or(false),
    }
}

fn log(r: &mut Reader<'_>) -> LogConfig {
    let format = r.read("LOG_FORMAT", "json or plain", |text| match text {
        "json" => Some(LogFormat::Json),
        "plain" | "text" => Some(LogFormat::Text),
        _ => None,
    });
    LogConfig {
        levels: r.text("RUST_LOG").unwrap_or_else(|| "info".into()),
        format: format.unwrap_or_default(),
    }
}

/// Kubernetes kills a pod when its grace period is over; connections must be closed in order a little before.
fn drain_deadline(r: &mut Reader<'_>) -> Duration {
    let own = r.duration("CONNECTION_TERMINATION_DEADLINE");
    let grace = r.number("TERMINATION_GRACE_PERIOD_SECONDS", 0, 7 * 24 * 3600);
    match (own, grace) {
        (Some(deadline), _) => deadline,
        (None, Some(grace)) => {
            let margin = if grace <= 10 { 1 } else { 5 };
            Duration::from_secs(grace.saturating_sub(margin).max(1).into())
        }
        (None, None) => Duration::from_secs(5),
    }
}

/// A number, `0` for one a processor, or a share in percent. Else a quarter of the processors, at least two: a node
/// runs pods first and their proxy second.
fn worker_threads(r: &mut Reader<'_>) -> usize {
    let host = r.env().processors();
    let cpus = "a number of processors";
    let mut cpu = |key: &str| r.parsed::<usize>(key, cpus).filter(|cpus| *cpus > 0);
    let limit = cpu("ZTUNNEL_RESOURCE_CPU_LIMIT");
    let request = cpu("ZTUNNEL_RESOURCE_CPU_REQUEST").unwrap_or(0);
    let processors = limit.or_else(|| cpu("ZTUNNEL_CPU_LIMIT")).unwrap_or(host).max(1);
    let expected = "a number of threads, 0 for one a processor, or a share such as 50%";
    let told = r.read("ZTUNNEL_WORKER_THREADS", expected, |text| match text.strip_suffix('%') {
        Some(share) => {
            let share = share.parse::<usize>().ok().filter(|share| (1..=100).contains(share))?;
            Some(processors.checked_mul(share)?.div_ceil(100).max(1))
        }
        None => match text.parse::<usize>().ok()? {
            0 => Some(processors),
            threads => Some(threads).filter(|threads| *threads <= 1024),
        },
    });
    told.unwrap_or_else(|| match limit {
        Some(limit) => limit.max(request),
        None => processors.div_ceil(4).max(request).max(2),
    })
}

fn strip(key: &str, prefix: &str) -> String {
    key.strip_prefix(prefix).unwrap_or(key).to_owned()
}
