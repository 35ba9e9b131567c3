//! The one line by which a node joins: `weft1.<base64url of SHA-256 of the root's DER>.<JWT>`.
//!
//! The hash tells the node which mesh it means before it has any root; the rest tells the controller which node it is.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::limits;

const PREFIX: &str = "weft1";

/// The text is no join token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a join token reads weft1.<root hash>.<token>; make one with `weft token --node NAME`")]
pub struct JoinTokenShape;

/// A join token. It is a credential, so it shows itself only where it is sent.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    text: String,
    root_hash: [u8; 32],
}

impl JoinToken {
    /// The whole token, as the controller takes it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// SHA-256 of the DER of the mesh's root.
    pub fn root_hash(&self) -> [u8; 32] {
        self.root_hash
    }

    /// Tells this token from another without showing it: hex.
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::digest(self.text.as_bytes());
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl FromStr for JoinToken {
    type Err = JoinTokenShape;

    fn from_str(text: &str) -> Result<Self, JoinTokenShape> {
        let text = text.trim();
        let mut parts = text.splitn(3, '.');
        let (prefix, hash, token) = (parts.next(), parts.next(), parts.next());
        let (Some(PREFIX), Some(hash), Some(token)) = (prefix, hash, token) else {
            return Err(JoinTokenShape);
        };
        let root_hash = URL_SAFE_NO_PAD.decode(hash).ok().and_then(|hash| hash.try_into().ok());
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let fits = !token.is_empty() && text.len() <= limits::TOKEN_BYTES_MAX;
        match root_hash {
            Some(root_hash) if fits && token.bytes().all(is_allowed) => {
                Ok(Self { text: text.to_owned(), root_hash })
            }
            _ => Err(JoinTokenShape),
        }
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
        assert_eq!(token.as_str(), format!("weft1.{hash}.aa.bb-_.cc"));
        assert!(!format!("{token:?}").contains("aa.bb"));
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
