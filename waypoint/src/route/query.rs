//! Query parameters, compared decoded and without taking memory.

use crate::limits::QUERY_BYTES_STACK;

use super::text::TextMatch;

/// Whether the first parameter of `query` called `name` fits. A parameter without `=` has an empty value.
pub(super) fn fits(query: &str, name: &str, value: &TextMatch) -> bool {
    let parameters = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut named = parameters.filter(|(own, _)| decoded(own).eq(name.bytes()));
    named.next().is_some_and(|(_, raw)| value_fits(raw, value))
}

fn value_fits(raw: &str, value: &TextMatch) -> bool {
    if !raw.contains('%') {
        return value.fits(raw.as_bytes());
    }
    if let Some(exact) = value.only() {
        return decoded(raw).eq(exact.bytes());
    }
    if raw.len() > QUERY_BYTES_STACK {
        return value.fits(&decoded(raw).collect::<Vec<_>>());
    }
    let mut buffer = [0; QUERY_BYTES_STACK];
    let mut length = 0;
    for (slot, byte) in buffer.iter_mut().zip(decoded(raw)) {
        *slot = byte;
        length += 1;
    }
    value.fits(buffer.get(..length).unwrap_or_default())
}

/// RFC 3986 section 2.1. What isn't a valid escape stands for itself; `+` isn't a space outside of HTML forms.
fn decoded(text: &str) -> impl Iterator<Item = u8> + '_ {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        let (first, mut behind) = rest.split_first()?;
        let mut byte = *first;
        if byte == b'%'
            && let [high, low, after @ ..] = behind
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            byte = high << 4 | low;
            behind = after;
        }
        rest = behind;
        Some(byte)
    })
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::How;

    #[test]
    fn first_parameter_of_a_name_counts() {
        let one = TextMatch::exact("1");
        for (query, does_fit) in [
            ("a=1", true),
            ("b=2&a=1", true),
            ("a=1&a=2", true),
            ("a=2&a=1", false),
            ("a", false),
            ("", false),
            ("aa=1", false),
            ("%61=%31", true),
        ] {
            assert_eq!(fits(query, "a", &one), does_fit, "{query:?}");
        }
    }

    #[test]
    fn broken_escapes_stand_for_themselves() {
        let text = |text: &str| String::from_utf8(decoded(text).collect()).unwrap();
        assert_eq!(text("%4g%2"), "%4g%2");
        assert_eq!(text("a%20b+c%C3%A4"), "a b+cä");
        assert!(fits("a=%2", "a", &TextMatch::exact("%2")));
        assert!(fits("a", "a", &TextMatch::exact("")));
    }

    #[test]
    fn decoded_values_are_compared_by_every_kind() {
        let of = |how| TextMatch::text(how, false);
        let long = format!("a={}%31", "x".repeat(2 * QUERY_BYTES_STACK));
        assert!(fits(&long, "a", &of(How::Suffix("1".into()))));
        assert!(fits("a=%31z", "a", &of(How::Prefix("1".into()))));
        assert!(!fits("a=%31z", "a", &of(How::Prefix("%".into()))));
    }
}
