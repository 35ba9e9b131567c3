//! Where in a message something stands, written out only if somebody asks.

use std::fmt;

/// A field's path from the message's top, as a chain on the stack.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<'a> {
    outer: Option<&'a At<'a>>,
    field: &'static str,
    place: Option<usize>,
}

impl At<'_> {
    pub(super) const TOP: At<'static> = At { outer: None, field: "", place: None };

    /// A field of this message.
    pub(super) fn field(&self, field: &'static str) -> At<'_> {
        At { outer: Some(self), field, place: None }
    }

    /// An entry of a list of this message.
    pub(super) fn entry(&self, field: &'static str, place: usize) -> At<'_> {
        At { outer: Some(self), field, place: Some(place) }
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(outer) = self.outer else {
            return Ok(());
        };
        if outer.outer.is_some() {
            write!(f, "{outer}.")?;
        }
        f.write_str(self.field)?;
        match self.place {
            Some(place) => write!(f, "[{place}]"),
            None => Ok(()),
        }
    }
}
