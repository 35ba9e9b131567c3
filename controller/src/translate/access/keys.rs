//! Keys of issuers that had to be fetched.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_proto::route as proto;

use crate::objects::{ClaimPath, JwtRule, KeySource, RequestAuthentication};

/// What fetching the keys of an issuer gave.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FetchedKeys {
    /// The last good set, while it may still be used.
    pub keys: Option<Arc<str>>,
    /// Why the last attempt failed; nothing if it didn't.
    pub error: Option<Arc<str>>,
}

/// Keys by where they are. A source that was never fetched isn't there, and its issuer's tokens are refused.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeySets(pub BTreeMap<KeySource, FetchedKeys>);

impl KeySets {
    /// The keys of a source; never any others.
    pub(super) fn keys<'a>(&'a self, source: &'a KeySource) -> Option<&'a str> {
        match source {
            KeySource::Inline(keys) => Some(keys),
            KeySource::Uri(_) | KeySource::Issuer(_) => self.0.get(source)?.keys.as_deref(),
        }
    }

    /// What is the matter with a source; nothing if it has keys and is up to date.
    pub(super) fn fault(&self, source: &KeySource) -> Option<String> {
        let uri = match source {
            KeySource::Inline(_) => return None,
            KeySource::Uri(uri) | KeySource::Issuer(uri) => uri,
        };
        match self.0.get(source) {
            None => Some(format!("the keys of {uri} are not fetched yet")),
            Some(FetchedKeys { keys: Some(_), error: None }) => None,
            Some(FetchedKeys { keys: Some(_), error: Some(error) }) => {
                Some(format!("fetching {uri} failed ({error}); the last good keys are in use"))
            }
            Some(FetchedKeys { keys: None, error }) => {
                let error = error.as_deref().unwrap_or("no keys");
                Some(format!("fetching {uri} failed ({error}); tokens of the issuer are refused"))
            }
        }
    }
}

/// The issuers of an object.
pub(super) fn providers(
    object: &RequestAuthentication,
    sets: &KeySets,
) -> impl Iterator<Item = proto::JwtProvider> {
    object.rules.iter().map(|rule| provider(object, rule, sets))
}

fn provider(object: &RequestAuthentication, rule: &JwtRule, sets: &KeySets) -> proto::JwtProvider {
    let texts = |texts: &[Arc<str>]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
    let header = |(name, prefix): &(Arc<str>, Arc<str>)| proto::JwtHeader {
        name: name.to_string(),
        prefix: prefix.to_string(),
    };
    let claim = |(header, claim): &(Arc<str>, ClaimPath)| proto::ClaimHeader {
        header: header.to_string(),
        claim: texts(claim),
    };
    proto::JwtProvider {
        issuer: rule.issuer.to_string(),
        audiences: texts(&rule.audiences),
        keys: sets.keys(&rule.keys).unwrap_or_default().to_owned(),
        headers: rule.headers.iter().map(header).collect(),
        params: texts(&rule.params),
        cookies: texts(&rule.cookies),
        forward: rule.forwards,
        payload_header: rule.payload_header.as_deref().unwrap_or_default().to_owned(),
        claim_headers: rule.claim_headers.iter().map(claim).collect(),
        space_delimited: texts(&rule.space_delimited),
        origin: format!("{}/{}", object.meta.namespace, object.meta.name),
    }
}
