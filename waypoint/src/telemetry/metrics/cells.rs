//! The values that a scrape shows, one a metric and set of labels.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use weft_core::telemetry::label;

use super::super::record::{RequestProtocol, RequestRecord};
use super::histogram::Histogram;
use super::key::Key;
use super::view::{Change, Metric};

/// A set of labels as it is shown: name, [`IS`], value, [`END`], again and again. One text instead of fifty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct LabelText(Arc<str>);

const IS: char = '\u{1f}';
const END: char = '\u{1e}';

/// All cells of a process.
#[derive(Debug, Default)]
pub(super) struct Cells {
    pub(super) requests: Family<AtomicU64>,
    pub(super) duration: Family<Histogram>,
    pub(super) request_bytes: Family<Histogram>,
    pub(super) response_bytes: Family<Histogram>,
    pub(super) request_messages: Family<AtomicU64>,
    pub(super) response_messages: Family<AtomicU64>,
}

/// The cells of one metric.
#[derive(Debug)]
pub(super) struct Family<C>(Mutex<HashMap<LabelText, Arc<C>>>);

impl<C> Default for Family<C> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<C: Default> Family<C> {
    fn cell(&self, labels: LabelText) -> Arc<C> {
        self.0.lock().entry(labels).or_default().clone()
    }

    /// What a scrape shows. The lock isn't held while text is written.
    pub(super) fn read(&self) -> Vec<(LabelText, Arc<C>)> {
        let cells = self.0.lock();
        cells.iter().map(|(labels, cell)| (labels.clone(), Arc::clone(cell))).collect()
    }

    /// Drops cells that no series adds to any more. Whoever makes a series takes the lock for it.
    fn prune(&self) {
        self.0.lock().retain(|_, cell| Arc::strong_count(cell) > 1);
    }
}

/// The cells that requests of one series add to. A metric that is turned off has none.
#[derive(Debug)]
pub(super) struct SeriesCells {
    requests: Option<Arc<AtomicU64>>,
    duration: Option<Arc<Histogram>>,
    request_bytes: Option<Arc<Histogram>>,
    response_bytes: Option<Arc<Histogram>>,
    request_messages: Option<Arc<AtomicU64>>,
    response_messages: Option<Arc<AtomicU64>>,
}

impl Cells {
    /// Those of requests with `key`.
    pub(super) fn of(&self, key: &Key<'_>) -> SeriesCells {
        let usual = render(key, None);
        let labels = |metric| match key.view.and_then(|view| view.change(metric)) {
            Some(change) if change.is_disabled => None,
            Some(change) if !change.tags.is_empty() => Some(render(key, Some(change))),
            _ => Some(usual.clone()),
        };
        SeriesCells {
            requests: labels(Metric::RequestCount).map(|it| self.requests.cell(it)),
            duration: labels(Metric::RequestDuration).map(|it| self.duration.cell(it)),
            request_bytes: labels(Metric::RequestSize).map(|it| self.request_bytes.cell(it)),
            response_bytes: labels(Metric::ResponseSize).map(|it| self.response_bytes.cell(it)),
            request_messages: labels(Metric::RequestMessages)
                .filter(|_| key.is_grpc())
                .map(|it| self.request_messages.cell(it)),
            response_messages: labels(Metric::ResponseMessages)
                .filter(|_| key.is_grpc())
                .map(|it| self.response_messages.cell(it)),
        }
    }

    /// Drops what no series adds to any more.
    pub(super) fn prune(&self) {
        self.requests.prune();
        self.duration.prune();
        self.request_bytes.prune();
        self.response_bytes.prune();
        self.request_messages.prune();
        self.response_messages.prune();
    }
}

impl SeriesCells {
    /// Counts a request.
    pub(super) fn add(&self, record: &RequestRecord<'_>) {
        let (stream, sizes) = (&record.stream, &record.stream.sizes);
        if let Some(requests) = &self.requests {
            requests.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(duration) = &self.duration {
            duration.add(u64::try_from(stream.duration.as_micros()).unwrap_or(u64::MAX));
        }
        if let Some(bytes) = &self.request_bytes {
            bytes.add(sizes.received.saturating_mul(1000));
        }
        if let Some(bytes) = &self.response_bytes {
            bytes.add(sizes.sent.saturating_mul(1000));
        }
        if let Some(messages) = &self.request_messages {
            messages.fetch_add(sizes.request_messages, Ordering::Relaxed);
        }
        if let Some(messages) = &self.response_messages {
            messages.fetch_add(sizes.response_messages, Ordering::Relaxed);
        }
    }
}

impl Key<'_> {
    fn is_grpc(&self) -> bool {
        self.protocol() == RequestProtocol::Grpc
    }
}

/// The labels of `key`, as `change` leaves them.
fn render(key: &Key<'_>, change: Option<&Change>) -> LabelText {
    let (mut text, mut names) = (String::new(), Vec::new());
    let mut write = |name: &'static str, value: &str| {
        let changed = match change {
            Some(change) => change.apply(name, value, key),
            None => Some(value.into()),
        };
        names.push(name);
        if let Some(value) = changed {
            push(&mut text, name, &value);
        }
    };
    let edge = key.edge();
    let mut infallible = |name: &'static str, value: &str| {
        write(name, value);
        Ok::<(), std::convert::Infallible>(())
    };
    let Ok(()) = edge.parties(&mut infallible);
    key.traits.write(&mut write);
    let mut infallible = |name: &'static str, value: &str| {
        write(name, value);
        Ok::<(), std::convert::Infallible>(())
    };
    let Ok(()) = edge.places(&mut infallible);
    if let Some(change) = change {
        for (name, value) in change.added(&|name| names.contains(&name), key) {
            push(&mut text, name, &value);
        }
    }
    LabelText(text.into())
}

fn push(text: &mut String, name: &str, value: &str) {
    let is_plain = |c: &char| !c.is_control();
    text.push_str(name);
    text.push(IS);
    text.extend(value.chars().filter(is_plain));
    text.push(END);
}

impl EncodeLabelSet for LabelText {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let mut labels = self.0.split_terminator(END).filter_map(|it| it.split_once(IS));
        labels.try_for_each(|(name, value)| label(encoder, name, value))
    }
}
