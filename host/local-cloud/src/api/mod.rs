//! The REST API: paths, bodies and answers of the platform.
//!
//! As on the platform, work continues when the client hangs up: a commit whose client timed out is
//! taken anyway. Knows nothing of processes or directories.

mod reply;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post};
use russh::keys::ssh_key::LineEnding;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use uuid::Uuid;

use crate::api::reply::{ApiError, body, not_json, optional_body, path_id};
use crate::core::Core;
use crate::error::LocalError;
use crate::lifecycle::CommitRequest;
use crate::listeners::gateway::told;
use crate::state_file::{CommitRecord, VmRecord, VmState};

type Cloud = State<Arc<Core>>;
type Answer = Result<Response, ApiError>;

/// The port in the answer to `ssh_key`. As on the platform nobody dials it: SSH goes through the
/// gateway.
const SSH_PORT: u16 = 22;

pub(crate) async fn serve(listener: TcpListener, core: Arc<Core>, mut stop: watch::Receiver<bool>) {
    let served = axum::serve(listener, routes(core))
        .with_graceful_shutdown(async move { told(&mut stop).await })
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the API of the local cloud ended");
    }
}

fn routes(core: Arc<Core>) -> Router {
    let api = Router::new()
        .route("/vms", get(list_vms))
        .route("/vm", get(list_vms))
        .route("/vm/new_root", post(new_root))
        .route("/vm/from_commit", post(from_commit))
        .route("/vm/{id}", delete(delete_vm))
        .route("/vm/{id}/status", get(status))
        .route("/vm/{id}/metadata", get(metadata))
        .route("/vm/{id}/state", patch(set_state))
        .route("/vm/{id}/ssh_key", get(ssh_key))
        .route("/vm/{id}/commit", post(commit))
        .route("/vm/{id}/branch", post(branch))
        .route("/vm/branch/by_vm/{id}", post(branch_by_vm))
        .route("/vm/branch/by_commit/{id}", post(branch_by_commit))
        .route("/vm/commits/{id}/parents", get(parents))
        .route("/commits", get(list_commits))
        .route("/commits/{id}", delete(delete_commit))
        .fallback(|| async { ApiError::Json(StatusCode::NOT_FOUND, "not found".into()) })
        .layer(middleware::from_fn_with_state(Arc::clone(&core), check_key))
        .with_state(core);
    Router::new()
        .route("/health", get(|| async { "OK" }))
        .nest("/api/v1", api)
}

async fn check_key(State(core): Cloud, request: Request, next: Next) -> Response {
    let wanted = format!("Bearer {}", core.api_key);
    match request.headers().get(header::AUTHORIZATION) {
        Some(given) if given.as_bytes() == wanted.as_bytes() => next.run(request).await,
        _ => ApiError::bad_key().into_response(),
    }
}

/// Runs work that continues when the client hangs up.
async fn to_the_end<T, F>(work: F) -> Result<T, ApiError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, LocalError>> + Send + 'static,
{
    let done = tokio::spawn(work).await;
    Ok(done.map_err(|_| LocalError::Interrupted)??)
}

fn created(value: Value) -> Answer {
    Ok((StatusCode::CREATED, axum::Json(value)).into_response())
}

fn ok(value: Value) -> Answer {
    Ok(axum::Json(value).into_response())
}

pub(crate) fn state_name(state: VmState) -> &'static str {
    match state {
        VmState::Booting => "booting",
        VmState::Running => "running",
        VmState::Paused => "paused",
    }
}

fn vm_json(owner: Uuid, id: Uuid, vm: &VmRecord) -> Value {
    json!({
        "vm_id": id,
        "owner_id": owner,
        "created_at": vm.created_at,
        "state": state_name(vm.state),
        "labels": vm.labels,
    })
}

/// A commit as JSON; the platform's calls differ in the key of the id.
fn commit_json(owner: Uuid, id_key: &str, id: Uuid, commit: &CommitRecord) -> Value {
    json!({
        id_key: id,
        "owner_id": owner,
        "name": commit.name,
        "description": commit.description,
        "created_at": commit.created_at,
        "is_public": false,
        "parent_vm_id": commit.parent_vm_id,
        "grandparent_commit_id": commit.grandparent_commit_id,
    })
}

async fn list_vms(State(core): Cloud) -> Answer {
    let owner = core.owner_id();
    let vms: Vec<Value> = core
        .vm_records()
        .iter()
        .map(|(id, vm)| vm_json(owner, *id, vm))
        .collect();
    ok(Value::Array(vms))
}

async fn status(State(core): Cloud, Path(id): Path<String>) -> Answer {
    let id = path_id(&id)?;
    ok(vm_json(core.owner_id(), id, &core.vm_record(id)?))
}

async fn metadata(State(core): Cloud, Path(id): Path<String>) -> Answer {
    let id = path_id(&id)?;
    let vm = core.vm_record(id)?;
    ok(json!({
        "vm_id": id,
        "owner_id": core.owner_id(),
        "created_at": vm.created_at,
        "state": state_name(vm.state),
        "ip": "::1",
        "parent_commit_id": vm.parent_commit_id,
        "grandparent_vm_id": vm.grandparent_vm_id,
        "deleted_at": null,
    }))
}

async fn ssh_key(State(core): Cloud, Path(id): Path<String>) -> Answer {
    let id = path_id(&id)?;
    let vm = core.vm(id)?;
    let pem = vm.ssh_key.to_openssh(LineEnding::LF);
    let pem = pem.map_err(|source| LocalError::SshKey {
        path: vm.dir.join("ssh_key"),
        source,
    })?;
    ok(json!({"ssh_private_key": pem.as_str(), "ssh_port": SSH_PORT}))
}

#[derive(Deserialize, Default)]
struct NewRoot {
    #[serde(default)]
    vm_config: VmConfig,
}

#[derive(Deserialize, Default)]
struct VmConfig {
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

async fn new_root(State(core): Cloud, bytes: Bytes) -> Answer {
    let wish: NewRoot = optional_body(&bytes)?;
    let labels = wish.vm_config.labels.unwrap_or_default();
    let id = to_the_end(async move { core.new_root(labels) }).await?;
    created(json!({"vm_id": id}))
}

async fn delete_vm(State(core): Cloud, Path(id): Path<String>) -> Answer {
    let id = path_id(&id)?;
    if core.vm(id).is_err() {
        return Err(ApiError::forbidden());
    }
    to_the_end(async move { core.delete_vm(id).await }).await?;
    ok(json!({"vm_id": id}))
}

#[derive(Deserialize)]
struct NewState {
    state: WantedState,
}

#[derive(Deserialize)]
enum WantedState {
    Paused,
    Running,
}

async fn set_state(State(core): Cloud, Path(id): Path<String>, bytes: Bytes) -> Answer {
    let id = path_id(&id)?;
    let wanted: NewState = body(&bytes)?;
    to_the_end(async move {
        match wanted.state {
            WantedState::Paused => core.pause(id).await,
            WantedState::Running => core.resume(id).await,
        }
    })
    .await?;
    Ok(StatusCode::OK.into_response())
}

#[derive(Deserialize)]
struct CommitQuery {
    #[serde(default)]
    keep_paused: bool,
}

#[derive(Deserialize, Default)]
struct CommitBody {
    commit_id: Option<Uuid>,
    name: Option<String>,
    description: Option<String>,
}

async fn commit(
    State(core): Cloud,
    Path(id): Path<String>,
    Query(query): Query<CommitQuery>,
    bytes: Bytes,
) -> Answer {
    let id = path_id(&id)?;
    let wish: CommitBody = optional_body(&bytes)?;
    let wish = CommitRequest {
        id: wish.commit_id,
        name: wish.name,
        description: wish.description,
    };
    let made = to_the_end(async move { core.commit(id, query.keep_paused, wish).await }).await?;
    created(json!({"commit_id": made}))
}

async fn from_commit(State(core): Cloud, bytes: Bytes) -> Answer {
    let wish: serde_json::Map<String, Value> = body(&bytes).map_err(|_| not_json(&"no object"))?;
    let mut entries = wish.iter();
    let (Some((key, Value::String(value))), None) = (entries.next(), entries.next()) else {
        return Err(not_json(
            &"expected exactly one of commit_id, tag_name, ref",
        ));
    };
    match key.as_str() {
        "commit_id" => {
            let id = Uuid::parse_str(value).map_err(|error| {
                let text = format!(
                    "Failed to deserialize the JSON body into the target type: commit_id: {error}"
                );
                ApiError::Text(StatusCode::UNPROCESSABLE_ENTITY, text)
            })?;
            let made = to_the_end(async move { core.restore(id, 1).await }).await?;
            created(json!({"vm_id": made.first()}))
        }
        "ref" if !value.contains(':') => Err(ApiError::Json(
            StatusCode::BAD_REQUEST,
            "a reference has the form repo_name:tag_name".into(),
        )),
        "tag_name" | "ref" => Err(ApiError::Json(
            StatusCode::NOT_FOUND,
            "tag not found".into(),
        )),
        _ => Err(not_json(
            &"expected exactly one of commit_id, tag_name, ref",
        )),
    }
}

#[derive(Deserialize)]
struct BranchQuery {
    count: Option<u8>,
    #[serde(default)]
    keep_paused: bool,
}

impl BranchQuery {
    fn count(&self) -> Result<usize, ApiError> {
        match self.count.unwrap_or(1) {
            0 => Err(ApiError::Json(
                StatusCode::BAD_REQUEST,
                "count must be at least 1".into(),
            )),
            count => Ok(usize::from(count)),
        }
    }
}

async fn branch(
    State(core): Cloud,
    Path(id): Path<String>,
    Query(query): Query<BranchQuery>,
) -> Answer {
    let id = path_id(&id)?;
    let count = query.count()?;
    if core.vm(id).is_ok() {
        branched(core, id, query.keep_paused, count).await
    } else {
        restored(core, id, count).await
    }
}

async fn branch_by_vm(
    State(core): Cloud,
    Path(id): Path<String>,
    Query(query): Query<BranchQuery>,
) -> Answer {
    let id = path_id(&id)?;
    let count = query.count()?;
    branched(core, id, query.keep_paused, count)
        .await
        .map_err(ApiError::for_branch)
}

async fn branch_by_commit(
    State(core): Cloud,
    Path(id): Path<String>,
    Query(query): Query<BranchQuery>,
) -> Answer {
    let id = path_id(&id)?;
    let count = query.count()?;
    restored(core, id, count).await
}

async fn branched(core: Arc<Core>, id: Uuid, keep_paused: bool, count: usize) -> Answer {
    let made = to_the_end(async move { core.branch_vm(id, keep_paused, count).await }).await?;
    made_vms(&made)
}

async fn restored(core: Arc<Core>, commit: Uuid, count: usize) -> Answer {
    let made = to_the_end(async move { core.restore(commit, count).await }).await?;
    made_vms(&made)
}

fn made_vms(ids: &[Uuid]) -> Answer {
    let vms: Vec<Value> = ids.iter().map(|id| json!({"vm_id": id})).collect();
    created(json!({"vms": vms}))
}

#[derive(Deserialize)]
struct Page {
    #[serde(default = "default_limit")]
    limit: usize,
    #[serde(default)]
    offset: usize,
}

fn default_limit() -> usize {
    50
}

async fn list_commits(State(core): Cloud, Query(page): Query<Page>) -> Answer {
    let owner = core.owner_id();
    let all = core.commit_records();
    let limit = page.limit.min(100);
    let commits: Vec<Value> = all
        .iter()
        .skip(page.offset)
        .take(limit)
        .map(|(id, commit)| commit_json(owner, "commit_id", *id, commit))
        .collect();
    ok(json!({"commits": commits, "total": all.len(), "limit": limit, "offset": page.offset}))
}

async fn parents(State(core): Cloud, Path(id): Path<String>) -> Answer {
    let owner = core.owner_id();
    let line = core.lineage(path_id(&id)?)?;
    ok(line
        .iter()
        .map(|(id, commit)| commit_json(owner, "id", *id, commit))
        .collect())
}

async fn delete_commit(State(core): Cloud, Path(id): Path<String>) -> Answer {
    let id = path_id(&id)?;
    to_the_end(async move { core.delete_commit(id).await }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
