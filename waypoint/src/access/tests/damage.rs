//! Bytes that no controller wrote: what they cover is denied.

use proptest::prelude::*;

use super::*;

fn sound() -> proto::AccessPolicy {
    let rule = proto::AccessRule {
        from: vec![term(vec![is(Kind::SourcePrincipal(texts(&["cluster.local/ns/shop/sa/web"])))])],
        to: vec![term(vec![is(paths(&["/a/{*}", "/b"])), not(header("x-a", &["1"]))])],
        when: vec![is(claim(&["groups"], &["g*"]))],
    };
    proto::AccessPolicy {
        deny: vec![policy("d", vec![rule.clone()])],
        allow: vec![policy("a", vec![rule])],
        ..message()
    }
}

#[test]
fn no_flipped_bit_of_a_policy_opens_what_it_covers() {
    // Sound, these let everything in.
    for original in
        [message(), proto::AccessPolicy { deny: vec![policy("d", vec![])], ..message() }, sound()]
    {
        let bytes = seal::seal(original.encode_to_vec());
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[place] ^= 1 << bit;
                let access = Access::decode(NAME, &damaged);
                assert!(!is_allowed(&access, &Call::get("/a/b")), "byte {place}, bit {bit}");
            }
        }
        for length in 0..bytes.len() {
            assert!(!is_allowed(&Access::decode(NAME, &bytes[..length]), &Call::get("/")));
        }
    }
}

#[test]
fn policy_under_another_name_denies() {
    let bytes = seal::seal(message().encode_to_vec());
    assert!(!is_allowed(
        &Access::decode("shop/other.shop.svc.cluster.local", &bytes),
        &Call::get("/")
    ));
}

#[test]
fn policy_that_the_controller_could_not_translate_denies() {
    let access = decoded(&proto::AccessPolicy { unusable: "too many".into(), ..message() });
    assert_eq!(verdict(&access, &Call::get("/")), "rbac_access_denied_policy_unusable");
    assert_eq!(access.problems(), ["too many"]);
}

#[test]
fn rule_of_a_later_version_never_lets_in_and_always_keeps_out() {
    let unknown = || proto::AccessMatcher::default();
    let empty = || proto::AccessTerm::default();
    let regex = proto::TextMatch { kind: Some(TextKind::Regex(".*".into())), ignore_case: false };
    let rules = [
        when(vec![unknown()]),
        when(vec![proto::AccessMatcher { negated: true, ..unknown() }]),
        from(vec![is(Kind::Method(texts(&["GET"]))), unknown()]),
        proto::AccessRule { from: vec![empty()], ..proto::AccessRule::default() },
        proto::AccessRule { to: vec![empty()], ..proto::AccessRule::default() },
        when(vec![is(Kind::Method(proto::TextValues { values: vec![regex] }))]),
        when(vec![is(Kind::Method(proto::TextValues::default()))]),
        when(vec![not(Kind::Method(proto::TextValues::default()))]),
        when(vec![not(Kind::Method(texts(&[""])))]),
        when(vec![not(Kind::SourceIp(blocks(&["10.0.0.0"])))]),
        when(vec![not(Kind::DestinationPort(proto::PortValues { values: vec![70_000] }))]),
        when(vec![not(paths(&["/a/{x}"]))]),
        when(vec![not(header("a b", &["1"]))]),
        when(vec![not(claim(&[], &["1"]))]),
    ];
    for rule in rules {
        let of = |rules: Vec<proto::AccessRule>| vec![policy("p", rules)];
        let allow = decoded(&proto::AccessPolicy { allow: of(vec![rule.clone()]), ..message() });
        assert!(!is_allowed(&allow, &Call::get("/")), "{rule:?}");
        assert_eq!(allow.problems().len(), 1, "{rule:?}");
        let deny = decoded(&proto::AccessPolicy { deny: of(vec![rule.clone()]), ..message() });
        assert!(!is_allowed(&deny, &Call::get("/")), "{rule:?}");
        // Other rules are as good as ever.
        let beside = of(vec![rule, proto::AccessRule::default()]);
        assert!(is_allowed(
            &decoded(&proto::AccessPolicy { allow: beside, ..message() }),
            &Call::get("/")
        ));
    }
}

#[test]
fn more_than_a_proxy_takes_denies() {
    let rules = vec![proto::AccessRule::default(); crate::limits::access::RULES_MAX + 1];
    let access = decoded(&proto::AccessPolicy { allow: vec![policy("a", rules)], ..message() });
    assert!(!is_allowed(&access, &Call::get("/")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_bytes_panic_the_decoder(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let call = Call::get("/a/b");
        let mut damaged = sound().encode_to_vec();
        *place.get_mut(&mut damaged) = byte;
        for bytes in [bytes, damaged] {
            let access = Access::decode(NAME, &seal::seal(bytes));
            let _verdict = verdict(&access, &call);
        }
    }
}
