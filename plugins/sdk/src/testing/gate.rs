//! The rules of the gate: grants, dry run, snapshot first, no change in `check`.

use super::call::{Call, FakeCommand, FakeRequest};
use super::host_state::{HostState, Phase};
use super::manifest::Request;
use super::pattern::{argv_matches, url_matches};
use crate::{Error, ErrorKind};

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
                "no snapshot of the target stands in this run",
            ));
        }
        Ok(Passage::Perform)
    }

    /// Whether the manifest requests `snapshot = "self-managed"`.
    fn makes_snapshots(&self) -> bool {
        let Some(Ok(manifest)) = &self.manifest else {
            return false;
        };
        let own =
            |request: &Request| request.capability == "snapshot" && request.scope == "self-managed";
        manifest.requests.iter().any(own)
    }

    /// Whether the manifest requests this call. Without a manifest everything
    /// is granted.
    fn granted(&self, call: &Call) -> Result<(), Error> {
        let manifest = match &self.manifest {
            None => return Ok(()),
            Some(Err(error)) => return Err(error.clone()),
            Some(Ok(manifest)) => manifest,
        };
        let covered = |capability: &str, matches: &dyn Fn(&str) -> bool| {
            manifest
                .requests
                .iter()
                .any(|request| request.capability == capability && matches(&request.scope))
        };
        let (granted, code) = match call {
            Call::Ssh(command) => (
                covered("ssh", &|scope| command_matches(scope, command)),
                "ssh.denied",
            ),
            Call::Http(request) => (
                covered("http", &|scope| self.request_matches(scope, request)),
                "http.denied",
            ),
            Call::SnapshotCreate { .. } => (
                covered("snapshot", &|scope| scope == "create"),
                "snapshot.denied",
            ),
            Call::SnapshotRestore { .. } | Call::SnapshotPauseOld { .. } => (
                covered("snapshot", &|scope| scope == "restore"),
                "snapshot.denied",
            ),
            Call::SnapshotDeclare { .. } => (
                covered("snapshot", &|scope| scope == "self-managed"),
                "snapshot.denied",
            ),
            Call::SnapshotExists { .. } => (covered("snapshot", &|_| true), "snapshot.denied"),
            Call::SecretGet { name } => (
                covered("secrets", &|scope| secret_name(scope) == name),
                "secret.denied",
            ),
            Call::SecretReveal { name } => (
                covered("secrets-reveal", &|scope| secret_name(scope) == name),
                "secret.reveal-denied",
            ),
            Call::StateGet { .. } | Call::StatePut { .. } | Call::StateDelete { .. } => {
                (covered("state", &|_| true), "state.denied")
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

    fn request_matches(&self, scope: &str, request: &FakeRequest) -> bool {
        let Some((method, address)) = scope.split_once(' ') else {
            return false;
        };
        method == request.method && url_matches(&self.resolve(address.trim()), &request.url)
    }

    /// Whether a secret may go with this request or command.
    pub(crate) fn secret_may_go(&self, name: &str, destination: Option<&str>) -> Result<(), Error> {
        let Some(Ok(manifest)) = &self.manifest else {
            return Ok(());
        };
        let allowed = manifest
            .requests
            .iter()
            .filter(|request| request.capability == "secrets")
            .filter_map(|request| request.scope.split_once('@'))
            .filter(|(secret, _)| *secret == name)
            .any(|(_, place)| match destination {
                None => place == "ssh",
                Some(url) => {
                    place != "ssh" && {
                        let place = self.resolve(place);
                        url_matches(&place, url) || url_matches(&format!("{place}/**"), url)
                    }
                }
            });
        if allowed {
            return Ok(());
        }
        let place = destination.unwrap_or("ssh");
        Err(denied(
            "secret.denied",
            &format!("no [[request]] in plugin.toml lets secret `{name}` go to {place}"),
        ))
    }

    fn resolve(&self, address: &str) -> String {
        match (address.strip_prefix("target"), &self.target_url) {
            (Some(rest), Some(url)) if rest.is_empty() || rest.starts_with('/') => {
                format!("{url}{rest}")
            }
            _ => address.to_owned(),
        }
    }
}

fn command_matches(scope: &str, command: &FakeCommand) -> bool {
    let scope = match scope.strip_prefix("probe:") {
        Some(_) if command.change => return false,
        Some(pattern) => pattern,
        None => scope,
    };
    let mut argv = vec![command.program.as_str()];
    argv.extend(command.args.iter().map(String::as_str));
    argv_matches(scope, &argv)
}

fn secret_name(scope: &str) -> &str {
    scope.split_once('@').map_or(scope, |(name, _)| name)
}

fn denied(code: &str, message: &str) -> Error {
    Error::new(ErrorKind::Denied, code, message)
}
