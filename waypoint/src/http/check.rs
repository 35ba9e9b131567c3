//! What of HTTP/1.1 is refused before anything is made of it. What two programs could read in two ways is refused, never
//! repaired (RFC 9112, sections 2.2, 5.1, 5.2, 6.1 and 11.2).

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Ambiguous {
    /// Both ways of saying where the body ends.
    #[error("both Content-Length and Transfer-Encoding")]
    TwoLengths,
    /// More than one of a header that may be there once.
    #[error("more than one {0}")]
    Repeated(&'static str),
    /// A coding other than `chunked` alone.
    #[error("a transfer coding that isn't chunked")]
    Coding,
    /// No number.
    #[error("a Content-Length that is no number")]
    Length,
    /// A line that goes on in the next, or begins with a blank.
    #[error("a folded header line")]
    Folded,
    /// Blanks before the colon, or a line without one.
    #[error("a header line without a name of its own")]
    Name,
    /// Neither a path nor a whole URI of HTTP.
    #[error("a request target that is no path")]
    Target,
    /// A line that doesn't end in CR LF, or a CR or NUL within one.
    #[error("a stray line end or NUL")]
    Line,
}

/// Reads the raw head, its request line and last empty line included.
pub(super) fn framing(head: &[u8]) -> Result<(), Ambiguous> {
    let (mut lengths, mut codings, mut hosts) = (0, 0, 0);
    for (at, line) in head.split(|byte| *byte == b'\n').enumerate() {
        let Some(line) = line.strip_suffix(b"\r") else {
            // After the last line end there is nothing.
            if line.is_empty() {
                continue;
            }
            return Err(Ambiguous::Line);
        };
        if line.iter().any(|byte| matches!(byte, b'\r' | 0)) {
            return Err(Ambiguous::Line);
        }
        if at == 0 {
            target(line)?;
            continue;
        }
        if line.is_empty() {
            continue;
        }
        if line.first().is_some_and(|byte| matches!(byte, b' ' | b'\t')) {
            return Err(Ambiguous::Folded);
        }
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else {
            return Err(Ambiguous::Name);
        };
        if name.is_empty() || name.last().is_some_and(u8::is_ascii_whitespace) {
            return Err(Ambiguous::Name);
        }
        let value = value.trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            lengths += 1;
            if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
                return Err(Ambiguous::Length);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            codings += 1;
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Ambiguous::Coding);
            }
        } else if name.eq_ignore_ascii_case(b"host") {
            hosts += 1;
        }
    }
    match (lengths, codings, hosts) {
        (1.., 1.., _) => Err(Ambiguous::TwoLengths),
        (2.., ..) => Err(Ambiguous::Repeated("Content-Length")),
        (_, 2.., _) => Err(Ambiguous::Repeated("Transfer-Encoding")),
        (_, _, 2..) => Err(Ambiguous::Repeated("Host")),
        _ => Ok(()),
    }
}

/// RFC 9112, section 3.2: the origin form, the absolute form, or the asterisk of OPTIONS.
fn target(line: &[u8]) -> Result<(), Ambiguous> {
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target) = (words.next(), words.next().unwrap_or_default());
    let is_absolute = |scheme: &[u8]| {
        target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    let is_one = target.first() == Some(&b'/')
        || is_absolute(b"http://")
        || is_absolute(b"https://")
        || (target == b"*" && method == Some(b"OPTIONS"))
        // Refused as a method, with a status of its own.
        || method == Some(b"CONNECT");
    if is_one { Ok(()) } else { Err(Ambiguous::Target) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &str) -> Result<(), Ambiguous> {
        framing(format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").as_bytes())
    }

    #[test]
    fn heads_that_two_programs_could_read_in_two_ways_are_refused() {
        for (lines, wanted) in [
            ("Content-Length: 3\r\n", Ok(())),
            ("Transfer-Encoding: Chunked\r\n", Ok(())),
            ("X: a:b\r\nEmpty:\r\n", Ok(())),
            ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", Err(Ambiguous::TwoLengths)),
            ("Transfer-Encoding: chunked\r\ncontent-length: 3\r\n", Err(Ambiguous::TwoLengths)),
            (
                "Content-Length: 3\r\nContent-Length: 3\r\n",
                Err(Ambiguous::Repeated("Content-Length")),
            ),
            ("Content-Length: 3, 3\r\n", Err(Ambiguous::Length)),
            ("Content-Length: +3\r\n", Err(Ambiguous::Length)),
            ("Content-Length: 0x3\r\n", Err(Ambiguous::Length)),
            ("Content-Length:\r\n", Err(Ambiguous::Length)),
            ("Transfer-Encoding: gzip, chunked\r\n", Err(Ambiguous::Coding)),
            ("Transfer-Encoding: xchunked\r\n", Err(Ambiguous::Coding)),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                Err(Ambiguous::Repeated("Transfer-Encoding")),
            ),
            ("Transfer-Encoding : chunked\r\n", Err(Ambiguous::Name)),
            ("X: a\r\n b\r\n", Err(Ambiguous::Folded)),
            ("X: a\nY: b\r\n", Err(Ambiguous::Line)),
            ("X: a\rb\r\n", Err(Ambiguous::Line)),
            ("X: a\0b\r\n", Err(Ambiguous::Line)),
            ("nothing\r\n", Err(Ambiguous::Name)),
            (": nothing\r\n", Err(Ambiguous::Name)),
            ("Host: b\r\n", Err(Ambiguous::Repeated("Host"))),
        ] {
            assert_eq!(of(lines), wanted, "{lines:?}");
        }
    }
}
