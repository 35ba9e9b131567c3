//! The certificate service on the wire (`istio.v1.auth`).

use std::sync::Arc;
use std::time::Duration;

use prost_types::value::Kind;
use tonic::{Request, Response, Status};
use weft_core::identity::{SpiffeId, TrustDomain};
use weft_proto::ca::istio_certificate_service_server::IstioCertificateService;
use weft_proto::ca::{IstioCertificateRequest, IstioCertificateResponse};
use weft_proto::contract::IMPERSONATED_IDENTITY;

use super::{Authority, CaError, verified_public_key};
use crate::metrics::Metrics;
use crate::rate::Buckets;
use crate::serving_limits::{CSR_BURST, CSR_PER_SECOND, RATED_NODES_MAX};
use crate::tokens::{Caller, Component, TokenIssuer, bearer_token};

/// What the authority asks the model.
pub trait LivePods: Send + Sync + 'static {
    /// Whether a pod of this service account lives on the node now: enrolled, and neither succeeded nor failed.
    fn node_hosts(&self, node: &str, namespace: &str, service_account: &str) -> bool;
}

/// Signs for authenticated callers what they may have.
pub struct CertificateService {
    authority: Arc<Authority>,
    tokens: Arc<TokenIssuer>,
    pods: Arc<dyn LivePods>,
    metrics: Arc<Metrics>,
    trust_domain: TrustDomain,
    root_namespace: String,
    rates: Buckets,
}

impl CertificateService {
    /// A service over the given parts.
    pub fn new(
        authority: Arc<Authority>,
        tokens: Arc<TokenIssuer>,
        pods: Arc<dyn LivePods>,
        metrics: Arc<Metrics>,
        mesh: (TrustDomain, String),
    ) -> Self {
        let (trust_domain, root_namespace) = mesh;
        let rates = Buckets::new(CSR_PER_SECOND, CSR_BURST, RATED_NODES_MAX);
        Self { authority, tokens, pods, metrics, trust_domain, root_namespace, rates }
    }

    fn create(&self, request: &Request<IstioCertificateRequest>) -> Result<Vec<String>, Status> {
        let token = bearer_token(request.metadata().as_ref())
            .map_err(|error| Status::unauthenticated(error.to_string()))?;
        let caller = self
            .tokens
            .verify(token)
            .map_err(|error| Status::unauthenticated(error.to_string()))?;
        self.limit(&caller)?;
        let message = request.get_ref();
        let identity = self.authorise(&caller, message)?;
        let ttl = self.authority.validity(message.validity_duration).map_err(to_status)?;
        let key = verified_public_key(&message.csr).map_err(to_status)?;
        let issued = self.authority.sign(&identity, &key, ttl).map_err(to_status)?;
        tracing::debug!(%identity, node = caller.node.as_deref(), "certificate issued");
        Ok(issued.to_pem(self.authority.roots_pem()))
    }

    fn limit(&self, caller: &Caller) -> Result<(), Status> {
        // A caller without a node shares a bucket with the others of its waypoint, or of its account.
        let own = caller.node.as_deref().or(caller.waypoint.as_deref());
        let key = own.unwrap_or(&caller.service_account);
        self.rates.take(key).map_err(|wait: Duration| {
            Status::resource_exhausted(format!(
                "too many signing requests from {key}; try again in {} ms",
                wait.as_millis()
            ))
        })
    }

    /// The identity that this caller may have: its own, or that of a pod on its node.
    fn authorise(
        &self,
        caller: &Caller,
        request: &IstioCertificateRequest,
    ) -> Result<SpiffeId, Status> {
        let Some(asked) = impersonated(request)? else {
            let (namespace, account) = (&caller.namespace, &caller.service_account);
            return SpiffeId::new(self.trust_domain.clone(), namespace, account)
                .map_err(|error| Status::permission_denied(error.to_string()));
        };
        let denied = |reason: String| Err(Status::permission_denied(reason));
        if !caller.is(Component::Ztunnel, &self.root_namespace) {
            let (namespace, account) = (&caller.namespace, &caller.service_account);
            return denied(format!(
                "{namespace}/{account} may not ask for the identities of others"
            ));
        }
        let Some(node) = caller.node.as_deref() else {
            return denied("the token is not bound to a node".to_owned());
        };
        let identity: SpiffeId = asked.parse().map_err(|error| {
            Status::invalid_argument(format!("{IMPERSONATED_IDENTITY}: {error}"))
        })?;
        if *identity.trust_domain() != self.trust_domain {
            let (asked, own) = (identity.trust_domain(), &self.trust_domain);
            return denied(format!("trust domain {asked} is not this mesh's, {own}"));
        }
        let (namespace, account) = (identity.namespace(), identity.service_account());
        if !self.pods.node_hosts(node, namespace, account) {
            return denied(format!(
                "no live, enrolled pod of service account {namespace}/{account} on node {node}"
            ));
        }
        Ok(identity)
    }
}

#[tonic::async_trait]
impl IstioCertificateService for CertificateService {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        self.metrics.csr_count.inc();
        match self.create(&request) {
            Ok(cert_chain) => {
                self.metrics.certificates_issued.inc();
                Ok(Response::new(IstioCertificateResponse { cert_chain }))
            }
            Err(status) => {
                self.metrics.count_csr_refusal(status.code());
                tracing::warn!(code = ?status.code(), reason = status.message(), "certificate refused");
                Err(status)
            }
        }
    }
}

fn impersonated(request: &IstioCertificateRequest) -> Result<Option<&str>, Status> {
    let fields = request.metadata.as_ref().map(|metadata| &metadata.fields);
    match fields.and_then(|fields| fields.get(IMPERSONATED_IDENTITY)) {
        None => Ok(None),
        Some(value) => match &value.kind {
            Some(Kind::StringValue(identity)) => Ok(Some(identity)),
            _ => Err(Status::invalid_argument(format!("{IMPERSONATED_IDENTITY} is not text"))),
        },
    }
}

fn to_status(error: CaError) -> Status {
    let text = error.to_string();
    match error {
        CaError::Request(_) | CaError::Validity { .. } => Status::invalid_argument(text),
        CaError::SignerExpired => Status::failed_precondition(text),
        CaError::State(_) | CaError::Material { .. } | CaError::Signing(_) => {
            tracing::error!(error = text, "the authority failed");
            Status::internal("the authority failed; its log says why")
        }
    }
}
