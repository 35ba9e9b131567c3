//! Whether the request may go on, and who says so.

use http::{StatusCode, request};
use weft_core::clock;

use super::Journey;
use super::story::Story;
use crate::access::{
    Access, AccessRequest, Authenticated, Denial, Reported, Step, Verdict, sanitise,
};
use crate::http::Seen;

impl Journey<'_> {
    /// Judges the request as if every service that is asked let it go on. `false`: it ends here.
    pub(super) fn admit(
        &self,
        head: &mut request::Parts,
        seen: &mut Seen,
        story: &mut Story,
    ) -> bool {
        let Some(access) = self.rules.access() else {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            story.step("access", "answered 503: the policies of the service haven't arrived");
            story.answered(status);
            return false;
        };
        sanitise::sanitise(&mut head.headers, false);
        let Some(authenticated) = authenticate(access, head, story) else { return false };
        let is_admitted = self.judge(access, head, seen, authenticated.as_ref(), story);
        seen.claims = authenticated.map(|it| it.claims().clone());
        is_admitted
    }

    fn judge(
        &self,
        access: &Access,
        head: &request::Parts,
        seen: &Seen,
        authenticated: Option<&Authenticated>,
        story: &mut Story,
    ) -> bool {
        let caller = self.caller;
        let called = self.target.address();
        let request = AccessRequest {
            source: Some(&caller.identity),
            source_ip: caller.address,
            remote_ip: caller.address,
            destination_ip: called.map_or(self.shared.own.address, |it| it.ip()),
            destination_port: self.target.port(),
            method: head.method.as_str(),
            host: &seen.authority,
            path: &seen.path,
            headers: &head.headers,
            authenticated,
            sni: None,
        };
        let mut step = Step::default();
        loop {
            let mut reports = Vec::new();
            let verdict = access.evaluate(&request, step, &mut reports);
            let reports: Vec<_> =
                reports.iter().map(|it| report(it.policy.map(|it| &**it), it.what)).collect();
            match verdict {
                Verdict::Check { checker, policy, next } => {
                    let name = &checker.name;
                    story.step("access", format!("CUSTOM policy {policy} asks {name}; from here on as if it allowed the request"));
                    step = next;
                }
                Verdict::Allow => {
                    let by = access.allowing(&request);
                    story.step(
                        "access",
                        match by {
                            Some((policy, rule)) => format!("allowed by rule {rule} of {policy}"),
                            None => "allowed: no policy denies it, and there is no ALLOW policy"
                                .to_owned(),
                        },
                    );
                    story.details(reports);
                    return true;
                }
                Verdict::Deny(denial) => {
                    story.step("access", format!("answered 403: {}", because(&denial)));
                    story.details(reports);
                    story.answered(StatusCode::FORBIDDEN);
                    return false;
                }
            }
        }
    }
}

/// `None`: its token is refused.
fn authenticate(
    access: &Access,
    head: &mut request::Parts,
    story: &mut Story,
) -> Option<Option<Authenticated>> {
    for name in access.token_headers() {
        head.headers.remove(name);
    }
    if !access.authenticates() {
        return Some(None);
    }
    let issuers: Vec<_> = access.issuers().map(|it| it.issuer.to_owned()).collect();
    let now = clock::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
    match access.authenticate(head, now.as_secs()) {
        Err(refusal) => {
            let status = refusal.status();
            let text = format!("answered {}: {}", status.as_u16(), refusal.reason());
            story.step("token", text);
            story.answered(status);
            None
        }
        Ok(None) => {
            let text = format!("the request has no token of {}", issuers.join(" or "));
            story.step("token", text);
            Some(None)
        }
        Ok(Some(authenticated)) => {
            let issuer = authenticated.issuer().unwrap_or_default();
            let subject = authenticated.subject().unwrap_or_default();
            story.step("token", format!("the token of {issuer} for {subject} holds"));
            for name in authenticated.remove_headers() {
                head.headers.remove(name);
            }
            for (name, value) in authenticated.set_headers() {
                head.headers.insert(name, value.clone());
            }
            Some(Some(authenticated))
        }
    }
}

pub(super) fn because(denial: &Denial<'_>) -> String {
    match denial {
        Denial::Policy { name, rule } => format!("rule {rule} of {name} matches"),
        Denial::NoMatch => "there are ALLOW policies, and none matches".to_owned(),
        Denial::Unusable(why) => format!("the service's policies can't be used: {why}"),
    }
}

fn report(policy: Option<&str>, what: Reported) -> String {
    let policy = policy.unwrap_or("no ALLOW policy in dry run matches, which");
    let what = match what {
        Reported::Audit => "notes it (AUDIT)",
        Reported::WouldAllow => "would allow it (dry run)",
        Reported::WouldDeny => "would deny it (dry run)",
        Reported::WouldCheck => "would ask its checker (dry run)",
    };
    format!("{policy} {what}")
}
