//! Join tokens: what a new node needs to know and to prove, in one line that can be pasted.
//!
//! `weft1.<base64url SHA-256 of the root certificate's DER>.<JWT>`. The hash lets the node recognise the mesh on
//! first contact, before it has any root; the JWT lets the controller recognise the node.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::{TokenError, TokenIssuer};

const PREFIX: &str = "weft1";
/// Base64 of 32 bytes without padding.
const HASH_CHARACTERS: usize = 43;

/// A join token.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    root_hash: String,
    token: String,
}

impl JoinToken {
    /// Issues a token by which `node` may join for `ttl`.
    pub fn issue(
        issuer: &TokenIssuer,
        root_der: &[u8],
        node: &str,
        ttl: Duration,
    ) -> Result<Self, TokenError> {
        let token = issuer.issue_join(node, ttl)?.token;
        let root_hash = URL_SAFE_NO_PAD.encode(Sha256::digest(root_der));
        Ok(Self { root_hash, token })
    }

    /// Reads what a user pasted.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let mut parts = text.trim().splitn(3, '.');
        let (prefix, hash, token) = (parts.next(), parts.next(), parts.next());
        let (Some(PREFIX), Some(hash), Some(token)) = (prefix, hash, token) else {
            return Err(TokenError::JoinShape);
        };
        let decoded = URL_SAFE_NO_PAD.decode(hash).map_err(|_| TokenError::JoinShape)?;
        if hash.len() != HASH_CHARACTERS || decoded.len() != 32 || token.is_empty() {
            return Err(TokenError::JoinShape);
        }
        Ok(Self { root_hash: hash.to_owned(), token: token.to_owned() })
    }

    /// Whether `root_der` is the root that the token's issuer meant.
    pub fn pins(&self, root_der: &[u8]) -> bool {
        URL_SAFE_NO_PAD.encode(Sha256::digest(root_der)) == self.root_hash
    }

    /// Verifies either form, with or without the root's hash, and returns the node that may join.
    pub fn verify(issuer: &TokenIssuer, text: &str) -> Result<String, TokenError> {
        match Self::parse(text) {
            Ok(join) => issuer.verify_join(&join.token),
            Err(_) => issuer.verify_join(text.trim()),
        }
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}.{}.{}", self.root_hash, self.token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state_dir::StateDir;
    use crate::tokens::Component;

    fn issuer() -> TokenIssuer {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(&folder.path().join("state")).unwrap();
        TokenIssuer::open(&state, "https://mesh.test", "istio-system").unwrap()
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn join_token_pins_its_root_and_names_its_node() {
        let issuer = issuer();
        let text = JoinToken::issue(&issuer, b"root", "node7", HOUR).unwrap().to_string();
        let join = JoinToken::parse(&format!("{text}\n")).unwrap();
        assert!(join.pins(b"root"));
        assert!(!join.pins(b"another root"));
        assert_eq!(JoinToken::verify(&issuer, &text).unwrap(), "node7");
        assert_eq!(JoinToken::verify(&issuer, &join.token).unwrap(), "node7");
    }

    #[test]
    fn join_and_component_tokens_do_not_stand_for_each_other() {
        let issuer = issuer();
        let join = JoinToken::issue(&issuer, b"root", "node7", HOUR).unwrap();
        assert!(issuer.verify(&join.token).is_err());
        let agent = issuer.issue(Component::Agent, "node7").unwrap().token;
        assert!(JoinToken::verify(&issuer, &agent).is_err());
    }

    #[test]
    fn misshapen_join_tokens_are_refused() {
        let hash = URL_SAFE_NO_PAD.encode([0; 32]);
        for text in ["", "weft1", "weft1..", "weft2.a.b", &format!("weft1.{hash}."), "weft1.AAAA.x"]
        {
            assert!(JoinToken::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn validity_outside_its_bounds_is_refused() {
        let issuer = issuer();
        for seconds in [0, 59, 366 * 86_400] {
            let ttl = Duration::from_secs(seconds);
            assert!(matches!(
                JoinToken::issue(&issuer, b"root", "node7", ttl),
                Err(TokenError::Validity)
            ));
        }
    }
}
