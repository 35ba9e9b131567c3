//! Headers that nobody but the mesh itself may set.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use weft_core::identity::SpiffeId;

/// The header that names a caller to a service.
pub const FORWARDED_CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

/// Whether a header is the mesh's own: a proxy's instructions (`x-envoy-*`, `x-istio-*`) or an identity.
///
/// Headers of traces (`x-b3-*`, `traceparent`) and `x-request-id` are everybody's.
pub fn is_own(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("x-envoy-")
        || name.starts_with("x-istio-")
        || *name == *FORWARDED_CLIENT_CERT.as_str()
}

/// The names of those headers of a request that are the mesh's own, for engines that don't hand out their map.
pub fn own_names(headers: &HeaderMap) -> Vec<HeaderName> {
    headers.keys().filter(|name| is_own(name)).cloned().collect()
}

/// Removes what only the mesh may say. `from_mesh`: the caller is a proxy of the mesh, whose instructions stay; an identity
/// is never taken from a header, whoever sent it.
pub fn sanitise(headers: &mut HeaderMap, from_mesh: bool) {
    if from_mesh {
        headers.remove(FORWARDED_CLIENT_CERT);
        return;
    }
    for name in own_names(headers) {
        headers.remove(name);
    }
}

/// The value of [`FORWARDED_CLIENT_CERT`]: who received and who sent, as Envoy writes it. Both come from certificates, whose
/// identities have no character that would need quotes.
pub fn client_identity(local: &SpiffeId, peer: &SpiffeId) -> HeaderValue {
    let text = format!("By={local};URI={peer}");
    HeaderValue::try_from(text).expect("identities are made of plain characters")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers() -> HeaderMap {
        let names = [
            "x-envoy-retry-on",
            "x-istio-attributes",
            "x-forwarded-client-cert",
            "x-b3-traceid",
            "traceparent",
            "x-request-id",
            "x-forwarded-for",
        ];
        let pair = |name| (HeaderName::from_static(name), HeaderValue::from_static("x"));
        names.into_iter().map(pair).collect()
    }

    #[test]
    fn callers_set_neither_instructions_nor_identities() {
        let mut found = headers();
        found.append("x-envoy-retry-on", HeaderValue::from_static("twice"));
        sanitise(&mut found, false);
        let mut names: Vec<_> = found.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["traceparent", "x-b3-traceid", "x-forwarded-for", "x-request-id"]);
    }

    #[test]
    fn proxy_of_the_mesh_keeps_its_instructions_but_names_nobody() {
        let mut found = headers();
        sanitise(&mut found, true);
        assert!(found.contains_key("x-envoy-retry-on"));
        assert!(!found.contains_key(FORWARDED_CLIENT_CERT));
    }

    #[test]
    fn client_identity_names_both_sides() {
        let id = |name: &str| format!("spiffe://td/ns/shop/sa/{name}").parse().unwrap();
        let value = client_identity(&id("wp"), &id("web"));
        assert_eq!(value, "By=spiffe://td/ns/shop/sa/wp;URI=spiffe://td/ns/shop/sa/web");
    }
}
