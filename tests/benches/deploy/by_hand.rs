//! The runbook as a person follows it, command by command: one connection of
//! `ssh` that is kept open (ControlMaster), `curl` for the service and the API.
//! Its waits of fixed length are its own.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::process::{Command, Stdio};
use vdeploy_tests::base::{APP, TOKEN};
use vdeploy_tests::binary::{find, run};
use vdeploy_tests::platform::Place;

/// What is asked of the service, as the runbook does it.
const ENDPOINTS: [&str; 4] = ["/board/tasks", "/feed/events", "/registry/vms", "/commits"];

/// A person with everything at hand.
pub struct ByHand<'p> {
    place: &'p Place<'p>,
    /// Where SSH is reached, and the service from outside.
    port: u16,
    door: String,
    key: std::path::PathBuf,
}

impl<'p> ByHand<'p> {
    pub fn at(place: &'p Place<'p>) -> Result<Self> {
        for program in ["ssh", "curl", "pkill"] {
            find(program).context("install openssh-client, curl and procps")?;
        }
        Ok(Self {
            place,
            port: place.ssh_port()?,
            door: place.door(place.vm)?,
            key: place.vm(place.vm)?.key_file(),
        })
    }

    /// From the snapshot before to the record of the snapshot after.
    pub fn deploy(&self) -> Result<()> {
        let before = self.snapshot()?;
        self.record(&before, "pre-deploy-backup")?;
        self.connect()?;
        let ended = self.on_the_vm();
        self.disconnect()?;
        ended?;
        self.healthy(&self.curl(&["-s", &format!("{}/health", self.door)])?)?;
        let event = json!({ "agent": "person", "type": "custom", "summary": "deployed" });
        self.post("/feed/events", &event)?;
        let after = self.snapshot()?;
        self.record(&after, "post-deploy")
    }

    /// What is typed on the VM.
    fn on_the_vm(&self) -> Result<()> {
        self.ssh(&format!("cd {APP} && git fetch origin"))?;
        self.ssh(&format!("cd {APP} && git checkout main"))?;
        self.ssh(&format!("cd {APP} && git reset --hard origin/main"))?;
        self.ssh(&format!("cd {APP} && npm install"))?;
        self.ssh(&format!("cd {APP} && npm run build"))?;
        // The brackets keep the pattern from matching the shell that has it.
        self.ssh("pkill -f '[n]ode dist/server.js' || true; sleep 1")?;
        self.ssh(&format!(
            "cd {APP}; VERS_AUTH_TOKEN={TOKEN} nohup node dist/server.js \
             >/tmp/agent-services.log 2>&1 </dev/null & sleep 2"
        ))?;
        let log = self.ssh("cat /tmp/agent-services.log")?;
        ensure!(log.contains("running on"), "it did not start: {log}");
        self.healthy(&self.ssh("curl -s http://localhost:3000/health")?)?;
        for path in ENDPOINTS {
            let asked = format!(
                "curl -sf -H 'Authorization: Bearer {TOKEN}' http://localhost:3000{path} \
                 | head -c 200"
            );
            ensure!(self.ssh(&asked)?.starts_with(['{', '[']), "{path}");
        }
        Ok(())
    }

    fn healthy(&self, answer: &str) -> Result<()> {
        ensure!(answer.contains("\"ok\""), "not healthy: {answer}");
        Ok(())
    }

    /// A commit of the VM; its id.
    fn snapshot(&self) -> Result<String> {
        let url = format!(
            "{}/api/v1/vm/{}/commit",
            self.place.api_url(),
            self.place.vm
        );
        let key = format!("Authorization: Bearer {}", self.place.key);
        let mut curl = Command::new("curl");
        curl.args(["-sf", "-X", "POST", "-d", "{}", "-H", &key, "--cacert"]);
        let answer = text(curl.arg(self.place.ca_file()).arg(url))?;
        let answer: Value = serde_json::from_str(&answer)?;
        let id = answer.get("commit_id").and_then(Value::as_str);
        Ok(id.context("no commit id")?.to_owned())
    }

    /// A line in the ledger of the service.
    fn record(&self, commit: &str, label: &str) -> Result<()> {
        let entry = json!({
            "commitId": commit,
            "vmId": self.place.vm.to_string(),
            "label": label,
            "agent": "person",
            "tags": ["infra"],
        });
        self.post("/commits", &entry)
    }

    fn post(&self, path: &str, body: &Value) -> Result<()> {
        let token = format!("Authorization: Bearer {TOKEN}");
        let kind = "Content-Type: application/json";
        let (body, url) = (body.to_string(), format!("{}{path}", self.door));
        self.curl(&["-sf", "-H", &token, "-H", kind, "-d", &body, &url])
            .map(drop)
    }

    fn curl(&self, args: &[&str]) -> Result<String> {
        text(Command::new("curl").args(args))
    }

    fn connect(&self) -> Result<()> {
        let mut master = self.client(["-M", "-N", "-f"]);
        // The master lives on with what it inherits.
        let status = master
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        ensure!(status.success(), "the master: {status}");
        Ok(())
    }

    fn disconnect(&self) -> Result<()> {
        let mut client = self.client(["-O", "exit"]);
        let status = client.stderr(Stdio::null()).status()?;
        ensure!(status.success(), "the end of the master: {status}");
        Ok(())
    }

    fn ssh(&self, script: &str) -> Result<String> {
        text(self.client(["-T"]).arg(script))
    }

    fn client<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none"]);
        for option in [
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "GlobalKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
        ] {
            ssh.args(["-o", option]);
        }
        ssh.arg("-i").arg(&self.key);
        ssh.args(["-p", &self.port.to_string()]);
        ssh.arg("-S").arg(self.place.dir().join("control"));
        ssh.args(args).arg("root@127.0.0.1").stdin(Stdio::null());
        ssh
    }
}

fn text(command: &mut Command) -> Result<String> {
    Ok(String::from_utf8_lossy(&run(command)?.stdout).into_owned())
}
