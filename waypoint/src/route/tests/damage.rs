//! Bytes that no controller wrote: whatever they decode to never matches more than the sound table did.

use proptest::prelude::*;

use super::*;

fn sound() -> proto::RouteTable {
    let mut message = table(vec![
        vec![path(Path::Regex("/a/[0-9]+".into())), header("x-a", exact("b"))],
        vec![path(Path::ElementPrefix("/b".into()))],
    ]);
    message.sets[0].ports = vec![80, 90];
    message
}

proptest! {
    #[test]
    fn damaged_bytes_are_refused_or_understood_without_panic(
        place in 0..200_usize,
        byte in any::<u8>(),
        length in 0..200_usize,
        path in "/[ab0-9/%]{0,10}",
    ) {
        let mut bytes = sound().encode_to_vec();
        if let Some(slot) = bytes.get_mut(place) {
            *slot = byte;
        }
        bytes.truncate(length.max(20));
        if let Ok(found) = decode(NAME, &bytes) {
            for set in found.table.sets() {
                let call = Call::get("/").with("x-a", "b");
                let request = Request { path: &path, ..call.request() };
                let matched = set.http.as_ref().and_then(|http| http.find(&request));
                let _rank = matched.map(|it| it.rank);
            }
        }
    }
}

#[test]
fn fields_of_a_later_version_do_not_reject_a_table() {
    let mut bytes = sound().encode_to_vec();
    // Field 99, a text.
    bytes.extend([0x9a, 0x06, 0x01, b'x']);
    let found = decode(NAME, &bytes).unwrap();
    assert_eq!(found.problem_count, 0);
    assert_eq!(rank(&found, &Call::get("/b/c")), Some(1));
}

#[test]
fn condition_of_a_later_version_never_holds() {
    // A condition whose kind has the number 14.
    let later = [0x72_u8, 0x00];
    let condition = proto::Condition::decode(&later[..]).unwrap();
    let found = decoded(&table(vec![vec![condition]]));
    assert_eq!(rank(&found, &Call::get("/")), None);
    assert_eq!(found.problem_count, 1);
}
