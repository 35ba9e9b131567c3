//! Comparisons of texts, none of which takes memory.

/// A comparison of a text that is there. Texts are bytes: a header's value needn't be UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) how: How,
    /// ASCII letters are the same in both cases.
    pub(super) ignores_case: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum How {
    Exact(Box<str>),
    Prefix(Box<str>),
    Suffix(Box<str>),
    Present,
}

impl Text {
    /// Whether `text` fits.
    pub(super) fn fits(&self, text: &[u8]) -> bool {
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

    /// Whether a request with this issuer and subject fits.
    ///
    /// The last slash of a comparison separates the two, so that no issuer can give out a subject with a slash that, joined,
    /// reads as another issuer's.
    pub(super) fn fits_principal(&self, issuer: &str, subject: &str) -> bool {
        match &self.how {
            How::Exact(own) => own.rsplit_once('/').is_some_and(|(own_issuer, own_subject)| {
                (own_issuer, own_subject) == (issuer, subject)
            }),
            How::Prefix(own) => {
                let of_subject = own.rsplit_once('/').is_some_and(|(own_issuer, start)| {
                    own_issuer == issuer && subject.starts_with(start)
                });
                of_subject || issuer.starts_with(&**own)
            }
            How::Suffix(own) => match own.rsplit_once('/') {
                Some((end, own_subject)) => own_subject == subject && issuer.ends_with(end),
                None => subject.ends_with(&**own),
            },
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

    fn of(how: How) -> Text {
        Text { how, ignores_case: false }
    }

    #[test]
    fn texts_are_compared_as_asked() {
        let folded = |how| Text { how, ignores_case: true };
        let table = [
            (of(How::Exact("ab".into())), "ab", true),
            (of(How::Exact("ab".into())), "AB", false),
            (folded(How::Exact("ab".into())), "AB", true),
            (of(How::Exact("ab".into())), "abc", false),
            (of(How::Prefix("ab".into())), "abc", true),
            (of(How::Prefix("ab".into())), "a", false),
            (folded(How::Suffix("bc".into())), "aBC", true),
            (of(How::Suffix("bc".into())), "c", false),
            (of(How::Present), "", true),
        ];
        for (compared, text, fits) in table {
            assert_eq!(compared.fits(text.as_bytes()), fits, "{compared:?} {text:?}");
        }
    }

    #[test]
    fn subject_with_a_slash_is_no_other_issuers_subject() {
        let good = ("https://good/realm", "alice");
        let forged = ("https://good", "realm/alice");
        for how in [
            How::Exact("https://good/realm/alice".into()),
            How::Prefix("https://good/realm/".into()),
            How::Prefix("https://good/realm/al".into()),
            How::Suffix("good/realm/alice".into()),
        ] {
            let compared = of(how);
            assert!(compared.fits_principal(good.0, good.1), "{compared:?}");
            assert!(!compared.fits_principal(forged.0, forged.1), "{compared:?}");
        }
        assert!(of(How::Prefix("https://go".into())).fits_principal(good.0, good.1));
        assert!(of(How::Suffix("ice".into())).fits_principal(good.0, good.1));
        assert!(of(How::Present).fits_principal(good.0, good.1));
    }
}
