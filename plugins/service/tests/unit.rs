//! The script for a systemd service, with a fake `systemctl` and `journalctl` that
//! run one real process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use vdeploy_service::testing::{Stage, TOKEN};

const SCRIPT: &str = concat!(
    include_str!("../src/sockets.sh"),
    "\n",
    include_str!("../src/process.sh"),
    "\n",
    include_str!("../src/marker.sh"),
    "\n",
    include_str!("../src/wrong_port.sh"),
    "\n",
    include_str!("../src/unit.sh")
);

/// Runs `dist/server.js` as the only process of a unit. Its state is in files.
const SYSTEMCTL: &str = r#"#!/bin/sh
cd "$UNIT_STATE" || exit 1
pid=$(cat pid 2>/dev/null)
[ "$1" != --no-ask-password ] || shift
case $1 in
    restart | stop)
        [ ! -f refuse ] || { echo "Job for $2 failed."; exit 1; }
        [ -z "$pid" ] || kill "$pid" 2>/dev/null
        while :; do
            case $(cut -d' ' -f3 "/proc/${pid:-0}/stat" 2>/dev/null) in '' | Z) break ;; esac
            sleep 0.02
        done
        rm -f pid
        [ "$1" = restart ] || exit 0
        echo "$(cat invocation 2>/dev/null)1" >invocation
        cd "$UNIT_APP" && setsid sh -c "exec env $(cat "$UNIT_STATE/env") node dist/server.js" \
            </dev/null >"$UNIT_STATE/journal" 2>&1 &
        echo $! >"$UNIT_STATE/pid"
        ;;
    show)
        running=yes
        case $(cut -d' ' -f3 "/proc/${pid:-0}/stat" 2>/dev/null) in '' | Z) running= ;; esac
        case $3 in
            MainPID) echo "MainPID=${running:+$pid}" ;;
            InvocationID) echo "InvocationID=$(cat invocation)" ;;
            Environment) echo "Environment=$(cat env)" ;;
            ExecStart) [ ! -f program ] || echo "ExecStart={ path=/usr/bin/node ; argv[]=/usr/bin/node dist/server.js }" ;;
            ActiveState) if [ "$running" ]; then echo ActiveState=active; else echo ActiveState=failed; fi ;;
            SubState) if [ "$running" ]; then echo SubState=running; else echo SubState=failed; fi ;;
            ExecMainStatus) echo ExecMainStatus=3 ;;
        esac
        ;;
esac
"#;
const JOURNALCTL: &str = "#!/bin/sh\ncase \"$*\" in *\" INVOCATION_ID=$(cat \"$UNIT_STATE/invocation\") \"*) cat \"$UNIT_STATE/journal\" ;; esac\n";

struct Unit {
    stage: Stage,
}

impl Unit {
    fn new(env: &str) -> Self {
        let stage = Stage::new().unwrap();
        fs::create_dir(stage.path("bin")).unwrap();
        for (name, text) in [("systemctl", SYSTEMCTL), ("journalctl", JOURNALCTL)] {
            let path = stage.path("bin").join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let unit = Self { stage };
        let env = format!("PORT={} {env}", unit.stage.port());
        fs::write(unit.stage.path("env"), env).unwrap();
        unit
    }

    fn path(&self, name: &str) -> PathBuf {
        self.stage.path(name)
    }

    /// A program that finds the fake `systemctl` and `journalctl`.
    fn command(&self, program: &str) -> Command {
        let path = std::env::var("PATH").unwrap();
        let path = format!("{}:{path}", self.path("bin").display());
        // The program itself is found in the PATH of the test.
        let ours = self.path("bin").join(program);
        let program = if ours.exists() { ours } else { program.into() };
        let mut command = Command::new(program);
        command
            .env("PATH", path)
            .env("UNIT_STATE", self.path(""))
            .env("UNIT_APP", self.stage.app());
        command
    }

    fn run(&self, verb: &str, seconds: &str) -> String {
        let mut child = self
            .command("sh")
            .args(["-s", "--", verb, "agent-services", &self.stage.app()])
            .args([&self.stage.port().to_string(), "running on"])
            .args(["VERS_AUTH_TOKEN is not set", seconds, "abc", "run-1"])
            .arg("VERS_AUTH_TOKEN")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), SCRIPT.as_bytes()).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    }

    /// A process with several threads is a zombie shortly before its last thread
    /// closes the port, and the fake systemctl does not wait for that.
    fn ended(&self) -> bool {
        let until = Instant::now() + Duration::from_secs(10);
        let mut pause = Duration::from_millis(5);
        while self.stage.answers() {
            if Instant::now() > until {
                return false;
            }
            std::thread::sleep(pause);
            pause *= 2;
        }
        true
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        let pid = self.stage.read("pid");
        if !pid.is_empty() {
            drop(
                Command::new("kill")
                    .args(["-KILL", pid.trim()])
                    .stderr(Stdio::null())
                    .status(),
            );
        }
    }
}

#[test]
fn a_unit_is_restarted_and_its_process_named() {
    let unit = Unit::new(&format!("VERS_AUTH_TOKEN={TOKEN}"));
    let answer = unit.run("restart", "20");
    let pid = unit.stage.read("pid");
    assert!(answer.starts_with("state=ready\n"), "{answer}");
    assert!(answer.contains(&format!("\nlistener={pid}")), "{answer}");
    assert!(answer.contains("log=journal of agent-services"), "{answer}");
    let marker = unit.stage.marker().unwrap();
    assert_eq!(marker.pid.to_string(), pid.trim());
    let again = unit.run("restart", "20");
    assert!(again.starts_with("state=ready\n"), "{again}");
    assert_ne!(unit.stage.read("pid"), pid);
    assert_eq!(unit.run("stop", "20").lines().next(), Some("state=stopped"));
    assert!(unit.ended());
}

#[test]
fn a_unit_without_its_token_is_stopped() {
    let unit = Unit::new("NONE=1");
    let answer = unit.run("restart", "20");
    assert!(answer.starts_with("state=open\n"), "{answer}");
    assert!(unit.ended());
}

#[test]
fn a_unit_that_gives_no_token_is_left_as_it_is() {
    let unit = Unit::new("NONE=1");
    // A unit without a wrapper gets its token only from the unit.
    fs::write(unit.path("program"), "").unwrap();
    unit.command("systemctl")
        .args(["restart", "agent-services"])
        .status()
        .unwrap();
    let pid = unit.stage.read("pid");
    let answer = unit.run("restart", "20");
    assert!(answer.starts_with("state=no-token\n"), "{answer}");
    assert_eq!(unit.stage.read("pid"), pid);
    // A unit that has the token now may restart, even if the old process has none.
    let env = format!("PORT={} VERS_AUTH_TOKEN={TOKEN}", unit.stage.port());
    fs::write(unit.path("env"), env).unwrap();
    let answer = unit.run("restart", "20");
    assert!(answer.starts_with("state=ready\n"), "{answer}");
    assert!(!answer.contains(TOKEN), "{answer}");
}

#[test]
fn a_unit_that_crashes_or_cannot_start_says_why() {
    let unit = Unit::new("CRASH=1 VERS_AUTH_TOKEN=x");
    let answer = unit.run("restart", "20");
    assert!(
        answer.starts_with("state=died\n") && answer.contains("\nexit=3\n"),
        "{answer}"
    );
    assert!(answer.contains("no such table: tasks"), "{answer}");
    fs::write(unit.path("refuse"), "").unwrap();
    let answer = unit.run("restart", "20");
    assert!(answer.starts_with("state=failed\n"), "{answer}");
    assert!(
        answer.contains("Job for agent-services failed."),
        "{answer}"
    );
}
