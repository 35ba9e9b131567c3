//! The token by which a client of the control plane says who it is.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use tokio::io::AsyncReadExt;
use tonic::metadata::{Ascii, MetadataValue};

use crate::limits;

/// Where the token comes from. A file is read anew each time, because whoever issues tokens replaces it.
#[derive(Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// A file, as Kubernetes projects it.
    File(PathBuf),
    /// The token itself.
    Literal(Arc<str>),
    /// No token; the server knows its clients otherwise.
    Absent,
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "File({})", path.display()),
            // A token is a key: it must not reach a log through a settings dump.
            Self::Literal(_) => f.write_str("Literal(…)"),
            Self::Absent => f.write_str("Absent"),
        }
    }
}

impl Serialize for TokenSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::File(path) => serializer.collect_str(&path.display()),
            Self::Literal(_) => serializer.serialize_str("(set, not shown)"),
            Self::Absent => serializer.serialize_none(),
        }
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file can't be read.
    #[error("token file {path}: {error}")]
    Read {
        /// Where it should be.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The token is empty, too long, or has a character that no header can carry.
    #[error(
        "the token is empty, over {} bytes, or has a character that a header can't carry",
        limits::TOKEN_BYTES_MAX
    )]
    Invalid,
}

impl TokenSource {
    /// The value of an `authorization` header, marked sensitive.
    pub async fn authorization(&self) -> Result<Option<MetadataValue<Ascii>>, TokenError> {
        let token = match self {
            Self::Absent => return Ok(None),
            Self::Literal(token) => Arc::clone(token),
            Self::File(path) => {
                let text = read(path).await;
                text.map_err(|error| TokenError::Read { path: path.clone(), error })?.into()
            }
        };
        // A newline at the end is an editor's.
        let token = token.trim();
        if token.is_empty() || token.len() > limits::TOKEN_BYTES_MAX {
            return Err(TokenError::Invalid);
        }
        let value = format!("Bearer {token}");
        let mut value = MetadataValue::try_from(value.as_str()).map_err(|_| TokenError::Invalid)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

async fn read(path: &PathBuf) -> std::io::Result<String> {
    // One byte more than allowed, so that a longer file is seen to be too long instead of being cut.
    const READ_BYTES: u64 = limits::TOKEN_BYTES_MAX as u64 + 1;
    let mut text = String::new();
    let file = tokio::fs::File::open(path).await?;
    file.take(READ_BYTES).read_to_string(&mut text).await?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn token_never_shows() {
        let source = TokenSource::Literal("secret".into());
        assert!(!format!("{source:?}").contains("secret"));
        assert!(!serde_json::to_string(&source).unwrap().contains("secret"));
        let value = TokenSource::Literal(" secret\n".into()).authorization().await;
        let value = value.unwrap().unwrap();
        assert!(value.is_sensitive() && !format!("{value:?}").contains("secret"));
    }

    #[tokio::test]
    async fn what_no_header_can_carry_is_refused() {
        let long = "x".repeat(limits::TOKEN_BYTES_MAX + 1);
        for bad in ["", " \n", "a\nb", &long] {
            let refused = TokenSource::Literal(bad.into()).authorization().await;
            assert!(matches!(refused, Err(TokenError::Invalid)), "{bad:.80?}");
        }
    }
}
