//! Tokens of callers (RFC 7519): where they are, who issued them, and whether their signature and times hold.
//!
//! A token that is missing is no fault here: rules ask for it. One that is there and doesn't hold is refused, whatever
//! rules say.

mod claims;
mod keys;
mod location;
mod refusal;
mod unique;
mod verify;

use http::request::Parts;
use http::{HeaderName, HeaderValue};
use weft_proto::route as proto;

pub use claims::Authenticated;
pub use refusal::{JwtRefusal, Reason};

use super::decode::Decoding;
use super::view::IssuerView;
use crate::limits::access as limits;
use keys::Keys;
use location::{Location, Place};

/// Issuers that are trusted.
#[derive(Debug, Default)]
pub(super) struct Providers {
    providers: Box<[Provider]>,
    /// Every place where some issuer's tokens are, each once.
    locations: Box<[Location]>,
    output_headers: Box<[HeaderName]>,
}

/// Names from the outermost object inward.
type ClaimPath = Box<[Box<str>]>;

#[derive(Debug)]
struct Provider {
    issuer: Box<str>,
    audiences: Box<[Box<str>]>,
    keys: Keys,
    /// Places among the locations.
    locations: Box<[usize]>,
    forwards: bool,
    payload_header: Option<HeaderName>,
    claim_headers: Box<[(HeaderName, ClaimPath)]>,
    space_delimited: Box<[Box<str>]>,
}

impl Providers {
    /// An issuer that isn't understood is kept without keys, so that its tokens are refused.
    pub(super) fn decode(messages: &[proto::JwtProvider], decoding: &mut Decoding) -> Self {
        let mut locations: Vec<Location> = Vec::new();
        let mut providers = Vec::with_capacity(messages.len());
        for (at, message) in messages.iter().enumerate() {
            let mut note = |reason: &str| decoding.note(&format!("providers[{at}]"), reason);
            let mut own = Vec::new();
            for location in Location::all_of(message, &mut note) {
                let known = locations.iter().position(|it| *it == location);
                own.push(known.unwrap_or(locations.len()));
                if known.is_none() {
                    locations.push(location);
                }
            }
            providers.push(provider(message, own, &mut note));
        }
        let mut output: Vec<HeaderName> = Vec::new();
        for provider in &providers {
            output.extend(provider.payload_header.clone());
            output.extend(provider.claim_headers.iter().map(|(name, _)| name.clone()));
        }
        Self {
            providers: providers.into(),
            locations: locations.into(),
            output_headers: output.into(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.providers.is_empty()
    }

    /// All, for who asks.
    pub(super) fn issuers(&self) -> impl Iterator<Item = IssuerView<'_>> {
        self.providers.iter().map(|it| IssuerView {
            issuer: &it.issuer,
            audiences: &it.audiences,
            keys: it.keys.count(),
        })
    }

    pub(super) fn output_headers(&self) -> &[HeaderName] {
        &self.output_headers
    }

    pub(super) fn authenticate(
        &self,
        request: &Parts,
        now: u64,
    ) -> Result<Option<Authenticated>, JwtRefusal> {
        let mut tokens: Vec<(usize, &str)> = Vec::new();
        for (at, location) in self.locations.iter().enumerate() {
            location.tokens(request, &mut |token| tokens.push((at, token)));
        }
        if tokens.len() > limits::TOKENS_MAX {
            return Err(Reason::TooMany.into());
        }
        let mut found: Option<(Authenticated, &str)> = None;
        for (at, token) in &tokens {
            let authenticated = self.verify(*at, token, now)?;
            match &found {
                // The same token in two places is one.
                Some((_, other)) if other == token => {}
                Some(_) => return Err(Reason::Several.into()),
                None => found = Some((authenticated, token)),
            }
        }
        let Some((mut authenticated, _)) = found else { return Ok(None) };
        self.strip(&mut authenticated, tokens.iter().map(|(at, _)| *at));
        Ok(Some(authenticated))
    }

    /// A token that was found at the location numbered `at`.
    fn verify(&self, at: usize, token: &str, now: u64) -> Result<Authenticated, JwtRefusal> {
        let unverified = verify::Unverified::read(token)?;
        let issuer = unverified.issuer().ok_or(Reason::IssuerUnknown)?;
        let mut refusal = Reason::IssuerUnknown;
        let of_issuer = self.providers.iter().enumerate();
        let of_issuer =
            of_issuer.filter(|(_, it)| *it.issuer == *issuer && it.locations.contains(&at));
        for (place, provider) in of_issuer {
            match unverified.verify(&provider.keys, &provider.audiences, now) {
                Ok(()) => {
                    let claims = unverified.into_claims();
                    let split = &provider.space_delimited;
                    let mut authenticated = Authenticated::new(claims, split, place);
                    authenticated.set_headers = headers_of(provider, token, &authenticated);
                    return Ok(authenticated);
                }
                Err(reason) => refusal = reason,
            }
        }
        Err(refusal.into())
    }

    /// Where the token is taken out, unless its issuer's tokens stay.
    fn strip(&self, authenticated: &mut Authenticated, places: impl Iterator<Item = usize>) {
        if self.providers.get(authenticated.provider).is_none_or(|it| it.forwards) {
            return;
        }
        for location in places.filter_map(|at| self.locations.get(at)) {
            match &location.place {
                Place::Header { name, .. } => authenticated.remove_headers.push(name.clone()),
                Place::Param(name) => authenticated.remove_params.push(name.clone()),
                // As with Envoy: services keep other things in the same header.
                Place::Cookie(_) => {}
            }
        }
    }
}

fn provider(
    message: &proto::JwtProvider,
    locations: Vec<usize>,
    note: &mut impl FnMut(&str),
) -> Provider {
    let mut header = |name: &str| {
        let built = HeaderName::from_bytes(name.as_bytes()).ok();
        if built.is_none() {
            note(&format!("{name:?} is no header's name"));
        }
        built
    };
    let names = |texts: &[String]| texts.iter().map(|text| text.as_str().into()).collect();
    let payload_header =
        Some(&*message.payload_header).filter(|name| !name.is_empty()).and_then(&mut header);
    let claim_headers = message.claim_headers.iter();
    let claim_headers =
        claim_headers.filter_map(|it| Some((header(&it.header)?, names(&it.claim))));
    let claim_headers = claim_headers.collect();
    let keys = Keys::read(&message.keys);
    if keys.is_empty() {
        note("has no key that can be used, so its tokens are refused");
    }
    Provider {
        issuer: message.issuer.as_str().into(),
        audiences: names(&message.audiences),
        keys,
        locations: locations.into(),
        forwards: message.forward,
        payload_header,
        claim_headers,
        space_delimited: names(&message.space_delimited),
    }
}

/// What the issuer's object asks to be told to the service.
fn headers_of(
    provider: &Provider,
    token: &str,
    authenticated: &Authenticated,
) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::new();
    if let Some(name) = &provider.payload_header {
        let payload = token.split('.').nth(1).unwrap_or_default();
        headers.extend(HeaderValue::from_str(payload).ok().map(|it| (name.clone(), it)));
    }
    for (name, path) in &provider.claim_headers {
        let value = authenticated.text_of(path);
        let value = value.and_then(|text| HeaderValue::from_str(&text).ok());
        headers.extend(value.map(|it| (name.clone(), it)));
    }
    headers
}
