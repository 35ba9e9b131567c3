//! A line a request or connection, in Envoy's formats. Off unless a Telemetry object or the mesh's configuration turns it
//! on.
//!
//! ```text
//!  text or object of formats ──compile──▶ Layout ─┐
//!  CEL expression ────────────compile──▶ Filter ─┴─▶ AccessLog ──line──▶ LogLines (never waits)
//! ```
//!
//! A format is compiled once; a command that isn't known is refused by its name, as is an expression that can't be read.
//! No value forges a line or a field: control characters, quotes and backslashes of a peer are escaped.

mod command;
mod escape;
mod filter;
mod header;
mod layout;
#[cfg(test)]
mod tests;
mod time;
mod value;

use std::cell::RefCell;
use std::sync::Arc;

use weft_core::telemetry::LogLines;

pub(super) use self::escape::cut;
pub use self::filter::{Filter, FilterError};
pub use self::layout::{FormatError, Layout};
use super::record::{ConnectionRecord, Http, RequestRecord, Stream};
use super::share::Share;
use crate::limits;

/// What a line speaks of: a connection is one without HTTP.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) stream: &'a Stream<'a>,
    pub(super) http: Option<&'a Http<'a>>,
}

impl<'a> From<&'a RequestRecord<'a>> for Subject<'a> {
    fn from(record: &'a RequestRecord<'a>) -> Self {
        Self { stream: &record.stream, http: Some(&record.http) }
    }
}

impl<'a> From<&'a ConnectionRecord<'a>> for Subject<'a> {
    fn from(record: &'a ConnectionRecord<'a>) -> Self {
        Self { stream: &record.stream, http: None }
    }
}

/// One access log of a service: what is written, of which requests. There may be several.
#[derive(Debug, Clone)]
pub struct AccessLog {
    /// How a line looks.
    pub layout: Arc<Layout>,
    /// Which requests have a line; all if absent.
    pub filter: Option<Arc<Filter>>,
    /// Of those, how many.
    pub share: Share,
}

thread_local! {
    /// A line is put together here, so that logging allocates little.
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

impl AccessLog {
    /// A line for every request.
    pub fn new(layout: Arc<Layout>) -> Self {
        Self { layout, filter: None, share: Share::ALL }
    }

    /// Hands in the line of a request, if it is to have one.
    pub fn request(&self, record: &RequestRecord<'_>, lines: &LogLines) {
        self.write(&record.into(), lines);
    }

    /// Hands in the line of a connection, if it is to have one.
    pub fn connection(&self, record: &ConnectionRecord<'_>, lines: &LogLines) {
        self.write(&record.into(), lines);
    }

    fn write(&self, subject: &Subject<'_>, lines: &LogLines) {
        let is_drawn = self.share == Share::ALL || self.share.holds(rand::random());
        if !is_drawn || self.filter.as_ref().is_some_and(|filter| !filter.allows(subject)) {
            return;
        }
        LINE.with_borrow_mut(|line| {
            line.clear();
            self.layout.write(line, subject);
            lines.push(line);
            line.shrink_to(limits::ACCESS_LINE_BYTES_MAX);
        });
    }
}
