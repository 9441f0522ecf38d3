//! The local cloud of the demo, through `vdeploy local`. Knows nothing of what
//! is deployed there.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::text;
use crate::command;

/// A local cloud and the program that runs it.
#[derive(Debug)]
pub(super) struct Cloud {
    pub(super) vdeploy: PathBuf,
    /// Its directory.
    pub(super) dir: PathBuf,
}

/// A VM of the local cloud.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Vm {
    pub(super) id: String,
    /// Its home directory, as this machine sees it.
    pub(super) home: PathBuf,
    /// Where its service answers.
    pub(super) url: String,
}

impl Cloud {
    /// Starts the cloud, which returns when it is ready, and finds its VM.
    pub(super) fn start(&self) -> Result<Vm> {
        command::run(self.local("up").arg("--detach"))?;
        let status = command::output(self.local("status").arg("--json"))?;
        first_vm(&status)
    }

    /// Stops the cloud, if there is one.
    pub(super) fn stop(&self) -> Result<()> {
        if self.dir.exists() {
            command::run(&mut self.local("down"))?;
        }
        Ok(())
    }

    /// `vdeploy local VERB --dir DIR`.
    fn local(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.vdeploy);
        command.args(["local", verb, "--dir"]).arg(&self.dir);
        command.stdin(Stdio::null());
        command
    }
}

/// The first VM in what `vdeploy local status --json` prints.
fn first_vm(status: &str) -> Result<Vm> {
    let status: Value =
        serde_json::from_str(status).context("`vdeploy local status` did not print JSON")?;
    if status.get("running") != Some(&Value::Bool(true)) {
        bail!("the local cloud does not run: {status}");
    }
    let vm = status
        .pointer("/vms/0")
        .context("the local cloud has no VM")?;
    let id = text(vm, "vm-id")?;
    let domain = text(&status, "vm-domain")?;
    let port = status
        .get("router-port")
        .and_then(Value::as_u64)
        .context("the local cloud says no `router-port`")?;
    Ok(Vm {
        home: PathBuf::from(text(vm, "home")?),
        url: format!("http://{id}.{domain}:{port}"),
        id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vm_is_found_with_its_home_and_url() {
        let status = r#"{"running": true, "vm-domain": "vm.localhost", "router-port": 81,
            "vms": [{"vm-id": "vm-1", "home": "/h"}, {"vm-id": "vm-2", "home": "/i"}]}"#;
        let vm = Vm {
            id: "vm-1".to_owned(),
            home: PathBuf::from("/h"),
            url: "http://vm-1.vm.localhost:81".to_owned(),
        };
        assert_eq!(first_vm(status).unwrap(), vm);
    }

    #[test]
    fn a_cloud_that_is_down_or_without_a_vm_is_said() {
        let down = first_vm(r#"{"running": false, "vms": []}"#).unwrap_err();
        assert!(down.to_string().contains("does not run"), "{down}");
        let empty = first_vm(r#"{"running": true, "vms": []}"#).unwrap_err();
        assert!(empty.to_string().contains("no VM"), "{empty}");
        assert!(first_vm("up").is_err());
    }
}
