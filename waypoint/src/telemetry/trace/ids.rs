//! The names of traces, spans and requests.

use std::fmt::{self, Write};

/// A trace: 16 bytes, not all 0 (W3C Trace Context, section 3.2.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

/// A span: 8 bytes, not all 0 (W3C Trace Context, section 3.2.2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId([u8; 8]);

impl TraceId {
    /// A new one.
    pub fn random() -> Self {
        Self(not_zero(rand::random))
    }

    /// From 32 hexadecimal digits, or 16 of an older B3.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let bytes = if text.len() == 16 {
            let mut bytes = [0; 16];
            bytes.get_mut(8..)?.copy_from_slice(&hex::<8>(text)?);
            bytes
        } else {
            hex(text)?
        };
        Some(bytes).filter(|it| *it != [0; 16]).map(Self)
    }

    /// The bytes.
    pub fn bytes(self) -> [u8; 16] {
        self.0
    }
}

impl SpanId {
    /// A new one.
    pub fn random() -> Self {
        Self(not_zero(rand::random))
    }

    /// From 16 hexadecimal digits.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        hex(text).filter(|it| *it != [0; 8]).map(Self)
    }

    /// The bytes.
    pub fn bytes(self) -> [u8; 8] {
        self.0
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

/// A random UUID (RFC 9562, section 5.4), as `x-request-id` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Uuid([u8; 16]);

impl Uuid {
    /// A new one.
    pub(super) fn random() -> Self {
        let mut bytes: [u8; 16] = rand::random();
        let [_, _, _, _, _, _, version, _, variant, ..] = &mut bytes;
        *version = *version & 0x0f | 0x40;
        *variant = *variant & 0x3f | 0x80;
        Self(bytes)
    }

    /// Its text, for a header. Every request gets one, so that it is made without the machinery of formatting.
    pub(super) fn text(self) -> [u8; 36] {
        let mut text = [b'-'; 36];
        // Five groups of digits, with a dash between them.
        let digits = text.iter_mut().enumerate().filter(|(at, _)| !matches!(at, 8 | 13 | 18 | 23));
        for ((_, place), digit) in digits.zip(self.0.iter().flat_map(|byte| digits_of(*byte))) {
            *place = digit;
        }
        text
    }
}

fn not_zero<const N: usize>(draw: impl Fn() -> [u8; N]) -> [u8; N] {
    let mut drawn = draw();
    while drawn == [0; N] {
        drawn = draw();
    }
    drawn
}

/// Bytes from twice as many hexadecimal digits of either case.
pub(super) fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().flat_map(|byte| digits_of(*byte)).try_for_each(|digit| f.write_char(digit.into()))
}

/// The two hexadecimal digits of a byte.
fn digits_of(byte: u8) -> [u8; 2] {
    [byte >> 4, byte & 0x0f].map(|half| if half < 10 { b'0' + half } else { b'a' + half - 10 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written() {
        let (trace, span) = (TraceId::random(), SpanId::random());
        assert_eq!(TraceId::parse(trace.to_string().as_bytes()), Some(trace));
        assert_eq!(SpanId::parse(span.to_string().as_bytes()), Some(span));
        let short = TraceId::parse(b"00f067aa0ba902b7").unwrap();
        assert_eq!(short.to_string(), "000000000000000000f067aa0ba902b7");
    }

    #[test]
    fn zeros_and_other_lengths_are_no_ids() {
        for text in
            ["", "0000000000000000", "00f067aa0ba902b", "00f067aa0ba902bg", "00f067aa0ba902b7a"]
        {
            assert_eq!(SpanId::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(TraceId::parse("0".repeat(32).as_bytes()), None);
    }

    #[test]
    fn uuid_has_its_version_and_variant() {
        let text = Uuid::random().text();
        let text = str::from_utf8(&text).unwrap();
        assert!(text.chars().all(|it| it == '-' || it.is_ascii_hexdigit()), "{text}");
        let parts: Vec<_> = text.split('-').collect();
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert!(parts[2].starts_with('4'));
        assert!(parts[3].starts_with(['8', '9', 'a', 'b']));
    }
}
