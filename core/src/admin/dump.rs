//! What `/config_dump` says, in the JSON that istioctl and Kiali read. The proxy writes these, `weft` reads them (a
//! stock ztunnel's as well, which is why everything may be absent).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The whole dump.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigDump {
    /// Workloads of the mesh.
    pub workloads: Vec<Workload>,
    /// Services of the mesh.
    pub services: Vec<Service>,
    /// L4 policies.
    pub policies: Vec<Policy>,
    /// Services that endpoints name and that haven't arrived.
    pub staged_services: Value,
    /// State from a file; Weft has none.
    pub static_config: Value,
    /// What runs here.
    pub version: Value,
    /// The configuration, without secrets.
    pub config: Value,
    /// Certificates, without keys.
    pub certificates: Vec<Certificate>,
    /// The pods that this proxy serves, by uid.
    pub workload_state: BTreeMap<String, WorkloadState>,
}

/// A workload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are those of the wire's Workload")]
pub struct Workload {
    pub uid: String,
    pub workload_ips: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waypoint: Option<GatewayAddress>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_gateway: Option<GatewayAddress>,
    /// `HBONE` or `TCP`.
    pub protocol: String,
    pub name: String,
    pub namespace: String,
    pub service_account: String,
    pub workload_name: String,
    pub workload_type: String,
    pub canonical_name: String,
    pub canonical_revision: String,
    pub cluster_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub trust_domain: String,
    #[serde(skip_serializing_if = "Locality::is_empty")]
    pub locality: Locality,
    pub node: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub network: String,
    /// `Healthy` or `Unhealthy`.
    pub status: String,
    pub hostname: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application_tunnel: Option<ApplicationTunnel>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub authorization_policies: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub native_tunnel: bool,
    /// Names of its services, `namespace/hostname`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
}

/// Where a node is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are those of the wire's Locality")]
pub struct Locality {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub region: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub zone: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subzone: String,
}

impl Locality {
    fn is_empty(&self) -> bool {
        self.region.is_empty() && self.zone.is_empty() && self.subzone.is_empty()
    }
}

/// A waypoint or a gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayAddress {
    /// `network/address` or `namespace/hostname`.
    pub destination: String,
    /// Its HBONE port.
    pub hbone_mtls_port: u16,
}

/// How bytes are handed to the workload's own proxy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ApplicationTunnel {
    /// `NONE` or `PROXY`.
    pub protocol: String,
    /// Its port, if it isn't the destination's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// A service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are those of the wire's Service")]
pub struct Service {
    pub name: String,
    pub namespace: String,
    pub hostname: String,
    /// `network/address`.
    pub vips: Vec<String>,
    /// Service port to target port.
    pub ports: BTreeMap<String, u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancer: Option<LoadBalancer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waypoint: Option<GatewayAddress>,
    /// By workload uid.
    pub endpoints: BTreeMap<String, Endpoint>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subject_alt_names: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_families: Option<String>,
}

/// How an endpoint is chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are those of the wire's LoadBalancing")]
pub struct LoadBalancer {
    pub mode: String,
    pub routing_preferences: Vec<String>,
    pub health_policy: String,
}

/// A workload behind a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Endpoint {
    pub workload_uid: String,
    /// Service port to target port.
    pub port: BTreeMap<String, u16>,
    /// `Healthy` or `Unhealthy`; where absent, the workload's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

/// An L4 policy. Rules are OR-ed, their clauses AND-ed, the matches of a clause OR-ed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are those of the wire's Authorization")]
pub struct Policy {
    pub name: String,
    pub namespace: String,
    /// `Global`, `Namespace` or `WorkloadSelector`.
    pub scope: String,
    /// `Allow` or `Deny`.
    pub action: String,
    pub rules: Vec<Vec<Vec<PolicyMatch>>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// What one match asks for: all its fields, any value of each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are those of the wire's Match")]
pub struct PolicyMatch {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<StringMatch>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_namespaces: Vec<StringMatch>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub principals: Vec<StringMatch>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_principals: Vec<StringMatch>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_ips: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_source_ips: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub destination_ips: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_destination_ips: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub destination_ports: Vec<u16>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_destination_ports: Vec<u16>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub service_accounts: Vec<ServiceAccountMatch>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_service_accounts: Vec<ServiceAccountMatch>,
}

/// How a text is matched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StringMatch {
    /// The whole text.
    Exact(String),
    /// How it begins.
    Prefix(String),
    /// How it ends.
    Suffix(String),
    /// That there is one.
    Presence(Value),
}

/// A service account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct ServiceAccountMatch {
    pub namespace: String,
    pub service_account: String,
}

/// The certificate of an identity.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Certificate {
    /// SPIFFE ID.
    pub identity: String,
    /// `Available`, `Initializing`, or `Unavailable: ` and why.
    pub state: String,
    /// Leaf first.
    pub cert_chain: Vec<Cert>,
    /// Roots that peers are verified against.
    pub root_certs: Vec<Cert>,
}

/// One certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cert {
    /// PEM, once more in base64, as the incumbent has it.
    pub pem: String,
    /// Decimal.
    pub serial_number: String,
    /// RFC 3339.
    pub valid_from: String,
    /// RFC 3339.
    pub expiration_time: String,
}

/// A pod that this proxy serves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadState {
    /// `Up`, `Pending`, `Draining`.
    pub state: String,
    /// Its open connections.
    pub connections: Connections,
    /// Who it is.
    pub info: WorkloadInfo,
}

/// Who a pod is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct WorkloadInfo {
    pub name: String,
    pub namespace: String,
    pub trust_domain: String,
    pub service_account: String,
}

/// The open connections of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Connections {
    pub inbound: Vec<Connection>,
    pub outbound: Vec<Connection>,
}

/// One open connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Connection {
    /// Client.
    pub src: String,
    /// What the client addressed; inbound, the service's host name if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original_dst: Option<String>,
    /// Where it went.
    pub actual_dst: String,
    /// `HBONE` or `TCP`.
    pub protocol: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dump_of_a_stock_ztunnel_is_read() {
        let text = r#"{
          "workloads": [{"workloadIps":["10.0.0.1"],"protocol":"HBONE","uid":"Kubernetes//Pod/a/b",
            "name":"b","namespace":"a","waypoint":{"destination":"/10.1.1.1","hboneMtlsPort":15008},
            "capacity":1,"unheardOf":{"x":[1]}}],
          "policies": [{"name":"p","namespace":"a","scope":"Namespace","action":"Allow",
            "rules":[[[{"principals":[{"Exact":"cluster.local/ns/a/sa/b"},{"Presence":null}]}]]]}],
          "version": {"version":"1.30","gitRevision":"x"}, "stagedServices": {}, "somethingNew": 1}"#;
        let dump: ConfigDump = serde_json::from_str(text).unwrap();
        assert_eq!(dump.workloads[0].waypoint.as_ref().unwrap().hbone_mtls_port, 15008);
        let principals = &dump.policies[0].rules[0][0][0].principals;
        assert_eq!(principals[0], StringMatch::Exact("cluster.local/ns/a/sa/b".into()));
    }

    #[test]
    fn keys_are_those_that_istioctl_reads() {
        let mut dump = ConfigDump::default();
        dump.workload_state.insert("uid".into(), WorkloadState::default());
        dump.certificates
            .push(Certificate { cert_chain: vec![Cert::default()], ..Certificate::default() });
        let json = serde_json::to_value(&dump).unwrap();
        for key in [
            "workloads",
            "services",
            "policies",
            "stagedServices",
            "staticConfig",
            "version",
            "config",
            "certificates",
            "workloadState",
        ] {
            assert!(json.get(key).is_some(), "{key}");
        }
        let cert = &json["certificates"][0]["certChain"][0];
        for key in ["pem", "serialNumber", "validFrom", "expirationTime"] {
            assert!(cert.get(key).is_some(), "{key}");
        }
        let read: ConfigDump = serde_json::from_value(json).unwrap();
        assert_eq!(read, dump);
    }
}
