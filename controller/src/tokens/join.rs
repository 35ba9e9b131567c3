//! Join tokens, from the issuer's side: see [`weft_core::join_token`].

use std::time::Duration;

use weft_core::join_token::JoinToken;

use super::{TokenError, TokenIssuer};

impl TokenIssuer {
    /// Issues a token by which `node` may join the mesh of `root_der` for `ttl`.
    pub fn join_token(
        &self,
        root_der: &[u8],
        node: &str,
        ttl: Duration,
    ) -> Result<JoinToken, TokenError> {
        Ok(JoinToken::new(root_der, self.issue_join(node, ttl)?.token)?)
    }

    /// Issues a token by which instances of a waypoint work in the mesh of `root_der` for `ttl`: they present it as it is,
    /// and renew it (`IssueToken`).
    pub fn waypoint_token(
        &self,
        root_der: &[u8],
        name: (&str, &str),
        account: &str,
        ttl: Duration,
    ) -> Result<JoinToken, TokenError> {
        Ok(JoinToken::new(root_der, self.issue_waypoint(name, account, ttl)?.token)?)
    }

    /// Verifies either form of a join token, with or without the root's hash, and returns the node that may join.
    pub fn joining_node(&self, text: &str) -> Result<String, TokenError> {
        match text.parse::<JoinToken>() {
            Ok(join) => self.verify_join(join.token()),
            Err(_) => self.verify_join(text.trim()),
        }
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

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
        let join = issuer.join_token(b"root", "node7", HOUR).unwrap();
        assert_eq!(join.root_hash(), *Sha256::digest(b"root"));
        assert_eq!(issuer.joining_node(&join.to_line()).unwrap(), "node7");
        assert_eq!(issuer.joining_node(join.token()).unwrap(), "node7");
    }

    #[test]
    fn join_and_component_tokens_do_not_stand_for_each_other() {
        let issuer = issuer();
        let join = issuer.join_token(b"root", "node7", HOUR).unwrap();
        assert!(issuer.verify(join.token()).is_err());
        assert!(issuer.verify(&join.to_line()).is_err());
        let agent = issuer.issue(Component::Agent, "node7").unwrap().token;
        assert!(issuer.joining_node(&agent).is_err());
    }

    #[test]
    fn validity_outside_its_bounds_is_refused() {
        let issuer = issuer();
        for seconds in [0, 59, 366 * 86_400] {
            let ttl = Duration::from_secs(seconds);
            let issued = issuer.join_token(b"root", "node7", ttl);
            assert!(matches!(issued, Err(TokenError::Validity)));
        }
    }
}
