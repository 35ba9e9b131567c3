//! Header values, identities and tokens.

use crate::Seed;

fn seeds<const N: usize>(texts: [(&'static str, &str); N]) -> Vec<Seed> {
    texts.map(|(name, text)| (name, text.as_bytes().to_vec())).into()
}

pub(crate) fn authorities() -> Vec<Seed> {
    let long = format!("{}.example:80", "a".repeat(63));
    let too_long = format!("{}:80", "a.".repeat(130));
    seeds([
        ("ipv4", "10.1.2.3:80"),
        ("ipv6", "[fd00::1]:8080"),
        ("ipv4-mapped", "[::ffff:10.1.2.3]:80"),
        ("name", "Shop.demo.svc.cluster.local:443"),
        ("longest-label", &long),
        ("name-over-255", &too_long),
        ("scope", "[fe80::1%1]:80"),
        ("octal", "010.1.2.3:80"),
        ("one-number", "2130706433:80"),
        ("hexadecimal", "0x7f.1:80"),
        ("port-zero", "a:0"),
        ("port-too-large", "a:65536"),
        ("port-leading-zero", "a:080"),
        ("port-sign", "a:+80"),
        ("two-ports", "a:80:81"),
        ("user", "user@a:80"),
        ("no-host", ":80"),
        ("nul", "a\0b:80"),
        ("line-break", "a\r\nb:80"),
        ("bracket-open", "[::1:80"),
    ])
}

pub(crate) fn baggage() -> Vec<Seed> {
    let many = "service.name=a,".repeat(65);
    let long = format!("service.name={}", "y".repeat(300));
    let huge = format!("service.name=a,x={}", "y".repeat(8200));
    seeds([
        (
            "all-members",
            "k8s.cluster.name=c1,k8s.namespace.name=demo,k8s.deployment.name=web,service.name=web,\
             service.version=v1,cloud.region=r,cloud.availability_zone=z",
        ),
        ("two-fields", "k8s.job.name=j\nservice.name=a"),
        ("last-counts", "service.name=a,service.name=b,k8s.pod.name=p,k8s.cronjob.name=c"),
        ("properties", "k8s.namespace.name = demo;prop=1;prop"),
        ("empty-members", ",,=,a=,=b,;,"),
        ("quotes", "service.name=\"a,b\""),
        ("control-characters", "service.name=a\0b,service.version=\x1b[31m"),
        ("not-ascii", "service.name=caf\u{e9}"),
        ("forged-member", "service.name=a%2Cservice.version=x"),
        ("65-members", &many),
        ("long-value", &long),
        ("over-8-kilobytes", &huge),
    ])
}

pub(crate) fn forwarded() -> Vec<Seed> {
    let long = format!("for=\"10.0.0.1:1\";x={}", "y".repeat(600));
    seeds([
        ("both", "for=\"10.0.0.1:4711\";host=web.demo.svc.cluster.local"),
        ("ipv6", "for=\"[fd00::1]:4711\""),
        ("bare-address", "For=10.0.0.1:4711;HOST=web"),
        ("other-parameters", "proto=https;by=_secret;host=web"),
        ("unknown", "for=unknown;host=web"),
        ("address-as-host", "host=10.0.0.1"),
        ("two-hops", "for=10.0.0.1, for=10.0.0.2"),
        ("twice", "for=10.0.0.1:1;for=10.0.0.2:2"),
        ("open-quote", "for=\"10.0.0.1:1;host=web"),
        ("escape", "host=\"we\\b\""),
        ("separator-in-quotes", "for=\"10.0.0.1;host=web\""),
        ("empty-value", "for=;host="),
        ("lone-quote", "for=\""),
        ("no-name", "=x"),
        ("over-512-bytes", &long),
    ])
}

pub(crate) fn traceparents() -> Vec<Seed> {
    let zeros = "0".repeat(55);
    let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let extended = format!("{later}-what-a-later-version-adds");
    let glued = format!("{later}x");
    seeds([
        ("sampled", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("later-version", later),
        ("later-version-extended", &extended),
        ("later-version-glued", &glued),
        ("55-zeros", &zeros),
        ("zero-trace", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"),
        ("zero-span", "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"),
        ("version-ff", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("upper-case", "00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01"),
        ("sign", "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("version-00-extended", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-"),
        ("54-bytes", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0"),
        (
            "character-across-byte-55",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0\u{e9}",
        ),
        ("character-across-a-part", "00-4bf92f3577b34da6a3ce929d0e0e473\u{e9}00f067aa0ba902b7-01"),
    ])
}

pub(crate) fn spiffe_ids() -> Vec<Seed> {
    let long = format!("spiffe://cluster.local/ns/{}/sa/a", "n".repeat(300));
    seeds([
        ("usual", "spiffe://cluster.local/ns/demo/sa/web"),
        ("odd-trust-domain", "spiffe://a_b-c.1/ns/demo/sa/web.1"),
        ("no-trust-domain", "spiffe:///ns/demo/sa/web"),
        ("path-too-long", "spiffe://cluster.local/ns/demo/sa/web/x"),
        ("path-too-short", "spiffe://cluster.local/ns/demo"),
        ("final-slash", "spiffe://cluster.local/ns/demo/sa/web/"),
        ("empty-parts", "spiffe://cluster.local/ns//sa/"),
        ("upper-case", "SPIFFE://Cluster.Local/ns/Demo/sa/Web"),
        ("port", "spiffe://cluster.local:443/ns/demo/sa/web"),
        ("user", "spiffe://a@cluster.local/ns/demo/sa/web"),
        ("query", "spiffe://cluster.local/ns/demo/sa/web?x"),
        ("escape", "spiffe://cluster.local/ns/demo/sa/%77eb"),
        ("dots", "spiffe://cluster.local/ns/../sa/.."),
        ("nul", "spiffe://cluster.local/ns/demo/sa/web\0"),
        ("very-long", &long),
    ])
}

pub(crate) fn join_tokens() -> Vec<Seed> {
    let hash = "A".repeat(43);
    let usual = format!("weft1.{hash}.eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl");
    let padded = format!("weft1.{hash}=.a.b.c");
    let loose_bits = format!("weft1.{}B.a.b.c", "A".repeat(42));
    let spaced = format!("  {usual}\r\n");
    let no_token = format!("weft1.{hash}.");
    let other_alphabet = format!("weft1.{}+/.a.b.c", "A".repeat(41));
    let line_break = format!("weft1.{hash}.a.b\r\nx: y");
    let inner_space = format!("weft1.{hash}. a.b.c");
    let long = format!("weft1.{hash}.{}", "a".repeat(20_000));
    let later = format!("weft2.{hash}.a.b.c");
    seeds([
        ("usual", &usual),
        ("space-around", &spaced),
        ("padded-hash", &padded),
        ("loose-bits-in-hash", &loose_bits),
        ("short-hash", "weft1.AAAA.a.b.c"),
        ("other-alphabet", &other_alphabet),
        ("no-token", &no_token),
        ("line-break", &line_break),
        ("inner-space", &inner_space),
        ("very-long", &long),
        ("later-version", &later),
        ("dots-only", "weft1..."),
    ])
}
