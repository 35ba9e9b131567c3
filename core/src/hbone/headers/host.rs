//! Host names as they stand in an authority.

use std::fmt;
use std::str::FromStr;

use super::AuthorityError;
use crate::limits;

/// RFC 1035, section 2.3.4.
const LABEL_BYTES_MAX: usize = 63;

/// A DNS name in lower case, without a final dot, that can't be mistaken for an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(Box<str>);

impl HostName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostName {
    type Err = AuthorityError;

    fn from_str(text: &str) -> Result<Self, AuthorityError> {
        if text.is_empty() || text.len() > limits::NAME_BYTES_MAX {
            return Err(AuthorityError::Host);
        }
        if !text.split('.').all(is_label) {
            return Err(AuthorityError::Host);
        }
        // `10.0.0.1`, `127.1` and `2130706433` are addresses to some resolvers; a name ends in no number.
        let last = text.rsplit('.').next().unwrap_or_default();
        if last.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(AuthorityError::Host);
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Underscores stand in real service names, though not in RFC 1123.
fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= LABEL_BYTES_MAX
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        && !label.starts_with('-')
        && !label.ends_with('-')
}
