//! A format, compiled: literals and commands in a row, or an object of such rows.

use super::Subject;
use super::command::Command;
use super::escape::{cut, push_json};
use super::value::Value;
use crate::limits;

/// Istio's text format (`accessLogFormat` where a mesh sets none).
const DEFAULT_TEXT: &str = concat!(
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% ",
    "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% ",
    "\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ",
    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" ",
    "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% ",
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% ",
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
);

/// The keys of Istio's JSON format, sorted.
const DEFAULT_JSON: [(&str, &str); 24] = [
    ("authority", "%REQ(:AUTHORITY)%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("duration", "%DURATION%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("route_name", "%ROUTE_NAME%"),
    ("start_time", "%START_TIME%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
    ("upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
];

/// Why a format can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// No such command.
    #[error("access log format: %{0}% is not supported")]
    Command(String),
    /// It is known, and doesn't take this.
    #[error(
        "access log format: %{command}({argument})% is not supported: check what is in parentheses"
    )]
    Argument {
        /// The command.
        command: String,
        /// What stands in its parentheses.
        argument: String,
    },
    /// A command without an end.
    #[error(
        "access log format: {0:?} begins a command that doesn't end: a percent sign is written %%"
    )]
    Open(String),
    /// Longer or deeper than allowed.
    #[error("access log format: it is larger than allowed")]
    TooLarge,
    /// A JSON format is an object whose values are texts or such objects.
    #[error("access log format: {0:?} is neither a text nor an object")]
    Json(String),
}

/// How a line looks.
#[derive(Debug, PartialEq, Eq)]
pub struct Layout(Encoding);

#[derive(Debug, PartialEq, Eq)]
enum Encoding {
    Text(Row),
    Json(Object),
}

/// Literals and commands.
#[derive(Debug, PartialEq, Eq)]
struct Row(Vec<Part>);

/// Keys as they are written, and what each shows.
#[derive(Debug, PartialEq, Eq)]
struct Object(Vec<(String, Field)>);

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Command(Command),
}

#[derive(Debug, PartialEq, Eq)]
enum Field {
    Row(Row),
    Object(Object),
    /// Written as it is: a number or a boolean of the format itself.
    Literal(String),
}

impl Layout {
    /// A text with commands. Empty: Istio's default.
    pub fn text(format: &str) -> Result<Self, FormatError> {
        let format = if format.is_empty() { DEFAULT_TEXT } else { format };
        Ok(Self(Encoding::Text(Row::parse(format)?)))
    }

    /// An object whose values are texts with commands. Absent: Istio's default.
    pub fn json(
        format: Option<&serde_json::Map<String, serde_json::Value>>,
    ) -> Result<Self, FormatError> {
        match format {
            Some(format) => Ok(Self(Encoding::Json(Object::parse(format, 0)?))),
            None => {
                let fields = DEFAULT_JSON.iter();
                let map = fields.map(|(key, text)| ((*key).to_owned(), (*text).into())).collect();
                Ok(Self(Encoding::Json(Object::parse(&map, 0)?)))
            }
        }
    }

    /// Appends the line of `subject`, with its newline.
    pub(super) fn write(&self, out: &mut String, subject: &Subject<'_>) {
        match &self.0 {
            Encoding::Text(row) => {
                row.write(out, subject);
                let end = limits::ACCESS_LINE_BYTES_MAX - 1;
                let kept = cut(out.as_bytes(), end).len();
                out.truncate(kept);
                if !out.ends_with('\n') {
                    out.push('\n');
                }
            }
            Encoding::Json(object) => {
                object.write(out, subject);
                if out.len() >= limits::ACCESS_LINE_BYTES_MAX {
                    // Half an object can't be read by anybody.
                    out.clear();
                    out.push_str("{\"error\":\"access log line too long\"}");
                }
                out.push('\n');
            }
        }
    }
}

impl Row {
    fn parse(format: &str) -> Result<Self, FormatError> {
        if format.len() > limits::ACCESS_FORMAT_BYTES_MAX {
            return Err(FormatError::TooLarge);
        }
        let (mut parts, mut literal, mut rest) = (Vec::new(), String::new(), format);
        while let Some((before, after)) = rest.split_once('%') {
            literal.push_str(before);
            if let Some(after) = after.strip_prefix('%') {
                literal.push('%');
                rest = after;
                continue;
            }
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            let (command, after) = parse_command(after)?;
            parts.push(Part::Command(command));
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self(parts))
    }

    fn write(&self, out: &mut String, subject: &Subject<'_>) {
        for part in &self.0 {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Command(command) => command.value(subject).write(out),
            }
        }
    }

    /// One command alone keeps its type; anything else is a text.
    fn write_json(&self, out: &mut String, subject: &Subject<'_>) {
        let mut text = String::new();
        match self.0.as_slice() {
            [Part::Command(command)] => match command.value(subject) {
                Value::Missing => return out.push_str("null"),
                Value::Number(number) => return out.push_str(&number.to_string()),
                // JSON's own escapes do for what a text has to escape twice.
                Value::Peer(bytes) => text.push_str(&String::from_utf8_lossy(bytes)),
                value => value.write(&mut text),
            },
            _ => self.write(&mut text, subject),
        }
        push_json(out, &text);
    }
}

/// `NAME`, `NAME(argument)` or either with `:length`, up to the closing `%`; and what follows.
fn parse_command(text: &str) -> Result<(Command, &str), FormatError> {
    let open = || FormatError::Open(text.chars().take(32).collect());
    let name_end = text.find(['(', ':', '%']).ok_or_else(open)?;
    let (name, rest) = text.split_at_checked(name_end).ok_or_else(open)?;
    let (argument, rest) = match rest.strip_prefix('(') {
        // An argument of START_TIME has percent signs of its own.
        Some(inside) => {
            let (argument, rest) = inside.split_once(')').ok_or_else(open)?;
            (Some(argument), rest)
        }
        None => (None, rest),
    };
    let (length, rest) = match rest.strip_prefix(':') {
        Some(length) => {
            let (length, rest) = length.split_once('%').ok_or_else(open)?;
            (Some(length.parse::<usize>().map_err(|_| open())?), rest)
        }
        None => (None, rest.strip_prefix('%').ok_or_else(open)?),
    };
    Ok((Command::parse(name, argument, length)?, rest))
}

impl Object {
    fn parse(
        format: &serde_json::Map<String, serde_json::Value>,
        depth: usize,
    ) -> Result<Self, FormatError> {
        if format.len() > limits::ACCESS_FIELDS_MAX || depth > limits::ACCESS_NESTING_MAX {
            return Err(FormatError::TooLarge);
        }
        let fields = format.iter().map(|(key, value)| {
            let mut written = String::new();
            push_json(&mut written, key);
            let field = match value {
                serde_json::Value::String(text) => Field::Row(Row::parse(text)?),
                serde_json::Value::Object(inner) => Field::Object(Self::parse(inner, depth + 1)?),
                serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {
                    Field::Literal(value.to_string())
                }
                _ => return Err(FormatError::Json(key.clone())),
            };
            Ok((written, field))
        });
        Ok(Self(fields.collect::<Result<_, _>>()?))
    }

    fn write(&self, out: &mut String, subject: &Subject<'_>) {
        out.push('{');
        for (nth, (key, field)) in self.0.iter().enumerate() {
            if nth > 0 {
                out.push(',');
            }
            out.push_str(key);
            out.push(':');
            match field {
                Field::Row(row) => row.write_json(out, subject),
                Field::Object(object) => object.write(out, subject),
                Field::Literal(text) => out.push_str(text),
            }
        }
        out.push('}');
    }
}
