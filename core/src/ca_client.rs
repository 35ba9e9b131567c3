//! The certificate authority over gRPC: Istio's `IstioCertificateService`, as node proxies and waypoints call it.

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use tonic::metadata::{AsciiMetadataKey, MetadataMap};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use weft_proto::ca::istio_certificate_service_client::IstioCertificateServiceClient;
use weft_proto::ca::{IstioCertificateRequest, IstioCertificateResponse};
use weft_proto::contract::IMPERSONATED_IDENTITY;

use crate::certs::{Authority, CertError, SignedChain};
use crate::identity::SpiffeId;
use crate::limits;
use crate::tls::certificates_from_pem;
use crate::token::TokenSource;

/// How to speak to the CA.
#[derive(Debug, Clone)]
pub struct CaSettings {
    /// Who we are.
    pub token: TokenSource,
    /// Which cluster vouches for the token, header `clusterid`.
    pub cluster_id: String,
    /// Whether to name the identity in the request, as a node proxy must, which asks on behalf of its pods.
    pub is_impersonating: bool,
    /// Further headers, as the operator wants them.
    pub headers: Vec<(String, String)>,
}

/// The CA at the end of a channel (`tls::control_channel`).
pub struct GrpcAuthority {
    client: IstioCertificateServiceClient<Channel>,
    settings: CaSettings,
    headers: MetadataMap,
}

impl GrpcAuthority {
    /// Fails if a header is none.
    pub fn new(channel: Channel, settings: CaSettings) -> Result<Self, CertError> {
        let client = IstioCertificateServiceClient::new(channel)
            .max_decoding_message_size(limits::CA_RESPONSE_BYTES_MAX);
        let cluster = ("clusterid".to_owned(), settings.cluster_id.clone());
        let mut headers = MetadataMap::new();
        for (name, value) in std::iter::once(&cluster).chain(&settings.headers) {
            let invalid = || CertError::Credentials(format!("{name:?} is no header for the CA"));
            let key: AsciiMetadataKey = name.to_ascii_lowercase().parse().map_err(|_| invalid())?;
            headers.insert(key, value.parse().map_err(|_| invalid())?);
        }
        Ok(Self { client, settings, headers })
    }

    async fn call(
        &self,
        identity: SpiffeId,
        csr: String,
        ttl: Duration,
    ) -> Result<SignedChain, CertError> {
        let message = IstioCertificateRequest {
            csr,
            validity_duration: i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX),
            metadata: self.settings.is_impersonating.then(|| impersonation(&identity)),
        };
        let mut request = Request::new(message);
        *request.metadata_mut() = self.headers.clone();
        let token = self.settings.token.authorization().await;
        if let Some(token) = token.map_err(|error| CertError::Credentials(error.to_string()))? {
            request.metadata_mut().insert("authorization", token);
        }
        // Tells the server, too, when nobody listens any more.
        request.set_timeout(limits::CERT_SIGN_DEADLINE);
        let call = self.client.clone();
        let response = tokio::time::timeout(limits::CERT_SIGN_DEADLINE, async move {
            let mut call = call;
            call.create_certificate(request).await
        })
        .await
        .map_err(|_| CertError::Unreachable("deadline passed".to_owned()))?
        .map_err(|status| error_of(&status))?;
        chain_of(&response.into_inner())
    }
}

impl Authority for GrpcAuthority {
    fn sign(
        &self,
        identity: &SpiffeId,
        csr_pem: String,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<SignedChain, CertError>> {
        self.call(identity.clone(), csr_pem, ttl).boxed()
    }
}

fn impersonation(identity: &SpiffeId) -> Struct {
    let value = Value { kind: Some(Kind::StringValue(identity.to_string())) };
    Struct { fields: [(IMPERSONATED_IDENTITY.to_owned(), value)].into() }
}

fn error_of(status: &Status) -> CertError {
    let text = format!("{:?}: {}", status.code(), start_of(status.message()));
    match status.code() {
        Code::Unauthenticated => CertError::Refused(format!(
            "{text}; check that the token is fresh, for audience istio-ca, and of this cluster"
        )),
        Code::PermissionDenied => CertError::Refused(format!(
            "{text}; check that a running pod of that account is on this node"
        )),
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown => {
            let cause = std::error::Error::source(status).map(innermost).unwrap_or_default();
            CertError::Unreachable(format!("{text} {cause}").trim_end().to_owned())
        }
        _ => CertError::Refused(text),
    }
}

/// tonic wraps what really happened (a refused connect, another certificate) in "transport error".
fn innermost(mut error: &(dyn std::error::Error + 'static)) -> String {
    while let Some(source) = error.source() {
        error = source;
    }
    format!("({})", start_of(&error.to_string()))
}

/// At most [`limits::REMOTE_MESSAGE_BYTES_MAX`] of a text from elsewhere, which ends up in our logs.
fn start_of(text: &str) -> String {
    let mut kept = String::new();
    for character in text.chars().filter(|character| !character.is_control()) {
        if kept.len() + character.len_utf8() > limits::REMOTE_MESSAGE_BYTES_MAX {
            break;
        }
        kept.push(character);
    }
    kept
}

/// The leaf comes first, then intermediates, one or more an element; the last element is the bundle of roots.
fn chain_of(response: &IstioCertificateResponse) -> Result<SignedChain, CertError> {
    let unusable = |reason: &str| CertError::Answer(reason.to_owned());
    let (roots, chain) = match response.cert_chain.split_last() {
        Some((roots, chain)) if !chain.is_empty() => (roots, chain),
        _ => {
            return Err(unusable("it has no root certificates (fewer than two elements)"));
        }
    };
    let read = |pem: &String| {
        certificates_from_pem(pem.as_bytes()).map_err(|_| unusable("an element is no PEM"))
    };
    let mut certificates = Vec::new();
    for element in chain {
        certificates.extend(read(element)?);
    }
    let roots = read(roots)?;
    if certificates.is_empty() || roots.is_empty() {
        return Err(unusable("it has no leaf or no root"));
    }
    Ok(SignedChain { chain: certificates, roots })
}

#[cfg(test)]
mod tests;
