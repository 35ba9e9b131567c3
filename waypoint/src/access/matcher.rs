//! Rules, and how each of their conditions is compared.

use std::net::IpAddr;

use http::HeaderName;
use ipnet::IpNet;
use weft_core::identity::SpiffeId;

use super::request::AccessRequest;
use super::template::Template;
use super::text::Text;
use crate::route::host_of;

pub(super) type Texts = Box<[Text]>;
/// Namespace and name.
pub(super) type Account = (Box<str>, Box<str>);

/// One alternative of a policy: somebody of `from`, and something of `to`, and every condition.
#[derive(Debug)]
pub(super) struct Rule {
    /// Empty: anybody.
    pub(super) from: Box<[Box<[Matcher]>]>,
    /// Empty: anything.
    pub(super) to: Box<[Box<[Matcher]>]>,
    /// Empty: always.
    pub(super) when: Box<[Matcher]>,
}

/// What becomes of conditions that only a request can meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HttpFields {
    /// It is a request.
    Compared,
    /// It is a connection, and a rule that has any doesn't match.
    NeverMet,
    /// It is a connection, and the rest of a rule decides.
    Overlooked,
}

/// One field of a rule.
#[derive(Debug)]
pub(super) struct Matcher {
    /// It holds where none of the values fits.
    pub(super) is_negated: bool,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Principal(Texts),
    Namespace(Texts),
    Account(Box<[Account]>),
    TrustDomain(Texts),
    SourceIp(Box<[IpNet]>),
    RemoteIp(Box<[IpNet]>),
    DestinationIp(Box<[IpNet]>),
    Port(Box<[u16]>),
    Host(Texts),
    Method(Texts),
    Path(Box<[PathValue]>),
    Header(HeaderName, Texts),
    /// A header that is no header of the map, such as `:method`.
    Pseudo(Pseudo, Texts),
    RequestPrincipal(Texts),
    Audience(Texts),
    Presenter(Texts),
    Claim(Box<[Box<str>]>, Texts),
    ServerName(Texts),
}

/// Parts of a request that rules may name as headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pseudo {
    Authority,
    Method,
    Path,
}

#[derive(Debug)]
pub(super) enum PathValue {
    Text(Text),
    Template(Template),
}

impl Rule {
    /// Whether it matches.
    pub(super) fn matches(&self, request: &AccessRequest<'_>, http: HttpFields) -> bool {
        if http == HttpFields::NeverMet && self.asks_http() {
            return false;
        }
        let all = |term: &[Matcher]| term.iter().all(|it| it.holds(request, http));
        let one_of = |terms: &[Box<[Matcher]>]| terms.is_empty() || terms.iter().any(|it| all(it));
        one_of(&self.from) && one_of(&self.to) && all(&self.when)
    }

    fn asks_http(&self) -> bool {
        let terms = self.from.iter().chain(&self.to).flatten();
        terms.chain(&self.when).any(|matcher| matcher.kind.is_http())
    }
}

impl Matcher {
    fn holds(&self, request: &AccessRequest<'_>, http: HttpFields) -> bool {
        let is_overlooked = http == HttpFields::Overlooked && self.kind.is_http();
        is_overlooked || self.kind.fits(request) != self.is_negated
    }
}

impl Kind {
    /// Whether only a request has something to compare with.
    fn is_http(&self) -> bool {
        match self {
            Self::Principal(_)
            | Self::Namespace(_)
            | Self::Account(_)
            | Self::TrustDomain(_)
            | Self::SourceIp(_)
            | Self::RemoteIp(_)
            | Self::DestinationIp(_)
            | Self::Port(_)
            | Self::ServerName(_) => false,
            Self::Host(_)
            | Self::Method(_)
            | Self::Path(_)
            | Self::Header(..)
            | Self::Pseudo(..)
            | Self::RequestPrincipal(_)
            | Self::Audience(_)
            | Self::Presenter(_)
            | Self::Claim(..) => true,
        }
    }

    fn fits(&self, request: &AccessRequest<'_>) -> bool {
        let source = request.source;
        let token = request.authenticated;
        match self {
            Self::Principal(texts) => fits(texts, source.map(SpiffeId::principal)),
            Self::Namespace(texts) => fits(texts, source.map(SpiffeId::namespace)),
            Self::Account(accounts) => source.is_some_and(|id| {
                let own = (id.namespace(), id.service_account());
                accounts.iter().any(|(namespace, name)| (&**namespace, &**name) == own)
            }),
            Self::TrustDomain(texts) => fits(texts, source.map(|id| id.trust_domain().as_str())),
            Self::SourceIp(blocks) => contains(blocks, request.source_ip),
            Self::RemoteIp(blocks) => contains(blocks, request.remote_ip),
            Self::DestinationIp(blocks) => contains(blocks, request.destination_ip),
            Self::Port(ports) => ports.contains(&request.destination_port),
            Self::Host(texts) => host_fits(texts, request.host),
            Self::Method(texts) => fits(texts, Some(request.method)),
            Self::Path(values) => values.iter().any(|value| match value {
                PathValue::Text(text) => text.fits(request.path.as_bytes()),
                PathValue::Template(template) => template.covers(request.path),
            }),
            Self::Header(name, texts) => {
                let mut values = request.headers.get_all(name).iter();
                values.any(|value| texts.iter().any(|text| text.fits(value.as_bytes())))
            }
            Self::Pseudo(Pseudo::Authority, texts) => fits(texts, Some(request.host)),
            Self::Pseudo(Pseudo::Method, texts) => fits(texts, Some(request.method)),
            Self::Pseudo(Pseudo::Path, texts) => fits(texts, Some(request.path)),
            Self::RequestPrincipal(texts) => token.is_some_and(|token| {
                let parts = token.issuer().zip(token.subject());
                parts.is_some_and(|(issuer, subject)| {
                    texts.iter().any(|text| text.fits_principal(issuer, subject))
                })
            }),
            Self::Audience(texts) => {
                token.is_some_and(|token| token.has_audience(|value| fits(texts, Some(value))))
            }
            Self::Presenter(texts) => token
                .is_some_and(|token| token.has_claim(&["azp".into()], &|it| fits(texts, Some(it)))),
            Self::Claim(path, texts) => {
                token.is_some_and(|token| token.has_claim(path, &|value| fits(texts, Some(value))))
            }
            Self::ServerName(texts) => fits(texts, request.sni),
        }
    }
}

/// An empty text is no text.
fn fits(texts: &[Text], value: Option<&str>) -> bool {
    let value = value.filter(|value| !value.is_empty());
    value.is_some_and(|value| texts.iter().any(|text| text.fits(value.as_bytes())))
}

/// With its port and without; a dot at its end, which names the same host, doesn't count.
fn host_fits(texts: &[Text], authority: &str) -> bool {
    let host = host_of(authority);
    let plain = host.strip_suffix('.').unwrap_or(host);
    fits(texts, Some(authority)) || fits(texts, Some(host)) || fits(texts, Some(plain))
}

/// In canonical form, in which blocks are too.
fn contains(blocks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    blocks.iter().any(|block| block.contains(&address))
}
