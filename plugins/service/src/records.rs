//! Records of deploys in the service: feed events, the ledger of snapshots, the
//! registry of VMs. Every write can be repeated without a second effect.
//!
//! This module must not know when something is recorded, nor whether a failure
//! matters.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vdeploy_plugin::{Cx, Error, ErrorKind, RequestBuilder, Response, Secret};

use crate::endpoints::begin_of;

const TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    New,
    /// An earlier try wrote it.
    Already,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub agent: String,
    /// The feed has no type for deploys: `custom`.
    #[serde(rename = "type")]
    pub kind: String,
    pub summary: String,
    pub detail: String,
    /// Must have a key `run`, which identifies a repeated event.
    pub metadata: Value,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommitRecord {
    pub commit_id: String,
    pub vm_id: String,
    pub label: String,
    pub agent: String,
    pub tags: Vec<String>,
}

/// An entry of the registry. The service keeps keys that are not named here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VmEntry {
    pub id: String,
    pub name: String,
    pub role: String,
    pub status: String,
    /// Host name without scheme and port.
    pub address: String,
    pub services: Value,
    pub registered_by: String,
}

/// The records of the service at the address of the target.
#[derive(Debug)]
pub struct Records<'a, C> {
    cx: &'a Cx<C>,
    token: &'a Secret,
}

impl<'a, C> Records<'a, C> {
    pub fn new(cx: &'a Cx<C>, token: &'a Secret) -> Self {
        Self { cx, token }
    }

    /// Posts an event, unless the feed has one with the same agent, summary and
    /// run.
    ///
    /// # Errors
    /// `record.refused`, and those of http.
    pub fn post_event(&self, event: &Event) -> Result<Recorded, Error> {
        let path = format!("/feed/events?type={}&limit=200", event.kind);
        let feed = self.cx.target_endpoint(&path)?;
        let earlier = self.request("GET", &path)?.send()?;
        accepted("GET /feed/events", &earlier)?;
        // A bare array today; later versions wrap it.
        let earlier: Value = earlier.json().unwrap_or_default();
        let earlier = earlier.get("events").unwrap_or(&earlier);
        let posted = earlier.as_array().is_some_and(|events| {
            events.iter().any(|one| {
                one.get("agent").and_then(Value::as_str) == Some(&event.agent)
                    && one.get("summary").and_then(Value::as_str) == Some(&event.summary)
                    && one.pointer("/metadata/run") == event.metadata.get("run")
            })
        });
        if posted {
            return Ok(Recorded::Already);
        }
        let mut post = self.request("POST", "/feed/events")?.json(event);
        if let Some(run) = event.metadata.get("run").and_then(Value::as_str) {
            post = post.read_back(feed, run);
        }
        accepted("POST /feed/events", &post.send()?)?;
        Ok(Recorded::New)
    }

    /// Adds a snapshot to the ledger; an existing entry stays as it is.
    ///
    /// # Errors
    /// `record.refused`, and those of http.
    pub fn record_commit(&self, record: &CommitRecord) -> Result<Recorded, Error> {
        let post = self.request("POST", "/commits")?.json(record);
        let path = format!("/commits/{}", record.commit_id);
        let written = self.cx.target_endpoint(&path)?;
        let answer = post.read_back(written, &record.commit_id).send()?;
        if answer.status() == 409 {
            return Ok(Recorded::Already);
        }
        accepted("POST /commits", &answer)?;
        Ok(Recorded::New)
    }

    /// # Errors
    /// `record.refused`, `json.invalid`, and those of http.
    pub fn vm(&self, id: &str) -> Result<Option<VmEntry>, Error> {
        self.entry(id)
    }

    fn entry<T: DeserializeOwned>(&self, id: &str) -> Result<Option<T>, Error> {
        let answer = self
            .request("GET", &format!("/registry/vms/{id}"))?
            .send()?;
        if answer.status() == 404 {
            return Ok(None);
        }
        accepted("GET /registry/vms/ID", &answer)?;
        answer.json().map(Some)
    }

    /// Creates or updates this entry, as seen now. The role of an existing entry
    /// cannot change.
    ///
    /// # Errors
    /// `record.refused`, and those of http.
    pub fn put_vm(&self, entry: &VmEntry) -> Result<Recorded, Error> {
        if self.vm(&entry.id)?.is_none() {
            let post = self.request("POST", "/registry/vms")?.json(entry);
            let path = format!("/registry/vms/{}", entry.id);
            let written = self.cx.target_endpoint(&path)?;
            let answer = post.read_back(written, &entry.id).send()?;
            if answer.status() != 409 {
                accepted("POST /registry/vms", &answer)?;
                return Ok(Recorded::New);
            }
        }
        let change = serde_json::json!({
            "name": entry.name,
            "status": entry.status,
            "address": entry.address,
            "services": entry.services,
        });
        self.patch_vm(&entry.id, &change)?;
        Ok(Recorded::Already)
    }

    /// Reports the VM as seen now, so that discovery shows it again. A heartbeat
    /// in doubt is not sent again: it cannot be read back, and the next one of
    /// the service has the same effect.
    ///
    /// # Errors
    /// `record.refused`, and those of http.
    pub fn heartbeat(&self, id: &str) -> Result<(), Error> {
        let path = format!("/registry/vms/{id}/heartbeat");
        match self.request("POST", &path)?.send() {
            Ok(answer) => accepted("POST /registry/vms/ID/heartbeat", &answer),
            Err(error) if in_doubt(&error) => {
                self.cx.info(format!(
                    "cannot tell whether the heartbeat of {id} arrived: {error}"
                ));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Changes an entry of the registry. A change in doubt is read back, and
    /// sent again if it did not arrive.
    ///
    /// # Errors
    /// `record.refused`, and those of http.
    pub fn patch_vm(&self, id: &str, change: &Value) -> Result<(), Error> {
        let path = format!("/registry/vms/{id}");
        let patch = || self.request("PATCH", &path)?.json(change).send();
        let answer = match patch() {
            Err(error) if in_doubt(&error) => match self.entry::<Value>(id)? {
                Some(entry) if has(&entry, change) => return Ok(()),
                _ => patch()?,
            },
            answer => answer?,
        };
        accepted("PATCH /registry/vms/ID", &answer)
    }

    fn request(&self, method: &str, path: &str) -> Result<RequestBuilder, Error> {
        let url = self.cx.target_endpoint(path)?;
        Ok(self
            .cx
            .http(method, url)
            .bearer(self.token)
            .timeout(TIMEOUT))
    }
}

/// Whether the request may have arrived, unless the run is being stopped.
fn in_doubt(error: &Error) -> bool {
    error.maybe_applied && error.kind != ErrorKind::Cancelled
}

fn has(entry: &Value, change: &Value) -> bool {
    let mut values = change.as_object().into_iter().flatten();
    values.all(|(name, value)| entry.get(name) == Some(value))
}

fn accepted(what: &str, answer: &Response) -> Result<(), Error> {
    if answer.ok() {
        return Ok(());
    }
    Err(Error::failed(
        "record.refused",
        format!(
            "{what} answered {}: {}",
            answer.status(),
            begin_of(answer.body())
        ),
    ))
}

/// The host name in an address such as `https://vm.example.org:3000`.
pub fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    match authority.rsplit_once(':') {
        // The digits are not the last part of an IPv6 address.
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// The first seven characters of a commit id.
pub fn short(sha: &str) -> &str {
    sha.get(..7).unwrap_or(sha)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_read_from_an_address() {
        assert_eq!(host_of("https://vm-1.vm.vers.sh:3000"), "vm-1.vm.vers.sh");
        assert_eq!(host_of("http://a.test/x:1"), "a.test");
        assert_eq!(host_of("http://[::1]:80/"), "[::1]");
        assert_eq!(host_of("http://[::1]"), "[::1]");
    }

    #[test]
    fn a_commit_id_is_shortened_only_when_it_is_long() {
        assert_eq!(short("1234567890"), "1234567");
        assert_eq!(short("main"), "main");
    }
}
