//! An event as one line: `time\tlevel\ttarget\tmessage\tk=v …`, or one JSON object.

use std::fmt::{self, Write as _};
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use super::logging::LogFormat;
use super::timestamp;

/// Appends `event` to `line`, with a newline. No value can forge a line: control characters are escaped.
pub(super) fn format(line: &mut String, format: LogFormat, time: SystemTime, event: &Event<'_>) {
    let mut fields = Fields { format, message: String::new(), rest: String::new() };
    event.record(&mut fields);
    let (level, target) = (level(*event.metadata().level()), event.metadata().target());
    match format {
        LogFormat::Text => {
            timestamp::write(line, time);
            let separator = if fields.rest.is_empty() { "" } else { "\t" };
            let Fields { message, rest, .. } = &fields;
            let _ = writeln!(line, "\t{level}\t{target}\t{message}{separator}{rest}");
        }
        LogFormat::Json => {
            let _ = write!(line, "{{\"level\":\"{level}\",\"time\":\"");
            timestamp::write(line, time);
            line.push_str("\",\"scope\":");
            push_json(line, target);
            line.push_str(",\"message\":");
            push_json(line, &fields.message);
            line.push_str(&fields.rest);
            line.push_str("}\n");
        }
    }
}

fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

struct Fields {
    format: LogFormat,
    message: String,
    /// Text: `a=1 b="x"`. JSON: `,"a":1,"b":"x"`.
    rest: String,
}

impl Fields {
    fn key(&mut self, field: &Field) {
        match self.format {
            LogFormat::Text => {
                if !self.rest.is_empty() {
                    self.rest.push(' ');
                }
                self.rest.push_str(field.name());
                self.rest.push('=');
            }
            LogFormat::Json => {
                self.rest.push(',');
                push_json(&mut self.rest, field.name());
                self.rest.push(':');
            }
        }
    }

    /// A value that needs no quotes in either format.
    fn plain(&mut self, field: &Field, value: impl fmt::Display) {
        self.key(field);
        let _ = write!(self.rest, "{value}");
    }

    fn text(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message(value);
            return;
        }
        self.key(field);
        match self.format {
            LogFormat::Text => {
                let _ = write!(self.rest, "{value:?}");
            }
            LogFormat::Json => push_json(&mut self.rest, value),
        }
    }

    fn message(&mut self, value: &str) {
        match self.format {
            LogFormat::Text if value.contains(char::is_control) => {
                self.message.extend(value.chars().flat_map(|c| {
                    let escape = if c.is_control() { Some(c.escape_default()) } else { None };
                    let literal = if c.is_control() { None } else { Some(c) };
                    escape.into_iter().flatten().chain(literal)
                }));
            }
            _ => self.message.push_str(value),
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no infinities.
        if value.is_finite() {
            self.plain(field, value);
        } else {
            self.text(field, &value.to_string());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // What `%value` gives comes here as well. Addresses and names stay bare, anything else is quoted.
        let text = format!("{value:?}");
        let is_bare = !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
        if self.format == LogFormat::Text && is_bare && field.name() != "message" {
            self.plain(field, text);
        } else {
            self.text(field, &text);
        }
    }
}

fn push_json(out: &mut String, text: &str) {
    // A text can always be written as JSON; the error type stands for other values.
    out.push_str(&serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned()));
}
