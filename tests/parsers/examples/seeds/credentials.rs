//! What is in Secrets.

use prost::Message as _;
use weft_proto::contract::backend::CREDENTIALS_MAX;
use weft_proto::route as proto;

use crate::Seed;

/// Messages, sound and not.
pub(crate) fn messages() -> Vec<Seed> {
    let whole = message(["demo/bank", "demo/ca"].map(str::to_owned));
    let mut cut = whole.encode_to_vec();
    cut.truncate(cut.len() / 2);
    let many = (0..=CREDENTIALS_MAX).map(|at| format!("demo/{at}"));
    vec![
        ("empty", Vec::new()),
        ("sound", whole.encode_to_vec()),
        ("cut-short", cut),
        ("too-many", message(many).encode_to_vec()),
        ("names-that-are-none", message(["", "/", "a/b/c"].map(str::to_owned)).encode_to_vec()),
    ]
}

fn message(names: impl IntoIterator<Item = String>) -> proto::ServiceCredentials {
    let credential = proto::Credential {
        chain_pem: "chain".into(),
        key_pem: "key".into(),
        ca_pem: "ca".into(),
        revoked_pem: String::new(),
    };
    proto::ServiceCredentials {
        namespace: "demo".into(),
        hostname: "web".into(),
        secrets: names.into_iter().map(|name| (name, credential.clone())).collect(),
    }
}
