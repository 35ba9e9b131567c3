//! `/debug/syncz` in istiod's shape: a list with, for each client and type, the nonce sent and the nonce acknowledged.

use serde_json::{Map, Value, json};

use crate::xds::ClientStatus;

/// One object a client.
pub(super) fn entries(clients: &[ClientStatus]) -> Vec<Value> {
    clients.iter().map(entry).collect()
}

fn entry(client: &ClientStatus) -> Value {
    let mut fields = Map::new();
    fields.insert("cluster_id".into(), json!(client.cluster_id));
    fields.insert("proxy".into(), json!(client.proxy));
    fields.insert("proxy_type".into(), json!(client.kind));
    fields.insert("proxy_version".into(), json!(client.version));
    fields.insert("istio_version".into(), json!(client.version));
    for (type_url, status) in &client.types {
        // `type.googleapis.com/istio.workload.Address` → `address`
        let name = type_url.rsplit('.').next().unwrap_or(type_url).to_ascii_lowercase();
        fields.insert(format!("{name}_sent"), json!(status.nonce_sent));
        fields.insert(format!("{name}_acked"), json!(status.nonce_acked));
    }
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xds::TypeStatus;

    #[test]
    fn entry_has_the_fields_that_istioctl_reads() {
        let status =
            TypeStatus { nonce_sent: "2".into(), nonce_acked: "1".into(), ..Default::default() };
        let mut client = ClientStatus {
            proxy: "ztunnel-x.istio-system".into(),
            kind: "ztunnel".into(),
            ..Default::default()
        };
        client.types.insert(weft_proto::contract::type_url::ADDRESS.into(), status);
        let entry = entries(&[client]).remove(0);
        assert_eq!(entry["proxy"], "ztunnel-x.istio-system");
        assert_eq!(entry["proxy_type"], "ztunnel");
        assert_eq!((&entry["address_sent"], &entry["address_acked"]), (&json!("2"), &json!("1")));
    }
}
