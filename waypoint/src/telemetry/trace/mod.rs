//! Traces: which one a request belongs to, whether it is kept, and the way of its spans to a collector.
//!
//! ```text
//!  request headers ─▶ Tracer::begin ─▶ ServerSpan ─attempt─▶ Attempt ─▶ headers of what goes on
//!                                          │ finish(record)     │ end
//!                                          ▼                    ▼
//!                                       SpanQueue ──batches──▶ Exporter ──OTLP──▶ collector
//! ```
//!
//! A caller's decision to keep a trace or not is obeyed; only where there is none is it drawn. A request that isn't kept costs
//! its headers and nothing else. The queue never makes a request wait: what doesn't fit is dropped and counted.

mod collector;
mod context;
mod export;
mod ids;
mod span;
mod tags;
#[cfg(test)]
mod tests;

pub use collector::{Collector, Dial, Io, OtlpProtocol};
pub use context::{Form, Incoming, Outgoing, ensure_request_id};
pub use export::{Exporter, SpanMetrics, SpanQueue, WeakSpanQueue};
pub use ids::{SpanId, TraceId};
pub use span::{Attempt, AttemptEnd, ServerSpan, Tracer};
pub use tags::{CustomTag, Origin, TagValue};
