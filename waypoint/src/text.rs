//! Comparisons of texts, none of which takes memory.

/// A comparison of a text that is there. Texts are bytes: a header's value needn't be UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) how: How,
    /// ASCII letters are the same in both cases.
    pub(crate) ignores_case: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum How {
    Exact(Box<str>),
    Prefix(Box<str>),
    Suffix(Box<str>),
    Present,
}

impl Text {
    /// Whether `text` fits.
    pub(crate) fn fits(&self, text: &[u8]) -> bool {
        match &self.how {
            How::Exact(own) => self.is_same(text, own),
            How::Prefix(own) => text.get(..own.len()).is_some_and(|it| self.is_same(it, own)),
            How::Suffix(own) => {
                let start = text.len().checked_sub(own.len());
                start.and_then(|start| text.get(start..)).is_some_and(|it| self.is_same(it, own))
            }
            How::Present => true,
        }
    }

    fn is_same(&self, text: &[u8], own: &str) -> bool {
        match self.ignores_case {
            true => text.eq_ignore_ascii_case(own.as_bytes()),
            false => text == own.as_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_compared_as_asked() {
        let of = |how| Text { how, ignores_case: false };
        let folded = |how| Text { how, ignores_case: true };
        let table = [
            (of(How::Exact("ab".into())), "ab", true),
            (of(How::Exact("ab".into())), "AB", false),
            (folded(How::Exact("ab".into())), "AB", true),
            (of(How::Exact("ab".into())), "abc", false),
            (of(How::Prefix("ab".into())), "abc", true),
            (of(How::Prefix("ab".into())), "a", false),
            (folded(How::Prefix("ab".into())), "ABc", true),
            (of(How::Suffix("bc".into())), "abc", true),
            (folded(How::Suffix("bc".into())), "aBC", true),
            (of(How::Suffix("bc".into())), "c", false),
            (of(How::Present), "", true),
        ];
        for (compared, text, fits) in table {
            assert_eq!(compared.fits(text.as_bytes()), fits, "{compared:?} {text:?}");
        }
    }
}
