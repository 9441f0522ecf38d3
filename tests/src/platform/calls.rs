//! Each call of the API: what it asks of the cloud, and what it answers.

use super::cloud::{Cloud, Commit, Entry};
use super::fault::Call;
use super::reply::Reply;
use serde_json::{Value, json};
use uuid::Uuid;

/// A request, as far as the API looks at it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `GET` and so on.
    pub method: String,
    /// Below `/api/v1`.
    pub path: Vec<String>,
    /// Decoded pairs.
    pub query: Vec<(String, String)>,
    /// As sent.
    pub body: String,
    /// The account's key.
    pub key: String,
    /// The account.
    pub owner: Uuid,
}

/// Who owns a VM that is in everybody's list: the list is the organisation's.
const COLLEAGUE: &str = "0b5f1c3e-7a54-4e0b-9c39-3b0b7f0f8a11";

impl Asked {
    /// Which call this is.
    pub fn call(&self) -> Call {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        match (self.method.as_str(), path.as_slice()) {
            ("GET", ["vms" | "vm"]) => Call::ListVms,
            ("GET", ["vm", _, "status"]) => Call::Status,
            ("GET", ["vm", _, "metadata"]) => Call::Metadata,
            ("GET", ["vm", _, "ssh_key"]) => Call::SshKey,
            ("POST", ["vm", "from_commit"]) => Call::Restore,
            ("POST", ["vm", _, "commit"]) => Call::Commit,
            ("GET", ["commits"]) => Call::ListCommits,
            ("GET", ["vm", "commits", _, "parents"]) => Call::Parents,
            ("PATCH", ["vm", _, "state"]) => Call::SetState,
            ("DELETE", ["vm", _]) => Call::Delete,
            _ => Call::Other,
        }
    }

    fn id(&self, at: usize) -> Result<Uuid, Reply> {
        let text = self.path.get(at).map_or("", String::as_str);
        text.parse().map_err(|_| {
            let why = "Invalid URL: Cannot parse the id as a UUID";
            Reply::text(400, why, false)
        })
    }

    fn json(&self) -> Result<Value, Reply> {
        serde_json::from_str(&self.body)
            .map_err(|_| Reply::text(400, "Failed to parse the request body as JSON", true))
    }

    fn number(&self, name: &str) -> Option<usize> {
        let pair = self.query.iter().find(|(key, _)| key == name);
        pair.and_then(|(_, value)| value.parse().ok())
    }
}

/// Does what was asked.
pub fn answer(cloud: &Cloud, asked: &Asked) -> Reply {
    let done = match asked.call() {
        Call::ListVms => Ok(list_vms(cloud, asked)),
        Call::Status => own(cloud, asked, 1).map(|(id, entry)| Reply::json(200, &seen(id, &entry))),
        Call::Metadata => own(cloud, asked, 1).map(|(id, entry)| metadata(id, &entry)),
        Call::SshKey => own(cloud, asked, 1).map(|(_, entry)| {
            // The port is the platform's own affair and leads nowhere.
            let key = entry.vm.login_key.clone();
            Reply::json(200, &json!({ "ssh_private_key": key, "ssh_port": 37_122 }))
        }),
        Call::Commit => commit(cloud, asked),
        Call::Restore => restore(cloud, asked),
        Call::ListCommits => Ok(list_commits(cloud, asked)),
        Call::Parents => parents(cloud, asked),
        Call::SetState => set_state(cloud, asked),
        Call::Delete => delete(cloud, asked),
        Call::Any | Call::Look | Call::Other => Err(Reply::empty(404)),
    };
    done.unwrap_or_else(|refusal| refusal)
}

/// A VM of the asking account.
fn own(cloud: &Cloud, asked: &Asked, at: usize) -> Result<(Uuid, Entry), Reply> {
    let id = asked.id(at)?;
    let entry = cloud.state().vms.get(&id).cloned();
    match entry {
        Some(entry) if entry.owner == asked.owner => Ok((id, entry)),
        Some(_) => Err(Reply::error(403, "Forbidden")),
        None => Err(Reply::error(404, "not found")),
    }
}

fn seen(id: Uuid, entry: &Entry) -> Value {
    json!({
        "vm_id": id,
        "owner_id": entry.owner,
        "created_at": entry.created_at.to_string(),
        "state": entry.state,
        "labels": null,
    })
}

fn list_vms(cloud: &Cloud, asked: &Asked) -> Reply {
    let mut list = vec![json!({
        "vm_id": "5b3d6f0e-58a8-4c5a-9d2f-1c0f63f0b0aa",
        "owner_id": COLLEAGUE,
        "created_at": "2026-01-05T09:00:00Z",
        "state": "running",
        "labels": { "purpose": "somebody else's" },
    })];
    let state = cloud.state();
    let own = state.vms.iter().filter(|(_, vm)| vm.owner == asked.owner);
    list.extend(own.map(|(id, entry)| seen(*id, entry)));
    Reply::json(200, &Value::from(list))
}

fn metadata(id: Uuid, entry: &Entry) -> Reply {
    let body = json!({
        "vm_id": id,
        "owner_id": entry.owner,
        "created_at": entry.created_at.to_string(),
        "state": entry.state,
        "ip": "fd00:fe11:deed::7",
        "parent_commit_id": entry.parent,
        "grandparent_vm_id": null,
        "deleted_at": null,
    });
    Reply::json(200, &body)
}

fn commit(cloud: &Cloud, asked: &Asked) -> Result<Reply, Reply> {
    let (id, entry) = own(cloud, asked, 1)?;
    // A body was not always asked for.
    let body = match asked.body.trim() {
        "" => json!({}),
        _ => asked.json()?,
    };
    if entry.state == "booting" {
        return Err(Reply::error(500, "the VM is still booting"));
    }
    let text = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_owned);
    let chosen = match text("commit_id").map(|id| id.parse()) {
        None => None,
        Some(Ok(id)) => Some(id),
        Some(Err(_)) => return Err(unfit("commit_id: UUID parsing failed")),
    };
    let made = cloud.commit(&asked.key, id, (chosen, text("name"), text("description")));
    match made {
        Ok(commit) => Ok(Reply::json(201, &json!({ "commit_id": commit }))),
        Err(error) => Err(Reply::error(500, &format!("{error:#}"))),
    }
}

fn unfit(why: &str) -> Reply {
    let text = format!("Failed to deserialize the JSON body into the target type: {why}");
    Reply::text(422, &text, true)
}

fn restore(cloud: &Cloud, asked: &Asked) -> Result<Reply, Reply> {
    let body = asked.json()?;
    let keys: Vec<&String> = body
        .as_object()
        .into_iter()
        .flat_map(|o| o.keys())
        .collect();
    if keys.len() != 1 || !body.get("commit_id").is_some_and(Value::is_string) {
        let why = "Failed to parse the request body as JSON: data did not match any variant";
        return Err(Reply::text(400, why, true));
    }
    let id = body.get("commit_id").and_then(Value::as_str);
    let id: Uuid = id
        .unwrap_or_default()
        .parse()
        .map_err(|_| unfit("commit_id: UUID parsing failed"))?;
    let found = cloud.state().commits.get(&id).cloned();
    let commit = found
        .filter(|commit| commit.public || commit.owner == asked.owner)
        .ok_or_else(|| Reply::error(404, "commit not found"))?;
    match cloud.make_vm(&asked.key, &commit.stored, Some(id)) {
        Ok(vm) => Ok(Reply::json(201, &json!({ "vm_id": vm }))),
        Err(error) => Err(Reply::error(500, &format!("{error:#}"))),
    }
}

fn told(id: Uuid, commit: &Commit, key: &str) -> Value {
    let mut value = json!({
        "owner_id": commit.owner,
        "name": commit.name,
        "description": commit.description,
        "created_at": commit.created_at.to_string(),
        "is_public": commit.public,
        "parent_vm_id": commit.vm,
        "grandparent_commit_id": commit.parent,
    });
    if let Some(object) = value.as_object_mut() {
        object.insert(key.to_owned(), json!(id));
    }
    value
}

/// Newest first, a page at a time.
fn list_commits(cloud: &Cloud, asked: &Asked) -> Reply {
    let (limit, offset) = (asked.number("limit"), asked.number("offset"));
    let limit = limit.unwrap_or(50).min(100);
    let offset = offset.unwrap_or(0);
    let state = cloud.state();
    let mut own: Vec<_> = state
        .commits
        .iter()
        .filter(|(_, commit)| commit.owner == asked.owner)
        .collect();
    own.sort_by_key(|(_, commit)| std::cmp::Reverse(commit.created_at));
    let page: Vec<Value> = own
        .iter()
        .skip(offset)
        .take(limit)
        .map(|(id, commit)| told(**id, commit, "commit_id"))
        .collect();
    let body = json!({ "commits": page, "total": own.len(), "limit": limit, "offset": offset });
    Reply::json(200, &body)
}

/// The commit itself, and what its VM was made from, up to the root.
fn parents(cloud: &Cloud, asked: &Asked) -> Result<Reply, Reply> {
    let mut next = Some(asked.id(2)?);
    let state = cloud.state();
    let mut line = Vec::new();
    while let Some(id) = next {
        let found = state.commits.get(&id);
        let Some(commit) = found.filter(|c| c.public || c.owner == asked.owner) else {
            break;
        };
        line.push(told(id, commit, "id"));
        next = commit.parent;
    }
    match line.is_empty() {
        true => Err(Reply::error(404, "commit not found")),
        false => Ok(Reply::json(200, &Value::from(line))),
    }
}

fn set_state(cloud: &Cloud, asked: &Asked) -> Result<Reply, Reply> {
    let (id, _) = own(cloud, asked, 1)?;
    let body = asked.json()?;
    let done = match body.get("state").and_then(Value::as_str) {
        Some("Paused") => cloud.pause(id),
        Some("Running") => cloud.resume(id),
        _ => {
            return Err(unfit(
                "state: unknown variant, expected `Paused` or `Running`",
            ));
        }
    };
    match done {
        Ok(()) => Ok(Reply::empty(200)),
        Err(error) => Err(Reply::error(500, &format!("{error:#}"))),
    }
}

/// One that is not there is forbidden, as on the platform.
fn delete(cloud: &Cloud, asked: &Asked) -> Result<Reply, Reply> {
    let (id, _) = own(cloud, asked, 1).map_err(|refusal| match refusal.status() {
        404 => Reply::error(403, "Forbidden"),
        _ => refusal,
    })?;
    cloud.delete(id);
    Ok(Reply::json(200, &json!({ "vm_id": id })))
}
