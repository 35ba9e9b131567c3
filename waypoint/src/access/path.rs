//! One form for each path, made before routes and rules look at it: otherwise `/a/../admin` is not `/admin` to a rule, and is
//! to the service.

use std::borrow::Cow;

/// How far paths are brought to one form (Istio's `pathNormalization`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// As it came.
    None,
    /// RFC 3986 section 6.2.2: dot segments are resolved, escapes of unreserved characters decoded and others written with
    /// capitals; and `\` is `/`.
    #[default]
    Base,
    /// As [`Level::Base`], and `//` is `/`.
    MergeSlashes,
    /// As [`Level::MergeSlashes`], and `%2F` and `%5C` are slashes too.
    DecodeAndMergeSlashes,
}

/// A path that two programs may read in two ways. Answered 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ambiguous {
    /// `\0`, or `%00`.
    #[error("the path has a zero byte")]
    Zero,
    /// A `%` without two hexadecimal digits: decoding around it could make an escape of it.
    #[error("the path has a % that begins no escape")]
    Escape,
    /// A `#`, which is never sent.
    #[error("the path has a fragment")]
    Fragment,
    /// `..%2F` and the like: whether it leads elsewhere depends on who decodes it.
    #[error("the path has a dot segment beside an encoded slash")]
    HiddenDots,
    /// It is neither `*` nor begins with a slash.
    #[error("the path does not begin with a slash")]
    Relative,
}

/// The one form of `raw`, a path without its query. `*` (of OPTIONS) stays as it is, an empty path becomes `/`.
///
/// Takes memory only for a path that isn't in that form already. The result is its own form, and has no dot segments.
pub fn normalise(raw: &str, level: Level) -> Result<Cow<'_, str>, Ambiguous> {
    if raw.contains('\0') {
        return Err(Ambiguous::Zero);
    }
    if level == Level::None || raw == "*" {
        return Ok(Cow::Borrowed(raw));
    }
    if raw.contains('#') {
        return Err(Ambiguous::Fragment);
    }
    let decoded = decoded(raw, level)?;
    let merges = matches!(level, Level::MergeSlashes | Level::DecodeAndMergeSlashes);
    let has = |part: &str| decoded.contains(part);
    let needs_work = has("/.") || has("%") || (merges && has("//"));
    if decoded.starts_with('/') && !needs_work {
        return Ok(decoded);
    }
    if !decoded.is_empty() && !decoded.starts_with('/') {
        return Err(Ambiguous::Relative);
    }
    if hides_dots(&decoded) {
        return Err(Ambiguous::HiddenDots);
    }
    let resolved = resolved(&decoded);
    let merged = if merges { merged(&resolved) } else { resolved };
    Ok(if merged == decoded { decoded } else { Cow::Owned(merged) })
}

/// Escapes of unreserved characters decoded, others with capitals; backslashes turned. Applied to texts of rules as well,
/// so that `/a%3ab` in a rule is the path that requests have.
pub(super) fn folded(text: &str) -> String {
    decoded(text, Level::Base).map_or_else(|_| text.to_owned(), Cow::into_owned)
}

fn decoded(raw: &str, level: Level) -> Result<Cow<'_, str>, Ambiguous> {
    if !raw.contains(['%', '\\']) {
        return Ok(Cow::Borrowed(raw));
    }
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find(['%', '\\']) {
        let (before, found) = rest.split_at(at);
        out.push_str(before);
        if let Some(after) = found.strip_prefix('\\') {
            out.push('/');
            rest = after;
            continue;
        }
        let digits = found.get(1..3).ok_or(Ambiguous::Escape)?;
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let byte = u8::from_str_radix(digits, 16).ok().filter(|_| is_hex);
        match byte.ok_or(Ambiguous::Escape)? {
            0 => return Err(Ambiguous::Zero),
            b'/' | b'\\' if level == Level::DecodeAndMergeSlashes => out.push('/'),
            byte if is_unreserved(byte) => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
        rest = found.get(3..).unwrap_or_default();
    }
    out.push_str(rest);
    Ok(if out == raw { Cow::Borrowed(raw) } else { Cow::Owned(out) })
}

/// RFC 3986 section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Whether a segment that an encoded slash parts would be a dot segment.
fn hides_dots(path: &str) -> bool {
    let has_slash = |segment: &str| segment.contains("%2F") || segment.contains("%5C");
    let is_dots = |part: &str| part == "." || part == "..";
    path.split('/')
        .filter(|segment| has_slash(segment))
        .any(|segment| segment.split("%2F").flat_map(|part| part.split("%5C")).any(is_dots))
}

/// RFC 3986 section 5.2.4.
fn resolved(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            segment => {
                kept.push(segment);
                continue;
            }
        }
        // What a dot segment at the end leads to is a folder.
        if is_last {
            kept.push("");
        }
    }
    let mut out = String::with_capacity(path.len().max(1));
    for segment in &kept {
        out.push('/');
        out.push_str(segment);
    }
    if out.is_empty() {
        out.push('/');
    }
    out
}

fn merged(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for character in path.chars() {
        if character != '/' || !out.ends_with('/') {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LEVELS: [Level; 4] =
        [Level::None, Level::Base, Level::MergeSlashes, Level::DecodeAndMergeSlashes];

    #[track_caller]
    fn table(level: Level, cases: &[(&str, &str)]) {
        for (raw, form) in cases {
            assert_eq!(normalise(raw, level).as_deref(), Ok(*form), "{raw:?} at {level:?}");
        }
    }

    #[test]
    fn paths_take_the_documented_form_at_each_level() {
        table(Level::None, &[("/a/../b\\c//d%2f", "/a/../b\\c//d%2f"), ("", "")]);
        let base = [
            ("/a/b", "/a/b"),
            ("", "/"),
            ("/", "/"),
            ("*", "*"),
            ("/a/../b", "/b"),
            ("/a/./b", "/a/b"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/../../etc/passwd", "/etc/passwd"),
            ("/%2e%2e/a", "/a"),
            ("/a/%2E%2e/b", "/b"),
            ("\\da", "/da"),
            ("/a\\..\\b", "/b"),
            ("/%61dmin", "/admin"),
            ("/a%3ab", "/a%3Ab"),
            ("/a%2fb", "/a%2Fb"),
            ("/a//b", "/a//b"),
            ("/a//../b", "/a/b"),
            ("/a/...", "/a/..."),
            ("/.well-known/x", "/.well-known/x"),
            ("/a;x=1/b", "/a;x=1/b"),
            ("/ä", "/ä"),
            ("/%C3%a4", "/%C3%A4"),
        ];
        table(Level::Base, &base);
        table(
            Level::MergeSlashes,
            &[("/a//b", "/a/b"), ("//a///", "/a/"), ("/a%2F%2fb", "/a%2F%2Fb")],
        );
        let decoded =
            [("/a%2fb", "/a/b"), ("/a%5C%5cb", "/a/b"), ("/a/..%2fb", "/b"), ("%2Fa", "/a")];
        table(Level::DecodeAndMergeSlashes, &decoded);
    }

    #[test]
    fn path_in_its_form_takes_no_memory() {
        for path in ["/", "/a/b", "/a/.well-known", "/a%2Fb"] {
            assert!(matches!(normalise(path, Level::Base), Ok(Cow::Borrowed(_))), "{path}");
        }
    }

    #[test]
    fn ambiguous_paths_are_refused() {
        for (raw, why) in [
            ("/a\0", Ambiguous::Zero),
            ("/a%00", Ambiguous::Zero),
            ("/a%", Ambiguous::Escape),
            ("/a%2", Ambiguous::Escape),
            ("/a%+1", Ambiguous::Escape),
            ("/%%32e", Ambiguous::Escape),
            ("/a%ä", Ambiguous::Escape),
            ("/a#b", Ambiguous::Fragment),
            ("/a/..%2Fb", Ambiguous::HiddenDots),
            ("/a/b%5c..", Ambiguous::HiddenDots),
            ("/a/%2e%2e%2fb", Ambiguous::HiddenDots),
            ("a/b", Ambiguous::Relative),
        ] {
            assert_eq!(normalise(raw, Level::Base), Err(why), "{raw:?}");
        }
        assert_eq!(normalise("/a\0", Level::None), Err(Ambiguous::Zero));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn form_of_a_form_is_itself_and_never_leaves_the_root(
            raw in "[/.%\\\\25fFeEcCaA0b;]{0,24}",
            level in 0..4_usize,
        ) {
            let level = LEVELS[level];
            let Ok(form) = normalise(&raw, level) else { return Ok(()) };
            let again = normalise(&form, level);
            prop_assert_eq!(again.as_deref(), Ok(&*form));
            if level == Level::None {
                return Ok(());
            }
            prop_assert!(form.starts_with('/'));
            prop_assert!(form.split('/').all(|segment| segment != "." && segment != ".."));
            prop_assert!(!form.contains('\\'));
            if level != Level::Base {
                prop_assert!(!form.contains("//"));
            }
            if level == Level::DecodeAndMergeSlashes {
                prop_assert!(!form.contains("%2F") && !form.contains("%5C"));
            }
        }

        #[test]
        fn any_text_is_refused_or_has_a_form(raw in any::<String>(), level in 0..4_usize) {
            let _form = normalise(&raw, LEVELS[level]);
        }
    }
}
