//! What became of objects, and waypoints in particular. Apart from `/weft/status`, because these look at every object.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::Admin;
use crate::objects::Kind;

/// `/weft/objects`: the conditions of every object that there is something to say about.
pub(super) async fn objects(State(admin): State<Arc<Admin>>) -> Response {
    Json(admin.model.statuses()).into_response()
}

/// `/weft/waypoints`
pub(super) async fn waypoints(State(admin): State<Arc<Admin>>) -> Response {
    Json(admin.model.waypoints()).into_response()
}

/// An object by name.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    kind: String,
    namespace: String,
    name: String,
}

/// `/weft/waypoints/explain?kind=Service&namespace=NS&name=NAME`
pub(super) async fn explain(
    State(admin): State<Arc<Admin>>,
    Query(asked): Query<Asked>,
) -> Response {
    let kind = match asked.kind.as_str() {
        "Service" => Kind::Service,
        "ServiceEntry" => Kind::ServiceEntry,
        "Pod" => Kind::Pod,
        "WorkloadEntry" => Kind::WorkloadEntry,
        _ => return (StatusCode::BAD_REQUEST, "such objects have no waypoints\n").into_response(),
    };
    match admin.model.explain(kind, &asked.namespace, &asked.name) {
        Some(explanation) => Json(explanation).into_response(),
        None => (StatusCode::NOT_FOUND, "there is no such object\n").into_response(),
    }
}
