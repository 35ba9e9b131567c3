//! The rules of L4 policies a second time: short, slow, straight from the message, and sharing nothing with the first.

use std::net::{IpAddr, Ipv6Addr};

use weft_core::policy::Connection;
use weft_proto::security::string_match::MatchType;
use weft_proto::security::{Address, Authorization, Match, ServiceAccountMatch, StringMatch};

/// Whether every value means something. Where one does not, the policy must not count as understood.
pub(crate) fn is_sound(policy: &Authorization) -> bool {
    let matches = policy.rules.iter().flat_map(|it| &it.clauses).flat_map(|it| &it.matches);
    (0..=2).contains(&policy.scope)
        && (0..=1).contains(&policy.action)
        && matches.into_iter().all(is_match_sound)
}

fn is_match_sound(one: &Match) -> bool {
    let strings = [&one.namespaces, &one.not_namespaces, &one.principals, &one.not_principals];
    let blocks =
        [&one.source_ips, &one.not_source_ips, &one.destination_ips, &one.not_destination_ips];
    let ports = [&one.destination_ports, &one.not_destination_ports];
    let accounts = [&one.service_accounts, &one.not_service_accounts];
    strings.into_iter().flatten().all(|it| it.match_type.is_some())
        && blocks.into_iter().flatten().all(|it| block(it).is_some())
        && ports.into_iter().flatten().all(|it| *it <= 0xffff)
        && accounts
            .into_iter()
            .flatten()
            .all(|it| !it.namespace.is_empty() && !it.service_account.is_empty())
}

/// Whether `policy`, understood, enforced and the only one that covers the destination, lets `connection` in.
pub(crate) fn allows(policy: &Authorization, connection: &Connection<'_>) -> bool {
    let is_deny = policy.action == 1;
    let does_match = policy.rules.iter().any(|rule| {
        rule.clauses.iter().all(|clause| {
            clause.matches.is_empty() || clause.matches.iter().any(|one| fits(one, connection))
        })
    });
    does_match != is_deny
}

fn fits(one: &Match, connection: &Connection<'_>) -> bool {
    if *one == (Match { extensions: one.extensions.clone(), ..Match::default() }) {
        return false;
    }
    let identity = connection.source_identity;
    let namespace = identity.map(|it| it.namespace());
    let principal = identity.map(|it| it.principal());
    let to = connection.destination;
    let account = |wanted: &ServiceAccountMatch| {
        identity.is_some_and(|it| {
            (it.namespace(), it.service_account()) == (&*wanted.namespace, &*wanted.service_account)
        })
    };
    field(&one.namespaces, &one.not_namespaces, |it| string(it, namespace))
        && field(&one.principals, &one.not_principals, |it| string(it, principal))
        && field(&one.source_ips, &one.not_source_ips, |it| within(it, connection.source_ip))
        && field(&one.destination_ips, &one.not_destination_ips, |it| within(it, to.ip()))
        && field(&one.destination_ports, &one.not_destination_ports, |it| {
            *it == u32::from(to.port())
        })
        && field(&one.service_accounts, &one.not_service_accounts, account)
}

fn field<T>(wanted: &[T], excluded: &[T], fits: impl Fn(&T) -> bool) -> bool {
    let is_wanted = wanted.is_empty() || wanted.iter().any(&fits);
    is_wanted && !excluded.iter().any(fits)
}

fn string(wanted: &StringMatch, text: Option<&str>) -> bool {
    let Some(text) = text else {
        return false;
    };
    match wanted.match_type.as_ref() {
        Some(MatchType::Exact(exact)) => text == exact,
        Some(MatchType::Prefix(prefix)) => text.starts_with(prefix),
        Some(MatchType::Suffix(suffix)) => text.ends_with(suffix),
        Some(MatchType::Presence(())) => !text.is_empty(),
        None => false,
    }
}

/// All addresses as 128 bits, IPv4 mapped (RFC 4291, section 2.5.5.2), with the number of bits that count.
fn block(block: &Address) -> Option<(u128, u32)> {
    let bytes = block.address.as_slice();
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return (block.length <= 32).then_some((bits(v4.into()), block.length + 96));
    }
    let v6 = <[u8; 16]>::try_from(bytes).ok()?;
    (block.length <= 128).then_some((u128::from_be_bytes(v6), block.length))
}

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => Ipv6Addr::to_bits(v6),
    }
}

fn within(wanted: &Address, ip: IpAddr) -> bool {
    let Some((base, length)) = block(wanted) else {
        return false;
    };
    // A block of IPv6 that is wider than all of mapped IPv4 is about IPv6 only.
    if length < 96 && ip.to_canonical().is_ipv4() {
        return false;
    }
    length == 0 || (base ^ bits(ip)) >> (128 - length) == 0
}

/// The scope that is written down in bytes which are no valid policy; `None` if their outermost level is broken too, or
/// the number means nothing.
pub(crate) fn scope_of_broken(mut bytes: &[u8]) -> Option<i32> {
    let mut scope = None;
    while !bytes.is_empty() {
        match key(&mut bytes)? {
            (3, 0) => scope = Some(number(&mut bytes)?),
            (field, wire_type) => skip(&mut bytes, field, wire_type, 0)?,
        }
    }
    scope.and_then(|scope| i32::try_from(scope).ok()).filter(|scope| (0..=2).contains(scope))
}

/// Field number and wire type.
fn key(bytes: &mut &[u8]) -> Option<(u32, u32)> {
    let key = u32::try_from(number(bytes)?).ok()?;
    (key >> 3 != 0).then_some((key >> 3, key & 7))
}

/// As deep as the decoder goes, groups (which nobody writes any more) are skipped with all that they hold.
fn skip(bytes: &mut &[u8], field: u32, wire_type: u32, depth: u32) -> Option<()> {
    const DEPTH_MAX: u32 = 100;
    let length = match wire_type {
        0 => return number(bytes).map(drop),
        1 => 8,
        2 => usize::try_from(number(bytes)?).ok()?,
        3 if depth < DEPTH_MAX => loop {
            match key(bytes)? {
                (inner, 4) => return (inner == field).then_some(()),
                (inner, wire_type) => skip(bytes, inner, wire_type, depth + 1)?,
            }
        },
        5 => 4,
        _ => return None,
    };
    *bytes = bytes.get(length..)?;
    Some(())
}

/// A number in groups of seven bits, the lowest first.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for position in 0..10 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        if position == 9 && *byte > 1 {
            return None;
        }
        number |= u64::from(byte & 0x7f) << (7 * position);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}
