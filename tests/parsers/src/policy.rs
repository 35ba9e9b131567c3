//! Policies, from their bytes to a verdict.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use weft_core::identity::SpiffeId;
use weft_core::mesh::{Store, StoreSettings, Update, Workload};
use weft_core::policy::{Connection, Verdict, evaluate};
use weft_proto::security as proto;
use weft_proto::workload;

use crate::mesh::put;
use crate::reference;

/// Where a policy is sent from when its bytes do not say.
const NAMESPACE: &str = "demo";

/// One policy. Understood, it decides as a second implementation of the rules does; not understood, it denies
/// everything that it may cover.
pub fn policy(data: &[u8]) {
    let message = proto::Authorization::decode(data).ok();
    let (namespace, name) =
        message.as_ref().map_or((NAMESPACE, "policy"), |it| (&*it.namespace, &*it.name));
    let name: Arc<str> = format!("{namespace}/{name}").into();
    let Some(mut store) = store(&name) else {
        return;
    };
    let resource = Some(Bytes::copy_from_slice(data));
    let update = Update::Authorization { name: Arc::clone(&name), resource };
    let is_rejected = !store.apply(vec![update]).is_empty();
    let message = message.as_ref();
    if !is_rejected {
        let message = message.expect("only a valid message is understood");
        assert!(reference::is_sound(message), "a condition was dropped: {message:?}");
    }
    let snapshot = store.reader().load();
    for workload in snapshot.workloads() {
        for (identity, source_ip, destination) in connections() {
            let connection =
                Connection { source_identity: identity.as_ref(), source_ip, destination };
            let verdict = evaluate(&snapshot, workload, &connection);
            assert!(!matches!(verdict, Verdict::Hold { .. }), "the policy is there");
            let expected = match message {
                Some(message) if !covers(Some(message.scope), &name, workload) => true,
                Some(message) if message.dry_run => true,
                Some(message) if !is_rejected => reference::allows(message, &connection),
                Some(_) => false,
                None => !covers(reference::scope_of_broken(data), &name, workload),
            };
            assert_eq!(verdict.is_allowed(), expected, "{verdict:?} {connection:?} {message:?}");
        }
    }
}

/// Two pods of the policy's namespace and one of another, of which two name the policy.
fn store(policy: &str) -> Option<Store> {
    let namespace = policy.split_once('/').map_or(NAMESPACE, |(namespace, _)| namespace);
    let pod = |namespace: &str, name: &str, policies: &[&str]| workload::Workload {
        uid: format!("Kubernetes//Pod/{namespace}/{name}"),
        namespace: namespace.to_owned(),
        authorization_policies: policies.iter().map(|&it| it.to_owned()).collect(),
        ..Default::default()
    };
    let pods = [
        pod(namespace, "named", &[policy]),
        pod(namespace, "unnamed", &[]),
        pod("elsewhere", "named", &[policy]),
        pod("elsewhere", "unnamed", &[]),
    ];
    let address =
        |pod| put(&workload::Address { r#type: Some(workload::address::Type::Workload(pod)) });
    let mut store = Store::new(&StoreSettings::default());
    // A namespace that forms no identity has no workloads to protect.
    let rejections = store.apply(pods.into_iter().map(address).collect());
    rejections.is_empty().then_some(store)
}

fn names(workload: &Workload, policy: &str) -> bool {
    workload.authorization_policies.iter().any(|name| name.as_str() == policy)
}

/// Without a scope, as far as a policy of that name can reach at all.
fn covers(scope: Option<i32>, name: &str, workload: &Workload) -> bool {
    let namespace = name.split_once('/').map_or(name, |(namespace, _)| namespace);
    let is_own = *workload.namespace == *namespace;
    let is_root = *namespace == *StoreSettings::default().root_namespace;
    names(workload, name)
        || match scope {
            Some(0) => true,
            Some(1) => is_own,
            Some(2) => false,
            _ => is_own || is_root,
        }
}

fn connections() -> Vec<(Option<SpiffeId>, IpAddr, SocketAddr)> {
    let identity = |text: &str| Some(text.parse().expect("an identity"));
    let to = |text: &str| text.parse::<SocketAddr>().expect("a socket address");
    let identities = [
        None,
        identity("spiffe://cluster.local/ns/demo/sa/web"),
        identity("spiffe://other.example/ns/elsewhere/sa/default"),
    ];
    let sources: [IpAddr; 3] = [
        [10, 0, 0, 1].into(),
        [0xfd00, 0, 0, 0, 0, 0, 0, 1].into(),
        [0, 0, 0, 0, 0, 0xffff, 0x0a00, 1].into(),
    ];
    let destinations = [to("10.0.0.2:80"), to("[fd00::2]:8080")];
    let pairs = identities.into_iter().flat_map(|it| sources.map(|ip| (it.clone(), ip)));
    pairs.flat_map(|(it, ip)| destinations.map(|to| (it.clone(), ip, to))).collect()
}
