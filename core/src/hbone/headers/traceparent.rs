//! `traceparent` (W3C Trace Context, section 3.2): joins the logs of both ends of a tunnel.

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};

/// Bytes of version 00: `00-<32 hex>-<16 hex>-<2 hex>`.
const LENGTH: usize = 55;

/// A place in a trace. All-zero identifiers are invalid, and the types say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace_id: NonZeroU128,
    /// The span of the sender.
    pub span_id: NonZeroU64,
    /// Trace flags; bit 0 is "sampled".
    pub flags: u8,
}

impl TraceParent {
    /// A new trace, not sampled.
    pub fn random() -> Self {
        Self {
            trace_id: NonZeroU128::new(rand::random()).unwrap_or(NonZeroU128::MIN),
            span_id: NonZeroU64::new(rand::random()).unwrap_or(NonZeroU64::MIN),
            flags: 0,
        }
    }

    /// `None` if malformed; the receiver then starts a trace of its own. Later versions are read as far as version
    /// 00 defines them.
    pub fn parse(field: &[u8]) -> Option<Self> {
        let (known, rest) = field.split_at_checked(LENGTH)?;
        let text = str::from_utf8(known).ok()?;
        let mut parts = text.split('-');
        let version = parse_hex(parts.next()?, 2)?;
        let trace_id = parse_hex(parts.next()?, 32)?;
        let span_id = parse_hex(parts.next()?, 16)?;
        let flags = parse_hex(parts.next()?, 2)?;
        let is_version_known = version == 0 && rest.is_empty();
        let is_version_later =
            version > 0 && version < 0xff && (rest.is_empty() || rest.starts_with(b"-"));
        if parts.next().is_some() || !(is_version_known || is_version_later) {
            return None;
        }
        Some(Self {
            trace_id: NonZeroU128::new(trace_id)?,
            span_id: NonZeroU64::new(u64::try_from(span_id).ok()?)?,
            flags: u8::try_from(flags).ok()?,
        })
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

/// Lower case only, as the specification asks; the standard parser also takes a sign and upper case.
fn parse_hex(text: &str, digits: usize) -> Option<u128> {
    let is_lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != digits || !text.bytes().all(is_lower_hex) {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn well_formed_is_read_and_written_back() {
        assert_eq!(TraceParent::parse(GOOD.as_bytes()).unwrap().to_string(), GOOD);
        let later = GOOD.replacen("00", "cc", 1) + "-what-will-be";
        assert_eq!(TraceParent::parse(later.as_bytes()).unwrap().to_string(), GOOD);
    }

    #[test]
    fn malformed_is_ignored() {
        for text in [
            String::new(),
            "0".repeat(55),
            "-".repeat(55),
            GOOD.to_uppercase(),
            GOOD.replacen("00", "ff", 1),
            format!("{GOOD}-"),
            format!("{GOOD} "),
            GOOD.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            GOOD.replace("b7ad6b7169203331", &"0".repeat(16)),
            GOOD.replacen("0a", "+a", 1),
            GOOD.replacen("00-0a", "00-\u{e9}", 1),
        ] {
            assert_eq!(TraceParent::parse(text.as_bytes()), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = TraceParent::parse(&bytes);
        }

        #[test]
        fn any_hex_and_dashes_are_answered(text in "[0-9a-f-]{50,60}") {
            let _ = TraceParent::parse(text.as_bytes());
        }

        #[test]
        fn encoded_reads_back(trace_id in 1_u128.., span_id in 1_u64.., flags: u8) {
            let parent = TraceParent {
                trace_id: NonZeroU128::new(trace_id).unwrap(),
                span_id: NonZeroU64::new(span_id).unwrap(),
                flags,
            };
            prop_assert_eq!(TraceParent::parse(parent.to_string().as_bytes()), Some(parent));
        }
    }
}
