//! Comparisons of texts.

use super::pattern::Pattern;

/// A comparison of a text that is there. Texts are bytes: a header's value needn't be UTF-8.
#[derive(Debug, Clone)]
pub struct TextMatch {
    pub(super) how: How,
    /// ASCII letters are the same in both cases.
    pub(super) ignores_case: bool,
}

#[derive(Debug, Clone)]
pub(super) enum How {
    Exact(Box<str>),
    Prefix(Box<str>),
    Suffix(Box<str>),
    Pattern(Pattern),
    Present,
}

impl TextMatch {
    /// The same text.
    pub fn exact(text: &str) -> Self {
        Self { how: How::Exact(text.into()), ignores_case: false }
    }

    /// Whether `text` fits.
    pub fn fits(&self, text: &[u8]) -> bool {
        match &self.how {
            How::Exact(own) => self.is_same(text, own),
            How::Prefix(own) => text.get(..own.len()).is_some_and(|it| self.is_same(it, own)),
            How::Suffix(own) => {
                let start = text.len().checked_sub(own.len());
                start.and_then(|start| text.get(start..)).is_some_and(|it| self.is_same(it, own))
            }
            How::Pattern(pattern) => pattern.matches(text),
            How::Present => true,
        }
    }

    /// The one text that fits, if there is just one.
    pub(super) fn only(&self) -> Option<&str> {
        match &self.how {
            How::Exact(text) if !self.ignores_case => Some(text),
            _ => None,
        }
    }

    /// Whether a comparison is by regular expression, which costs most.
    pub(super) fn is_pattern(&self) -> bool {
        matches!(self.how, How::Pattern(_))
    }

    fn is_same(&self, text: &[u8], own: &str) -> bool {
        if self.ignores_case {
            text.eq_ignore_ascii_case(own.as_bytes())
        } else {
            text == own.as_bytes()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_compared_as_asked() {
        let of = |how, ignores_case| TextMatch { how, ignores_case };
        let table = [
            (of(How::Exact("ab".into()), false), "ab", true),
            (of(How::Exact("ab".into()), false), "AB", false),
            (of(How::Exact("ab".into()), true), "AB", true),
            (of(How::Exact("ab".into()), false), "abc", false),
            (of(How::Prefix("ab".into()), false), "abc", true),
            (of(How::Prefix("ab".into()), false), "a", false),
            (of(How::Prefix("ab".into()), true), "ABc", true),
            (of(How::Suffix("bc".into()), false), "abc", true),
            (of(How::Suffix("bc".into()), false), "c", false),
            (of(How::Present, false), "", true),
        ];
        for (compared, text, fits) in table {
            assert_eq!(compared.fits(text.as_bytes()), fits, "{compared:?} {text:?}");
        }
    }
}
