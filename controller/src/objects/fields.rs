//! The scalars of which objects are made, each read strictly once.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer};

use super::Pool;

/// What is wrong with one field of an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct FieldError {
    /// Path from the object's top, such as `spec.ports[1].targetPort`.
    pub field: String,
    /// What is wrong, and what would be right.
    pub reason: String,
}

impl FieldError {
    pub(super) fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }
}

/// A Kubernetes API server reads `null` as absent, also where a list or a map is due.
pub(super) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// In a policy an explicit `null` is refused: `from:` with nothing behind it is what an interrupted write or a
/// template without values leaves, and as "absent" it would read as "anybody".
pub(super) fn not_null<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    match Option::deserialize(deserializer)? {
        Some(value) => Ok(Some(value)),
        None => Err(serde::de::Error::custom("has no value; leave the field out, or give it one")),
    }
}

/// A list's item, or a map's value, of a policy: `null` is refused there too. (`- ` with nothing behind it would read as a
/// rule that asks for nothing, and so matches everything.)
#[derive(Debug)]
pub(super) struct Given<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match not_null(deserializer)? {
            Some(value) => Ok(Self(value)),
            None => Err(serde::de::Error::custom("has no value")),
        }
    }
}

/// RFC 1123 label, at most 63 bytes: namespaces.
pub(super) fn is_dns_label(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(is_allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// RFC 1123 subdomain, at most 253 bytes: names of most objects.
pub(super) fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= weft_core::limits::NAME_BYTES_MAX
        && text.split('.').all(|label| {
            let is_allowed =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            !label.is_empty()
                && label.bytes().all(is_allowed)
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

/// Kubernetes label key: an optional subdomain and a slash, then at most 63 of `[A-Za-z0-9._-]`.
pub(super) fn is_label_key(text: &str) -> bool {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    prefix.is_none_or(is_dns_subdomain) && !name.is_empty() && is_label_value(name)
}

/// Whether `*` alone may stand for every host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AllHosts {
    /// It may, where Istio's objects are about hosts that others declare.
    Allowed,
    /// It is no name: of the Gateway API, of certificates, and where hosts are declared.
    Refused,
}

/// A host's name, perhaps behind `*.`, in lower case.
pub(super) fn host_pattern(text: &str, field: &str, all: AllHosts) -> Result<String, FieldError> {
    let host = text.to_ascii_lowercase();
    let is_all = all == AllHosts::Allowed && host == "*";
    if is_all || is_dns_subdomain(host.strip_prefix("*.").unwrap_or(&host)) {
        return Ok(host);
    }
    Err(FieldError::new(field, format!("{text:?} is no host name, nor one behind `*.`")))
}

/// [`host_pattern`] of each of a list's.
pub(super) fn host_patterns(
    list: &[String],
    field: &str,
    all: AllHosts,
    pool: &mut Pool,
) -> Result<Box<[Arc<str>]>, FieldError> {
    let hosts = list.iter().enumerate().map(|(at, text)| {
        let host = host_pattern(text, field, all);
        host.map(|host| pool.text(&host))
            .map_err(|error| FieldError::new(format!("{field}[{at}]"), error.reason))
    });
    hosts.collect()
}

/// Kubernetes label value: empty, or at most 63 of `[A-Za-z0-9._-]` with a letter or digit at both ends.
pub(super) fn is_label_value(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let is_end = |byte: Option<u8>| byte.is_none_or(|byte| byte.is_ascii_alphanumeric());
    text.len() <= 63
        && text.bytes().all(is_allowed)
        && is_end(text.bytes().next())
        && is_end(text.bytes().last())
}

/// A port, 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "i64")]
pub(super) struct Port(pub(super) NonZeroU16);

impl Port {
    pub(super) fn get(self) -> u16 {
        self.0.get()
    }
}

impl TryFrom<i64> for Port {
    type Error = String;

    fn try_from(number: i64) -> Result<Self, String> {
        u16::try_from(number)
            .ok()
            .and_then(NonZeroU16::new)
            .map(Self)
            .ok_or_else(|| format!("{number} is no port; ports are 1 to 65535"))
    }
}

/// A port that a policy writes as text.
pub(super) fn port_of_text(text: &str) -> Result<u16, String> {
    text.parse::<NonZeroU16>()
        .map(NonZeroU16::get)
        .map_err(|_| format!("{text:?} is no port; ports are 1 to 65535"))
}

/// An address, or a block of addresses. Bits behind the prefix are refused: they show that the writer meant
/// another block.
pub(super) fn block_of_text(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let block: IpNet = text
        .parse()
        .map_err(|_| format!("{text:?} is neither an address nor a block such as 10.0.0.0/8"))?;
    if block.addr() == block.network() {
        Ok(block)
    } else {
        Err(format!("{text:?} has bits behind its prefix; write {}", block.trunc()))
    }
}

/// A text, an integer, or a number in quotes: `targetPort` and the like.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) enum PortOrName {
    Port(u16),
    Name(String),
}

impl TryFrom<String> for PortOrName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return port_of_text(&text).map(Self::Port);
        }
        // IANA service name, as Kubernetes has it: at most 15 of [a-z0-9-].
        if text.len() <= 15 && is_dns_label(&text) {
            Ok(Self::Name(text))
        } else {
            Err(format!("{text:?} is neither a port nor a port's name (15 of [a-z0-9-])"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_read_strictly() {
        assert_eq!(block_of_text("10.1.2.3").unwrap().to_string(), "10.1.2.3/32");
        assert_eq!(block_of_text("fd00::/8").unwrap().to_string(), "fd00::/8");
        for text in ["10.0.0.1/8", "10.0.0.0/33", "10.0.0", "", "example.com"] {
            assert!(block_of_text(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn names_follow_kubernetes() {
        assert!(is_dns_subdomain("web.v1-2") && is_label_key("app.kubernetes.io/name"));
        assert!(is_label_value("") && is_label_value("v1.2_3"));
        for text in ["", "Web", "-a", "a-", "a..b", "a_b", "a b", "ä"] {
            assert!(!is_dns_subdomain(text), "{text:?} was accepted");
        }
        assert!(!is_label_key("a/b/c") && !is_label_value("-a") && !is_label_value("*"));
    }

    #[test]
    fn hosts_are_names_or_all_below_one_and_only_where_it_is_meant_all() {
        use AllHosts::{Allowed, Refused};
        for all in [Allowed, Refused] {
            assert_eq!(host_pattern("Web.Shop", "f", all).as_deref(), Ok("web.shop"));
            assert_eq!(host_pattern("*.Shop", "f", all).as_deref(), Ok("*.shop"));
            for text in ["", "*.", "*shop", "a.*", "*.*", "**", "*.*.shop", "web_1", "web.", "ä"] {
                assert!(host_pattern(text, "f", all).is_err(), "{text:?} was accepted");
            }
        }
        assert_eq!(host_pattern("*", "f", Allowed).as_deref(), Ok("*"));
        assert!(host_pattern("*", "f", Refused).is_err());
        let list = ["a".to_owned(), "-".to_owned()];
        let error = host_patterns(&list, "spec.hosts", Allowed, &mut Pool::default()).unwrap_err();
        assert_eq!(error.field, "spec.hosts[1]");
        assert!(error.reason.starts_with("\"-\" is no host name"), "{}", error.reason);
    }

    #[test]
    fn port_out_of_range_is_refused() {
        assert!(Port::try_from(0).is_err() && Port::try_from(65536).is_err());
        assert_eq!(Port::try_from(443).unwrap().get(), 443);
        assert!(PortOrName::try_from("70000".to_owned()).is_err());
        assert_eq!(PortOrName::try_from("80".to_owned()), Ok(PortOrName::Port(80)));
        assert_eq!(PortOrName::try_from("http".to_owned()), Ok(PortOrName::Name("http".into())));
    }
}
