//! The rules of the gate: grants, dry run, snapshot first, no change in `check`.

use super::call::{Call, FakeCommand};
use super::host_state::{HostState, Phase};
use crate::{Error, ErrorKind};
use url::Url;
use vdeploy_core::capability::secrets::{Secret, SecretValue};
use vdeploy_core::capability::ssh::Command;
use vdeploy_scope::{Grants, SnapshotScope};

/// The decision on a call that is not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passage {
    /// Use the scripted answers.
    Perform,
    /// A change in a dry run: answer as if it succeeded.
    Pretend,
}

impl HostState {
    /// Records a call and decides on it.
    pub(crate) fn pass(&mut self, call: Call) -> Result<Passage, Error> {
        let granted = self.granted(&call);
        let change = call.is_change();
        let touches_target = matches!(call, Call::Ssh(_) | Call::Http(_));
        let is_command = matches!(call, Call::Ssh(_));
        self.calls.push(call);
        if let Some(error) = self.faults.remove(&self.calls.len()) {
            return Err(error);
        }
        granted?;
        if !change {
            return Ok(Passage::Perform);
        }
        if self.phase == Phase::Check {
            return Err(denied("gate.check", "a change is refused in check"));
        }
        if self.dry_run {
            return Ok(Passage::Pretend);
        }
        if is_command && !self.snapshot_taken && self.phase == Phase::Run && self.makes_snapshots()
        {
            self.prepared = true;
            return Ok(Passage::Perform);
        }
        if touches_target && !self.snapshot_taken {
            return Err(denied(
                "gate.no-snapshot",
                "no snapshot of the target exists in this run",
            ));
        }
        Ok(Passage::Perform)
    }

    /// Whether the manifest requests `snapshot = "self-managed"`.
    fn makes_snapshots(&self) -> bool {
        matches!(&self.manifest, Some(Ok(manifest))
            if manifest.grants().allows_snapshot(SnapshotScope::SelfManaged))
    }

    /// What the manifest asks for; `None` without a manifest: all is granted.
    fn grants(&self) -> Result<Option<&Grants>, Error> {
        match &self.manifest {
            None => Ok(None),
            Some(Ok(manifest)) => Ok(Some(manifest.grants())),
            Some(Err(error)) => Err(error.clone()),
        }
    }

    /// Whether the manifest asks for this call. Judged by the host's own code.
    fn granted(&self, call: &Call) -> Result<(), Error> {
        let Some(grants) = self.grants()? else {
            return Ok(());
        };
        let target = self.target_url.as_deref();
        let (granted, code) = match call {
            Call::Ssh(command) => (
                grants.allows_ssh(&as_command(command), !command.change),
                "ssh.denied",
            ),
            Call::Http(request) => (
                Url::parse(&request.url)
                    .is_ok_and(|url| grants.allows_http(&request.method, &url, target)),
                "http.denied",
            ),
            Call::SnapshotCreate { .. } => (
                grants.allows_snapshot(SnapshotScope::Create),
                "snapshot.denied",
            ),
            Call::SnapshotRestore { .. } | Call::SnapshotPauseOld { .. } => (
                grants.allows_snapshot(SnapshotScope::Restore),
                "snapshot.denied",
            ),
            Call::SnapshotDeclare { .. } => (
                grants.allows_snapshot(SnapshotScope::SelfManaged),
                "snapshot.denied",
            ),
            Call::SnapshotExists { .. } => (!grants.snapshot.is_empty(), "snapshot.denied"),
            Call::SecretGet { name } => (grants.allows_secret(name), "secret.denied"),
            Call::SecretReveal { name } => (grants.allows_reveal(name), "secret.reveal-denied"),
            Call::StateGet { .. } | Call::StatePut { .. } | Call::StateDelete { .. } => {
                (grants.state, "state.denied")
            }
        };
        if granted {
            return Ok(());
        }
        Err(denied(
            code,
            &format!("no [[request]] in plugin.toml covers: {call}"),
        ))
    }

    /// Whether a secret may go with this request (its URL), or with a command.
    pub(crate) fn secret_may_go(&self, name: &str, destination: Option<&str>) -> Result<(), Error> {
        let Some(grants) = self.grants().ok().flatten() else {
            return Ok(());
        };
        let target = self.target_url.as_deref();
        let allowed = match destination {
            None => grants.allows_secret_to_ssh(name),
            Some(url) => {
                Url::parse(url).is_ok_and(|url| grants.allows_secret_to_url(name, &url, target))
            }
        };
        if allowed {
            return Ok(());
        }
        let place = destination.unwrap_or("ssh");
        Err(denied(
            "secret.denied",
            &format!("no [[request]] in plugin.toml lets secret `{name}` go to {place}"),
        ))
    }
}

/// The command as the host's grants judge it.
fn as_command(command: &FakeCommand) -> Command {
    let mut judged = Command::new(&command.program);
    judged.args.clone_from(&command.args);
    judged.env.clone_from(&command.env);
    let secrets = command.secret_env.iter();
    judged.secret_env = secrets
        .map(|(variable, name, value)| {
            let secret = Secret {
                name: name.clone(),
                value: SecretValue::new(value.clone()),
            };
            (variable.clone(), secret)
        })
        .collect();
    judged
}

fn denied(code: &str, message: &str) -> Error {
    Error::new(ErrorKind::Denied, code, message)
}
