//! The calls of the admin port: a request becomes a call to [`Governed`], its answer JSON.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::body::read;
use super::governed::Governed;
use super::orders::{self, Ask, PATIENCE, check, check_news};
use super::table::table;
use super::words::{
    Answers, Batch, ConfigAsk, Drain, HandOverAsk, LeadAsk, Members, SealAsk, Shard, Shards, Shutdown,
    SnapshotAsk, Snapshots, Status, Trouble,
};
use crate::runtime::JoinError;
use crate::types::ShardId;

type Node = State<Arc<dyn Governed>>;

/// All calls.
pub(super) fn router(node: Arc<dyn Governed>) -> Router {
    Router::new()
        .route("/admin/status", get(status))
        .route("/admin/shards", get(shards))
        .route("/admin/members", post(members))
        .route("/admin/seal", post(order::<SealAsk>))
        .route("/admin/lead", post(order::<LeadAsk>))
        .route("/admin/config", post(order::<ConfigAsk>))
        .route("/admin/hand-over", post(order::<HandOverAsk>))
        .route("/admin/snapshots", get(snapshots).post(order_snapshots))
        .route("/admin/drain", post(drain))
        .route("/admin/shutdown", post(shutdown))
        .fallback(no_such_call)
        .method_not_allowed_fallback(no_such_method)
        .with_state(node)
}

async fn status(State(node): Node) -> Json<Status> {
    let pulse = timeout(PATIENCE, node.pulse()).await;
    Json(Status::new(node.node(), pulse.ok().and_then(Result::ok).map(Into::into)))
}

/// How the answer is to look.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Look {
    #[serde(default)]
    format: Format,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "snake_case")]
enum Format {
    #[default]
    Json,
    Table,
}

async fn shards(State(node): Node, look: Result<Query<Look>, QueryRejection>) -> Result<Response, Trouble> {
    let Query(look) = look.map_err(|rejection| {
        Trouble::refused(400, "malformed_query", "The query is not understood", rejection.body_text())
    })?;
    let Ok(reports) = timeout(PATIENCE, node.shards()).await else {
        return Err(Trouble::refused(504, "no_answer", "The shards do not answer", "ask again"));
    };
    let shards: Vec<Shard> = reports.into_iter().map(Into::into).collect();
    Ok(match look.format {
        Format::Json => Json(Shards { shards }).into_response(),
        Format::Table => table(&shards, &node.node().roster).into_response(),
    })
}

async fn members(State(node): Node, request: Request) -> Result<StatusCode, Trouble> {
    let Members { to, members } = read(request).await?;
    check_news(node.as_ref(), &to)?;
    match timeout(PATIENCE, node.join(members.0)).await {
        Ok(Ok(())) => Ok(StatusCode::NO_CONTENT),
        Ok(Err(error)) => Err(not_joined(&error)),
        Err(_) => {
            let title = "The members may or may not be remembered";
            Err(Trouble::refused(504, "no_answer", title, "send them again").unknown())
        }
    }
}

fn not_joined(error: &JoinError) -> Trouble {
    let refused = |code, title| Trouble::refused(409, code, title, error.to_string());
    match error {
        JoinError::NotMe(_) => refused("not_in_members", "The members do not have this node"),
        JoinError::OtherVolume(_) => refused("other_volume", "A member is another volume for good"),
        JoinError::OtherId { .. } => refused("other_id", "The node has another id for good"),
        JoinError::Alone => refused("alone", "The node is on its own"),
        JoinError::Disk(_) => {
            let title = "The members cannot be remembered";
            Trouble::refused(500, "superblock_failed", title, error.to_string()).unknown()
        }
    }
}

async fn order<A: Ask + DeserializeOwned>(
    State(node): Node,
    request: Request,
) -> Result<Json<Answers>, Trouble> {
    let batch: Batch<A> = read(request).await?;
    orders::put(node.as_ref(), batch, PATIENCE).await.map(Json)
}

async fn snapshots(State(node): Node) -> Json<Snapshots> {
    Json(Snapshots { snapshots: node.snapshots().into_iter().map(Into::into).collect() })
}

/// Answered at once: how far they are, the same path tells.
async fn order_snapshots(State(node): Node, request: Request) -> Result<StatusCode, Trouble> {
    let SnapshotAsk { to, shards } = read(request).await?;
    check(node.as_ref(), &to)?;
    let known: BTreeSet<ShardId> = node.snapshots().into_iter().map(|report| report.shard).collect();
    if let Some(unknown) = shards.iter().find(|shard| !known.contains(shard)) {
        let detail = format!("there is no shard {unknown}; nothing was ordered");
        return Err(Trouble::refused(400, "no_such_shard", "A shard is not there", detail));
    }
    node.order_snapshots(&shards);
    Ok(StatusCode::NO_CONTENT)
}

async fn drain(State(node): Node, request: Request) -> Result<StatusCode, Trouble> {
    let Drain { to, draining } = read(request).await?;
    check(node.as_ref(), &to)?;
    node.drain(draining);
    Ok(StatusCode::NO_CONTENT)
}

async fn shutdown(State(node): Node, request: Request) -> Result<StatusCode, Trouble> {
    let Shutdown { to } = read(request).await?;
    check(node.as_ref(), &to)?;
    node.shut_down();
    Ok(StatusCode::NO_CONTENT)
}

async fn no_such_call() -> Trouble {
    Trouble::refused(404, "no_such_call", "There is no such call", "docs/admin.md lists them all")
}

async fn no_such_method(request: Request) -> Response {
    let allow = match request.uri().path() {
        "/admin/status" | "/admin/shards" => "GET, HEAD",
        "/admin/snapshots" => "GET, HEAD, POST",
        _ => "POST",
    };
    let title = "The call has another method";
    let mut response = Trouble::refused(405, "no_such_method", title, format!("use {allow}")).into_response();
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}
