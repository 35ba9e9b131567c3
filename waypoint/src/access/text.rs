//! Comparisons of who a token is for.

pub(super) use crate::text::{How, Text};

impl Text {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(how: How) -> Text {
        Text { how, ignores_case: false }
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
