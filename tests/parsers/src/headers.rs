//! Values of a CONNECT's headers.

use std::net::IpAddr;

use weft_core::hbone::{Authority, Baggage, Forwarded, TraceParent};
use weft_core::limits;

/// `:authority`. What is accepted has one meaning, here and in the HTTP library, and reads back from what it encodes to.
pub fn authority(data: &[u8]) {
    let Some(authority) = str::from_utf8(data).ok().and_then(|text| text.parse().ok()) else {
        return;
    };
    let encoded = Authority::to_string(&authority);
    assert_eq!(encoded.parse(), Ok(authority.clone()), "{encoded}");
    assert_ne!(authority.port(), 0);
    let in_uri = http::uri::Authority::try_from(encoded.as_str());
    let in_uri = in_uri.expect("what is accepted can be sent on");
    assert_eq!(in_uri.port_u16(), Some(authority.port()));
    match &authority {
        Authority::Address(address) => assert_eq!(address.ip(), address.ip().to_canonical()),
        Authority::Name { host, .. } => {
            assert!(host.as_str().parse::<IpAddr>().is_err(), "{host} is an address");
            assert!(host.as_str().len() <= limits::NAME_BYTES_MAX);
            assert_eq!(host.as_str(), host.as_str().to_ascii_lowercase());
        }
    }
}

/// `baggage`, one field a line. What was read can be sent on, and then says the same.
pub fn baggage(data: &[u8]) {
    let baggage = Baggage::parse(data.split(|byte| *byte == b'\n'));
    let encoded = baggage.to_string();
    assert_eq!(Baggage::parse([encoded.as_bytes()]), baggage, "{encoded}");
    http::HeaderValue::from_str(&encoded).expect("what was read can be sent on");
    let workload = baggage.workload.as_ref().map(|workload| &workload.name);
    let values = [
        &baggage.cluster,
        &baggage.namespace,
        &baggage.canonical_name,
        &baggage.canonical_revision,
        &baggage.region,
        &baggage.zone,
    ];
    for value in values.into_iter().flatten().chain(workload) {
        assert!(!value.is_empty() && value.len() <= limits::BAGGAGE_VALUE_BYTES_MAX);
        assert!(value.bytes().all(|byte| byte.is_ascii_graphic()), "{value:?} in a label");
    }
}

/// `forwarded`. What was read can be sent on, and then says the same.
pub fn forwarded(data: &[u8]) {
    let Some(forwarded) = Forwarded::parse(data) else {
        return;
    };
    assert!(data.len() <= limits::FORWARDED_BYTES_MAX);
    if forwarded == Forwarded::default() {
        return;
    }
    let encoded = forwarded.to_string();
    assert_eq!(Forwarded::parse(encoded.as_bytes()), Some(forwarded), "{encoded}");
    http::HeaderValue::from_str(&encoded).expect("what was read can be sent on");
}

/// `traceparent`. What was read is what was written, digit by digit, and reads back.
pub fn traceparent(data: &[u8]) {
    let Some(trace) = TraceParent::parse(data) else {
        return;
    };
    let encoded = trace.to_string();
    assert_eq!(TraceParent::parse(encoded.as_bytes()), Some(trace), "{encoded}");
    // The version may be a later one; it is answered in the one that we speak.
    assert_eq!(data.get(2..55), encoded.as_bytes().get(2..));
}
