//! The spans of a request: one for the request, and within it one for each attempt upstream.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use http::HeaderMap;
use weft_proto::opentelemetry::trace::v1 as otlp;

use super::super::record::RequestRecord;
use super::super::share::Share;
use super::context::{Form, Incoming, Outgoing};
use super::export::SpanQueue;
use super::ids::{SpanId, TraceId};
use super::tags::{self, CustomTag, Origin};
use crate::limits;

/// How requests of a service are traced.
#[derive(Debug, Clone)]
pub struct Tracer {
    /// Of how many requests spans are kept, where the caller leaves that to us.
    pub share: Share,
    /// Spans are not sent at all, though decisions and headers go on as with them.
    pub is_silent: bool,
    /// What spans say besides the usual.
    pub tags: Vec<CustomTag>,
    /// Whether spans have Istio's own tags.
    pub has_istio_tags: bool,
    /// Longest `http.url` in a span, bytes.
    pub path_bytes_max: usize,
    /// What every span of this waypoint says.
    pub origin: Arc<Origin>,
    /// Where spans go.
    pub queue: SpanQueue,
}

/// The span of a request that is going on.
#[derive(Debug)]
pub struct ServerSpan {
    tracer: Arc<Tracer>,
    trace: TraceId,
    span: SpanId,
    parent: Option<SpanId>,
    state: String,
    is_sampled: bool,
    form: Form,
    /// Those that have ended.
    attempts: Vec<otlp::Span>,
}

/// An attempt upstream that is going on.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    span: SpanId,
    start: SystemTime,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy)]
pub struct AttemptEnd<'a> {
    /// When.
    pub at: SystemTime,
    /// The endpoint.
    pub address: Option<SocketAddr>,
    /// The backend's name, such as `outbound|8080||checkout.shop.svc.cluster.local`.
    pub cluster: &'a str,
    /// Its status; `None` if no response began.
    pub status: Option<u16>,
    /// Why there was none; empty if there was.
    pub failure: &'a str,
}

impl Tracer {
    /// Begins the span of a request with these headers.
    pub fn begin(self: &Arc<Self>, headers: &HeaderMap) -> ServerSpan {
        let incoming = Incoming::read(headers);
        let form = incoming.as_ref().map_or(Form::W3c, |it| it.form);
        let decided = incoming.as_ref().and_then(|it| it.is_sampled);
        let is_sampled = decided.unwrap_or_else(|| self.share.holds(rand::random()));
        let parent = incoming.and_then(|it| it.parent);
        ServerSpan {
            tracer: Arc::clone(self),
            trace: parent.map_or_else(TraceId::random, |(trace, _)| trace),
            span: SpanId::random(),
            parent: parent.map(|(_, span)| span),
            state: if is_sampled && parent.is_some() { state(headers) } else { String::new() },
            is_sampled,
            form,
            attempts: Vec::new(),
        }
    }
}

impl ServerSpan {
    /// The trace, for the access log.
    pub fn trace(&self) -> TraceId {
        self.trace
    }

    /// Whether its spans are kept.
    pub fn is_sampled(&self) -> bool {
        self.is_sampled
    }

    /// Begins an attempt and writes its trace into the headers that it sends.
    pub fn attempt(&self, headers: &mut HeaderMap, start: SystemTime) -> Attempt {
        let attempt = Attempt { span: SpanId::random(), start };
        let outgoing = Outgoing {
            trace: self.trace,
            span: attempt.span,
            parent: self.span,
            is_sampled: self.is_sampled,
            form: self.form,
            is_new: self.parent.is_none(),
        };
        outgoing.write(headers);
        attempt
    }

    /// Ends an attempt.
    pub fn end(&mut self, attempt: Attempt, end: &AttemptEnd<'_>) {
        if !self.is_sent() || self.attempts.len() >= limits::ATTEMPT_SPANS_MAX {
            return;
        }
        let mut span = self.span_of(attempt.span, Some(self.span), otlp::span::SpanKind::Client);
        span.name = format!("router {} egress", end.cluster);
        span.start_time_unix_nano = nanos(attempt.start);
        span.end_time_unix_nano = nanos(end.at);
        span.attributes = tags::of_attempt(end);
        let is_error = end.status.is_none_or(|status| status >= 500);
        span.status = is_error.then(|| error(end.failure));
        self.attempts.push(span);
    }

    /// Ends the request and hands its spans to the queue.
    pub fn finish(mut self, record: &RequestRecord<'_>) {
        if !self.is_sent() {
            return;
        }
        let mut span = self.span_of(self.span, self.parent, otlp::span::SpanKind::Server);
        let (stream, http) = (&record.stream, &record.http);
        span.name = tags::operation(record);
        span.start_time_unix_nano = nanos(stream.start);
        span.end_time_unix_nano = nanos(stream.start + stream.duration);
        span.attributes = tags::of_request(record, &self.tracer);
        span.status = (http.status >= 500 || http.status == 0).then(|| error(stream.details));
        for attempt in self.attempts.drain(..) {
            self.tracer.queue.push(attempt);
        }
        self.tracer.queue.push(span);
    }

    fn is_sent(&self) -> bool {
        self.is_sampled && !self.tracer.is_silent
    }

    fn span_of(
        &self,
        span: SpanId,
        parent: Option<SpanId>,
        kind: otlp::span::SpanKind,
    ) -> otlp::Span {
        otlp::Span {
            trace_id: self.trace.bytes().to_vec(),
            span_id: span.bytes().to_vec(),
            parent_span_id: parent.map(|it| it.bytes().to_vec()).unwrap_or_default(),
            trace_state: self.state.clone(),
            flags: 1,
            kind: kind.into(),
            ..otlp::Span::default()
        }
    }
}

/// What tracing systems keep in `tracestate`. It may come in several headers; one that is too long is left out, as it may be
/// (W3C Trace Context, section 3.3.1.5).
fn state(headers: &HeaderMap) -> String {
    let values = headers.get_all("tracestate").iter().filter_map(|value| value.to_str().ok());
    let joined = values.collect::<Vec<_>>().join(",");
    if joined.len() <= limits::TRACE_STATE_BYTES_MAX { joined } else { String::new() }
}

fn error(message: &str) -> otlp::Status {
    let code = otlp::status::StatusCode::Error.into();
    otlp::Status { message: message.to_owned(), code }
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
