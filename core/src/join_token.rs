//! Join tokens: what a new node needs to know and to prove, in one line that can be pasted.
//!
//! `weft1.<base64url of SHA-256 of the root's DER>.<JWT>`. The hash tells the node which mesh it means before it has any
//! root; the JWT tells the controller which node it is.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::limits;

const PREFIX: &str = "weft1";

/// The text is no join token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a join token reads weft1.<root hash>.<token>; where the controller runs, \
     `weft token --node NAME --state DIR` makes one"
)]
pub struct JoinTokenShape;

/// A join token. It is a credential, so it shows itself only by [`Self::to_line`].
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    root_hash: [u8; 32],
    token: String,
}

impl JoinToken {
    /// One that leads a node to the mesh of `root_der` and presents `token`, a JWT, there.
    pub fn new(root_der: &[u8], token: String) -> Result<Self, JoinTokenShape> {
        Self::checked(Sha256::digest(root_der).into(), token)
    }

    fn checked(root_hash: [u8; 32], token: String) -> Result<Self, JoinTokenShape> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_token = !token.is_empty() && token.bytes().all(is_allowed);
        let join = Self { root_hash, token };
        let fits = join.to_line().len() <= limits::TOKEN_BYTES_MAX;
        if is_token && fits { Ok(join) } else { Err(JoinTokenShape) }
    }

    /// The whole line, as a user pastes it and the controller takes it.
    pub fn to_line(&self) -> String {
        format!("{PREFIX}.{}.{}", URL_SAFE_NO_PAD.encode(self.root_hash), self.token)
    }

    /// The JWT.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// SHA-256 of the DER of the mesh's root.
    pub fn root_hash(&self) -> [u8; 32] {
        self.root_hash
    }

    /// Tells this token from another without showing it: hex.
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::digest(self.to_line());
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl FromStr for JoinToken {
    type Err = JoinTokenShape;

    /// White space around is an editor's.
    fn from_str(text: &str) -> Result<Self, JoinTokenShape> {
        let mut parts = text.trim().splitn(3, '.');
        let (prefix, hash, token) = (parts.next(), parts.next(), parts.next());
        let (Some(PREFIX), Some(hash), Some(token)) = (prefix, hash, token) else {
            return Err(JoinTokenShape);
        };
        let root_hash = URL_SAFE_NO_PAD.decode(hash).ok().and_then(|hash| hash.try_into().ok());
        Self::checked(root_hash.ok_or(JoinTokenShape)?, token.to_owned())
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({})", self.fingerprint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_read_and_not_shown() {
        let hash = URL_SAFE_NO_PAD.encode([7; 32]);
        let token: JoinToken = format!(" weft1.{hash}.aa.bb-_.cc\n").parse().unwrap();
        assert_eq!(token.root_hash(), [7; 32]);
        assert_eq!(token.token(), "aa.bb-_.cc");
        assert_eq!(token.to_line(), format!("weft1.{hash}.aa.bb-_.cc"));
        assert!(!format!("{token:?}").contains("aa.bb"));
    }

    #[test]
    fn made_token_reads_back_and_pins_its_root() {
        let made = JoinToken::new(b"root", "aa.bb.cc".to_owned()).unwrap();
        assert_eq!(made.to_line().parse(), Ok(made.clone()));
        let other = JoinToken::new(b"another root", "aa.bb.cc".to_owned()).unwrap();
        assert_ne!(made.root_hash(), other.root_hash());
        assert_ne!(made.fingerprint(), other.fingerprint());
        assert_eq!(JoinToken::new(b"root", "a b".to_owned()), Err(JoinTokenShape));
    }

    #[test]
    fn anything_else_is_refused() {
        let hash = URL_SAFE_NO_PAD.encode([7; 32]);
        let short = URL_SAFE_NO_PAD.encode([7; 31]);
        let long = format!("weft1.{hash}.{}", "a".repeat(limits::TOKEN_BYTES_MAX));
        for text in [
            "",
            "weft1",
            "weft1..",
            &hash,
            &format!("weft2.{hash}.a"),
            &format!("weft1.{hash}."),
            &format!("weft1.{hash}"),
            &format!("weft1.{short}.a"),
            &format!("weft1.{hash}=.a"),
            &format!("weft1.{hash}.a b"),
            &long,
        ] {
            assert_eq!(text.parse::<JoinToken>(), Err(JoinTokenShape), "{text:.80}");
        }
    }
}
