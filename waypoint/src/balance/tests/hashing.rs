//! Requests that stay with their endpoint.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use super::*;

const ALGORITHMS: [Algorithm; 2] =
    [Algorithm::Ring { size_min: 65_536 }, Algorithm::Maglev { size: 65_537 }];

fn hashed(algorithm: Algorithm) -> Settings {
    let hash = ConsistentHash { key: Some(HashKey::SourceAddress), algorithm };
    Settings { balancer: Balancer::Hash(hash), ..Settings::default() }
}

fn hashes(count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(|number| hash_of(&number.to_le_bytes()))
}

/// Whom each of the hashes finds.
fn found(world: &mut World, count: u64) -> Vec<String> {
    hashes(count).map(|hash| world.pick_hash(hash)).collect()
}

fn moved(before: &[String], after: &[String]) -> usize {
    before.iter().zip(after).filter(|(before, after)| before != after).count()
}

#[test]
fn replicas_agree_whatever_order_endpoints_came_in() {
    for algorithm in ALGORITHMS {
        let mut one = World::new(hashed(algorithm), endpoints(50));
        let mut reversed = endpoints(50);
        reversed.reverse();
        let mut other = World::new(hashed(algorithm), Vec::new());
        other.cluster.set_endpoints(endpoints(70), other.now);
        other.cluster.set_endpoints(reversed, other.now);
        assert_eq!(found(&mut one, 2_000), found(&mut other, 2_000));
        assert_eq!(found(&mut one, 100), found(&mut one, 100));
    }
}

#[test]
fn shares_of_hashes_follow_weights() {
    for algorithm in ALGORITHMS {
        let weighted = vec![endpoint("a", 1), endpoint("b", 3), endpoint("c", 4)];
        let mut world = World::new(hashed(algorithm), weighted);
        let found = found(&mut world, 40_000);
        for (id, due) in [("a", 5_000), ("b", 15_000), ("c", 20_000)] {
            let count = found.iter().filter(|it| **it == id).count();
            // A ring's places are drawn too, so that its shares vary by some per cent.
            assert!(count.abs_diff(due) < due / 10, "{algorithm:?}: {id} has {count}");
        }
    }
}

#[test]
fn few_hashes_move_where_an_endpoint_comes_or_goes() {
    for algorithm in ALGORITHMS {
        let mut world = World::new(hashed(algorithm), endpoints(50));
        let before = found(&mut world, 20_000);
        world.cluster.set_endpoints(endpoints(51), world.now);
        let more = found(&mut world, 20_000);
        // One in 51 has to move; Maglev moves a few more.
        let count = moved(&before, &more);
        assert!((200..1_000).contains(&count), "{algorithm:?}: {count}");
        let to_new = more.iter().filter(|id| **id == "50").count();
        if matches!(algorithm, Algorithm::Ring { .. }) {
            assert!(count < to_new + 400, "{count} moved, {to_new} of them to the new one");
        }
        world.cluster.set_endpoints(endpoints(50), world.now);
        assert_eq!(found(&mut world, 20_000), before);
    }
}

#[test]
fn ejected_endpoints_hashes_move_and_no_others_and_return() {
    for algorithm in ALGORITHMS {
        let outlier = Outlier { ejected_percent_max: 50, ..Outlier::default() };
        let settings = Settings {
            outlier: Some(outlier),
            localities: Localities::Ignored,
            ..hashed(algorithm)
        };
        let mut world = World::new(settings, endpoints(10));
        let before = found(&mut world, 2_000);
        world.fail("3", Outcome::Reset, 5);
        assert_eq!(world.ejected(), ["3"]);
        let during = found(&mut world, 2_000);
        let own = before.iter().filter(|id| **id == "3").count();
        assert_eq!(moved(&before, &during), own);
        assert!(!during.contains(&"3".to_owned()));
        world.now += seconds(60);
        assert_eq!(found(&mut world, 2_000), before);
    }
}

#[test]
fn request_without_a_hash_goes_anywhere() {
    let mut world = World::new(hashed(ALGORITHMS[0]), endpoints(4));
    let shares = world.shares(20_000);
    shares.values().for_each(|count| assert_near(*count, 20_000, 0.25));
}

#[test]
fn keys_hash_what_they_name() {
    let mut headers = HeaderMap::new();
    let source: Option<IpAddr> = "10.0.0.7".parse().ok();
    let header = HashKey::Header(HeaderName::from_static("x-user"));
    let cookie = HashKey::Cookie(HashCookie {
        name: "sid".into(),
        path: "/".into(),
        ttl: None,
        attributes: Box::default(),
    });
    let query = HashKey::Query("user".into());
    for key in [&header, &cookie, &query] {
        assert_eq!(key.hash(&headers, "users=x", source), None);
    }
    headers.append("x-user", HeaderValue::from_static("ann"));
    assert_eq!(header.hash(&headers, "", None), Some(hash_of(b"ann")));
    headers.append("x-user", HeaderValue::from_static("bob"));
    assert_eq!(header.hash(&headers, "", None), Some(hash_of(b"ann,bob")));
    headers.append("cookie", HeaderValue::from_static("xsid=1; sidx=2"));
    assert_eq!(cookie.hash(&headers, "", None), None);
    headers.append("cookie", HeaderValue::from_static("a=b; sid=\"7\";c=d"));
    assert_eq!(cookie.hash(&headers, "", None), Some(hash_of(b"7")));
    assert_eq!(query.hash(&headers, "a=1&user=ann&user=bob", None), Some(hash_of(b"ann")));
    let mapped: Option<IpAddr> = "::ffff:10.0.0.7".parse().ok();
    let by_source = |source| HashKey::SourceAddress.hash(&headers, "", source);
    assert_eq!(by_source(source), Some(hash_of(&[10, 0, 0, 7])));
    assert_eq!(by_source(source), by_source(mapped));
    assert_eq!(by_source(None), None);
}

#[test]
fn client_without_a_cookie_is_given_one_that_leads_to_the_same_endpoint() {
    let mut rng = StdRng::seed_from_u64(3);
    let cookie = HashCookie {
        name: "sid".into(),
        path: "/shop".into(),
        ttl: Some(seconds(90)),
        attributes: Box::new(["Secure".into(), "SameSite=Lax".into()]),
    };
    let (hash, header) = cookie.give(&mut rng).unwrap();
    let text = header.to_str().unwrap();
    assert!(text.ends_with("; Path=/shop; Max-Age=90; HttpOnly; Secure; SameSite=Lax"), "{text}");
    let pair = text.split(';').next().unwrap();
    let headers = [(http::header::COOKIE, HeaderValue::from_str(pair).unwrap())];
    let key = HashKey::Cookie(cookie.clone());
    assert_eq!(key.hash(&headers.into_iter().collect(), "", None), Some(hash));
    let session = HashCookie { ttl: Some(Duration::ZERO), ..cookie.clone() };
    assert!(!session.give(&mut rng).unwrap().1.to_str().unwrap().contains("Max-Age"));
    assert_eq!(HashCookie { ttl: None, ..cookie }.give(&mut rng), None);
}
