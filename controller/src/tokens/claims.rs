//! What a token says.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use weft_core::limits::NAME_BYTES_MAX;

use super::{AGENT_ACCOUNT, TokenError, ZTUNNEL_ACCOUNT};

/// Clocks may differ by this much where a token says when it begins, seconds.
const SKEW_SECONDS: u64 = 120;

/// Claims of a token, as Kubernetes' bound service-account tokens have them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) sub: String,
    pub(super) aud: Vec<String>,
    /// Unix seconds.
    pub(super) exp: u64,
    /// Unix seconds.
    pub(super) iat: u64,
    /// Unix seconds.
    pub(super) nbf: u64,
    pub(super) jti: String,
    #[serde(rename = "kubernetes.io")]
    pub(super) bound: Bound,
    /// Name of the Gateway of a waypoint, in the token's namespace. Not Kubernetes': there it is a label of the pod.
    #[serde(rename = "weft.io/waypoint", skip_serializing_if = "Option::is_none", default)]
    pub(super) waypoint: Option<String>,
}

/// What a token is bound to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Bound {
    pub(super) namespace: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) node: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) pod: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) serviceaccount: Option<Reference>,
}

/// An object by name, and by uid where the token carries one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Reference {
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) uid: Option<String>,
}

impl Reference {
    /// A reference whose uid is derived from the names, so that it is the same after a restart.
    pub(super) fn derived(kind: &str, name: &str) -> Self {
        Self { name: name.to_owned(), uid: Some(derived_uid(kind, name)) }
    }
}

/// What the controller gives tokens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// The node agent.
    Agent,
    /// The node proxy.
    Ztunnel,
}

impl Component {
    /// Its service account in the mesh's own namespace.
    pub fn service_account(self) -> &'static str {
        match self {
            Self::Agent => AGENT_ACCOUNT,
            Self::Ztunnel => ZTUNNEL_ACCOUNT,
        }
    }
}

/// An authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Namespace of its service account.
    pub namespace: Arc<str>,
    /// Its service account.
    pub service_account: Arc<str>,
    /// The node that its token is bound to.
    pub node: Option<Arc<str>>,
    /// The waypoint that it is an instance of: `<namespace>/<name>` of the Gateway.
    pub waypoint: Option<Arc<str>>,
    /// When its token expires, Unix seconds.
    pub expires_at: u64,
}

impl Caller {
    /// Whether it is `component` of the mesh whose own namespace is `root_namespace`. A waypoint is neither, whatever its
    /// service account is called.
    pub fn is(&self, component: Component, root_namespace: &str) -> bool {
        &*self.namespace == root_namespace
            && &*self.service_account == component.service_account()
            && self.waypoint.is_none()
    }

    pub(super) fn from_claims(claims: &Claims) -> Result<Self, TokenError> {
        let account = claims.bound.serviceaccount.as_ref().map(|account| account.name.as_str());
        let account = account.ok_or_else(|| invalid("it names no service account"))?;
        let namespace = claims.bound.namespace.as_str();
        if claims.sub != format!("system:serviceaccount:{namespace}:{account}") {
            return Err(invalid("its subject and its service account differ"));
        }
        Ok(Self {
            namespace: namespace.into(),
            service_account: account.into(),
            node: claims.bound.node.as_ref().map(|node| node.name.as_str().into()),
            waypoint: claims.waypoint.as_ref().map(|name| format!("{namespace}/{name}").into()),
            expires_at: claims.exp,
        })
    }
}

/// Refuses a token outside its time. `now` is Unix seconds.
pub(super) fn check_time(claims: &Claims, now: u64) -> Result<(), TokenError> {
    if claims.exp <= now {
        return Err(TokenError::Expired(now - claims.exp));
    }
    let begins = claims.nbf.max(claims.iat);
    if begins > now + SKEW_SECONDS {
        return Err(TokenError::NotYet(begins - now));
    }
    Ok(())
}

/// Refuses what can't be the name of a Kubernetes node.
pub(crate) fn check_node_name(name: &str) -> Result<(), TokenError> {
    let is_allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
    if !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(is_allowed) {
        return Ok(());
    }
    // Cut, because the text comes from a stranger and goes to a log.
    Err(TokenError::NodeName(name.chars().take(64).collect()))
}

/// Refuses what can't be the name of a Gateway, a namespace or a service account.
pub(super) fn check_object_name(name: &str) -> Result<(), TokenError> {
    let refused = |_| TokenError::ObjectName(name.chars().take(64).collect());
    check_node_name(name).map_err(refused)
}

pub(super) fn invalid(reason: &str) -> TokenError {
    TokenError::Invalid(reason.to_owned())
}

/// A UUID (RFC 9562, version 8: custom) of the object's kind and name.
fn derived_uid(kind: &str, name: &str) -> String {
    let mut digest = Sha256::new();
    digest.update(kind);
    digest.update([0]);
    digest.update(name);
    let bytes: [u8; 32] = digest.finalize().into();
    let value = bytes.iter().take(16).fold(0u128, |value, byte| (value << 8) | u128::from(*byte));
    let value = (value & !(0xf << 76) & !(0x3 << 62)) | (0x8 << 76) | (0x2 << 62);
    let hex = format!("{value:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default().to_owned();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_uid_is_a_stable_uuid_of_its_own_kind() {
        let uid = derived_uid("Pod", "ztunnel-node1");
        assert_eq!(uid, derived_uid("Pod", "ztunnel-node1"));
        assert_ne!(uid, derived_uid("Node", "ztunnel-node1"));
        assert_eq!(uid.len(), 36);
        assert_eq!((uid.as_bytes()[14], uid.as_bytes()[8]), (b'8', b'-'));
        assert!(b"89ab".contains(&uid.as_bytes()[19]));
    }

    #[test]
    fn node_names_outside_the_kubernetes_form_are_refused() {
        assert!(check_node_name("node-1.example").is_ok());
        for name in ["", "Node", "a/b", "a\nb", "a b", &"x".repeat(254)] {
            assert!(check_node_name(name).is_err(), "{name:?}");
        }
    }
}
