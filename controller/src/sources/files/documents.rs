//! A file's text, cut into its documents.

/// One document of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Document<'a> {
    /// The text, without its `---`.
    pub(super) text: &'a str,
    /// Lines of the file before the text.
    pub(super) lines_before: u32,
    /// Of the text. Two texts of one hash count as one; at 128 bits that happens to nobody.
    pub(super) hash: u128,
}

/// Cuts at lines that begin with `---`, which YAML allows nowhere else (YAML 1.2, 9.1.2 "c-forbidden"). Documents
/// without content are left out.
pub(super) fn documents(text: &str) -> Vec<Document<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut found = Vec::new();
    let (mut start, mut lines_before, mut line, mut position) = (0, 0, 0, 0);
    for part in text.split_inclusive('\n') {
        if is_marker(part) {
            push(&mut found, text.get(start..position).unwrap_or_default(), lines_before);
            // `--- {kind: Pod}`: content may begin on the marker's own line.
            start = position + 3;
            lines_before = line;
        }
        position += part.len();
        line += 1;
    }
    push(&mut found, text.get(start..).unwrap_or_default(), lines_before);
    found
}

fn is_marker(line: &str) -> bool {
    line.strip_prefix("---")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

fn push<'a>(found: &mut Vec<Document<'a>>, text: &'a str, lines_before: u32) {
    let is_content = |line: &str| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with(['#', '%']) && line != "..."
    };
    if text.lines().any(is_content) {
        let hash = xxhash_rust::xxh3::xxh3_128(text.as_bytes());
        found.push(Document { text, lines_before, hash });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Vec<(String, u32)> {
        documents(text).iter().map(|it| (it.text.trim().to_owned(), it.lines_before)).collect()
    }

    #[test]
    fn documents_are_cut_at_markers_with_their_lines() {
        assert_eq!(
            cut("# head\n---\na: 1\n--- # two\nb: |\n  ---\n  x\n---\n\n---\nc: 3"),
            [("a: 1".into(), 1), ("# two\nb: |\n  ---\n  x".into(), 3), ("c: 3".into(), 9)]
        );
        assert_eq!(cut("%YAML 1.2\n---\r\na: 1\r\n...\r\n"), [("a: 1\r\n...".into(), 1)]);
        assert_eq!(cut("---a: 1"), [("---a: 1".into(), 0)]);
        assert!(cut("").is_empty() && cut("# only words\n").is_empty());
    }

    #[test]
    fn equal_documents_have_equal_hashes_wherever_they_stand() {
        let (one, two) = (documents("---\na: 1\n---\nb: 2\n"), documents("---\nx: 0\n---\na: 1\n"));
        assert_eq!(one[0].hash, two[1].hash);
        assert_ne!(one[0].hash, one[1].hash);
    }
}
