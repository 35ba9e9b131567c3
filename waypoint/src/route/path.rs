//! How a rule covers a path.

use super::pattern::Pattern;

/// A condition on the path.
#[derive(Debug, Clone)]
pub struct PathMatch {
    pub(super) how: PathKind,
    /// ASCII letters are the same in both cases.
    pub(super) ignores_case: bool,
}

#[derive(Debug, Clone)]
pub(super) enum PathKind {
    Exact(Box<str>),
    /// Without a slash at the end; empty covers everything.
    Elements(Box<str>),
    Text(Box<str>),
    Pattern(Pattern),
}

/// How much of the path the rule's condition covered: what a rewritten prefix replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// So many bytes from the start, which are whole elements.
    Elements(usize),
    /// So many bytes from the start.
    Text(usize),
    /// All of it: no prefix was asked for.
    Whole,
}

impl PathMatch {
    /// How much of `path` it covers; `None` where it doesn't hold.
    pub fn cover(&self, path: &str) -> Option<Span> {
        match &self.how {
            PathKind::Exact(own) => self.is_same(path, own).then_some(Span::Whole),
            PathKind::Elements(own) => {
                let starts = path.get(..own.len()).is_some_and(|start| self.is_same(start, own));
                let next = path.as_bytes().get(own.len());
                (starts && (own.is_empty() || next.is_none_or(|byte| *byte == b'/')))
                    .then_some(Span::Elements(own.len()))
            }
            PathKind::Text(own) => path
                .get(..own.len())
                .is_some_and(|start| self.is_same(start, own))
                .then_some(Span::Text(own.len())),
            PathKind::Pattern(pattern) => pattern.matches(path.as_bytes()).then_some(Span::Whole),
        }
    }

    /// Below which all paths are that it covers, as the path of a cookie (RFC 6265 section 5.1.4: whole elements, in their
    /// own case). A regular expression's is what it begins with.
    pub fn root(&self) -> &str {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b';';
        let directory = |text: &'_ str| text.rfind('/').unwrap_or(0);
        let root = match &self.how {
            _ if self.ignores_case => "",
            PathKind::Exact(own) | PathKind::Elements(own) => own,
            PathKind::Text(own) => own.get(..directory(own)).unwrap_or_default(),
            PathKind::Pattern(pattern) => {
                let own = pattern.literal_prefix();
                own.get(..directory(own)).unwrap_or_default()
            }
        };
        match root.starts_with('/') && root.bytes().all(is_plain) {
            true => root,
            false => "/",
        }
    }

    fn is_same(&self, path: &str, own: &str) -> bool {
        if self.ignores_case { path.eq_ignore_ascii_case(own) } else { path == own }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(how: PathKind) -> PathMatch {
        PathMatch { how, ignores_case: false }
    }

    #[test]
    fn element_prefix_ends_at_a_slash() {
        let foo = of(PathKind::Elements("/foo".into()));
        for (path, covers) in [
            ("/foo", true),
            ("/foo/", true),
            ("/foo/bar", true),
            ("/foobar", false),
            ("/fo", false),
            ("/FOO", false),
        ] {
            assert_eq!(foo.cover(path), covers.then_some(Span::Elements(4)), "{path}");
        }
        for path in ["/x", "*", ""] {
            assert_eq!(of(PathKind::Elements("".into())).cover(path), Some(Span::Elements(0)));
        }
    }

    #[test]
    fn text_prefix_covers_any_continuation() {
        let foo = of(PathKind::Text("/foo".into()));
        assert_eq!(foo.cover("/foobar"), Some(Span::Text(4)));
        assert_eq!(foo.cover("/fo"), None);
        let folded = PathMatch { ignores_case: true, ..foo };
        assert_eq!(folded.cover("/FOObar"), Some(Span::Text(4)));
    }

    #[test]
    fn prefix_that_ends_within_a_character_does_not_cover() {
        assert_eq!(of(PathKind::Text("/a".into())).cover("/ä"), None);
        assert_eq!(of(PathKind::Elements("/aa".into())).cover("/a€"), None);
    }
}
