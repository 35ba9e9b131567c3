//! What of HTTP/1.1 is refused before anything is made of it. What two programs could read in two ways is refused, never
//! repaired (RFC 9112, sections 2.2, 5.1, 5.2, 6.1 and 11.2).

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Ambiguous {
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
    /// HTTP/1.1 asks for one.
    #[error("no Host")]
    NoHost,
    /// What the engine read isn't what came: it escapes what may not stand in a request line.
    #[error("a request line that had to be repaired")]
    Repaired,
    /// A chunk's size, its line, or a trailer.
    #[error("a malformed chunk")]
    Chunk,
}

/// Whether this names a host, and a port perhaps: what another program could take for a user, a path or a second host
/// doesn't.
pub(super) fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':').filter(|_| !text.ends_with(']')) {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let is_port =
        |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let is_named = match host.strip_prefix('[') {
        Some(rest) => {
            let address = rest.strip_suffix(']').unwrap_or_default();
            address.parse::<std::net::Ipv6Addr>().is_ok()
        }
        None => !host.is_empty() && host.bytes().all(is_name),
    };
    is_named && port.is_none_or(is_port)
}

/// Reads the raw head, its request line and last empty line included.
pub(super) fn framing(head: &[u8]) -> Result<(), Ambiguous> {
    if !head.ends_with(b"\r\n\r\n") {
        return Err(Ambiguous::Line);
    }
    let (mut lengths, mut codings, mut hosts) = (0, 0, 0);
    let mut needs_host = false;
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
            needs_host = line.ends_with(b"1.1");
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
            if !is_length(value) {
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
        (_, _, 0) if needs_host => Err(Ambiguous::NoHost),
        _ => Ok(()),
    }
}

/// RFC 9110, section 8.6. Beyond 63 bits some programs read a negative number, and others none; behind a zero some read octal
/// digits.
fn is_length(value: &[u8]) -> bool {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let is_octal = value.len() > 1 && value.first() == Some(&b'0');
    is_number
        && !is_octal
        && std::str::from_utf8(value).is_ok_and(|text| text.parse::<i64>().is_ok())
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
            ("Content-Length: 9223372036854775807\r\n", Ok(())),
            ("Content-Length: 9223372036854775808\r\n", Err(Ambiguous::Length)),
            ("Content-Length: 0\r\n", Ok(())),
            ("Content-Length: 010\r\n", Err(Ambiguous::Length)),
            ("X: a\r\n\n", Err(Ambiguous::Line)),
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
    #[test]
    fn hosts_are_names_or_addresses_and_nothing_besides() {
        for good in ["web", "web.shop:80", "10.0.0.1:8080", "[::1]", "[::1]:80", "a_b~c"] {
            assert!(is_host(good), "{good}");
        }
        for bad in [
            "",
            ":80",
            "web:",
            "web:+80",
            "web:65536",
            "a@b",
            "a/b",
            "a, b",
            "[::1",
            "::1",
            "[web]",
            "é",
        ] {
            assert!(!is_host(bad), "{bad}");
        }
    }
}
