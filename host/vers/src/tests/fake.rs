//! A fake of the API: VMs and commits in memory, and faults on request.

use crate::{VersClient, VersConfig};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use vdeploy_core::capability::secrets::SecretValue;
use vdeploy_core::ids::VmId;

pub(super) const KEY: &str = "00000000-0000-0000-0000-000000000000s3cr3tkey";

/// What the fake does instead of, or after, what it was asked.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// Does it, then ends the connection without an answer.
    DropsAfter,
    /// Does it, but the answer never comes.
    HangsAfter,
    /// Does it and answers something else.
    AnswersAfter(u16, &'static str),
    /// Does nothing and answers this.
    Answers(u16, &'static str),
    /// Does nothing and ends the connection.
    Drops,
    /// The same with `Retry-After: 0`.
    Busy,
    /// Does it, and answers 503 with `Retry-After: 0`.
    LaterAfter,
}

#[derive(Default)]
pub(super) struct Cloud {
    /// `METHOD path?query` and body, without `/api/v1`.
    pub(super) seen: Vec<(String, Value)>,
    pub(super) vms: Vec<Value>,
    pub(super) commits: Vec<Value>,
    /// Used up by the next calls whose `METHOD path` starts with the text.
    pub(super) faults: VecDeque<(&'static str, Fault)>,
    pub(super) ssh_key: String,
    pub(super) ssh_port: u16,
    pub(super) paused_after_commit: bool,
    pub(super) state_words: Vec<&'static str>,
    /// Answers a commit with a body of fields like a version without them.
    pub(super) refuses_fields: bool,
    /// Forgets the name and description of a commit.
    pub(super) forgets_fields: bool,
    /// Calls with a header that asks to be done once only.
    pub(super) idempotent_calls: usize,
}

impl Cloud {
    pub(super) fn count(&self, start: &str) -> usize {
        self.seen
            .iter()
            .filter(|(c, _)| c.starts_with(start))
            .count()
    }

    pub(super) fn vm(&mut self, id: &str) -> Option<&mut Value> {
        self.vms.iter_mut().find(|vm| vm["vm_id"] == id)
    }

    pub(super) fn add_vm(&mut self, id: &str, state: &str, commit: Option<&str>) {
        self.vms.push(json!({
            "vm_id": id, "owner_id": "o", "created_at": now(), "state": state,
            "parent_commit_id": commit, "labels": null,
        }));
    }

    pub(super) fn add_commit(&mut self, vm: &str, body: &Value, at: &str) -> String {
        let id = format!("commit-{}", self.commits.len() + 1);
        self.commits.push(json!({
            "commit_id": id, "owner_id": "o", "created_at": at, "is_public": false,
            "name": body["name"], "description": body["description"], "parent_vm_id": vm,
        }));
        id
    }

    fn answer(&mut self, method: &Method, path: &str, query: &str, body: &Value) -> (u16, Value) {
        let not_found = (404, json!({"error": "not found", "success": false}));
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let number = |name: &str| {
            let pair = query.split('&').find_map(|p| p.strip_prefix(name));
            pair.and_then(|v| v.strip_prefix('='))
                .and_then(|v| v.parse().ok())
        };
        match (method.as_str(), parts.as_slice()) {
            ("GET", ["vms"]) => (200, Value::Array(self.vms.clone())),
            ("GET", ["vm", id, "status" | "metadata"]) => match self.vm(id) {
                Some(vm) => (200, vm.clone()),
                None => not_found,
            },
            ("GET", ["vm", _, "ssh_key"]) => (
                200,
                json!({"ssh_private_key": self.ssh_key, "ssh_port": self.ssh_port}),
            ),
            ("POST", ["vm", _, "commit"]) if self.refuses_fields && *body != json!({}) => {
                (422, Value::String("unknown field `name`".into()))
            }
            ("POST", ["vm", id, "commit"]) => {
                let body = match self.forgets_fields {
                    true => &Value::Null,
                    false => body,
                };
                let commit = self.add_commit(id, body, &now());
                if self.paused_after_commit {
                    self.vm(id).unwrap()["state"] = "paused".into();
                }
                (201, json!({ "commit_id": commit }))
            }
            ("POST", ["vm", "from_commit"]) => {
                let id = format!("restored-{}", self.vms.len());
                self.add_vm(&id, "booting", body["commit_id"].as_str());
                (201, json!({ "vm_id": id }))
            }
            ("PATCH", ["vm", id, "state"]) => {
                let word = body["state"].as_str().unwrap().to_owned();
                if !self.state_words.contains(&word.as_str()) {
                    return (422, Value::String("unknown variant".into()));
                }
                self.vm(id).unwrap()["state"] = word.to_lowercase().into();
                (200, Value::Null)
            }
            ("DELETE", ["vm", id]) => {
                self.vms.retain(|vm| vm["vm_id"] != *id);
                (200, json!({ "vm_id": id }))
            }
            ("GET", ["commits"]) => {
                let offset = number("offset").unwrap_or(0);
                let page: Vec<Value> = self.commits.iter().skip(offset).cloned().collect();
                let page = page
                    .into_iter()
                    .take(number("limit").unwrap_or(50).min(100));
                (200, json!({ "commits": page.collect::<Vec<_>>() }))
            }
            ("GET", ["vm", "commits", id, "parents"]) => {
                let mut line = Vec::new();
                let mut next = Some((*id).to_owned());
                while let Some(id) = next.take() {
                    let Some(c) = self.commits.iter().find(|c| c["commit_id"] == *id) else {
                        break;
                    };
                    line.push(
                        json!({"id": id, "owner_id": "o", "parent_vm_id": c["parent_vm_id"]}),
                    );
                    let vm = self.vms.iter().find(|vm| vm["vm_id"] == c["parent_vm_id"]);
                    next = vm.and_then(|vm| Some(vm["parent_commit_id"].as_str()?.to_owned()));
                }
                match line.is_empty() {
                    false => (200, Value::Array(line)),
                    true => (404, json!({"error": "commit not found", "success": false})),
                }
            }
            _ => not_found,
        }
    }
}

pub(super) fn now() -> String {
    jiff::Timestamp::now().to_string()
}

pub(super) struct Fake {
    pub(super) address: SocketAddr,
    pub(super) cloud: Arc<Mutex<Cloud>>,
}

impl Fake {
    pub(super) async fn start() -> Self {
        let cloud = Arc::new(Mutex::new(Cloud {
            state_words: vec!["Paused", "Running"],
            ..Cloud::default()
        }));
        cloud.lock().unwrap().add_vm("vm-1", "running", None);
        let app = Router::new().fallback(handle).with_state(cloud.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, cloud }
    }

    pub(super) fn fault(&self, call: &'static str, fault: Fault) {
        self.cloud.lock().unwrap().faults.push_back((call, fault));
    }

    pub(super) fn count(&self, call: &str) -> usize {
        self.cloud.lock().unwrap().count(call)
    }

    pub(super) fn config(&self) -> VersConfig {
        let key = SecretValue::new(KEY.to_owned());
        let mut config = VersConfig::new(
            format!("http://api.localhost:{}/api/v1/", self.address.port()),
            key,
        );
        config.reconcile_for = Duration::from_secs(3);
        config
    }

    pub(super) fn client(&self) -> VersClient {
        VersClient::new(&self.config()).unwrap()
    }
}

pub(super) fn vm(id: &str) -> VmId {
    VmId::new(id)
}

async fn handle(State(cloud): State<Arc<Mutex<Cloud>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let path = parts.uri.path().strip_prefix("/api/v1").unwrap().to_owned();
    let query = parts.uri.query().unwrap_or("").to_owned();
    let expected = format!("Bearer {KEY}");
    if parts
        .headers
        .get(header::AUTHORIZATION)
        .map(|v| v.as_bytes())
        != Some(expected.as_bytes())
    {
        return (StatusCode::FORBIDDEN, "403 Forbidden").into_response();
    }
    let call = format!("{} {path}", parts.method);
    let (fault, (status, answer)) = {
        let mut cloud = cloud.lock().unwrap();
        let once = ["x-idempotency-key", "idempotency-key"];
        cloud.idempotent_calls += usize::from(once.iter().any(|h| parts.headers.contains_key(*h)));
        cloud.seen.push((format!("{call}?{query}"), body.clone()));
        let at = cloud.faults.iter().position(|(c, _)| call.starts_with(c));
        let fault = at
            .and_then(|at| cloud.faults.remove(at))
            .map(|(_, fault)| fault);
        let answer = match fault {
            Some(Fault::Answers(..) | Fault::Drops | Fault::Busy) => (0, Value::Null),
            _ => cloud.answer(&parts.method, &path, &query, &body),
        };
        (fault, answer)
    };
    let status_of = |code| StatusCode::from_u16(code).unwrap();
    match fault {
        Some(Fault::DropsAfter | Fault::Drops) => broken(),
        Some(Fault::HangsAfter) => std::future::pending().await,
        Some(Fault::AnswersAfter(code, text) | Fault::Answers(code, text)) => {
            (status_of(code), text).into_response()
        }
        Some(Fault::LaterAfter) => {
            (status_of(503), [("Retry-After", "0")], "try later").into_response()
        }
        Some(Fault::Busy) => (status_of(429), [("Retry-After", "0")], "slow down").into_response(),
        None => match answer {
            Value::Null => status_of(status).into_response(),
            Value::String(text) => (status_of(status), text).into_response(),
            json => (
                status_of(status),
                [(header::CONTENT_TYPE, "application/json")],
                json.to_string(),
            )
                .into_response(),
        },
    }
}

/// An answer that breaks off in its body.
fn broken() -> Response {
    let pieces: [Result<Bytes, std::io::Error>; 2] = [
        Ok(Bytes::from_static(b"{")),
        Err(std::io::ErrorKind::BrokenPipe.into()),
    ];
    Body::from_stream(futures_util::stream::iter(pieces)).into_response()
}
