//! Access policies, before their seal: the target adds it.

use prost::Message as _;
use weft_proto::route as proto;
use weft_proto::route::access_matcher::Kind;
use weft_proto::route::access_path::Kind as Path;
use weft_proto::route::checker::Protocol;
use weft_proto::route::text_match::Kind as Text;

use crate::Seed;

/// Policies, sound and not.
pub(crate) fn policies() -> Vec<Seed> {
    let sound = sound();
    let mut cut = sound.encode_to_vec();
    cut.truncate(cut.len() - 3);
    let odd_keys = r#"{"keys":[{"kty":"RSA","n":"!","e":""},{"kty":"oct","k":"AAAA"},7]}"#;
    let provider = proto::JwtProvider {
        issuer: "i".into(),
        keys: odd_keys.into(),
        payload_header: "a b".into(),
        ..proto::JwtProvider::default()
    };
    let checker = proto::Checker {
        name: "c".into(),
        hostname: "h".into(),
        port: 1,
        protocol: Some(Protocol::Grpc(proto::GrpcCheck {})),
        ..proto::Checker::default()
    };
    let custom = |checker| proto::AccessPolicy {
        custom: vec![proto::CustomPolicy { policy: Some(policy(Vec::new())), checker }],
        ..access()
    };
    let bad_path = Kind::Path(paths(Path::Template("/a{*}".into())));
    let bad_block = Kind::SourceIp(proto::BlockValues { values: vec!["10.0.0.0/99".into()] });
    let messages = [
        ("sound", sound),
        ("matcher-without-kind", allowing(proto::AccessMatcher::default())),
        ("template-that-is-none", allowing(is(bad_path))),
        ("block-that-is-none", allowing(is(bad_block))),
        ("provider-with-odd-keys", proto::AccessPolicy { providers: vec![provider], ..access() }),
        ("custom-without-checker", custom(None)),
        ("checker", custom(Some(checker))),
        ("level-of-a-later-version", proto::AccessPolicy { normalisation: 99, ..access() }),
    ];
    let messages = messages.map(|(name, message)| (name, message.encode_to_vec()));
    [("empty", Vec::new()), ("cut-short", cut)].into_iter().chain(messages).collect()
}

fn access() -> proto::AccessPolicy {
    proto::AccessPolicy {
        namespace: "shop".into(),
        hostname: "stock".into(),
        ..proto::AccessPolicy::default()
    }
}

fn policy(rules: Vec<proto::AccessRule>) -> proto::Policy {
    proto::Policy { name: "ns[shop]-policy[p]".into(), dry_run: false, rules }
}

fn allowing(matcher: proto::AccessMatcher) -> proto::AccessPolicy {
    let rule = proto::AccessRule { when: vec![matcher], ..proto::AccessRule::default() };
    proto::AccessPolicy { allow: vec![policy(vec![rule])], ..access() }
}

fn is(kind: Kind) -> proto::AccessMatcher {
    proto::AccessMatcher { negated: false, kind: Some(kind) }
}

fn paths(kind: Path) -> proto::PathValues {
    proto::PathValues { values: vec![proto::AccessPath { kind: Some(kind) }] }
}

fn sound() -> proto::AccessPolicy {
    let exact =
        |text: &str| proto::TextMatch { kind: Some(Text::Exact(text.into())), ignore_case: false };
    let principals = proto::TextValues { values: vec![exact("td/ns/a/sa/b")] };
    let header = proto::HeaderValues { name: "x-a".into(), values: vec![exact("1")] };
    let rule = proto::AccessRule {
        from: vec![proto::AccessTerm { all: vec![is(Kind::SourcePrincipal(principals))] }],
        to: vec![proto::AccessTerm {
            all: vec![
                is(Kind::Path(paths(Path::Template("/a/{*}/{**}".into())))),
                is(Kind::Header(header)),
            ],
        }],
        when: Vec::new(),
    };
    let policies = || vec![policy(vec![rule.clone()])];
    proto::AccessPolicy { deny: policies(), allow: policies(), audit: policies(), ..access() }
}
