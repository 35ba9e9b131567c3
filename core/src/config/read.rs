//! Reads single keys, and collects what is wrong with them.

use std::str::FromStr;
use std::time::Duration;

use super::duration::parse_duration;
use super::{ConfigError, ConfigErrors, Env};

/// Reads an environment key by key. A key that can't be read takes its default, and the error is kept.
pub(super) struct Reader<'a> {
    env: &'a dyn Env,
    errors: Vec<ConfigError>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(env: &'a dyn Env) -> Self {
        Self { env, errors: Vec::new() }
    }

    pub(super) fn env(&self) -> &'a dyn Env {
        self.env
    }

    /// The text of `key`, unless it is empty.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.env.get(key).filter(|text| !text.is_empty())
    }

    pub(super) fn error(&mut self, key: &str, value: &str, expected: impl Into<String>) {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.errors.push(ConfigError { key, value, expected: expected.into() });
    }

    /// The value of `key` as `parse` reads it; `expected` is for whoever wrote something else.
    pub(super) fn read<T>(
        &mut self,
        key: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(key)?;
        let value = parse(text.trim());
        if value.is_none() {
            self.error(key, &text, expected);
        }
        value
    }

    pub(super) fn parsed<T: FromStr>(&mut self, key: &str, expected: &str) -> Option<T> {
        self.read(key, expected, |text| text.parse().ok())
    }

    pub(super) fn flag(&mut self, key: &str) -> Option<bool> {
        self.read(key, "true or false", |text| match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "on" => Some(true),
            "false" | "0" | "off" => Some(false),
            _ => None,
        })
    }

    pub(super) fn duration(&mut self, key: &str) -> Option<Duration> {
        let expected = "a duration with its unit, such as 30s, 5m or 1h30m";
        self.read(key, expected, parse_duration)
    }

    /// A number from `least` to `most`.
    pub(super) fn number(&mut self, key: &str, least: u32, most: u32) -> Option<u32> {
        let expected = format!("a number from {least} to {most}");
        self.read(key, &expected, |text| {
            text.parse().ok().filter(|number| (least..=most).contains(number))
        })
    }

    /// A key that isn't supported may be set only to what changes nothing.
    pub(super) fn only(&mut self, key: &str, harmless: &[&str], why: &str) {
        if let Some(text) = self.text(key)
            && !harmless.iter().any(|allowed| allowed.eq_ignore_ascii_case(text.trim()))
        {
            let words = match harmless {
                [] => "nothing".to_owned(),
                words => format!("{} or nothing", words.join(", ")),
            };
            self.error(key, &text, format!("{words}: {why}"));
        }
    }

    pub(super) fn finish<T>(self, value: T) -> Result<T, ConfigErrors> {
        if self.errors.is_empty() { Ok(value) } else { Err(ConfigErrors(self.errors)) }
    }
}
