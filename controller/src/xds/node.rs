//! Who a discovery client says that it is, and whether its token bears that out.

use std::sync::Arc;

use prost_types::value::Kind;
use tonic::Status;
use weft_proto::envoy::config::core::v3::Node;

use crate::tokens::Caller;

/// Longest node id and metadata text that is kept, bytes.
const TEXT_BYTES_MAX: usize = 1024;

/// A client's description of itself, checked against its token.
#[derive(Debug, Clone, Default)]
pub(super) struct Description {
    /// `<type>~<ip>~<pod>.<namespace>~<domain>`.
    pub(super) id: String,
    /// `ztunnel`, `waypoint`…
    pub(super) kind: String,
    /// Its pod; a node agent has none and says its node.
    pub(super) name: String,
    /// That pod's namespace; empty for a node agent.
    pub(super) namespace: String,
    /// Both, as `<pod>.<namespace>`, or the first alone.
    pub(super) proxy: String,
    pub(super) cluster_id: String,
    pub(super) version: String,
    /// The node that it runs on: the token's, or else its own word, which then decides nothing but priority.
    pub(super) node: Option<Arc<str>>,
}

impl Description {
    /// Reads a node message and refuses one that contradicts the token.
    pub(super) fn check(node: &Node, caller: &Caller) -> Result<Self, Status> {
        if node.id.is_empty() || node.id.len() > TEXT_BYTES_MAX {
            return Err(Status::invalid_argument("the first request must carry a node id"));
        }
        let mut parts = node.id.split('~');
        let kind = parts.next().unwrap_or_default();
        let pod = parts.nth(1).unwrap_or_default();
        // A pod's name may have dots, and a namespace has none.
        let (name, namespace) = pod.rsplit_once('.').unwrap_or((pod, ""));
        let name = if name.is_empty() { node.id.as_str() } else { name };
        let claimed = text(node, "NAMESPACE").unwrap_or(namespace);
        check("namespace", Some(claimed), Some(&caller.namespace))?;
        check("service account", text(node, "SERVICE_ACCOUNT"), Some(&caller.service_account))?;
        check("node", text(node, "NODE_NAME"), caller.node.as_deref())?;
        let own_word = || text(node, "NODE_NAME").map(Arc::from);
        Ok(Self {
            id: node.id.clone(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            proxy: if namespace.is_empty() { name.into() } else { format!("{name}.{namespace}") },
            cluster_id: text(node, "CLUSTER_ID").unwrap_or_default().to_owned(),
            version: text(node, "ISTIO_VERSION").unwrap_or_default().to_owned(),
            node: caller.node.clone().or_else(own_word),
        })
    }
}

/// Refuses a claim that differs from the token; either may be absent.
fn check(what: &str, claimed: Option<&str>, proven: Option<&str>) -> Result<(), Status> {
    match (claimed, proven) {
        (Some(claimed), Some(proven)) if !claimed.is_empty() && claimed != proven => {
            Err(Status::permission_denied(format!(
                "the client says that its {what} is {claimed:?}, and its token says {proven:?}"
            )))
        }
        _ => Ok(()),
    }
}

fn text<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    match &node.metadata.as_ref()?.fields.get(key)?.kind {
        Some(Kind::StringValue(text)) if text.len() <= TEXT_BYTES_MAX => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, metadata: &[(&str, &str)]) -> Node {
        let value = |text: &str| prost_types::Value { kind: Some(Kind::StringValue(text.into())) };
        let fields = metadata.iter().map(|(k, v)| ((*k).to_owned(), value(v))).collect();
        Node {
            id: id.to_owned(),
            metadata: Some(prost_types::Struct { fields }),
            ..Default::default()
        }
    }

    fn caller() -> Caller {
        Caller {
            namespace: "istio-system".into(),
            service_account: "ztunnel".into(),
            node: Some("node1".into()),
            waypoint: None,
            expires_at: 0,
        }
    }

    #[test]
    fn usual_node_is_read() {
        let id = "ztunnel~10.0.0.1~ztunnel-x.istio-system~istio-system.svc.cluster.local";
        let metadata = [("NODE_NAME", "node1"), ("CLUSTER_ID", "c1"), ("ISTIO_VERSION", "1.30")];
        let read = Description::check(&node(id, &metadata), &caller()).unwrap();
        assert_eq!(
            (read.kind.as_str(), read.proxy.as_str()),
            ("ztunnel", "ztunnel-x.istio-system")
        );
        assert_eq!((read.cluster_id.as_str(), read.node.as_deref()), ("c1", Some("node1")));
    }

    #[test]
    fn name_and_namespace_are_told_apart() {
        for (id, name, namespace, proxy) in [
            ("ztunnel~10.0.0.1~z.istio-system~d", "z", "istio-system", "z.istio-system"),
            ("ztunnel~10.0.0.1~z.a.istio-system~d", "z.a", "istio-system", "z.a.istio-system"),
            ("agent~1.1.1.1~node1.~.svc.cluster.local", "node1", "", "node1"),
            (
                "agent~1.1.1.1~node1.example.~.svc.cluster.local",
                "node1.example",
                "",
                "node1.example",
            ),
            ("x", "x", "", "x"),
        ] {
            let read = Description::check(&node(id, &[]), &caller()).unwrap();
            assert_eq!((&*read.name, &*read.namespace, &*read.proxy), (name, namespace, proxy));
        }
    }

    #[test]
    fn description_that_contradicts_the_token_is_refused() {
        let id = "ztunnel~10.0.0.1~z.istio-system~d";
        for (id, metadata) in [
            ("", ("", "")),
            ("ztunnel~10.0.0.1~z.elsewhere~d", ("", "")),
            (id, ("NAMESPACE", "elsewhere")),
            (id, ("SERVICE_ACCOUNT", "admin")),
            (id, ("NODE_NAME", "node2")),
        ] {
            assert!(Description::check(&node(id, &[metadata]), &caller()).is_err(), "{metadata:?}");
        }
        assert!(Description::check(&node(id, &[]), &caller()).is_ok());
        assert!(Description::check(&node("x", &[]), &caller()).is_ok());
    }
}
