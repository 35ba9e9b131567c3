//! New paths for old ones.

use super::path::Span;
use super::pattern::Pattern;

/// How a path is rewritten. The query isn't touched.
#[derive(Debug, Clone)]
pub enum PathRewrite {
    /// This path instead.
    Full(Box<str>),
    /// In place of what the rule's condition covered.
    Prefix(Box<str>),
    /// In place of every match.
    Pattern {
        /// What is looked for.
        pattern: Pattern,
        /// What takes its place.
        replacement: Replacement,
    },
}

/// What takes the place of a match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement(Box<[Piece]>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    Group(usize),
}

impl PathRewrite {
    /// The new path, never empty. `span` is what the rule covered of `path`.
    pub fn apply(&self, path: &str, span: Span) -> String {
        let rewritten = match (self, span) {
            (Self::Full(full), _) | (Self::Prefix(full), Span::Whole) => full.to_string(),
            (Self::Prefix(new), Span::Text(covered)) => {
                format!("{new}{}", path.get(covered..).unwrap_or_default())
            }
            (Self::Prefix(new), Span::Elements(covered)) => {
                joined(new, path.get(covered..).unwrap_or_default())
            }
            (Self::Pattern { pattern, replacement }, _) => replacement.replace(pattern, path),
        };
        if rewritten.starts_with('/') { rewritten } else { format!("/{rewritten}") }
    }
}

/// A new prefix before the rest of a path, with one slash between them. HTTPPathModifier of the Gateway API has the
/// table; a slash at the end of the old path stays.
fn joined(new: &str, rest: &str) -> String {
    let new = new.strip_suffix('/').unwrap_or(new);
    match rest {
        "" if new.is_empty() => "/".to_owned(),
        "" => new.to_owned(),
        rest if rest.starts_with('/') => format!("{new}{rest}"),
        rest => format!("{new}/{rest}"),
    }
}

impl Replacement {
    /// `\0` to `\9` stand for groups, `\\` for a backslash.
    pub(super) fn parse(text: &str, groups: usize) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            if character != '\\' {
                plain.push(character);
                continue;
            }
            match characters.next() {
                Some('\\') => plain.push('\\'),
                Some(digit @ '0'..='9') => {
                    let group = usize::try_from(digit.to_digit(10).unwrap_or_default());
                    let group = group.ok().filter(|group| *group < groups);
                    let group = group.ok_or_else(|| {
                        format!("names the group {digit}, which the pattern hasn't")
                    })?;
                    pieces.push(Piece::Text(std::mem::take(&mut plain).into()));
                    pieces.push(Piece::Group(group));
                }
                _ => {
                    return Err("has a backslash before neither a digit nor a backslash".to_owned());
                }
            }
        }
        pieces.push(Piece::Text(plain.into()));
        Ok(Self(pieces.into()))
    }

    fn replace(&self, pattern: &Pattern, path: &str) -> String {
        let replaced =
            pattern.regex().replace_all(path.as_bytes(), |found: &regex::bytes::Captures<'_>| {
                let mut new = Vec::new();
                for piece in &self.0 {
                    match piece {
                        Piece::Text(text) => new.extend_from_slice(text.as_bytes()),
                        Piece::Group(group) => {
                            new.extend_from_slice(
                                found.get(*group).map_or(&[], |it| it.as_bytes()),
                            );
                        }
                    }
                }
                new
            });
        // A pattern of bytes may cut a character in two; what is left of it can't go into a path.
        String::from_utf8_lossy(&replaced).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn element_prefix_is_replaced_as_the_gateway_api_says() {
        // Request path, prefix, replacement, new path.
        for (path, prefix, new, wanted) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/foo/bar", "", "/xyz", "/xyz/foo/bar"),
            ("/", "", "/xyz", "/xyz/"),
        ] {
            let rewrite = PathRewrite::Prefix(new.into());
            let found = rewrite.apply(path, Span::Elements(prefix.len()));
            assert_eq!(found, wanted, "{path} {prefix} {new:?}");
        }
    }

    #[test]
    fn text_prefix_is_replaced_letter_by_letter() {
        let rewrite = |new: &str, path, covered| {
            PathRewrite::Prefix(new.into()).apply(path, Span::Text(covered))
        };
        assert_eq!(rewrite("/bar", "/foobaz", 4), "/barbaz");
        assert_eq!(rewrite("/", "/foo/bar", 4), "//bar");
        assert_eq!(rewrite("", "/foo", 4), "/");
    }

    #[test]
    fn whole_path_is_replaced_where_no_prefix_was_asked_for() {
        assert_eq!(PathRewrite::Prefix("/new".into()).apply("/old/x", Span::Whole), "/new");
        assert_eq!(PathRewrite::Full("/new".into()).apply("/old/x", Span::Elements(2)), "/new");
    }

    #[test]
    fn groups_take_their_place() {
        let of = |pattern, replacement| {
            let pattern = Pattern::anywhere(pattern).unwrap();
            let groups = pattern.regex().captures_len();
            let replacement = Replacement::parse(replacement, groups).unwrap();
            PathRewrite::Pattern { pattern, replacement }.apply("/v1/users/7", Span::Whole)
        };
        assert_eq!(of("^/v1/([a-z]+)/([0-9]+)$", r"/\2/\1"), "/7/users");
        assert_eq!(of("[0-9]", r"<\0>"), "/v<1>/users/<7>");
        assert_eq!(of("/v1", r"\\"), r"/\/users/7");
        assert!(Replacement::parse(r"\2", 2).is_err() && Replacement::parse(r"\x", 2).is_err());
    }
}
