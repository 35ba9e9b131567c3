//! Which trace a request belongs to: read from its headers and written into those that go on.
//!
//! W3C Trace Context comes first, then B3 in one header, then B3 in several. What goes on always has W3C's header; B3's too
//! where the request came with B3, since its application may know that alone.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::ids::{SpanId, TraceId, Uuid, hex};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const B3: HeaderName = HeaderName::from_static("b3");
const B3_TRACE: HeaderName = HeaderName::from_static("x-b3-traceid");
const B3_SPAN: HeaderName = HeaderName::from_static("x-b3-spanid");
const B3_PARENT: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const B3_FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request ID of a client that goes on; Envoy's own has 36 bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Which headers carried it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `traceparent`.
    W3c,
    /// `b3`.
    B3Single,
    /// `x-b3-…`.
    B3Multi,
}

/// What a request's headers say of the trace that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// The trace and the span that called; absent where only a decision came.
    pub parent: Option<(TraceId, SpanId)>,
    /// Whether the caller's span is kept; `None`: it leaves that to us.
    pub is_sampled: Option<bool>,
    /// Which headers carried it.
    pub form: Form,
}

impl Incoming {
    /// From a request's headers. Headers that can't be read count as missing (W3C Trace Context, section 4.3).
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        w3c(headers).or_else(|| b3_single(headers)).or_else(|| b3_multi(headers))
    }
}

/// What goes on with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outgoing {
    /// The trace.
    pub trace: TraceId,
    /// The span that calls.
    pub span: SpanId,
    /// The span within which it calls.
    pub parent: SpanId,
    /// Whether spans are kept.
    pub is_sampled: bool,
    /// How the request came in.
    pub form: Form,
    /// Whether the trace began here: then no state of another one goes with it.
    pub is_new: bool,
}

impl Outgoing {
    /// Puts it into the headers of an attempt.
    pub fn write(&self, headers: &mut HeaderMap) {
        let Self { trace, span, parent, is_sampled, form, is_new } = *self;
        let sampled = u8::from(is_sampled);
        set(headers, TRACEPARENT, &format!("00-{trace}-{span}-{sampled:02x}"));
        if is_new {
            headers.remove(TRACESTATE);
        }
        match form {
            Form::W3c => {}
            Form::B3Single => set(headers, B3, &format!("{trace}-{span}-{sampled}-{parent}")),
            Form::B3Multi => {
                set(headers, B3_TRACE, &trace.to_string());
                set(headers, B3_SPAN, &span.to_string());
                set(headers, B3_PARENT, &parent.to_string());
                set(headers, B3_SAMPLED, &sampled.to_string());
            }
        }
    }
}

/// The request's ID, which gets one if it has none that can go on: a UUID, so that log lines of one request are found.
pub fn ensure_request_id(headers: &mut HeaderMap) -> HeaderValue {
    let is_usable = |value: &&HeaderValue| {
        !value.is_empty() && value.len() <= REQUEST_ID_BYTES_MAX && value.to_str().is_ok()
    };
    if let Some(id) = headers.get(REQUEST_ID).filter(is_usable) {
        return id.clone();
    }
    let id = HeaderValue::from_bytes(&Uuid::random().text());
    let id = id.unwrap_or_else(|_| HeaderValue::from_static(""));
    headers.insert(REQUEST_ID, id.clone());
    id
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// `00-<trace>-<parent>-<flags>` (W3C Trace Context, section 3.2.2). Later versions may have more after a dash.
fn w3c(headers: &HeaderMap) -> Option<Incoming> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let value = values.next().filter(|_| values.next().is_none())?.as_bytes();
    // The W3C wants lower case and B3 doesn't care.
    let is_lower = !value.iter().any(u8::is_ascii_uppercase);
    let mut parts = value.split(|byte| *byte == b'-');
    let [version] = hex::<1>(parts.next()?)?;
    let (trace, span) = (parts.next()?, parts.next()?);
    let [flags] = hex::<1>(parts.next()?)?;
    let has_more = parts.next().is_some();
    if version == 0xff || version == 0 && has_more || !is_lower || trace.len() != 32 {
        return None;
    }
    let parent = (TraceId::parse(trace)?, SpanId::parse(span)?);
    Some(Incoming { parent: Some(parent), is_sampled: Some(flags & 1 == 1), form: Form::W3c })
}

/// `<trace>-<span>[-<sampled>[-<parent>]]`, or the decision alone (B3 Propagation, "Single Header").
fn b3_single(headers: &HeaderMap) -> Option<Incoming> {
    let value = headers.get(B3)?.as_bytes();
    let form = Form::B3Single;
    if let Some(is_sampled) = decision(value) {
        return Some(Incoming { parent: None, is_sampled: Some(is_sampled), form });
    }
    let mut parts = value.split(|byte| *byte == b'-');
    let parent = (TraceId::parse(parts.next()?)?, SpanId::parse(parts.next()?)?);
    let is_sampled = match parts.next() {
        Some(text) => Some(decision(text)?),
        None => None,
    };
    Some(Incoming { parent: Some(parent), is_sampled, form })
}

fn b3_multi(headers: &HeaderMap) -> Option<Incoming> {
    let bytes = |name: HeaderName| headers.get(name).map(HeaderValue::as_bytes);
    let is_debug = bytes(B3_FLAGS) == Some(b"1");
    let is_sampled = if is_debug { Some(true) } else { bytes(B3_SAMPLED).and_then(decision) };
    let parent = match (bytes(B3_TRACE), bytes(B3_SPAN)) {
        (Some(trace), Some(span)) => Some((TraceId::parse(trace)?, SpanId::parse(span)?)),
        _ => None,
    };
    let has_any = parent.is_some() || is_sampled.is_some();
    has_any.then_some(Incoming { parent, is_sampled, form: Form::B3Multi })
}

fn decision(text: &[u8]) -> Option<bool> {
    match text {
        // `d` asks to keep it whatever sampling says.
        b"1" | b"d" | b"true" => Some(true),
        b"0" | b"false" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    fn read(pairs: &[(&'static str, &str)]) -> Option<(Option<String>, Option<bool>, Form)> {
        let incoming = Incoming::read(&headers(pairs))?;
        let parent = incoming.parent.map(|(trace, span)| format!("{trace}/{span}"));
        Some((parent, incoming.is_sampled, incoming.form))
    }

    #[test]
    fn each_form_is_read() {
        let parent = Some(format!("{TRACE}/{SPAN}"));
        let w3c = |flags: &str| format!("00-{TRACE}-{SPAN}-{flags}");
        for (flags, is_sampled) in [("01", true), ("00", false), ("03", true)] {
            let expected = Some((parent.clone(), Some(is_sampled), Form::W3c));
            assert_eq!(read(&[("traceparent", &w3c(flags))]), expected);
        }
        let later = format!("01-{TRACE}-{SPAN}-01-more");
        assert!(read(&[("traceparent", &later)]).is_some(), "a later version is read as this one");
        for (rest, is_sampled) in [
            ("", None),
            ("-1", Some(true)),
            ("-0-05e3ac9a4f6e3b90", Some(false)),
            ("-d", Some(true)),
        ] {
            let value = format!("{TRACE}-{SPAN}{rest}");
            assert_eq!(read(&[("b3", &value)]), Some((parent.clone(), is_sampled, Form::B3Single)));
        }
        assert_eq!(read(&[("b3", "0")]), Some((None, Some(false), Form::B3Single)));
        let multi = [("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN), ("x-b3-sampled", "1")];
        assert_eq!(read(&multi), Some((parent.clone(), Some(true), Form::B3Multi)));
        let debug = [("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN), ("x-b3-flags", "1")];
        assert_eq!(read(&debug), Some((parent, Some(true), Form::B3Multi)));
        assert_eq!(read(&[("x-b3-sampled", "0")]), Some((None, Some(false), Form::B3Multi)));
    }

    #[test]
    fn what_cant_be_read_counts_as_missing() {
        let zero = "0".repeat(32);
        for value in [
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("00-{zero}-{SPAN}-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{SPAN}-{SPAN}-01"),
            "x".into(),
        ] {
            assert_eq!(read(&[("traceparent", &value)]), None, "{value}");
        }
        let twice = format!("00-{TRACE}-{SPAN}-01");
        let mut headers = headers(&[("traceparent", &twice)]);
        headers.append("traceparent", twice.parse().unwrap());
        assert_eq!(Incoming::read(&headers), None);
        assert_eq!(read(&[("b3", "x-y")]), None);
        assert_eq!(read(&[("x-b3-traceid", "x"), ("x-b3-spanid", SPAN)]), None);
    }

    #[test]
    fn what_goes_on_is_read_as_the_same() {
        for form in [Form::W3c, Form::B3Single, Form::B3Multi] {
            let outgoing = Outgoing {
                trace: TraceId::random(),
                span: SpanId::random(),
                parent: SpanId::random(),
                is_sampled: true,
                form,
                is_new: true,
            };
            let mut written = headers(&[("tracestate", "old=1")]);
            outgoing.write(&mut written);
            assert!(!written.contains_key("tracestate"), "a new trace has no state of another");
            assert_eq!(Incoming::read(&written).unwrap().form, Form::W3c);
            written.remove("traceparent");
            let again = Incoming::read(&written);
            match form {
                Form::W3c => assert_eq!(again, None),
                _ => {
                    let parent = Some((outgoing.trace, outgoing.span));
                    assert_eq!(again, Some(Incoming { parent, is_sampled: Some(true), form }));
                }
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_a_client_sends_is_read_without_a_panic_and_goes_on_well_formed(
            name in 0_usize..8,
            value in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80),
            text in "(0[01]-)?[0-9a-f]{16,32}-[0-9a-f]{16}(-[01d]{1,2})?(-[0-9a-f]{16})?",
        ) {
            let names = [
                TRACEPARENT, TRACESTATE, B3, B3_TRACE, B3_SPAN, B3_SAMPLED, B3_FLAGS, REQUEST_ID,
            ];
            for value in [value.as_slice(), text.as_bytes()] {
                let Ok(value) = HeaderValue::from_bytes(value) else { continue };
                let mut headers = HeaderMap::new();
                headers.insert(names[name].clone(), value);
                if let Some(Incoming { parent: Some((trace, span)), form, .. }) = Incoming::read(&headers) {
                    let (parent, is_sampled, is_new) = (span, true, false);
                    Outgoing { trace, span, parent, is_sampled, form, is_new }.write(&mut headers);
                    let again = Incoming::read(&headers).unwrap();
                    assert_eq!(again.parent, Some((trace, span)));
                }
                assert!(!ensure_request_id(&mut headers).is_empty());
            }
        }
    }

    #[test]
    fn request_id_is_kept_or_made() {
        let mut kept = headers(&[("x-request-id", "mine")]);
        assert_eq!(ensure_request_id(&mut kept), "mine");
        for mut bad in [HeaderMap::new(), headers(&[("x-request-id", &"x".repeat(129))])] {
            let id = ensure_request_id(&mut bad);
            assert_eq!(id.len(), 36);
            assert_eq!(bad["x-request-id"], id);
        }
    }
}
