//! Why a token is refused, in Envoy's words: people look them up.

use http::StatusCode;

/// The request's token doesn't hold. Answered 401.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct JwtRefusal {
    reason: Reason,
}

/// See [`JwtRefusal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Reason {
    #[error("Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections")]
    Form,
    #[error("Jwt header is an invalid Base64url encoded or is not JSON")]
    Header,
    #[error("Jwt payload is an invalid Base64url encoded or is not JSON")]
    Payload,
    #[error("Jwt is too long")]
    Long,
    #[error("Jwt header [alg] is not supported")]
    Algorithm,
    #[error("Jwt header [crit] is not supported")]
    Critical,
    #[error("Jwt issuer is not configured")]
    IssuerUnknown,
    #[error("Audiences in Jwt are not allowed")]
    Audience,
    #[error("Jwt is expired")]
    Expired,
    #[error("Jwt not yet valid")]
    NotYetValid,
    #[error("Jwt payload has a time that is no number")]
    Time,
    #[error("Jwks remote fetch is failed")]
    NoKeys,
    #[error("Jwks doesn't have key to match kid or alg from Jwt")]
    KeyUnknown,
    #[error("Jwt verification fails")]
    Signature,
    #[error("the request has too many Jwts")]
    TooMany,
    #[error("the request has several different Jwts")]
    Several,
}

impl From<Reason> for JwtRefusal {
    fn from(reason: Reason) -> Self {
        Self { reason }
    }
}

impl JwtRefusal {
    /// What the client is answered; the body is the refusal written out.
    pub fn status(&self) -> StatusCode {
        StatusCode::UNAUTHORIZED
    }

    /// Why.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The `www-authenticate` header (RFC 6750 section 3) for a request to `scheme://host/path`, as Envoy writes it.
    pub fn www_authenticate(&self, scheme: &str, host: &str, path: &str) -> String {
        let is_plain =
            |character: &char| !matches!(character, '"' | '\\') && !character.is_control();
        let realm: String = [scheme, "://", host, path]
            .into_iter()
            .flat_map(str::chars)
            .filter(char::is_ascii)
            .filter(is_plain)
            .collect();
        format!("Bearer realm=\"{realm}\", error=\"invalid_token\"")
    }

    /// Envoy's `response_code_details`.
    pub fn details(&self) -> String {
        let reason = self.reason.to_string().replace(' ', "_");
        format!("jwt_authn_access_denied{{{reason}}}")
    }
}
