//! The node agent's protocol.

use std::fs::File;
use std::os::fd::OwnedFd;

use weft_core::zds::{Answer, Request, decode_hello};
use weft_proto::contract::ZDS_PACKET_MAX;

/// What the agent tells a proxy. The first byte says how many descriptors come along; they only have to be some.
pub fn zds_request(data: &[u8]) {
    let Some((count, packet)) = data.split_first() else {
        return;
    };
    let descriptors = usize::from(count % 3);
    let Ok(request) = Request::decode(packet, open(descriptors)) else {
        return;
    };
    let is_add = matches!(request, Request::Add { .. });
    assert_eq!(descriptors, usize::from(is_add), "{request:?}");
    match request.encode() {
        Ok((encoded, descriptor)) => {
            assert_eq!(descriptor.is_some(), is_add);
            let again = Request::decode(&encoded, open(descriptors)).expect("own encoding");
            assert!(is_same(&request, &again), "{request:?} became {again:?}");
        }
        // What came in one packet fits one: our encoding is the shortest.
        Err(error) => assert!(packet.len() > ZDS_PACKET_MAX, "{error}"),
    }
}

/// What a proxy answers.
pub fn zds_answer(data: &[u8]) {
    if let Ok(answer) = Answer::decode(data, Vec::new()) {
        let encoded = answer.encode();
        assert!(encoded.len() <= ZDS_PACKET_MAX);
        let again = Answer::decode(&encoded, Vec::new()).expect("own encoding");
        match (answer, again) {
            (Answer::Done, Answer::Done) => {}
            // A long reason is cut; it never turns into success.
            (Answer::Failed(reason), Answer::Failed(cut)) => assert!(reason.starts_with(&cut)),
            (answer, again) => panic!("{answer:?} became {again:?}"),
        }
    }
    assert!(Answer::decode(data, open(1)).is_err(), "a descriptor was taken with an answer");
}

/// The proxy's first packet.
pub fn zds_hello(data: &[u8]) {
    if let Ok(version) = decode_hello(data, Vec::new()) {
        assert!(version >= 1);
    }
    assert!(decode_hello(data, open(1)).is_err(), "a descriptor was taken with a hello");
}

fn open(count: usize) -> Vec<OwnedFd> {
    let open = || OwnedFd::from(File::open("/dev/null").expect("/dev/null"));
    std::iter::repeat_with(open).take(count).collect()
}

fn is_same(one: &Request, other: &Request) -> bool {
    match (one, other) {
        (
            Request::Add { uid, identity, .. },
            Request::Add { uid: other_uid, identity: other_identity, .. },
        ) => (uid, identity) == (other_uid, other_identity),
        (Request::Keep { uid }, Request::Keep { uid: other })
        | (Request::Del { uid }, Request::Del { uid: other }) => uid == other,
        (Request::SnapshotSent, Request::SnapshotSent) => true,
        _ => false,
    }
}
