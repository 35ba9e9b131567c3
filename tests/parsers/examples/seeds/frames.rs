//! Connections to an HBONE server: the first byte says whether the client closes (even) or falls silent (odd).

use crate::Seed;

const CLOSES: u8 = 0;
const FALLS_SILENT: u8 = 1;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// HPACK: a literal without indexing, with a new name (RFC 7541, section 6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).expect("under 127 bytes");
    [&[0, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
}

fn connect(stream: u32, authority: &str, others: &[(&str, &str)]) -> Vec<u8> {
    let mut block = field(":method", "CONNECT");
    block.extend(field(":authority", authority));
    block.extend(others.iter().flat_map(|(name, value)| field(name, value)));
    frame(HEADERS, END_HEADERS, stream, &block)
}

fn connection(end: u8, frames: &[Vec<u8>]) -> Vec<u8> {
    let start = [&[end], PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    [start, frames.concat()].concat()
}

pub(crate) fn connections() -> Vec<Seed> {
    let tunnel = || connect(1, "10.0.0.1:80", &[]);
    let closes = |frames: &[Vec<u8>]| connection(CLOSES, frames);
    let resets = (0..100).flat_map(|n| {
        let stream = 2 * n + 1;
        [connect(stream, "10.0.0.1:80", &[]), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])]
    });
    let get = [field(":method", "GET"), field(":scheme", "http"), field(":path", "/")].concat();
    let known = [
        ("baggage", "k8s.namespace.name=demo,service.name=web"),
        ("forwarded", "for=\"10.0.0.1:4711\";host=web"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("x-forwarded-network", "network-1"),
    ];
    vec![
        ("tunnel", closes(&[tunnel(), frame(DATA, END_STREAM, 1, b"hello")])),
        ("known-headers", closes(&[connect(1, "web.demo:8080", &known)])),
        ("refused-tunnel", closes(&[connect(1, "10.0.0.1:81", &[])])),
        ("silent-with-a-tunnel", connection(FALLS_SILENT, &[tunnel()])),
        ("silent-without-a-tunnel", connection(FALLS_SILENT, &[])),
        ("silent-in-the-preface", [&[FALLS_SILENT][..], b"PRI * HTTP"].concat()),
        ("http-1", [&[CLOSES][..], b"CONNECT 10.0.0.1:80 HTTP/1.1\r\n\r\n"].concat()),
        ("get", closes(&[frame(HEADERS, END_HEADERS | END_STREAM, 1, &get)])),
        ("two-traceparents", closes(&[connect(1, "a:80", &[known[2], known[2]])])),
        ("authority-port-zero", closes(&[connect(1, "10.0.0.1:0", &[])])),
        ("upper-case-header", closes(&[connect(1, "a:80", &[("Baggage", "x")])])),
        ("line-break-in-a-value", closes(&[connect(1, "a:80", &[("baggage", "a\r\nb")])])),
        ("resets", closes(&resets.collect::<Vec<_>>())),
        (
            "headers-never-end",
            closes(&[
                frame(HEADERS, 0, 1, &field(":method", "CONNECT")),
                frame(CONTINUATION, 0, 1, &[]).repeat(200),
            ]),
        ),
        (
            "table-index-out-of-range",
            closes(&[frame(HEADERS, END_HEADERS, 1, &[0xff, 0xff, 0x7f])]),
        ),
        ("even-stream", closes(&[connect(2, "a:80", &[])])),
        ("data-on-an-idle-stream", closes(&[frame(DATA, 0, 5, b"x")])),
        ("padding-over-the-frame", closes(&[tunnel(), frame(DATA, 8, 1, &[200, 1])])),
        ("window-overflow", closes(&[frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])])),
        ("window-update-of-zero", closes(&[tunnel(), frame(WINDOW_UPDATE, 0, 1, &[0; 4])])),
        ("frame-of-16-megabytes", closes(&[vec![0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1]])),
        ("pings", closes(&[frame(PING, 0, 0, &[7; 8]).repeat(50)])),
        ("empty-data-frames", closes(&[tunnel(), frame(DATA, 0, 1, &[]).repeat(200)])),
        (
            "initial-window-too-large",
            closes(&[frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff])]),
        ),
        ("goaway", closes(&[tunnel(), frame(GOAWAY, 0, 0, &[0; 8])])),
    ]
}
