//! A collector of traces: OTLP over HTTP in, a list out.

use std::fmt::Write as _;
use std::sync::Mutex;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::{Response, StatusCode};
use prost::Message as _;
use serde_json::{Value, json};
use weft_proto::opentelemetry::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use weft_proto::opentelemetry::common::v1::any_value::Value as Any;

use crate::serve::{Body, whole};

const BATCH_BYTES_MAX: usize = 4 << 20;
const SPANS_MAX: usize = 10_000;

/// Spans that were handed in.
#[derive(Debug, Default)]
pub(crate) struct Spans(Mutex<Vec<Value>>);

impl Spans {
    /// Takes a batch.
    pub(crate) async fn take(&self, body: Incoming) -> Response<Body> {
        let body = Limited::new(body, BATCH_BYTES_MAX).collect().await;
        let batch = body.ok().and_then(|it| ExportTraceServiceRequest::decode(it.to_bytes()).ok());
        let Some(batch) = batch else {
            return whole(StatusCode::BAD_REQUEST, "text/plain", Bytes::from_static(b"no OTLP"));
        };
        let spans = batch.resource_spans.iter().flat_map(|resource| {
            let attributes = resource.resource.iter().flat_map(|it| &it.attributes);
            let service = attributes.filter(|it| it.key == "service.name");
            let service = service.map(|it| text(it.value.as_ref())).next().unwrap_or_default();
            let spans = resource.scope_spans.iter().flat_map(|scope| &scope.spans);
            spans.map(move |span| {
                json!({
                    "service": service,
                    "trace": hex(&span.trace_id),
                    "span": hex(&span.span_id),
                    "parent": hex(&span.parent_span_id),
                    "name": span.name,
                    "kind": span.kind,
                    "microseconds": span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano) / 1_000,
                })
            })
        });
        if let Ok(mut all) = self.0.lock() {
            all.extend(spans);
            all.truncate(SPANS_MAX);
        }
        let thanks = ExportTraceServiceResponse::default().encode_to_vec();
        whole(StatusCode::OK, "application/x-protobuf", thanks.into())
    }

    /// Lists them.
    pub(crate) fn list(&self) -> Response<Body> {
        let all = self.0.lock().map(|all| all.clone()).unwrap_or_default();
        whole(StatusCode::OK, "application/json", Value::Array(all).to_string().into())
    }
}

fn text(value: Option<&weft_proto::opentelemetry::common::v1::AnyValue>) -> String {
    match value.and_then(|it| it.value.as_ref()) {
        Some(Any::StringValue(text)) => text.clone(),
        _ => String::new(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string can't fail.
        let _written = write!(text, "{byte:02x}");
        text
    })
}
