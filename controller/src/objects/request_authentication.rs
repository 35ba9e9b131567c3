//! Which issuers' tokens are taken (Istio's RequestAuthentication).

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::Pool;
use super::duration;
use super::fields::{self, FieldError, Given};
use super::key_set;
use super::meta::{Labels, Meta};
use super::policy::RawSelector;
use super::target::{self, PolicyTarget, RawTarget};

/// Which issuers' tokens are taken.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestAuthentication {
    /// Name, labels and so on.
    pub meta: Meta,
    /// Workloads whose own proxies would enforce it. Node proxies can't.
    pub selector: Option<Arc<Labels>>,
    /// What it is attached to.
    pub targets: Box<[PolicyTarget]>,
    /// Issuers.
    pub rules: Box<[JwtRule]>,
    /// It couldn't be read and no earlier version is known, so waypoints deny what it covers.
    pub is_unreadable: bool,
}

/// An issuer of tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct JwtRule {
    /// `iss` of its tokens.
    pub issuer: Arc<str>,
    /// One of them must be in `aud`. Empty: not looked at.
    pub audiences: Box<[Arc<str>]>,
    /// Where its keys are.
    pub keys: KeySource,
    /// Longest time that fetching the keys may take.
    pub timeout: Option<Duration>,
    /// Header and prefix.
    pub headers: Box<[(Arc<str>, Arc<str>)]>,
    /// Parameters of the query.
    pub params: Box<[Arc<str>]>,
    /// Cookies.
    pub cookies: Box<[Arc<str>]>,
    /// The token stays in the request.
    pub forwards: bool,
    /// Header for the payload.
    pub payload_header: Option<Arc<str>>,
    /// Headers for claims, whose names go from the outermost object inward.
    pub claim_headers: Box<[(Arc<str>, ClaimPath)]>,
    /// Claims that are lists separated by spaces.
    pub space_delimited: Box<[Arc<str>]>,
}

/// Names from a token's outermost object inward.
pub type ClaimPath = Box<[Arc<str>]>;

/// Where the keys of an issuer are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeySource {
    /// Written in the object.
    Inline(Arc<str>),
    /// At this address.
    Uri(Arc<str>),
    /// Where the issuer's discovery document says (OpenID Connect Discovery 1.0, section 4).
    Issuer(Arc<str>),
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawRequestAuthentication {
    #[serde(default, deserialize_with = "fields::not_null")]
    selector: Option<RawSelector>,
    #[serde(default, deserialize_with = "fields::not_null")]
    target_ref: Option<RawTarget>,
    #[serde(default, deserialize_with = "fields::not_null")]
    target_refs: Option<Vec<Given<RawTarget>>>,
    #[serde(default, deserialize_with = "fields::not_null")]
    jwt_rules: Option<Vec<Given<RawRule>>>,
}

type Texts = Option<Vec<String>>;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawRule {
    issuer: String,
    #[serde(default, deserialize_with = "fields::not_null")]
    audiences: Texts,
    // Istio's own YAML has both spellings.
    #[serde(default, alias = "jwks_uri", deserialize_with = "fields::not_null")]
    jwks_uri: Option<String>,
    #[serde(default, deserialize_with = "fields::not_null")]
    jwks: Option<String>,
    #[serde(default, deserialize_with = "fields::not_null")]
    from_headers: Option<Vec<Given<RawHeader>>>,
    #[serde(default, deserialize_with = "fields::not_null")]
    from_params: Texts,
    #[serde(default, deserialize_with = "fields::not_null")]
    from_cookies: Texts,
    #[serde(default, deserialize_with = "fields::not_null")]
    output_payload_to_header: Option<String>,
    #[serde(default, deserialize_with = "fields::not_null")]
    output_claim_to_headers: Option<Vec<Given<RawClaim>>>,
    #[serde(default, deserialize_with = "fields::not_null")]
    forward_original_token: Option<bool>,
    #[serde(default, deserialize_with = "fields::not_null")]
    timeout: Option<String>,
    #[serde(default, deserialize_with = "fields::not_null")]
    space_delimited_claims: Texts,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHeader {
    name: String,
    prefix: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawClaim {
    header: String,
    claim: String,
}

pub(super) fn request_authentication(
    meta: Meta,
    raw: &RawRequestAuthentication,
    pool: &mut Pool,
) -> Result<RequestAuthentication, FieldError> {
    let (single, list) = (raw.target_ref.as_ref(), raw.target_refs.as_ref());
    let targets = target::targets(single, list, raw.selector.is_some(), &meta, pool)?;
    let raw_rules = raw.jwt_rules.as_deref().unwrap_or_default();
    let mut rules = Vec::with_capacity(raw_rules.len());
    for (at, Given(one)) in raw_rules.iter().enumerate() {
        rules.push(rule(one, &format!("spec.jwtRules[{at}]"), pool)?);
    }
    Ok(RequestAuthentication {
        selector: RawSelector::build(raw.selector.as_ref(), pool)?,
        targets,
        rules: rules.into(),
        is_unreadable: false,
        meta,
    })
}

fn rule(raw: &RawRule, field: &str, pool: &mut Pool) -> Result<JwtRule, FieldError> {
    let bad = |name: &str, reason: &str| FieldError::new(format!("{field}.{name}"), reason);
    if raw.issuer.is_empty() {
        return Err(bad("issuer", "is empty"));
    }
    let mut texts = |texts: &Texts, name: &str| -> Result<Box<[Arc<str>]>, FieldError> {
        let texts = texts.as_deref().unwrap_or_default();
        if texts.iter().any(String::is_empty) {
            return Err(bad(name, "has an empty entry"));
        }
        Ok(texts.iter().map(|text| pool.text(text)).collect())
    };
    let audiences = texts(&raw.audiences, "audiences")?;
    let params = texts(&raw.from_params, "fromParams")?;
    let cookies = texts(&raw.from_cookies, "fromCookies")?;
    let space_delimited = texts(&raw.space_delimited_claims, "spaceDelimitedClaims")?;
    let mut headers = Vec::new();
    for Given(header) in raw.from_headers.as_deref().unwrap_or_default() {
        let name =
            header_name(&header.name).ok_or_else(|| bad("fromHeaders", "names no header"))?;
        headers.push((pool.text(&name), pool.text(header.prefix.as_deref().unwrap_or_default())));
    }
    let mut claim_headers = Vec::new();
    for Given(claim) in raw.output_claim_to_headers.as_deref().unwrap_or_default() {
        let name = header_name(&claim.header);
        let name = name.ok_or_else(|| bad("outputClaimToHeaders", "names no header"))?;
        if claim.claim.split('.').any(str::is_empty) {
            return Err(bad("outputClaimToHeaders", "names no claim"));
        }
        let path = claim.claim.split('.').map(|name| pool.text(name)).collect();
        claim_headers.push((pool.text(&name), path));
    }
    let payload_header = match raw.output_payload_to_header.as_deref() {
        None | Some("") => None,
        Some(name) => {
            let name = header_name(name);
            Some(name.ok_or_else(|| bad("outputPayloadToHeader", "is no header's name"))?)
        }
    };
    let timeout = raw.timeout.as_deref().map(duration::parse).transpose();
    Ok(JwtRule {
        issuer: pool.text(&raw.issuer),
        audiences,
        keys: key_source(raw, field, pool)?,
        timeout: timeout.map_err(|reason| bad("timeout", &reason))?,
        headers: headers.into(),
        params,
        cookies,
        forwards: raw.forward_original_token.unwrap_or_default(),
        payload_header: payload_header.map(|name| pool.text(&name)),
        claim_headers: claim_headers.into(),
        space_delimited,
    })
}

/// In lower case.
fn header_name(text: &str) -> Option<String> {
    http::HeaderName::from_bytes(text.as_bytes()).ok().map(|name| name.as_str().to_owned())
}

fn key_source(raw: &RawRule, field: &str, pool: &mut Pool) -> Result<KeySource, FieldError> {
    let bad = |name: &str, reason: String| FieldError::new(format!("{field}.{name}"), reason);
    let is_web = |text: &str| {
        let uri: Option<http::Uri> = text.parse().ok();
        uri.is_some_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
        })
    };
    let uri = raw.jwks_uri.as_deref().filter(|uri| !uri.is_empty());
    match (raw.jwks.as_deref().filter(|keys| !keys.is_empty()), uri) {
        (Some(_), Some(_)) => Err(bad("jwks", "can't be given together with jwksUri".to_owned())),
        (Some(keys), None) => {
            let keys = key_set::trimmed(keys);
            Ok(KeySource::Inline(keys.map_err(|reason| bad("jwks", reason))?.into()))
        }
        (None, Some(uri)) if is_web(uri) => Ok(KeySource::Uri(pool.text(uri))),
        (None, Some(uri)) => Err(bad("jwksUri", format!("{uri:?} is no http or https address"))),
        (None, None) if is_web(&raw.issuer) => Ok(KeySource::Issuer(pool.text(&raw.issuer))),
        (None, None) => {
            let reason = "is missing, and the issuer is no address that has a discovery document";
            Err(bad("jwksUri", reason.to_owned()))
        }
    }
}
