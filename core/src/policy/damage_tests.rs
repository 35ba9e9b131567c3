//! What one wrong byte may do to a policy. Compares with a second, independent reading of the specification.

use proptest::prelude::*;
use prost::Message;
use weft_proto::security as proto;
use weft_proto::security::string_match::MatchType;

use super::tests::*;
use super::*;
use crate::identity::SpiffeId;
use crate::mesh::testing::ip;

/// A second reading of the specification, over the message itself. `None`: some part has no meaning.
mod reference {
    use super::*;

    pub(super) fn matches(
        policy: &proto::Authorization,
        connection: &Connection<'_>,
    ) -> Option<bool> {
        let mut any_rule = false;
        for rule in &policy.rules {
            let mut all_clauses = true;
            for clause in &rule.clauses {
                let mut any_match = clause.matches.is_empty();
                for one in &clause.matches {
                    any_match |= holds(one, connection)?;
                }
                all_clauses &= any_match;
            }
            any_rule |= all_clauses;
        }
        Some(any_rule)
    }

    fn holds(one: &proto::Match, connection: &Connection<'_>) -> Option<bool> {
        let id = connection.source_identity;
        let mut verdicts: Vec<bool> = Vec::new();
        let mut field = |values: Vec<Option<bool>>, is_negated: bool| {
            let values: Option<Vec<bool>> = values.into_iter().collect();
            let values = values?;
            if !values.is_empty() {
                verdicts.push(values.contains(&true) != is_negated);
            }
            Some(())
        };
        let namespace = id.map(SpiffeId::namespace);
        let principal = id.map(SpiffeId::principal);
        let strings = |list: &[proto::StringMatch], text: Option<&str>| {
            list.iter().map(|it| string(it, text)).collect::<Vec<_>>()
        };
        field(strings(&one.namespaces, namespace), false)?;
        field(strings(&one.not_namespaces, namespace), true)?;
        field(strings(&one.principals, principal), false)?;
        field(strings(&one.not_principals, principal), true)?;
        let blocks = |list: &[proto::Address], ip: std::net::IpAddr| {
            list.iter().map(|it| block(it, ip)).collect::<Vec<_>>()
        };
        let destination = connection.destination;
        field(blocks(&one.source_ips, connection.source_ip), false)?;
        field(blocks(&one.not_source_ips, connection.source_ip), true)?;
        field(blocks(&one.destination_ips, destination.ip()), false)?;
        field(blocks(&one.not_destination_ips, destination.ip()), true)?;
        let ports = |list: &[u32]| {
            let port = |it: &u32| (*it <= 65_535).then(|| *it == u32::from(destination.port()));
            list.iter().map(port).collect::<Vec<_>>()
        };
        field(ports(&one.destination_ports), false)?;
        field(ports(&one.not_destination_ports), true)?;
        let accounts = |list: &[proto::ServiceAccountMatch]| {
            list.iter().map(|it| account(it, id)).collect::<Vec<_>>()
        };
        field(accounts(&one.service_accounts), false)?;
        field(accounts(&one.not_service_accounts), true)?;
        Some(!verdicts.is_empty() && !verdicts.contains(&false))
    }

    fn string(one: &proto::StringMatch, text: Option<&str>) -> Option<bool> {
        let matched = |test: &dyn Fn(&str) -> bool| text.is_some_and(test);
        Some(match one.match_type.as_ref()? {
            MatchType::Exact(value) => matched(&|text| text == value),
            MatchType::Prefix(value) => matched(&|text| text.starts_with(value)),
            MatchType::Suffix(value) => matched(&|text| text.ends_with(value)),
            MatchType::Presence(()) => text.is_some(),
        })
    }

    /// Bit by bit.
    fn block(one: &proto::Address, ip: std::net::IpAddr) -> Option<bool> {
        let std::net::IpAddr::V4(v4) = ip else { panic!("connections of these tests are IPv4") };
        let length = one.length as usize;
        let is_sound = matches!((one.address.len(), length), (4, 0..=32) | (16, 0..=128));
        let bits = |bytes: &[u8]| {
            let bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |n| byte >> n & 1));
            bits.collect::<Vec<_>>()
        };
        let same = bits(&one.address).into_iter().zip(bits(&v4.octets())).take(length);
        is_sound.then(|| one.address.len() == 4 && same.into_iter().all(|(a, b)| a == b))
    }

    fn account(one: &proto::ServiceAccountMatch, id: Option<&SpiffeId>) -> Option<bool> {
        let is_whole = !one.namespace.is_empty() && !one.service_account.is_empty();
        is_whole.then(|| {
            id.is_some_and(|id| {
                (id.namespace(), id.service_account()) == (&one.namespace, &one.service_account)
            })
        })
    }
}

fn samples() -> Vec<proto::Authorization> {
    let identity = || matching(|it| it.principals = vec![exact("td/ns/shop/sa/web.front")]);
    let network = || {
        matching(|it| {
            it.source_ips = vec![block("10.1.0.0/16")];
            it.not_destination_ports = vec![9000];
            it.service_accounts = vec![account("shop", "web.front")];
        })
    };
    vec![
        policy("default", NAMESPACE, ALLOW, vec![rule(vec![identity(), network()])]),
        policy(
            "default",
            NAMESPACE,
            DENY,
            vec![rule(vec![
                matching(|it| it.not_namespaces = vec![prefix("sh"), suffix("op")]),
                matching(|it| it.not_principals = vec![presence()]),
            ])],
        ),
        policy("istio-system", GLOBAL, ALLOW, vec![rule(vec![network()])]),
        policy("istio-system", GLOBAL, DENY, vec![rule(vec![identity()])]),
        policy("default", SELECTOR, DENY, vec![rule(vec![network()])]),
    ]
}

/// What may follow from one wrong byte:
/// either the policy is rejected, and then everything that the sound one covers is denied;
/// or its bytes are another sound policy, and then the verdict is what a second, independent reading of them says.
/// Nothing in between: no condition is skipped.
#[track_caller]
fn check_damaged(original: &proto::Authorization, position: usize, flip: u8) {
    let name = format!("{}/{}", original.namespace, original.name);
    let mut bytes = original.encode_to_vec();
    bytes[position] ^= flip;
    let references = if original.scope == SELECTOR { vec![&*name] } else { vec![] };
    let mut store = mesh(&references, &[]);
    let rejections = store.apply(vec![raw(&name, bytes.clone())]);
    let snapshot = store.reader().load();
    for identity in [CLIENT, Some("spiffe://td/ns/other/sa/x"), None] {
        let verdict = verdict_in(&snapshot, identity);
        if !rejections.is_empty() {
            let message = proto::Authorization::decode(&*bytes);
            if message.is_ok_and(|it| it.dry_run) {
                continue;
            }
            assert!(!verdict.is_allowed(), "byte {position} ^ {flip:#x} of {original:?} opened it");
            continue;
        }
        let message = proto::Authorization::decode(&*bytes).unwrap();
        let id: Option<SpiffeId> = identity.map(|text| text.parse().unwrap());
        let connection = Connection {
            source_identity: id.as_ref(),
            source_ip: ip("10.1.2.3"),
            destination: "10.0.0.1:8080".parse().unwrap(),
        };
        let matches = reference::matches(&message, &connection);
        let matches = matches.expect("a policy with a meaningless part was accepted");
        let covers = match message.scope {
            GLOBAL => true,
            NAMESPACE => message.namespace == "default",
            _ => !references.is_empty(),
        };
        // A policy that the workload names is in force by that alone.
        let covers = (covers || !references.is_empty()) && !message.dry_run;
        let expected = !covers || matches != (message.action == DENY);
        assert_eq!(verdict.is_allowed(), expected, "byte {position} ^ {flip:#x}: {message:?}");
    }
}

#[test]
fn no_flipped_bit_of_a_policy_opens_what_it_covers() {
    for original in samples() {
        for position in 0..original.encoded_len() {
            for bit in 0..8 {
                check_damaged(&original, position, 1 << bit);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_flipped_byte_of_a_policy_opens_what_it_covers(
        sample in 0..5_usize,
        position in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
    ) {
        let original = &samples()[sample];
        check_damaged(original, position.index(original.encoded_len()), flip);
    }

    #[test]
    fn no_bytes_panic_the_decoder(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let entry = decode(&PolicyName::new("default/p"), &bytes);
        prop_assert_eq!(entry.name().as_str(), "default/p");
    }
}
