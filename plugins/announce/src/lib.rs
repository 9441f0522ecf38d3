//! The step `announce`: posts a feed event, takes a snapshot of the verified
//! version, records it in the ledger, and updates the registry entry for
//! discovery. The deploy is already live, so a failure is only a warning.
//!
//! This plugin must not know how the deploy was made.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

use serde::{Deserialize, Serialize};
use serde_json::json;
use vdeploy_plugin::{Cx, Error, ErrorKind, Step};
use vdeploy_service::outputs::{Baseline, Pulled, Restarted, SnapshotTaken};
use vdeploy_service::records::{CommitRecord, Event, Recorded, Records, VmEntry, host_of, short};

/// See `plugin.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Config {
    agent: String,
    auth_secret: String,
    feed: bool,
    snapshot: bool,
    label: String,
    tags: Vec<String>,
    registry: bool,
    role: String,
    services: Vec<String>,
    strict: bool,
}

/// Each record is `done`, `done before`, `off`, `none: WHY` or `failed: WHY`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Output {
    pub summary: String,
    pub skipped: bool,
    pub feed: String,
    pub snapshot: Option<String>,
    pub ledger: String,
    pub registry: String,
}

#[derive(Debug)]
pub struct Announce;

impl Step for Announce {
    type Config = Config;
    type Output = Output;

    fn check(cx: &Cx<Config>) -> Result<(), Error> {
        cx.target_endpoint("/")?;
        cx.secret(&cx.config().auth_secret).map(drop)
    }

    fn run(cx: &Cx<Config>) -> Result<Output, Error> {
        let config = cx.config();
        let deploy = Deploy::read(cx)?;
        if deploy.before.unchanged {
            return Ok(Output {
                summary: "nothing was deployed, so nothing is announced".to_owned(),
                skipped: true,
                ..Output::default()
            });
        }
        let token = cx.secret(&config.auth_secret)?;
        let records = Records::new(cx, &token);
        let mut notes = Notes {
            cx,
            failed: Vec::new(),
        };

        let feed = match config.feed {
            true => {
                let posted = records.post_event(&deploy.event(cx));
                notes.note("the feed event", posted.map(say))?
            }
            false => "off".to_owned(),
        };

        // Unique: an unanswered call is found again by its label.
        let label = format!(
            "{} {} run {}",
            config.label,
            short(deploy.sha()),
            cx.run_id()
        );
        let mut snapshot = None;
        let ledger = if config.snapshot {
            let taken = cx.snapshot().create(&label);
            let taken = taken.inspect(|id| snapshot = Some(id.clone()));
            let note = match taken {
                // The target has no snapshots: not a failure.
                Err(error) if error.code == "snapshot.unsupported" => {
                    "none: no platform takes snapshots of the target".to_owned()
                }
                taken => notes.note("the snapshot after the deploy", taken)?,
            };
            match (&snapshot, cx.target_vm()) {
                (None, _) => note,
                (_, None) => "none: the target is no Vers VM".to_owned(),
                (Some(id), Some(vm)) => {
                    let recorded = records.record_commit(&CommitRecord {
                        commit_id: id.clone(),
                        vm_id: vm,
                        label,
                        agent: config.agent.clone(),
                        tags: config.tags.clone(),
                    });
                    notes.note(
                        &format!("the ledger record of snapshot {id}"),
                        recorded.map(say),
                    )?
                }
            }
        } else {
            "off".to_owned()
        };

        let registry = match (config.registry, cx.target_vm()) {
            (false, _) => "off".to_owned(),
            (true, None) => "none: the target is no Vers VM".to_owned(),
            (true, Some(vm)) => {
                let updated = update_registry(cx, &records, &deploy, &vm);
                notes.note("the registry entry", updated.map(say))?
            }
        };

        notes.finish(config.strict)?;
        let told = match notes.failed.len() {
            0 => String::new(),
            n => format!("; {n} of its records failed"),
        };
        let summary = match cx.dry_run() {
            true => format!("would announce {}", short(deploy.sha())),
            false => format!("{}{told}", deploy.headline(cx)),
        };
        Ok(Output {
            summary,
            skipped: false,
            feed,
            snapshot,
            ledger,
            registry,
        })
    }
}

fn say(recorded: Recorded) -> String {
    match recorded {
        Recorded::New => "done".to_owned(),
        Recorded::Already => "done before".to_owned(),
    }
}

/// Warns about failed records and collects them.
struct Notes<'a> {
    cx: &'a Cx<Config>,
    failed: Vec<String>,
}

impl Notes<'_> {
    /// An error only when the run is being stopped.
    fn note(&mut self, what: &str, result: Result<String, Error>) -> Result<String, Error> {
        match result {
            Ok(text) => Ok(text),
            Err(error) if error.kind == ErrorKind::Cancelled => Err(error),
            Err(error) => {
                self.cx.warn(format!("{what} failed: {error}"));
                self.failed.push(format!("{what}: {error}"));
                Ok(format!("failed: {}", error.message))
            }
        }
    }

    fn finish(&self, strict: bool) -> Result<(), Error> {
        if !strict || self.failed.is_empty() {
            return Ok(());
        }
        Err(Error::failed("announce.failed", self.failed.join("; ")))
    }
}

/// A correct entry gets only a heartbeat, so that edits of an operator stay.
fn update_registry(
    cx: &Cx<Config>,
    records: &Records<'_, Config>,
    deploy: &Deploy,
    vm: &str,
) -> Result<Recorded, Error> {
    let config = cx.config();
    let url = cx.target_url().unwrap_or_default();
    let address = host_of(&url).to_owned();
    match records.vm(vm)? {
        Some(entry) if entry.status == "running" && entry.address == address => {
            records.heartbeat(vm)?;
            Ok(Recorded::Already)
        }
        Some(_) => {
            records.patch_vm(vm, &json!({"status": "running", "address": address}))?;
            Ok(Recorded::Already)
        }
        None => {
            let service = |name: &String| json!({"name": name, "port": deploy.before.port, "healthPath": "/health"});
            records.put_vm(&VmEntry {
                id: vm.to_owned(),
                name: cx.target_name(),
                role: config.role.clone(),
                status: "running".to_owned(),
                address,
                services: config.services.iter().map(service).collect(),
                registered_by: config.agent.clone(),
            })
        }
    }
}

#[derive(Debug, Default)]
struct Deploy {
    before: Baseline,
    pulled: Pulled,
    snapshot: SnapshotTaken,
    restarted: Restarted,
}

impl Deploy {
    fn read(cx: &Cx<Config>) -> Result<Self, Error> {
        Ok(Self {
            before: cx.output_of("preflight")?.unwrap_or_default(),
            pulled: cx.output_of("git-pull")?.unwrap_or_default(),
            snapshot: cx.output_of("snapshot")?.unwrap_or_default(),
            restarted: cx.output_of("restart")?.unwrap_or_default(),
        })
    }

    fn sha(&self) -> &str {
        let started = [&self.pulled.new_sha, &self.restarted.sha];
        let started = started.into_iter().find(|sha| !sha.is_empty());
        started.unwrap_or(&self.before.sha)
    }

    /// The version that was live before.
    fn old_sha(&self) -> &str {
        match self.before.sha.as_str() {
            "" => &self.pulled.old_sha,
            sha => sha,
        }
    }

    fn headline(&self, cx: &Cx<Config>) -> String {
        let (new, target) = (short(self.sha()), cx.target_name());
        match short(self.old_sha()) {
            _ if self.pulled.old_sha.is_empty() => format!("deployed {new} to {target}"),
            _ if self.before.first_deploy => format!("deployed {new} to {target}, the first"),
            old if old == new => format!("deployed {new} to {target} again"),
            old => format!("deployed {new} to {target} in place of {old}"),
        }
    }

    fn event(&self, cx: &Cx<Config>) -> Event {
        let mut detail = format!("run {} of plan {}", cx.run_id(), cx.plan_name());
        if let Some(id) = &self.snapshot.id {
            detail.push_str(&format!("; the state before it is snapshot {id}"));
        }
        if !self.restarted.summary.is_empty() {
            detail.push_str(&format!("; {}", self.restarted.summary));
        }
        Event {
            agent: cx.config().agent.clone(),
            kind: "custom".to_owned(),
            summary: self.headline(cx),
            detail,
            metadata: json!({
                "kind": "deploy",
                "run": cx.run_id(),
                "target": cx.target_name(),
                "vm": cx.target_vm(),
                "sha": self.sha(),
                "oldSha": self.old_sha(),
                "snapshotBefore": self.snapshot.id,
            }),
        }
    }
}

vdeploy_plugin::register_step!(Announce);

#[cfg(test)]
mod tests;
