//! Who the client says it is. Control planes read the id's type and the metadata.

use std::collections::BTreeMap;
use std::net::IpAddr;

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use serde_json::Value as Json;
use weft_proto::envoy::config::core::v3::Node;

/// What a node description is made of.
#[derive(Debug, Clone)]
pub struct NodeSettings {
    /// `ztunnel` or `waypoint`: what the control plane takes the client for.
    pub kind: String,
    /// Own address; control planes only show it.
    pub instance_ip: Option<IpAddr>,
    /// Name of the client's own pod.
    pub pod_name: String,
    /// Its namespace.
    pub namespace: String,
    /// The node that it runs on.
    pub node_name: String,
    /// `cluster.local`, normally.
    pub cluster_domain: String,
    /// More metadata, as `ISTIO_META_*` sets it. What is derived from the fields above comes first.
    pub metadata: BTreeMap<String, Json>,
}

/// The description in the shape that Istio's control plane expects: `<kind>~<ip>~<pod>.<ns>~<ns>.svc.<domain>`.
pub fn node(settings: &NodeSettings) -> Node {
    let NodeSettings { kind, pod_name, namespace, cluster_domain, .. } = settings;
    // Istio refuses an empty address; its own proxy sends this one where it has none.
    let ip = settings.instance_ip.map_or_else(|| "1.1.1.1".to_owned(), |ip| ip.to_string());
    let id = format!("{kind}~{ip}~{pod_name}.{namespace}~{namespace}.svc.{cluster_domain}");
    let own = [
        ("NAME", pod_name),
        ("NAMESPACE", namespace),
        ("INSTANCE_IPS", &ip),
        ("NODE_NAME", &settings.node_name),
    ];
    let extra = settings.metadata.iter().map(|(key, json)| (key.clone(), value(json)));
    let own = own.map(|(key, text)| (key.to_owned(), value(&Json::String(text.clone()))));
    let metadata = Struct { fields: extra.chain(own).collect() };
    Node { id, cluster: String::new(), metadata: Some(metadata) }
}

fn value(json: &Json) -> Value {
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(bool) => Kind::BoolValue(*bool),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Json::String(text) => Kind::StringValue(text.clone()),
        Json::Array(list) => {
            Kind::ListValue(ListValue { values: list.iter().map(value).collect() })
        }
        Json::Object(map) => Kind::StructValue(Struct {
            fields: map.iter().map(|(key, json)| (key.clone(), value(json))).collect(),
        }),
    };
    Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn description_has_the_shape_that_control_planes_parse() {
        let settings = NodeSettings {
            kind: "ztunnel".into(),
            instance_ip: None,
            pod_name: "ztunnel-x".into(),
            namespace: "istio-system".into(),
            node_name: "node1".into(),
            cluster_domain: "cluster.local".into(),
            metadata: [("NAME".to_owned(), "forged".into()), ("DEPTH".to_owned(), 1.into())].into(),
        };
        let node = node(&settings);
        let expected = "ztunnel~1.1.1.1~ztunnel-x.istio-system~istio-system.svc.cluster.local";
        assert_eq!(node.id, expected);
        let fields = node.metadata.unwrap().fields;
        assert_eq!(fields["NAME"].kind, Some(Kind::StringValue("ztunnel-x".into())));
        assert_eq!(fields["NODE_NAME"].kind, Some(Kind::StringValue("node1".into())));
        assert_eq!(fields["DEPTH"].kind, Some(Kind::NumberValue(1.0)));
    }
}
