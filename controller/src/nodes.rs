//! How a node becomes a member, and stays one: join tokens against agent tokens, and fresh tokens after that.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use weft_core::identity::TrustDomain;
use weft_proto::node::issue_token_request::Component as AskedComponent;
use weft_proto::node::node_service_server::NodeService;
use weft_proto::node::{IssueTokenRequest, IssueTokenResponse, JoinRequest, JoinResponse};

use crate::ca::Authority;
use crate::rate::Bucket;
use crate::serving_limits::JOINS_PER_SECOND;
use crate::tokens::{
    Component, IssuedToken, TokenError, TokenIssuer, bearer_token, check_node_name,
};

/// What every member is told about the mesh.
#[derive(Debug, Clone)]
pub struct MeshNames {
    /// The trust domain.
    pub trust_domain: TrustDomain,
    /// The cluster.
    pub cluster_id: String,
    /// The mesh's own namespace.
    pub root_namespace: String,
}

/// Joins nodes.
pub struct Nodes {
    tokens: Arc<TokenIssuer>,
    authority: Arc<Authority>,
    names: MeshNames,
    joins: Bucket,
}

impl Nodes {
    /// A service over the given parts.
    pub fn new(tokens: Arc<TokenIssuer>, authority: Arc<Authority>, names: MeshNames) -> Self {
        let joins = Bucket::new(JOINS_PER_SECOND, JOINS_PER_SECOND);
        Self { tokens, authority, names, joins }
    }

    fn admit(&self, request: &JoinRequest) -> Result<(String, IssuedToken), Status> {
        self.joins.take().map_err(|wait| {
            let wait = wait.as_millis();
            Status::resource_exhausted(format!("many nodes join now; try again in {wait} ms"))
        })?;
        let node = self
            .tokens
            .joining_node(&request.join_token)
            .map_err(|error| Status::unauthenticated(error.to_string()))?;
        if node != request.node {
            return Err(Status::permission_denied(other_node(&node, &request.node)));
        }
        let issued = self.issue(Component::Agent, &node)?;
        Ok((node, issued))
    }

    fn issue(&self, component: Component, node: &str) -> Result<IssuedToken, Status> {
        self.tokens.issue(component, node).map_err(|error| failed(&error))
    }

    fn answer(&self, issued: IssuedToken) -> Response<IssueTokenResponse> {
        Response::new(IssueTokenResponse {
            token: issued.token,
            expires_at: unix_seconds(issued.expires_at),
            roots: self.authority.roots_pem().to_string(),
        })
    }
}

#[tonic::async_trait]
impl NodeService for Nodes {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        let (node, issued) = self.admit(request.get_ref()).inspect_err(|status| {
            tracing::warn!(code = ?status.code(), reason = status.message(), "join refused");
        })?;
        tracing::info!(node, "node joined");
        Ok(Response::new(JoinResponse {
            roots: self.authority.roots_pem().to_string(),
            agent_token: issued.token,
            expires_at: unix_seconds(issued.expires_at),
            trust_domain: self.names.trust_domain.to_string(),
            cluster_id: self.names.cluster_id.clone(),
        }))
    }

    async fn issue_token(
        &self,
        request: Request<IssueTokenRequest>,
    ) -> Result<Response<IssueTokenResponse>, Status> {
        let caller = bearer_token(request.metadata().as_ref())
            .and_then(|token| self.tokens.verify(token))
            .map_err(|error| Status::unauthenticated(error.to_string()))?;
        let asked = AskedComponent::try_from(request.get_ref().component);
        if caller.waypoint.is_some() && asked == Ok(AskedComponent::Waypoint) {
            let issued = self.tokens.renew_waypoint(&caller).map_err(|error| failed(&error))?;
            return Ok(self.answer(issued));
        }
        if !caller.is(Component::Agent, &self.names.root_namespace) {
            return Err(Status::permission_denied("only a node agent gets tokens for its node"));
        }
        let Some(node) = caller.node.as_deref() else {
            return Err(Status::permission_denied("the token is not bound to a node"));
        };
        let component = match asked {
            Ok(AskedComponent::Agent) => Component::Agent,
            Ok(AskedComponent::Ztunnel) => Component::Ztunnel,
            Ok(AskedComponent::Waypoint) | Err(_) => {
                return Err(Status::invalid_argument("no component of a node"));
            }
        };
        let issued = self.issue(component, node)?;
        Ok(self.answer(issued))
    }
}

fn failed(error: &TokenError) -> Status {
    tracing::error!(%error, "issuing a token failed");
    Status::internal("issuing a token failed; the controller's log says why")
}

/// Tells whoever made two nodes' tokens at a time which one this is. That gives nothing away: a JWT is signed and not
/// sealed, so whoever found a token can read its node.
fn other_node(of_token: &str, asking: &str) -> String {
    match check_node_name(asking) {
        Ok(()) => format!("the join token is for node {of_token}, and {asking} asked to join"),
        Err(error) => error.to_string(),
    }
}

fn unix_seconds(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}
