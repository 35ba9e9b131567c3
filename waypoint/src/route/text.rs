//! Comparisons of texts.

use super::pattern::Pattern;
use crate::text::{How, Text};

/// A comparison of a text that is there. Texts are bytes: a header's value needn't be UTF-8.
#[derive(Debug, Clone)]
pub struct TextMatch(pub(super) Compared);

#[derive(Debug, Clone)]
pub(super) enum Compared {
    Text(Text),
    Pattern(Pattern),
}

impl TextMatch {
    /// The same text.
    pub fn exact(text: &str) -> Self {
        Self::text(How::Exact(text.into()), false)
    }

    pub(super) fn text(how: How, ignores_case: bool) -> Self {
        Self(Compared::Text(Text { how, ignores_case }))
    }

    /// Whether `text` fits.
    pub fn fits(&self, text: &[u8]) -> bool {
        match &self.0 {
            Compared::Text(own) => own.fits(text),
            Compared::Pattern(pattern) => pattern.matches(text),
        }
    }

    /// The one text that fits, if there is just one.
    pub(super) fn only(&self) -> Option<&str> {
        match &self.0 {
            Compared::Text(Text { how: How::Exact(text), ignores_case: false }) => Some(text),
            _ => None,
        }
    }

    /// Whether a comparison is by regular expression, which costs most.
    pub(super) fn is_pattern(&self) -> bool {
        matches!(self.0, Compared::Pattern(_))
    }
}
