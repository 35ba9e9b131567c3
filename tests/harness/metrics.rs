//! Reading the text format of metrics.

use std::collections::BTreeMap;

/// The samples of one scrape.
#[derive(Debug, Default)]
pub struct Samples(Vec<Sample>);

/// One line of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Name of the metric.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

impl Sample {
    /// A label's value, empty if it isn't there.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

impl Samples {
    /// Reads a scrape; lines that aren't samples are passed over.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(parse_line).collect())
    }

    /// The samples of `name` that have all of `labels`.
    pub fn of<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.0.iter().filter(move |sample| {
            sample.name == name && labels.iter().all(|(key, value)| sample.label(key) == *value)
        })
    }

    /// The sum of those.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.of(name, labels).map(|sample| sample.value).sum()
    }
}

fn parse_line(line: &str) -> Option<Sample> {
    if line.starts_with('#') {
        return None;
    }
    let (name, labels, rest) = match line.split_once('{') {
        Some((name, rest)) => {
            let (labels, rest) = parse_labels(rest)?;
            (name, labels, rest)
        }
        None => {
            let (name, rest) = line.split_once(' ')?;
            (name, BTreeMap::new(), rest)
        }
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// `a="x",b="y"} rest`, with `\"`, `\\` and `\n` in values.
fn parse_labels(mut text: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        text = text.trim_start_matches(',');
        if let Some(rest) = text.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (key, rest) = text.split_once("=\"")?;
        let mut value = String::new();
        let mut letters = rest.chars();
        loop {
            match letters.next()? {
                '"' => break,
                '\\' => value.push(match letters.next()? {
                    'n' => '\n',
                    other => other,
                }),
                other => value.push(other),
            }
        }
        labels.insert(key.to_owned(), value);
        text = letters.as_str();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_read_with_labels_and_without() {
        let samples = Samples::parse(
            "# HELP opened x\nopened_total{a=\"x\",b=\"say \\\"}\\\"\"} 3\nopened_total{a=\"y\"} 4.5 1700\nup 1\n# EOF",
        );
        assert!((samples.sum("opened_total", &[]) - 7.5).abs() < 1e-9);
        assert!((samples.sum("opened_total", &[("b", "say \"}\"")]) - 3.0).abs() < 1e-9);
        assert!((samples.sum("up", &[]) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn broken_lines_are_passed_over() {
        assert_eq!(Samples::parse("a{b=\"\nc{d=\"e\" 3\n{}\n\nx y").0, Vec::new());
    }
}
