//! Envoys: static settings as few as they can be, and certificates for two of them.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
};
use serde_json::{Value, json};
use weft_harness::{Mesh, Pod};

/// Where the client's Envoy listens, in its pod.
pub(super) const OUTBOUND: u16 = 15101;
/// Where the server's Envoy listens.
pub(super) const INBOUND: u16 = 15106;

/// Where two Envoys listen, and what is behind the second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair {
    /// The first's port, in the client's pod.
    pub(super) outbound: u16,
    /// The second's address.
    pub(super) inbound: SocketAddr,
    /// The server's port, in the second's pod.
    pub(super) application: u16,
}

/// The settings of two Envoys.
#[derive(Debug)]
pub(super) struct PairConfig {
    pub(super) client: Value,
    pub(super) server: Value,
}

/// Runs an Envoy in a pod until it listens on `port`; the name of its process.
///
/// # Errors
/// It ends or doesn't listen in time.
pub(super) fn start(
    mesh: &Mesh,
    (program, pod): (&Path, &Pod),
    port: u16,
    config: &Value,
) -> Result<String> {
    let name = format!("envoy-{}", pod.spec.name);
    let path = mesh.folder().join(format!("{name}.json"));
    fs::write(&path, serde_json::to_vec_pretty(config)?)
        .with_context(|| format!("writing {}", path.display()))?;
    // One of a machine: the shared memory of several would be one.
    let launch = pod.launch(program).args(["--disable-hot-restart", "-l", "warn", "-c"]).arg(path);
    let process = mesh.start(&name, launch)?;
    mesh.wait_listening(&pod.netns, port, &process)?;
    Ok(name)
}

/// A hop without TLS.
pub(super) fn hop(listen: u16, to: SocketAddr) -> Value {
    settings(listener(Ipv4Addr::UNSPECIFIED, listen, None), cluster(to, None))
}

/// Two sidecars with mutual TLS 1.3 between them; HTTP/1.1 in it, as sidecars have it by default.
///
/// # Errors
/// A certificate can't be made.
pub(super) fn pair(pair: &Pair) -> Result<PairConfig> {
    let authority = authority()?;
    let tls = |account: &str, kind: &str| -> Result<Value> {
        let common = common_tls(&authority, account)?;
        Ok(transport_socket(kind, common))
    };
    let client = settings(
        listener(Ipv4Addr::LOCALHOST, pair.outbound, None),
        cluster(pair.inbound, Some(tls("client", "Upstream")?)),
    );
    let application = SocketAddr::from((Ipv4Addr::LOCALHOST, pair.application));
    let server = settings(
        listener(Ipv4Addr::UNSPECIFIED, pair.inbound.port(), Some(tls("server", "Downstream")?)),
        cluster(application, None),
    );
    Ok(PairConfig { client, server })
}

fn settings(listener: Value, cluster: Value) -> Value {
    json!({"static_resources": {"listeners": [listener], "clusters": [cluster]}})
}

fn typed(name: &str, rest: Value) -> Value {
    let mut config = rest;
    if let Some(fields) = config.as_object_mut() {
        fields.insert(
            "@type".to_owned(),
            json!(format!("type.googleapis.com/envoy.extensions.{name}")),
        );
    }
    config
}

fn address(ip: IpAddr, port: u16) -> Value {
    json!({"socket_address": {"address": ip.to_string(), "port_value": port}})
}

fn listener(ip: Ipv4Addr, port: u16, tls: Option<Value>) -> Value {
    let router = json!({
        "name": "envoy.filters.http.router",
        "typed_config": typed("filters.http.router.v3.Router", json!({})),
    });
    let route = json!({"match": {"prefix": "/"}, "route": {"cluster": "to"}});
    let manager = json!({
        "stat_prefix": "bench",
        "http_filters": [router],
        "route_config": {
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}],
        },
    });
    let manager =
        typed("filters.network.http_connection_manager.v3.HttpConnectionManager", manager);
    let filter = json!({
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": manager,
    });
    let mut chain = json!({"filters": [filter]});
    if let (Some(tls), Some(chain)) = (tls, chain.as_object_mut()) {
        chain.insert("transport_socket".to_owned(), tls);
    }
    json!({"name": "from", "address": address(ip.into(), port), "filter_chains": [chain]})
}

fn cluster(to: SocketAddr, tls: Option<Value>) -> Value {
    let endpoint = json!({"endpoint": {"address": address(to.ip(), to.port())}});
    let mut cluster = json!({
        "name": "to",
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": "to", "endpoints": [{"lb_endpoints": [endpoint]}]},
    });
    if let (Some(tls), Some(cluster)) = (tls, cluster.as_object_mut()) {
        cluster.insert("transport_socket".to_owned(), tls);
    }
    cluster
}

/// `kind` is `Upstream` or `Downstream`.
fn transport_socket(kind: &str, common: Value) -> Value {
    let mut context = json!({"common_tls_context": common});
    if let (true, Some(context)) = (kind == "Downstream", context.as_object_mut()) {
        context.insert("require_client_certificate".to_owned(), json!(true));
    }
    let name = format!("transport_sockets.tls.v3.{kind}TlsContext");
    json!({"name": "envoy.transport_sockets.tls", "typed_config": typed(&name, context)})
}

fn common_tls(authority: &CertifiedIssuer<'static, KeyPair>, account: &str) -> Result<Value> {
    let key = KeyPair::generate()?;
    let mut params = named(account)?;
    let identity = format!("spiffe://cluster.local/ns/plain/sa/{account}");
    params.subject_alt_names = vec![SanType::URI(identity.try_into()?)];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&key, authority)?;
    let text = |pem: String| json!({"inline_string": pem});
    Ok(json!({
        "tls_params": {
            "tls_minimum_protocol_version": "TLSv1_3",
            "tls_maximum_protocol_version": "TLSv1_3",
        },
        "tls_certificates": [{
            "certificate_chain": text(certificate.pem()),
            "private_key": text(key.serialize_pem()),
        }],
        "validation_context": {"trusted_ca": text(authority.pem())},
    }))
}

/// An authority and its leaves must differ in name, or a leaf looks as if it had signed itself.
fn named(name: &str) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = named("bench root")?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sidecars_ask_each_other_for_certificates_of_one_authority() {
        let inbound = SocketAddr::from(([10, 0, 0, 1], INBOUND));
        let config = pair(&Pair { outbound: OUTBOUND, inbound, application: 80 }).unwrap();
        let socket = "/transport_socket/typed_config";
        let of = |config: &Value, at: &str| config.pointer(at).cloned().unwrap_or_default();
        let client = format!("/static_resources/clusters/0{socket}");
        let server = format!("/static_resources/listeners/0/filter_chains/0{socket}");
        let asks = format!("{server}/require_client_certificate");
        assert_eq!(of(&config.server, &asks), json!(true));
        let trusts = "/common_tls_context/validation_context/trusted_ca";
        let trusted = of(&config.client, &format!("{client}{trusts}"));
        assert!(trusted.is_object());
        assert_eq!(of(&config.server, &format!("{server}{trusts}")), trusted);
    }
}
