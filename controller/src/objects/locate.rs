//! On which line a field stands.

use std::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

/// The line of the field at `path` (`spec.ports[1].port`), or of the nearest one above it that exists.
pub(super) fn line_of(text: &str, path: &str) -> Option<u32> {
    let mut steps = steps(path);
    loop {
        let options = serde_saphyr::options! { with_snippet: false, emit_comments: false };
        let walk = Walk(&steps);
        let found = serde_saphyr::with_deserializer_from_str_with_options(text, options, |yaml| {
            walk.deserialize(yaml)
        });
        if let Ok(Some(line)) = found {
            return Some(line);
        }
        steps.pop()?;
    }
}

#[derive(Debug, PartialEq)]
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

fn steps(path: &str) -> Vec<Step<'_>> {
    let step = |part| {
        let text: &str = part;
        match text.strip_suffix(']').and_then(|index| index.parse().ok()) {
            Some(index) => Step::Index(index),
            None => Step::Key(text),
        }
    };
    path.split(['.', '[']).filter(|part| !part.is_empty()).map(step).collect()
}

struct Walk<'a>(&'a [Step<'a>]);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Option<u32>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if self.0.is_empty() {
            let found = Spanned::<IgnoredAny>::deserialize(deserializer)?;
            return Ok(u32::try_from(found.referenced.line()).ok());
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Option<u32>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map or a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            match self.0.split_first() {
                Some((Step::Key(wanted), rest)) if key == *wanted => {
                    found = map.next_value_seed(Walk(rest))?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let Some((Step::Index(wanted), rest)) = self.0.split_first() else {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(None);
        };
        let mut found = None;
        for at in 0_usize.. {
            if at == *wanted {
                match list.next_element_seed(Walk(rest))? {
                    Some(line) => found = line,
                    None => break,
                }
            } else if list.next_element::<IgnoredAny>()?.is_none() {
                break;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "kind: Pod\nspec:\n  ports:\n  - port: 1\n  - name: x\n    port: 2\n";

    #[test]
    fn a_field_is_found_on_its_line() {
        assert_eq!(line_of(TEXT, "spec.ports[1].port"), Some(6));
        assert_eq!(line_of(TEXT, "kind"), Some(1));
    }

    #[test]
    fn a_missing_field_is_found_on_the_nearest_line_above() {
        assert_eq!(line_of(TEXT, "spec.ports[1].protocol.x"), Some(5));
        assert_eq!(line_of(TEXT, "metadata.name"), Some(1));
    }
}
