//! Access policies: what a waypoint makes of the controller's bytes, or of anybody's.

use http::{HeaderMap, Request};
use weft_core::seal;
use weft_waypoint::access::{Access, AccessRequest, Report, Step, Verdict, path};

/// Bytes of a resource. As they are, they are damaged and deny; sealed, whatever they say is asked for a request and for its
/// token without a panic, and the path that rules see is in its own form.
pub fn access_policy(data: &[u8]) {
    const NAME: &str = "shop/stock";
    let damaged = Access::decode(NAME, data);
    if seal::open(data).is_none() {
        assert!(!is_allowed(&damaged, "/"), "damaged bytes let a request in");
    }
    let access = Access::decode(NAME, &seal::seal(data.to_vec()));
    let raw = String::from_utf8_lossy(data.get(..data.len().min(64)).unwrap_or_default());
    if let Ok(form) = path::normalise(&raw, access.level()) {
        let again = path::normalise(&form, access.level());
        assert_eq!(again.as_deref(), Ok(&*form), "the form of a form is another");
        is_allowed(&access, &form);
    }
    let request =
        Request::builder().uri("/?access_token=a.b.c").header("authorization", "Bearer x");
    if let Ok(request) = request.body(()) {
        let (parts, ()) = request.into_parts();
        let outcome = access.authenticate(&parts, 0);
        assert!(!access.authenticates() || !matches!(outcome, Ok(Some(_))), "no token holds");
    }
}

fn is_allowed(access: &Access, path: &str) -> bool {
    let headers = HeaderMap::new();
    let address = std::net::IpAddr::from([10, 0, 0, 1]);
    let request = AccessRequest {
        source: None,
        source_ip: address,
        remote_ip: address,
        destination_ip: address,
        destination_port: 80,
        method: "GET",
        host: "stock",
        path,
        headers: &headers,
        authenticated: None,
        sni: None,
    };
    let mut reports: Vec<Report<'_>> = Vec::new();
    let mut step = Step::default();
    loop {
        match access.evaluate(&request, step, &mut reports) {
            Verdict::Allow => return true,
            Verdict::Deny(_) => return false,
            Verdict::Check { next, .. } => step = next,
        }
    }
}

/// What the controller sends is understood whole, but for what its statuses report: attributes of Envoy's filters, issuers
/// without keys, and issuers whose headers are many.
pub(crate) fn check_sent(name: &str, bytes: &[u8]) {
    let access = Access::decode(name, bytes);
    let is_reported = |problem: &&String| {
        let known =
            ["a kind that this version doesn't know", "no key", "apply; at most", "can't be read"];
        known.iter().any(|known| problem.contains(known))
    };
    let others: Vec<_> = access.problems().iter().filter(|it| !is_reported(it)).collect();
    assert!(
        others.is_empty(),
        "a waypoint doesn't understand what the controller sends: {others:?}"
    );
}
