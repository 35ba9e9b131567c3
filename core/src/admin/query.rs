//! The query part of a URL (WHATWG URL, application/x-www-form-urlencoded).

/// Pairs in order. A pair without `=` has an empty value. What isn't valid percent-encoding stands for itself.
pub fn parse_query(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        })
        .collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = if first == b'%' { after.split_at_checked(2) } else { None };
        match escaped.and_then(|(hex, after)| Some((hex_byte(hex)?, after))) {
            Some((byte, after)) => {
                bytes.push(byte);
                rest = after;
            }
            None => {
                bytes.push(if first == b'+' { b' ' } else { first });
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex_byte(hex: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(hex).ok()?;
    // from_str_radix would accept a sign.
    if text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        u8::from_str_radix(text, 16).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded_in_order() {
        let pairs = parse_query("level=access%3Adebug&reset&a=b+c&x=%zz%4&&n=%C3%A4");
        let expected =
            [("level", "access:debug"), ("reset", ""), ("a", "b c"), ("x", "%zz%4"), ("n", "ä")];
        let expected: Vec<_> =
            expected.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert_eq!(pairs, expected);
    }

    proptest::proptest! {
        #[test]
        fn no_query_panics(query in ".*") {
            parse_query(&query);
        }
    }
}
