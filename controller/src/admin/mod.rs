//! The admin server: readiness, metrics, who is in sync, and join tokens. Loopback only.
//!
//! Reading needs no credentials, since nothing secret is shown; the one call that makes something, a join token,
//! needs the admin token of the state folder. Requests that name another host are refused, so that a web page can't
//! reach in by pointing its own name at loopback (DNS rebinding).

mod objects;
mod status;
mod syncz;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use weft_core::join_token::JoinToken;

pub(crate) use status::unix_seconds;
pub use status::{ControllerStatus, ModelStatus, NoModel, RejectedDocument, TypeCount};

use crate::ca::Authority;
use crate::metrics::Metrics;
use crate::nodes::MeshNames;
use crate::serving_limits::{
    ADMIN_BODY_BYTES_MAX, ADMIN_REQUESTS_MAX, JOIN_TOKEN_TTL_DEFAULT, WAYPOINT_TOKEN_TTL_DEFAULT,
};
use crate::state_dir::{StateDir, StateError};
use crate::tokens::{TokenIssuer, bearer_token};
use crate::xds::{Clients, Log};

const TOKEN_FILE: &str = "admin-token";
/// OpenMetrics 1.0.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the admin server shows.
pub struct Admin {
    /// Names of the mesh.
    pub names: MeshNames,
    /// Resources.
    pub log: Log,
    /// Discovery clients.
    pub clients: Clients,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// The authority, for its expiry and for join tokens.
    pub authority: Arc<Authority>,
    /// Issues join tokens.
    pub tokens: Arc<TokenIssuer>,
    /// Objects and documents.
    pub model: Arc<dyn ModelStatus>,
    /// Whether all objects were read once.
    pub is_synced: watch::Receiver<bool>,
    /// What a caller must present to get a join token.
    pub secret: AdminSecret,
}

/// The admin token.
pub struct AdminSecret(String);

impl AdminSecret {
    /// Reads it from the state folder, and makes it on the first start.
    pub fn open(state: &StateDir) -> Result<Self, StateError> {
        if let Some(text) = state.read_text(TOKEN_FILE)? {
            return Ok(Self(text.trim().to_owned()));
        }
        let text = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        state.write(TOKEN_FILE, text.as_bytes())?;
        Ok(Self(text))
    }

    /// Compares in constant time.
    fn is(&self, presented: &str) -> bool {
        let (own, other) = (self.0.as_bytes(), presented.as_bytes());
        !own.is_empty() && aws_lc_rs::constant_time::verify_slices_are_equal(own, other).is_ok()
    }
}

/// Asks for a join token, or for a waypoint's.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TokenRequest {
    /// The node that may join.
    #[serde(default)]
    pub node: Option<String>,
    /// The waypoint: `<namespace>/<name>` of its Gateway.
    #[serde(default)]
    pub waypoint: Option<String>,
    /// The service account of the waypoint's instances; the one that its pods have if absent.
    #[serde(default)]
    pub service_account: Option<String>,
    /// For how long, seconds; an hour for a node and a day for a waypoint if absent.
    #[serde(default)]
    pub ttl_seconds: Option<u64>,
}

/// A join token.
#[derive(Clone, Serialize, Deserialize)]
pub struct TokenResponse {
    /// The line to give to the node.
    pub token: String,
}

/// Serves until `stop`.
pub async fn serve(
    listener: TcpListener,
    admin: Arc<Admin>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let app = router(admin).layer(middleware::from_fn(refuse_other_hosts));
    let requests = Arc::new(Semaphore::new(ADMIN_REQUESTS_MAX));
    let app = app.layer(middleware::from_fn_with_state(requests, limit));
    axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await
}

fn router(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/stats/prometheus", get(metrics))
        .route("/version", get(async || env!("CARGO_PKG_VERSION")))
        .route("/debug/syncz", get(sync_status))
        .route("/weft/status", get(status))
        .route("/weft/objects", get(objects::objects))
        .route("/weft/waypoints", get(objects::waypoints))
        .route("/weft/waypoints/explain", get(objects::explain))
        .route("/weft/token", post(token))
        .layer(DefaultBodyLimit::max(ADMIN_BODY_BYTES_MAX))
        .with_state(admin)
}

async fn limit(State(requests): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    let Ok(_permit) = requests.try_acquire() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many requests at once").into_response();
    };
    let answered = tokio::time::timeout(Duration::from_secs(10), next.run(request)).await;
    answered.unwrap_or_else(|_| StatusCode::REQUEST_TIMEOUT.into_response())
}

async fn refuse_other_hosts(request: Request, next: Next) -> Response {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    if host.is_some_and(is_loopback_name) {
        return next.run(request).await;
    }
    (StatusCode::MISDIRECTED_REQUEST, "ask by localhost or a loopback address").into_response()
}

fn is_loopback_name(host: &str) -> bool {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

async fn ready(State(admin): State<Arc<Admin>>) -> Response {
    if *admin.is_synced.borrow() {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, "not ready: the objects have not been read yet\n")
        .into_response()
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    match admin.metrics.render() {
        Ok(text) => ([(CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn sync_status(State(admin): State<Arc<Admin>>) -> Response {
    Json(syncz::entries(&admin.clients.list())).into_response()
}

async fn status(State(admin): State<Arc<Admin>>) -> Response {
    Json(status::gather(&admin)).into_response()
}

async fn token(State(admin): State<Arc<Admin>>, headers: HeaderMap, body: Bytes) -> Response {
    let presented = bearer_token(&headers);
    if !presented.is_ok_and(|presented| admin.secret.is(presented)) {
        let hint = format!("present the token of the file {TOKEN_FILE} in the state folder\n");
        return (StatusCode::UNAUTHORIZED, hint).into_response();
    }
    let asked: TokenRequest = match serde_json::from_slice(&body) {
        Ok(asked) => asked,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    match issue(&admin, &asked) {
        Ok(token) => {
            let (node, waypoint) = (asked.node.as_deref(), asked.waypoint.as_deref());
            tracing::info!(node, waypoint, "token issued");
            Json(TokenResponse { token: token.to_line() }).into_response()
        }
        Err(reason) => (StatusCode::BAD_REQUEST, format!("{reason}\n")).into_response(),
    }
}

fn issue(admin: &Admin, asked: &TokenRequest) -> Result<JoinToken, String> {
    let ttl = |default| asked.ttl_seconds.map_or(default, Duration::from_secs);
    let root = admin.authority.anchor();
    match (&asked.node, &asked.waypoint) {
        (Some(node), None) => admin.tokens.join_token(root, node, ttl(JOIN_TOKEN_TTL_DEFAULT)),
        (None, Some(waypoint)) => {
            let name = waypoint.split_once('/');
            let name = name.ok_or("name the waypoint as NAMESPACE/NAME of its Gateway")?;
            let account = account(admin, name, asked.service_account.as_deref())?;
            let ttl = ttl(WAYPOINT_TOKEN_TTL_DEFAULT);
            admin.tokens.waypoint_token(root, name, &account, ttl)
        }
        _ => return Err("name a node or a waypoint, and not both".to_owned()),
    }
    .map_err(|error| error.to_string())
}

/// The account that a waypoint's instances run under: the one asked for, or else what is known of them.
fn account(
    admin: &Admin,
    (namespace, name): (&str, &str),
    asked: Option<&str>,
) -> Result<String, String> {
    let known = admin.model.waypoints();
    let known = known.into_iter().find(|it| it.namespace == namespace && it.name == name);
    let known = known.ok_or_else(|| format!("there is no waypoint {namespace}/{name}"))?;
    match (asked, known.accounts.as_slice()) {
        (Some(asked), accounts) if accounts.iter().any(|own| own == asked) => Ok(asked.to_owned()),
        (None, [only]) => Ok(only.clone()),
        (_, accounts) => Err(format!(
            "instances of waypoint {namespace}/{name} run under {}; name one of them",
            accounts.join(", ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_are_answered() {
        for host in
            ["localhost", "localhost:15014", "127.0.0.1", "127.0.0.1:1", "[::1]:15014", "[::1]"]
        {
            assert!(is_loopback_name(host), "{host}");
        }
        for host in
            ["", "evil.example", "evil.example:15014", "10.0.0.1:80", "localhost.evil", "::2"]
        {
            assert!(!is_loopback_name(host), "{host}");
        }
    }
}
