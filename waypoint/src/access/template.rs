//! Path templates: `/a/{*}/b/{**}`.

use super::path;

/// A path by its elements.
///
/// `{*}` stands for one element that isn't empty, `{**}` for any number of elements, none included: `/a/{**}/` covers
/// `/a//` and `/a/b/` but not `/a/b`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    before: Box<[Element]>,
    /// What follows `{**}`; nothing: there is none, and the path has just the elements before.
    after: Option<Box<[Element]>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Element {
    Text(Box<str>),
    One,
}

impl Template {
    /// Reads a template. `{**}` may stand in it once, with no `{*}` behind it.
    pub(super) fn read(text: &str) -> Option<Self> {
        let text = text.strip_prefix('/')?;
        let mut before = Vec::new();
        let mut after: Option<Vec<Element>> = None;
        for part in text.split('/') {
            let element = match part {
                "{**}" if after.is_none() => {
                    after = Some(Vec::new());
                    continue;
                }
                "{*}" if after.is_none() => Element::One,
                part if part.contains(['{', '}', '*']) => return None,
                part => Element::Text(path::folded(part).into()),
            };
            after.as_mut().unwrap_or(&mut before).push(element);
        }
        Some(Self { before: before.into(), after: after.map(Into::into) })
    }

    /// Whether it covers a normalised path.
    pub(super) fn covers(&self, path: &str) -> bool {
        let Some(path) = path.strip_prefix('/') else {
            return false;
        };
        let count = path.split('/').count();
        let Some(after) = &self.after else {
            return count == self.before.len() && fit(&self.before, path.split('/'));
        };
        // What `{**}` covers is at least one place between two slashes, which may be empty.
        count > self.before.len() + after.len()
            && fit(&self.before, path.split('/'))
            && fit(after, path.split('/').skip(count - after.len()))
    }
}

fn fit<'a>(elements: &[Element], parts: impl Iterator<Item = &'a str>) -> bool {
    elements.iter().zip(parts).all(|(element, part)| match element {
        Element::Text(text) => **text == *part,
        Element::One => !part.is_empty(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_cover_what_istio_documents() {
        let table = [
            ("/foo/{*}", "/foo/bar", true),
            ("/foo/{*}", "/foo/bar/baz", false),
            ("/foo/{*}", "/foo/", false),
            ("/foo/{**}/", "/foo/bar/", true),
            ("/foo/{**}/", "/foo/bar/baz/", true),
            ("/foo/{**}/", "/foo//", true),
            ("/foo/{**}/", "/foo/bar", false),
            ("/{*}/baz/{**}/", "/foo/baz/bar/", true),
            ("/{*}/baz/{**}/", "/foo/bar/baz/", false),
            ("/a/{**}", "/a/", true),
            ("/a/{**}", "/a/b/c", true),
            ("/a/{**}", "/a", false),
            ("/{**}/end", "/x/y/end", true),
            ("/{**}/end", "/end", false),
            ("/{**}", "/", true),
            ("/a%3ab/{*}", "/a%3Ab/c", true),
            ("/foo/{*}", "foo/bar", false),
        ];
        for (template, path, covers) in table {
            assert_eq!(Template::read(template).unwrap().covers(path), covers, "{template} {path}");
        }
    }

    #[test]
    fn anything_else_is_no_template() {
        for text in
            ["", "a/{*}", "/a{*}", "/{*}b", "/{**}/{**}", "/{**}/{*}", "/{a}", "/a*/{*}", "/{*"]
        {
            assert_eq!(Template::read(text), None, "{text}");
        }
    }
}
