//! Values as they may stand in a line.

/// Appends `bytes` so that they can't end a line or a quoted field: what is printable stays, control characters, quotes
/// and backslashes are escaped, and so is what isn't UTF-8.
pub(super) fn push_text(out: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => out.extend(['\\', c]),
                // The two separators are line ends to some who read logs.
                c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                    out.extend(c.escape_default());
                }
                c => out.push(c),
            }
        }
        chunk.invalid().iter().for_each(|byte| push_byte(out, *byte));
    }
}

/// Appends `text` as a JSON string with its quotes (RFC 8259, section 7).
pub(super) fn push_json(out: &mut String, text: &str) {
    // A text can always be written as JSON; the error type stands for other values.
    out.push_str(&serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned()));
}

fn push_byte(out: &mut String, byte: u8) {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    out.extend(['\\', 'x', digit(byte >> 4), digit(byte & 15)]);
}

/// The first `max` bytes of `bytes`, and no half character.
pub(crate) fn cut(bytes: &[u8], max: usize) -> &[u8] {
    let is_start = |at: &usize| bytes.get(*at).is_none_or(|byte| byte & 0xc0 != 0x80);
    if bytes.len() <= max {
        return bytes;
    }
    let end = (0..=max).rev().find(is_start).unwrap_or(0);
    bytes.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_ends_neither_its_line_nor_its_quotes() {
        let mut out = String::new();
        push_text(&mut out, b"a\"b\\c\nd\re\tf\x1b[0m\xc3\xa4\xff\xe2\x80\xa8");
        assert_eq!(out, r#"a\"b\\c\nd\re\tf\u{1b}[0mä\xff\u{2028}"#);
    }

    #[test]
    fn cut_leaves_whole_characters() {
        assert_eq!(cut("aää".as_bytes(), 4), "aä".as_bytes());
        assert_eq!(cut("aä".as_bytes(), 3), "aä".as_bytes());
        assert_eq!(cut(b"\x80\x80\x80", 2), b"");
    }
}
