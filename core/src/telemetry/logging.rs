//! The process's log: what is said (levels a target), how (text or JSON), and changes of either while it runs.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, reload};

pub use super::log_writer::LogGuard;
use super::log_writer::{self, LogLines};
use super::registry::Registry;
use super::{log_format, timestamp};
use crate::{clock, limits};

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Tab-separated.
    #[default]
    Text,
    /// One object a line.
    Json,
}

/// How the log starts out.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// `info`, or `info,access=debug`: a level for all targets and levels for some, longest prefix first.
    pub levels: String,
    /// How a line looks.
    pub format: LogFormat,
}

/// Why the log can't be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The text of levels can't be read.
    #[error(
        "log level {0:?} is none: write a level (off, error, warn, info, debug, trace), or target=level, \
         several with commas between them"
    )]
    Level(String),
    /// The writing thread can't be started.
    #[error("the log's thread can't be started: {0}")]
    Thread(#[from] std::io::Error),
    /// Something else has taken over logging in this process.
    #[error("logging is already set up in this process")]
    AlreadySet,
}

/// Sends everything that is traced to standard output. Keep the guard until the end of `main`: it writes out what
/// is left.
pub fn init(settings: &LogSettings) -> Result<(LogControl, LogGuard), LogError> {
    let (control, layer, filter, guard) = parts(settings, std::io::stdout())?;
    let subscriber = tracing_subscriber::registry().with(filter).with(layer);
    subscriber.try_init().map_err(|_| LogError::AlreadySet)?;
    Ok((control, guard))
}

type Filter = reload::Layer<Targets, tracing_subscriber::Registry>;
type FilterHandle = reload::Handle<Targets, tracing_subscriber::Registry>;

fn parts(
    settings: &LogSettings,
    sink: impl Write + Send + 'static,
) -> Result<(LogControl, LineLayer, Filter, LogGuard), LogError> {
    let levels: Levels = Levels::default().with(&settings.levels)?;
    let (filter, handle) = reload::Layer::new(levels.targets());
    let (lines, guard) = log_writer::spawn(sink)?;
    let layer = LineLayer { lines: lines.clone(), format: settings.format };
    let control = Control { start: levels.clone(), current: Mutex::new(levels), handle, lines };
    Ok((LogControl(Arc::new(control)), layer, filter, guard))
}

/// A level for everything, and levels for some targets.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Levels {
    default: LevelFilter,
    targets: BTreeMap<String, LevelFilter>,
}

impl Default for Levels {
    fn default() -> Self {
        Self { default: LevelFilter::INFO, targets: BTreeMap::new() }
    }
}

impl Levels {
    /// These levels changed by `text`. Both `target=level` (RUST_LOG) and `target:level` (istioctl) are read; a
    /// target's own `::` is no separator.
    fn with(mut self, text: &str) -> Result<Self, LogError> {
        let error = || LogError::Level(text.to_owned());
        for directive in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let pair = directive.rsplit_once('=').or_else(|| {
                directive.rsplit_once(':').filter(|(target, _)| !target.ends_with(':'))
            });
            match pair {
                None => self.default = level(directive).ok_or_else(error)?,
                Some((target, of)) if is_target(target) => {
                    self.targets.insert(target.to_owned(), level(of).ok_or_else(error)?);
                }
                Some(_) => return Err(error()),
            }
        }
        Ok(self)
    }

    fn targets(&self) -> Targets {
        let targets = self.targets.iter().map(|(target, level)| (target.clone(), *level));
        Targets::new().with_default(self.default).with_targets(targets)
    }
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.default)?;
        self.targets.iter().try_for_each(|(target, level)| write!(f, ",{target}={level}"))
    }
}

fn is_target(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_:-.".contains(&byte);
    !text.is_empty() && text.len() <= limits::NAME_BYTES_MAX && text.bytes().all(is_allowed)
}

fn level(text: &str) -> Option<LevelFilter> {
    let text = text.trim().to_ascii_lowercase();
    match text.as_str() {
        // istioctl's words for the same.
        "none" => Some(LevelFilter::OFF),
        "warning" => Some(LevelFilter::WARN),
        "off" | "error" | "warn" | "info" | "debug" | "trace" => text.parse().ok(),
        _ => None,
    }
}

/// Reads and changes the log while the process runs.
#[derive(Debug, Clone)]
pub struct LogControl(Arc<Control>);

#[derive(Debug)]
struct Control {
    start: Levels,
    current: Mutex<Levels>,
    handle: FilterHandle,
    lines: LogLines,
}

impl LogControl {
    /// The levels in force, in the syntax of [`LogSettings::levels`].
    pub fn levels(&self) -> String {
        self.0.current.lock().to_string()
    }

    /// Changes what `text` names and leaves the rest.
    pub fn change(&self, text: &str) -> Result<(), LogError> {
        let mut current = self.0.current.lock();
        let changed = current.clone().with(text)?;
        self.apply(&mut current, changed)
    }

    /// Back to what the process started with.
    pub fn reset(&self) -> Result<(), LogError> {
        let mut current = self.0.current.lock();
        self.apply(&mut current, self.0.start.clone())
    }

    fn apply(&self, current: &mut Levels, levels: Levels) -> Result<(), LogError> {
        self.0.handle.reload(levels.targets()).map_err(|_| LogError::AlreadySet)?;
        *current = levels;
        Ok(())
    }

    /// LogLines that were dropped because standard output was slow.
    pub fn dropped(&self) -> u64 {
        self.0.lines.dropped()
    }

    /// Where lines of a format of their own are handed in, such as a waypoint's access log.
    pub fn lines(&self) -> LogLines {
        self.0.lines.clone()
    }

    /// Adds the count of dropped lines to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.collector(Dropped(self.0.lines.clone()));
    }
}

#[derive(Debug)]
struct Dropped(LogLines);

impl Collector for Dropped {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let count = ConstCounter::new(self.0.dropped());
        let help = "Log lines dropped because standard output was slow";
        let name = "weft_log_lines_dropped";
        count.encode(encoder.encode_descriptor(name, help, None, count.metric_type())?)
    }
}

struct LineLayer {
    lines: LogLines,
    format: LogFormat,
}

thread_local! {
    /// A line is put together here, so that logging allocates little.
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

impl<S: Subscriber> Layer<S> for LineLayer {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        LINE.with(|line| {
            // Formatting a value may itself trace something; that inner line is left out.
            let Ok(mut line) = line.try_borrow_mut() else {
                return;
            };
            line.clear();
            log_format::format(&mut line, self.format, clock::now(), event);
            if line.len() > limits::LOG_LINE_BYTES_MAX {
                cut(&mut line, self.format);
            }
            self.lines.push(&line);
            line.shrink_to(limits::LOG_LINE_BYTES_MAX);
        });
    }
}

fn cut(line: &mut String, format: LogFormat) {
    match format {
        LogFormat::Text => {
            line.truncate(line.floor_char_boundary(limits::LOG_LINE_BYTES_MAX - 1));
            line.push('\n');
        }
        // Half an object can't be read by anybody.
        LogFormat::Json => {
            let time = timestamp::rfc3339(clock::now());
            line.clear();
            line.push_str(&format!(
                "{{\"level\":\"warn\",\"time\":\"{time}\",\"scope\":\"log\",\"message\":\"line too long\"}}\n"
            ));
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What `run` logs.
    pub(crate) fn captured(
        format: LogFormat,
        levels: &str,
        run: impl FnOnce(&LogControl),
    ) -> String {
        let sink = Sink::default();
        let settings = LogSettings { levels: levels.into(), format };
        let (control, layer, filter, guard) = parts(&settings, sink.clone()).unwrap();
        let subscriber = tracing_subscriber::registry().with(filter).with(layer);
        tracing::subscriber::with_default(subscriber, || run(&control));
        drop(guard);
        String::from_utf8(sink.0.lock().clone()).unwrap()
    }

    #[test]
    fn text_line_has_time_level_target_message_and_fields() {
        let text = captured(LogFormat::Text, "info", |_| {
            tracing::info!(target: "xds", count = 3, name = "a b", at = %"10.0.0.1:1", "applied");
            tracing::info!(target: "xds", "nothing more");
        });
        let mut lines = text.lines();
        let (time, rest) = lines.next().unwrap().split_once('\t').unwrap();
        assert!(time.ends_with('Z') && time.contains('T'));
        assert_eq!(rest, "info\txds\tapplied\tcount=3 name=\"a b\" at=10.0.0.1:1");
        assert!(lines.next().unwrap().ends_with("\tinfo\txds\tnothing more"));
    }

    #[test]
    fn values_cant_forge_a_line() {
        let evil = "x\n2024-01-01T00:00:00Z\tinfo\taccess\tfine";
        for format in [LogFormat::Text, LogFormat::Json] {
            let text = captured(format, "info", |_| {
                tracing::info!(value = evil, display = %evil, debug = ?evil, "{evil}");
            });
            assert_eq!(text.lines().count(), 1, "{text}");
        }
    }

    #[test]
    fn level_changes_while_running_and_goes_back() {
        let text = captured(LogFormat::Text, "info", |control| {
            let say = |n: u32| {
                tracing::debug!(target: "access", n, "said");
                tracing::debug!(target: "other", n, "said");
            };
            say(1);
            control.change("access:debug").unwrap();
            say(2);
            assert_eq!(control.levels(), "info,access=debug");
            control.change("debug").unwrap();
            say(3);
            control.reset().unwrap();
            say(4);
            assert_eq!(control.levels(), "info");
        });
        let said: Vec<_> = text.lines().map(|line| line.splitn(3, '\t').nth(2).unwrap()).collect();
        assert_eq!(said, ["access\tsaid\tn=2", "access\tsaid\tn=3", "other\tsaid\tn=3"]);
    }

    #[test]
    fn module_paths_and_both_separators_are_understood() {
        let read = |text: &str| Levels::default().with(text).map(|levels| levels.to_string());
        assert_eq!(
            read("debug,weft_core::xds:trace,h2=off").unwrap(),
            "debug,h2=off,weft_core::xds=trace"
        );
        assert_eq!(read("access:warning").unwrap(), "info,access=warn");
        for text in ["loud", "a=b=c", "=debug", "weft_core::xds", "access:", "a b=info", "3"] {
            assert!(read(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn overlong_line_is_cut_and_stays_one_line() {
        let long = "ä".repeat(limits::LOG_LINE_BYTES_MAX);
        let text = captured(LogFormat::Text, "info", |_| tracing::info!("{long}"));
        assert!(text.len() <= limits::LOG_LINE_BYTES_MAX && text.lines().count() == 1);
        let text = captured(LogFormat::Json, "info", |_| tracing::info!("{long}"));
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
    }
}
