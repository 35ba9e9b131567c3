//! The node agent's protocol.

use prost::Message as _;
use weft_proto::zds;
use weft_proto::zds::workload_request::Payload;

use crate::Seed;
use crate::messages::UNKNOWN_FIELD;

fn request(payload: Payload) -> Vec<u8> {
    zds::WorkloadRequest { payload: Some(payload) }.encode_to_vec()
}

/// The first byte says how many descriptors come along.
pub(crate) fn requests() -> Vec<Seed> {
    let with = |descriptors: u8, packet: &[u8]| [&[descriptors], packet].concat();
    let info = |name: &str| zds::WorkloadInfo {
        name: name.into(),
        namespace: "demo".into(),
        service_account: "web".into(),
    };
    let add = |uid: &str, workload_info| {
        request(Payload::Add(zds::AddWorkload { uid: uid.into(), workload_info }))
    };
    let uid = "7f3c2b1a-0000-4000-8000-000000000001";
    let usual = add(uid, Some(info("web")));
    let del = request(Payload::Del(zds::DelWorkload { uid: uid.into() }));
    let snapshot = request(Payload::SnapshotSent(zds::SnapshotSent {}));
    vec![
        ("add", with(1, &usual)),
        ("add-without-a-namespace", with(0, &usual)),
        ("add-with-two-namespaces", with(2, &usual)),
        ("add-of-an-old-agent", with(1, &add(uid, None))),
        ("keep", with(0, &request(Payload::Keep(zds::KeepWorkload { uid: uid.into() })))),
        ("del", with(0, &del)),
        ("del-with-a-namespace", with(1, &del)),
        ("snapshot-sent", with(0, &snapshot)),
        ("add-then-del-in-one", with(1, &[&usual[..], &del].concat())),
        ("no-uid", with(1, &add("", None))),
        ("uid-with-a-space", with(1, &add("a b", None))),
        ("uid-of-321-bytes", with(1, &add(&"u".repeat(321), None))),
        ("packet-over-1024-bytes", with(1, &add(uid, Some(info(&"n".repeat(1100)))))),
        ("unknown-kind", with(0, UNKNOWN_FIELD)),
        ("length-past-the-end", with(1, &[0x0a, 0x7f])),
        ("not-utf-8", with(1, &[0x0a, 3, 0x0a, 1, 0xff])),
        ("empty", with(0, &[])),
    ]
}

pub(crate) fn answers() -> Vec<Seed> {
    let ack = |error: &str| {
        let ack = zds::Ack { error: error.into() };
        let payload = Some(zds::workload_response::Payload::Ack(ack));
        zds::WorkloadResponse { payload }.encode_to_vec()
    };
    let long = format!("{}\u{20ac}\u{20ac}\u{20ac}", "x".repeat(1005));
    vec![
        ("done", ack("")),
        ("failed", ack("no such pod")),
        ("long-reason-cut-in-a-character", ack(&long)),
        ("done-then-failed", [ack(""), ack("no")].concat()),
        ("unknown-kind", UNKNOWN_FIELD.to_vec()),
        ("truncated", vec![0x0a, 9, 0x0a, 5, b'n']),
        ("not-utf-8", vec![0x0a, 3, 0x0a, 1, 0xff]),
        ("empty", vec![]),
    ]
}

pub(crate) fn hellos() -> Vec<Seed> {
    let hello = |version| zds::ZdsHello { version }.encode_to_vec();
    vec![
        ("first-version", hello(1)),
        ("later-version", hello(2)),
        ("largest-version", hello(i32::MAX)),
        ("negative-version", hello(-1)),
        ("no-version", hello(0)),
        ("unknown-field", [hello(1), UNKNOWN_FIELD.to_vec()].concat()),
        ("endless-varint", vec![0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ("empty", vec![]),
    ]
}
