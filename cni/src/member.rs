//! How this node becomes a member of the mesh and stays one: roots and tokens in the state folder, kept fresh.
//!
//! ```text
//!  join token ──Join (root pinned by its hash)──▶ roots, agent's token
//!  agent's token ──IssueToken──▶ agent's next token, node proxy's token, roots as of now   (at half of each life)
//! ```
//!
//! A join token is needed once: a restart goes on with what is in the folder. A join token that differs from the one
//! that was used says that the operator wants the node to join anew, and so does the controller if it refuses the
//! agent's token.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status};
use tracing::{info, warn};
use weft_core::clock;
use weft_core::join_token::{JoinToken, JoinTokenShape};
use weft_core::tls::{ControlError, ControlSettings, RootSource, control_channel, control_client};
use weft_proto::node::issue_token_request::Component;
use weft_proto::node::node_service_client::NodeServiceClient;
use weft_proto::node::{IssueTokenRequest, JoinRequest};

use crate::backoff::Backoff;
use crate::limits;
use crate::state::{self, StateDir, StateError};
use crate::status::Membership;

/// Why the node is no member, or its tokens age.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// The node never joined, and has no token to do so.
    #[error("this node has not joined yet: give it a token with --join-token-file")]
    NoJoinToken,
    /// The join token file holds something else.
    #[error("{path}: {error}")]
    JoinToken {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: JoinTokenShape,
    },
    /// The folder belongs to another node.
    #[error("the state folder belongs to node {0:?}: use another, or remove it")]
    OtherNode(String),
    /// The address can't be used, or the roots can't.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The controller said no, or could not be reached.
    #[error("{call}: {reason}")]
    Call {
        /// Which call.
        call: &'static str,
        /// Whether the controller does not accept who we are.
        is_refused: bool,
        /// Why, with what caused it.
        reason: String,
    },
    /// The controller does not accept this node's token, and there is no join token to begin anew.
    #[error(
        "the controller refuses this node's token ({0}): give it a new one with --join-token-file"
    )]
    Refused(String),
    /// The controller's answer makes no sense.
    #[error("the controller answered with {0}")]
    Answer(&'static str),
    /// The folder can't be used.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Where the controller is and who we are.
#[derive(Debug, Clone)]
pub struct MemberSettings {
    /// This node.
    pub node: String,
    /// The controller's `host:port`.
    pub controller: String,
    /// The name that its certificate must hold, if not the host.
    pub controller_name: Option<String>,
    /// Where the join token is.
    pub join_token_file: Option<PathBuf>,
}

/// What the folder remembers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct NodeFile {
    node: String,
    trust_domain: String,
    cluster_id: String,
    /// Fingerprint of the join token that was used.
    joined_with: String,
    agent: TokenLife,
    ztunnel: Option<TokenLife>,
}

/// Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct TokenLife {
    renew_at: i64,
    expires_at: i64,
}

impl TokenLife {
    /// From now. Renewal is at about half, so that a cluster's agents don't come at once.
    fn until(expires_at: i64) -> Self {
        let now = unix_now();
        let life = u32::try_from(expires_at.saturating_sub(now)).unwrap_or_default();
        let half = Duration::from_secs(life.into()).mul_f64(rand::rng().random_range(0.45..0.55));
        let half = i64::try_from(half.as_secs()).unwrap_or_default();
        Self { renew_at: now.saturating_add(half), expires_at }
    }

    fn is_due(self) -> bool {
        unix_now() >= self.renew_at
    }
}

/// The node's membership.
#[derive(Debug)]
pub struct Member {
    settings: MemberSettings,
    state: Arc<StateDir>,
    membership: watch::Sender<Membership>,
}

impl Member {
    /// Reads what an earlier run left, and fails if it belongs to another node.
    pub fn new(settings: MemberSettings, state: Arc<StateDir>) -> Result<Self, MemberError> {
        let (membership, _) = watch::channel(Membership::default());
        let member = Self { settings, state, membership };
        let known = member.known()?;
        member.show(known.as_ref(), None);
        Ok(member)
    }

    /// How it stands, as it changes.
    pub fn subscribe(&self) -> watch::Receiver<Membership> {
        self.membership.subscribe()
    }

    /// How to reach the controller once the node is a member.
    pub fn control_settings(&self) -> ControlSettings {
        self.control(RootSource::File(self.state.path_of(state::ROOTS)))
    }

    /// Joins if need be and renews for ever.
    pub async fn keep_fresh(self) -> std::convert::Infallible {
        let mut backoff = Backoff::new(limits::CONTROL_RETRY_MIN, limits::CONTROL_RETRY_MAX);
        loop {
            let pause = match self.refresh().await {
                Ok(pause) => {
                    backoff.reset();
                    pause
                }
                Err(error) => {
                    warn!(%error, "the node's credentials were not renewed; what is there stays in use");
                    self.show(self.known().ok().flatten().as_ref(), Some(error.to_string()));
                    backoff.pause()
                }
            };
            sleep(pause).await;
        }
    }

    /// Does what is due; when to look again.
    async fn refresh(&self) -> Result<Duration, MemberError> {
        let token = self.join_token()?;
        let mut known = match (self.known()?, &token) {
            (Some(known), Some(token)) if known.joined_with != token.fingerprint() => {
                info!("another join token was given: joining anew");
                self.join(token).await?
            }
            (Some(known), _) => known,
            (None, Some(token)) => self.join(token).await?,
            (None, None) => return Err(MemberError::NoJoinToken),
        };
        match (self.renew(&mut known).await, &token) {
            (Err(MemberError::Call { is_refused: true, reason, .. }), Some(token)) => {
                warn!(reason, "the controller refuses the agent's token: joining anew");
                known = self.join(token).await?;
                self.renew(&mut known).await?;
            }
            (Err(MemberError::Call { is_refused: true, reason, .. }), None) => {
                return Err(MemberError::Refused(reason));
            }
            (result, _) => result?,
        }
        self.show(Some(&known), None);
        let next = known
            .ztunnel
            .map_or(known.agent.renew_at, |ztunnel| known.agent.renew_at.min(ztunnel.renew_at));
        let until = u64::try_from(next.saturating_sub(unix_now())).unwrap_or_default();
        let pause = Duration::from_secs(until);
        Ok(pause.clamp(limits::RENEWAL_INTERVAL_MIN, limits::RENEWAL_CHECK))
    }

    async fn join(&self, token: &JoinToken) -> Result<NodeFile, MemberError> {
        let channel = control_channel(self.control(RootSource::Pinned(token.root_hash())))?;
        let request = JoinRequest { join_token: token.to_line(), node: self.settings.node.clone() };
        let mut client = NodeServiceClient::new(channel);
        let joined = deadline("Join", client.join(request)).await?;
        self.keep_token(state::AGENT_TOKEN, &joined.agent_token)?;
        self.keep_roots(&joined.roots).await?;
        let known = NodeFile {
            node: self.settings.node.clone(),
            trust_domain: joined.trust_domain,
            cluster_id: joined.cluster_id,
            joined_with: token.fingerprint(),
            agent: TokenLife::until(joined.expires_at),
            ztunnel: None,
        };
        self.state.write_json(state::MEMBERSHIP, &known)?;
        info!(node = known.node, trust_domain = known.trust_domain, "the node joined the mesh");
        Ok(known)
    }

    async fn renew(&self, known: &mut NodeFile) -> Result<(), MemberError> {
        if known.agent.is_due() {
            known.agent = self.renew_one(Component::Agent, state::AGENT_TOKEN).await?;
            self.state.write_json(state::MEMBERSHIP, known)?;
        }
        if known.ztunnel.is_none_or(TokenLife::is_due) {
            let life = self.renew_one(Component::Ztunnel, state::ZTUNNEL_TOKEN).await?;
            known.ztunnel = Some(life);
            self.state.write_json(state::MEMBERSHIP, known)?;
        }
        Ok(())
    }

    async fn renew_one(
        &self,
        component: Component,
        file: &'static str,
    ) -> Result<TokenLife, MemberError> {
        let token = self.state.read(state::AGENT_TOKEN)?.unwrap_or_default();
        let token = String::from_utf8(token).unwrap_or_default();
        let mut request = Request::new(IssueTokenRequest { component: component.into() });
        let mut bearer = MetadataValue::try_from(format!("Bearer {}", token.trim()))
            .map_err(|_| MemberError::Answer("an agent token that no header can carry"))?;
        bearer.set_sensitive(true);
        request.metadata_mut().insert("authorization", bearer);
        let mut client = NodeServiceClient::new(control_channel(self.control_settings())?);
        let issued = deadline("IssueToken", client.issue_token(request)).await?;
        self.keep_token(file, &issued.token)?;
        self.keep_roots(&issued.roots).await?;
        Ok(TokenLife::until(issued.expires_at))
    }

    fn keep_token(&self, file: &'static str, token: &str) -> Result<(), MemberError> {
        let fits = !token.is_empty() && token.len() <= weft_core::limits::TOKEN_BYTES_MAX;
        if !fits || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(MemberError::Answer("a token that is none"));
        }
        Ok(self.state.write(file, token.as_bytes())?)
    }

    /// Keeps the roots if they are usable: with others, this node could never reach its controller again.
    async fn keep_roots(&self, roots: &str) -> Result<(), MemberError> {
        if roots.len() > limits::ROOTS_BYTES_MAX
            || control_client(&RootSource::Pem(roots.into())).await.is_err()
        {
            return Err(MemberError::Answer("roots that are none"));
        }
        if self.state.read(state::ROOTS)?.as_deref() != Some(roots.as_bytes()) {
            self.state.write(state::ROOTS, roots.as_bytes())?;
        }
        Ok(())
    }

    fn known(&self) -> Result<Option<NodeFile>, MemberError> {
        let known: Option<NodeFile> = self.state.read_json(state::MEMBERSHIP)?;
        match known {
            Some(known) if known.node != self.settings.node => {
                Err(MemberError::OtherNode(known.node))
            }
            known => Ok(known),
        }
    }

    fn join_token(&self) -> Result<Option<JoinToken>, MemberError> {
        let Some(path) = &self.settings.join_token_file else { return Ok(None) };
        // Gone after the first join is as good as never given.
        let Some(content) = state::read_file(path)? else { return Ok(None) };
        let text = String::from_utf8(content).unwrap_or_default();
        let token = text.parse();
        token.map(Some).map_err(|error| MemberError::JoinToken { path: path.clone(), error })
    }

    fn control(&self, roots: RootSource) -> ControlSettings {
        ControlSettings {
            address: self.settings.controller.clone(),
            roots,
            server_name: self.settings.controller_name.clone(),
        }
    }

    fn show(&self, known: Option<&NodeFile>, problem: Option<String>) {
        let next = Membership {
            is_joined: known.is_some(),
            trust_domain: known.map(|known| known.trust_domain.clone()),
            cluster_id: known.map(|known| known.cluster_id.clone()),
            agent_token_expires_at: known.map(|known| known.agent.expires_at),
            ztunnel_token_expires_at: known.and_then(|known| Some(known.ztunnel?.expires_at)),
            problem,
        };
        self.membership.send_if_modified(|current| {
            let is_changed = *current != next;
            *current = next;
            is_changed
        });
    }
}

async fn deadline<T>(
    call: &'static str,
    answer: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, MemberError> {
    match timeout(limits::CONTROL_CALL_DEADLINE, answer).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(MemberError::Call {
            call,
            is_refused: status.code() == Code::Unauthenticated,
            reason: reason(&status),
        }),
        Err(_) => {
            let reason = format!("no answer within {} s", limits::CONTROL_CALL_DEADLINE.as_secs());
            Err(MemberError::Call { call, is_refused: false, reason })
        }
    }
}

/// The status and everything that caused it: the cause at the bottom (refused, certificate, …) is what helps.
fn reason(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        let error_text = error.to_string();
        if !text.contains(&error_text) {
            text = format!("{text}: {error_text}");
        }
        cause = error.source();
    }
    text.chars().take(limits::REASON_BYTES_MAX).collect()
}

fn unix_now() -> i64 {
    i64::try_from(clock::unix_seconds()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
