//! DNS, from pods and from name servers.

use crate::Seed;

const WEB: &[u8] = b"\x03web\x04demo\x03svc\x07cluster\x05local\0";
const DB: &[u8] = b"\x02db\0";
const A: u16 = 1;
const AAAA: u16 = 28;
const ANY: u16 = 255;

/// Flags, then the four counts.
fn packet(flags: u16, counts: [u16; 4], rest: &[&[u8]]) -> Vec<u8> {
    let mut packet = vec![0x12, 0x34];
    for number in [flags].into_iter().chain(counts) {
        packet.extend_from_slice(&number.to_be_bytes());
    }
    packet.extend(rest.iter().copied().flatten());
    packet
}

fn question(name: &[u8], record_type: u16) -> Vec<u8> {
    [name, &record_type.to_be_bytes(), &[0, 1]].concat()
}

/// OPT (RFC 6891, section 6.1.2) without options.
fn edns(payload: u16, version: u8) -> Vec<u8> {
    let [high, low] = payload.to_be_bytes();
    vec![0, 0, 41, high, low, 0, version, 0, 0, 0, 0]
}

pub(crate) fn queries() -> Vec<Seed> {
    let query = |question: &[u8]| packet(0x0100, [1, 0, 0, 0], &[question]);
    let with_edns = |name, opt: &[u8]| packet(0x0100, [1, 0, 0, 1], &[&question(name, A), opt]);
    let long_label = [&[63][..], &[b'a'; 63], b"\0"].concat();
    let long_name = [[63; 1].as_slice(), &[b'a'; 63]].concat().repeat(5);
    let edns_padding = [0, 0, 41, 4, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 12];
    vec![
        ("service", query(&question(WEB, A))),
        ("service-ipv6", query(&question(WEB, AAAA))),
        ("other-type", query(&question(WEB, ANY))),
        ("short-name-with-many-endpoints", query(&question(DB, A))),
        ("many-endpoints-edns", with_edns(DB, &edns(4096, 0))),
        ("edns-tiny-payload", with_edns(DB, &edns(0, 0))),
        ("edns-later-version", with_edns(WEB, &edns(1232, 1))),
        ("edns-option-too-long", with_edns(WEB, &edns_padding)),
        ("root", query(&question(b"\0", ANY))),
        ("mixed-case", query(&question(b"\x03wEb\x04DEMO\0", A))),
        ("longest-label", query(&question(&long_label, A))),
        ("name-over-255", query(&question(&long_name, A))),
        ("dot-in-a-label", query(&question(b"\x08web.demo\x03svc\0", A))),
        ("pointer-to-itself", query(&question(b"\xc0\x0c", A))),
        ("pointer-forward", query(&question(b"\xc0\x40", A))),
        ("reserved-label-type", query(&question(b"\x80web\0", A))),
        ("chaos-class", query(&[b"\x07version\x04bind\0".as_slice(), &[0, 16, 0, 3]].concat())),
        ("no-question", packet(0x0100, [0, 0, 0, 0], &[])),
        ("two-questions", packet(0x0100, [2, 0, 0, 0], &[&question(WEB, A), &question(DB, A)])),
        ("counts-of-65535", packet(0x0100, [1, 0xffff, 0xffff, 0xffff], &[&question(WEB, A)])),
        ("response", packet(0x8180, [1, 0, 0, 0], &[&question(WEB, A)])),
        ("update", packet(0x2800, [1, 0, 0, 0], &[&question(WEB, A)])),
        ("truncated", query(b"\x03web\x04demo")),
        ("header-only", packet(0x0100, [1, 0, 0, 0], &[])),
        ("eleven-bytes", packet(0x0100, [1, 0, 0, 0], &[]).into_iter().take(11).collect()),
        ("empty", vec![]),
    ]
}

/// Without the id and the question, which fit what was asked: flags and counts, then the records.
pub(crate) fn responses() -> Vec<Seed> {
    let response = |flags, counts, records: &[&[u8]]| packet(flags, counts, records).split_off(2);
    // A pointer to the question's name, type A, class IN, 60 s.
    let a = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1];
    let alias_to_itself = [0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 2, 0xc0, 12];
    let forever = [0xc0, 12, 0, 1, 0, 1, 0xff, 0xff, 0xff, 0xff, 0, 4, 192, 0, 2, 1];
    let short_data = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 3, 192, 0, 2];
    let data_past_the_end = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0xff, 0xff, 192];
    let soa = [
        &[0xc0, 12, 0, 6, 0, 1, 0, 0, 0, 60, 0, 22, 0, 0][..],
        &[0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5],
    ]
    .concat();
    let other_name = [b"\x04evil\0".as_slice(), &a[2..]].concat();
    let text = [&[0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60, 0, 4, 200][..], b"abc"].concat();
    vec![
        ("address", response(0x8180, [1, 1, 0, 0], &[&a])),
        ("hundred-addresses", response(0x8180, [1, 100, 0, 0], &[&a.repeat(100)])),
        ("no-such-name", response(0x8183, [1, 0, 1, 0], &[&soa])),
        ("failure", response(0x8182, [1, 0, 0, 0], &[])),
        ("truncated-flag", response(0x8380, [1, 1, 0, 0], &[&a])),
        ("alias-to-itself", response(0x8180, [1, 1, 0, 0], &[&alias_to_itself])),
        ("ttl-of-136-years", response(0x8180, [1, 1, 0, 0], &[&forever])),
        ("address-of-3-bytes", response(0x8180, [1, 1, 0, 0], &[&short_data])),
        ("data-past-the-end", response(0x8180, [1, 1, 0, 0], &[&data_past_the_end])),
        ("another-name", response(0x8180, [1, 1, 0, 0], &[&other_name])),
        ("text-too-long", response(0x8180, [1, 1, 0, 0], &[&text])),
        ("two-edns-records", response(0x8180, [1, 0, 0, 2], &[&edns(1232, 0), &edns(512, 0)])),
        ("counts-of-65535", response(0x8180, [1, 0xffff, 0xffff, 0xffff], &[&a])),
        ("a-query", response(0x0100, [1, 0, 0, 0], &[])),
        ("no-question", response(0x8180, [0, 0, 0, 0], &[])),
        ("empty", vec![]),
    ]
}
