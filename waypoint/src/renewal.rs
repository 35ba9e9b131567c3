//! The waypoint's token, kept fresh where nobody else does it.
//!
//! Kubernetes replaces a projected token when a fifth of its life is left. Outside of it nobody does: with less than
//! that left, the controller is asked for the next one, and the file is replaced.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;
use tonic::{Request, Status};
use weft_core::clock;
use weft_core::config::ControllerEndpoint;
use weft_core::control_plane;
use weft_core::join_token::JoinToken;
use weft_core::tls::{ControlError, control_channel};
use weft_core::token::{TokenError, TokenSource};
use weft_proto::node::IssueTokenRequest;
use weft_proto::node::issue_token_request::Component;
use weft_proto::node::node_service_client::NodeServiceClient;

use crate::limits;

/// Why there is no next token.
#[derive(Debug, thiserror::Error)]
enum RenewalError {
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("the controller doesn't answer within {} s", limits::TOKEN_RENEWAL_DEADLINE.as_secs())]
    Late,
    #[error("the controller gives none: {0}")]
    Refused(#[from] Status),
    #[error("what the controller gave is no token")]
    Unusable,
    #[error("{path} can't be replaced: {error}")]
    Write { path: PathBuf, error: std::io::Error },
}

/// When a token was made and until when it holds, in Unix seconds (RFC 7519, section 4.1).
#[derive(Debug, Clone, Copy, Deserialize)]
struct Life {
    iat: u64,
    exp: u64,
}

impl Life {
    /// As the token says itself; whether that is true is the controller's to check.
    fn of(token: &str) -> Option<Self> {
        let line = token.parse::<JoinToken>().ok();
        let token = line.as_ref().map_or(token.trim(), JoinToken::token);
        let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
        serde_json::from_slice(&claims).ok()
    }

    /// How long it may still be left to others to replace it.
    fn is_left_for(self, now: u64) -> Duration {
        let life = self.exp.saturating_sub(self.iat);
        let due = self.exp.saturating_sub(life / limits::TOKEN_RENEWAL_SHARE);
        Duration::from_secs(due.saturating_sub(now))
    }
}

/// Never ends. A token that is no file, or doesn't say how long it holds, is left as it is.
pub(crate) async fn keep(endpoint: ControllerEndpoint) -> std::convert::Infallible {
    let TokenSource::File(path) = &endpoint.token else { return std::future::pending().await };
    loop {
        let token = tokio::fs::read_to_string(path).await.unwrap_or_default();
        let left = Life::of(&token).map(|life| life.is_left_for(clock::unix_seconds()));
        let pause = match left {
            Some(Duration::ZERO) => match renew(&endpoint, path).await {
                Ok(()) => {
                    tracing::info!(path = %path.display(), "the token was renewed");
                    limits::TOKEN_RENEWAL_PAUSE
                }
                Err(error) => {
                    let path = path.display();
                    tracing::warn!(%path, %error, "the token ends soon and can't be renewed");
                    limits::TOKEN_RENEWAL_PAUSE
                }
            },
            left => left.unwrap_or(limits::TOKEN_LOOK_INTERVAL).min(limits::TOKEN_LOOK_INTERVAL),
        };
        sleep(pause).await;
    }
}

async fn renew(endpoint: &ControllerEndpoint, path: &Path) -> Result<(), RenewalError> {
    let channel = control_channel(control_plane::channel(endpoint))?;
    let next = timeout(limits::TOKEN_RENEWAL_DEADLINE, next(channel, &endpoint.token)).await;
    let next = next.map_err(|_| RenewalError::Late)??;
    let failed = |error| RenewalError::Write { path: path.to_owned(), error };
    replace(path, next).await.map_err(failed)
}

async fn next(channel: Channel, token: &TokenSource) -> Result<String, RenewalError> {
    let mut request = Request::new(IssueTokenRequest { component: Component::Waypoint.into() });
    if let Some(bearer) = token.authorization().await? {
        request.metadata_mut().insert("authorization", bearer);
    }
    let issued = NodeServiceClient::new(channel).issue_token(request).await?.into_inner();
    let fits = issued.token.len() <= weft_core::limits::TOKEN_BYTES_MAX;
    // One that doesn't say when it ends would never be renewed again.
    match fits && Life::of(&issued.token).is_some() {
        true => Ok(issued.token),
        false => Err(RenewalError::Unusable),
    }
}

/// Nobody else may read either token.
async fn replace(path: &Path, token: String) -> std::io::Result<()> {
    let path = path.to_owned();
    let replaced = move || weft_core::replace::file(&path, token.as_bytes(), 0o600);
    tokio::task::spawn_blocking(replaced).await?
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tonic::Response;
    use tonic::transport::Server;
    use tonic::transport::server::TcpIncoming;
    use weft_proto::node::node_service_server::{NodeService, NodeServiceServer};
    use weft_proto::node::{IssueTokenResponse, JoinRequest, JoinResponse};

    use super::*;

    fn token(iat: u64, exp: u64) -> String {
        let claims = format!("{{\"iat\":{iat},\"exp\":{exp},\"sub\":\"somebody\"}}");
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    /// Gives what it is told to who has the first token.
    struct Controller(String);

    #[tonic::async_trait]
    impl NodeService for Controller {
        async fn join(&self, _: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
            Err(Status::unimplemented("nobody joins"))
        }

        async fn issue_token(
            &self,
            request: Request<IssueTokenRequest>,
        ) -> Result<Response<IssueTokenResponse>, Status> {
            let bearer = format!("Bearer {}", token(0, 100));
            let known = request.metadata().get("authorization");
            if known.and_then(|it| it.to_str().ok()) != Some(bearer.as_str()) {
                return Err(Status::unauthenticated("who?"));
            }
            assert_eq!(request.get_ref().component(), Component::Waypoint);
            Ok(Response::new(IssueTokenResponse { token: self.0.clone(), ..Default::default() }))
        }
    }

    async fn controller(gives: &str) -> Channel {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = format!("http://{}", listener.local_addr().unwrap());
        let service = NodeServiceServer::new(Controller(gives.to_owned()));
        let incoming = TcpIncoming::from(listener);
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        Channel::from_shared(at).unwrap().connect().await.unwrap()
    }

    #[test]
    fn token_is_left_to_others_for_most_of_its_life() {
        let life = Life::of(&token(1_000, 1_700)).unwrap();
        assert_eq!(life.is_left_for(1_000), Duration::from_secs(600));
        assert_eq!(life.is_left_for(1_600), Duration::ZERO);
        assert_eq!(life.is_left_for(9_000), Duration::ZERO);
        let line = format!("weft1.{}.{}\n", URL_SAFE_NO_PAD.encode([7; 32]), token(1, 2));
        assert!(Life::of(&line).is_some());
        for none in ["", "a.b.c", "weft1.x.y", "e30.e30.e30"] {
            assert!(Life::of(none).is_none(), "{none}");
        }
    }

    #[tokio::test]
    async fn next_token_replaces_the_file_and_what_is_none_leaves_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, token(0, 100)).unwrap();
        let source = TokenSource::File(path.clone());
        let wanted = token(90, 190);
        let given = next(controller(&wanted).await, &source).await.unwrap();
        replace(&path, given).await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), wanted);
        // Now it is another that is presented, which this controller doesn't know.
        let refused = next(controller(&wanted).await, &source).await;
        assert!(matches!(refused, Err(RenewalError::Refused(_))));
        std::fs::write(&path, token(0, 100)).unwrap();
        let unusable = next(controller("nonsense").await, &source).await;
        assert!(matches!(unusable, Err(RenewalError::Unusable)));
    }
}
