//! Regular expressions in RE2's syntax, matched in time linear in the text.

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::hir::{Hir, HirKind, Look};

use crate::limits;

/// A regular expression over bytes, with ASCII classes as RE2 has them.
#[derive(Debug, Clone)]
pub struct Pattern {
    regex: Regex,
    /// Every text that matches starts so.
    prefix: Box<str>,
}

impl Pattern {
    /// One that has to cover the whole text.
    pub(super) fn whole(text: &str) -> Result<Self, String> {
        let hir = parse(text)?;
        let mut prefix = Vec::new();
        leading(&hir, &mut prefix);
        // A group of bytes may end within a character.
        let valid = std::str::from_utf8(&prefix).or_else(|error| {
            std::str::from_utf8(prefix.get(..error.valid_up_to()).unwrap_or_default())
        });
        let prefix = valid.unwrap_or_default().into();
        Ok(Self { regex: compile(&format!(r"\A(?:{text})\z"))?, prefix })
    }

    /// One that is looked for anywhere in a text.
    pub(super) fn anywhere(text: &str) -> Result<Self, String> {
        parse(text)?;
        Ok(Self { regex: compile(text)?, prefix: Box::default() })
    }

    /// Whether it matches.
    pub fn matches(&self, text: &[u8]) -> bool {
        self.regex.is_match(text)
    }

    /// What every text that matches starts with.
    pub fn literal_prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn regex(&self) -> &Regex {
        &self.regex
    }

    /// As it was written, up to what makes it cover the whole text.
    pub fn as_str(&self) -> &str {
        self.regex.as_str()
    }
}

/// The pattern by itself has to be sound: `a)|(b` would otherwise close the group that it is put into.
fn parse(text: &str) -> Result<Hir, String> {
    if text.len() > limits::TEXT_BYTES_MAX {
        return Err(format!("is longer than {} bytes", limits::TEXT_BYTES_MAX));
    }
    regex_syntax::ParserBuilder::new()
        .unicode(false)
        .utf8(false)
        .nest_limit(limits::PATTERN_NESTING_MAX)
        .build()
        .parse(text)
        .map_err(|error| format!("is no regular expression: {}", last_line(&error.to_string())))
}

fn compile(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text)
        .unicode(false)
        .size_limit(limits::PATTERN_COMPILED_BYTES_MAX)
        .dfa_size_limit(limits::PATTERN_CACHE_BYTES_MAX)
        .nest_limit(limits::PATTERN_NESTING_MAX + 1)
        .build()
        .map_err(|error| format!("is no regular expression: {}", last_line(&error.to_string())))
}

/// The library draws a picture of the place; its last line says what is wrong.
fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or_default().trim_start_matches("error: ")
}

/// Appends what every match starts with. Returns whether that was all of `hir`, so that what follows counts too.
fn leading(hir: &Hir, prefix: &mut Vec<u8>) -> bool {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(Look::Start) => true,
        HirKind::Literal(literal) => {
            prefix.extend_from_slice(&literal.0);
            true
        }
        HirKind::Capture(group) => leading(&group.sub, prefix),
        HirKind::Concat(parts) => parts.iter().all(|part| leading(part, prefix)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_text_has_to_match() {
        let pattern = Pattern::whole("a|bc").unwrap();
        for (text, fits) in [("a", true), ("bc", true), ("ab", false), ("abc", false), ("", false)]
        {
            assert_eq!(pattern.matches(text.as_bytes()), fits, "{text:?}");
        }
    }

    #[test]
    fn pattern_cannot_leave_its_group() {
        for text in ["a)|(b", "(", "a{1000000}", "[", r"\p{Nope}", r"(?P<x>a)\k<x>"] {
            assert!(Pattern::whole(text).is_err(), "{text:?} was accepted");
        }
        let nested = format!("{}a{}", "(".repeat(60), ")".repeat(60));
        assert!(Pattern::whole(&nested).is_err());
    }

    #[test]
    fn literal_prefix_is_what_every_match_starts_with() {
        for (text, prefix) in [
            ("/a/[0-9]+", "/a/"),
            ("^/a/.*$", "/a/"),
            ("(/a)/b(c|d)", "/a/b"),
            ("/a|/b", ""),
            ("(?i)/a", "/"),
            ("/ab?", "/a"),
            (".*", ""),
        ] {
            assert_eq!(Pattern::whole(text).unwrap().literal_prefix(), prefix, "{text}");
        }
    }

    #[test]
    fn classes_are_ascii() {
        assert!(!Pattern::whole(r"\w").unwrap().matches("ä".as_bytes()));
        assert!(Pattern::whole("ä").unwrap().matches("ä".as_bytes()));
    }
}
