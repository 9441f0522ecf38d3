//! The scripts that start and stop the service, against real processes of this
//! machine. Each process is terminated by the pid from its start.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "lifecycle/logs.rs"]
mod logs;
#[path = "lifecycle/ports.rs"]
mod ports;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use vdeploy_plugin::testing::{self, FakeCommand, FakeHost, FakeOutput, local_shell};
use vdeploy_plugin::{Cx, Error, Step};
use vdeploy_service::listener::Listener;
use vdeploy_service::outputs::RunningMarker;
use vdeploy_service::process::{self, Ended};
use vdeploy_service::start::{self, Launch, Started, Supervisor};

const WARNING: &str = "VERS_AUTH_TOKEN is not set";
const SERVER: &str = r#"
const http = require("node:http");
if (!process.env.VERS_AUTH_TOKEN || process.env.FORGET_TOKEN) {
  console.error("\u26a0\ufe0f  VERS_AUTH_TOKEN is not set \u2014 all endpoints are unauthenticated.");
}
if (process.env.STUBBORN) process.on("SIGTERM", () => {});
if (process.env.CRASH) { console.error("no such table: tasks"); process.exit(3); }
const also = process.env.ALSO;
if (also) http.createServer((q, r) => r.end("metrics")).listen(Number(also), process.env.ALSO_HOST);
setTimeout(() => {
  if (process.env.SILENT) http.createServer((q, r) => r.end("x")).listen(Number(process.env.PORT));
  else if (process.env.QUIET) console.log("vers-agent-services running on nothing");
  else http.createServer((q, r) => r.end(JSON.stringify({ cwd: process.cwd() })))
    .listen(Number(process.env.PORT), () => console.log("vers-agent-services running on :" + process.env.PORT));
}, Number(process.env.DELAY || 0));
"#;

#[derive(Deserialize)]
struct Config {
    stop: Option<Listener>,
    command: String,
    app_dir: String,
    log: String,
    port: u16,
    unit: Option<String>,
    seconds: u64,
    sha: String,
    ready_line: String,
}

struct Life;

impl Step for Life {
    type Config = Config;
    type Output = serde_json::Value;

    fn run(cx: &Cx<Config>) -> Result<serde_json::Value, Error> {
        let config = cx.config();
        if let Some(process) = &config.stop {
            let ended = process::stop(
                cx,
                process,
                config.port,
                Duration::from_secs(config.seconds),
            )?;
            return Ok(serde_json::json!({ "ended": format!("{ended:?}") }));
        }
        let token = cx.secret("auth-token")?;
        let started = start::start(
            cx,
            &Launch {
                app_dir: &config.app_dir,
                command: &config.command,
                port: Some(config.port),
                log: &config.log,
                ready_line: &config.ready_line,
                open_warning: WARNING,
                timeout: Duration::from_secs(config.seconds),
                sha: &config.sha,
                token: &token,
                token_env: "VERS_AUTH_TOKEN",
                supervisor: match &config.unit {
                    Some(unit) => Supervisor::Unit(unit),
                    None => Supervisor::None,
                },
            },
        )?;
        let Started {
            pid,
            start_ticks,
            port,
            log,
            app_dir,
            started_at_ms,
            adopted,
        } = started;
        Ok(serde_json::json!({
            "pid": pid, "start": start_ticks, "port": port, "log": log, "app": app_dir,
            "at": started_at_ms, "adopted": adopted,
        }))
    }
}

struct Launcher {
    dir: tempfile::TempDir,
    port: u16,
    sha: String,
    run: String,
    started: std::cell::RefCell<Vec<Listener>>,
    said: std::rc::Rc<std::cell::RefCell<String>>,
}

impl Launcher {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("app")).unwrap();
        fs::write(dir.path().join("app/server.js"), SERVER).unwrap();
        let port = free_port();
        Self {
            dir,
            port,
            sha: "abc".into(),
            run: "run-1".into(),
            started: Vec::new().into(),
            said: Default::default(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn call(&self, change: serde_json::Value) -> Result<serde_json::Value, Error> {
        let mut config = serde_json::json!({
            "app_dir": "app", "log": self.path("service.log"), "port": self.port,
            "command": "node server.js", "seconds": 20, "sha": self.sha,
            "ready_line": "vers-agent-services running on",
        });
        for (key, value) in change.as_object().unwrap() {
            config[key] = value.clone();
        }
        let host = FakeHost::new()
            .config(config)
            .run_id(&self.run)
            .snapshot_taken(true)
            .secret("auth-token", "s3cret-of-the-test")
            .ssh(self.shell());
        testing::run::<Life>(&host)
    }

    /// Runs the commands and keeps their standard error, which is printed during
    /// the step.
    fn shell(&self) -> impl FnMut(&FakeCommand) -> Result<FakeOutput, Error> + 'static {
        let (mut shell, said) = (local_shell(self.dir.path()), self.said.clone());
        move |command| {
            let output = shell(command)?;
            let text = String::from_utf8_lossy(&output.0.stderr).into_owned();
            said.borrow_mut().push_str(&text);
            Ok(output)
        }
    }

    fn start(&self, command: &str) -> Result<Listener, Error> {
        let answer = self.call(serde_json::json!({ "command": command }))?;
        let process = listener(&answer);
        self.started.borrow_mut().push(process.clone());
        Ok(process)
    }

    fn stop(&self, process: &Listener, seconds: u64) -> String {
        let answer = self
            .call(serde_json::json!({ "stop": process, "seconds": seconds }))
            .unwrap();
        answer["ended"].as_str().unwrap().to_owned()
    }

    fn get(&self) -> Option<String> {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(("localhost", self.port)).ok()?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        for process in self.started.borrow().iter() {
            self.stop(process, 1);
        }
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("[::]:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn listener(answer: &serde_json::Value) -> Listener {
    Listener {
        pid: u32::try_from(answer["pid"].as_u64().unwrap()).unwrap(),
        start_ticks: answer["start"].as_u64().unwrap(),
        argv: vec!["node".into(), "server.js".into()],
        ..Listener::default()
    }
}

fn environment_of(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/environ")).unwrap()
}

fn runs(process: &Listener) -> bool {
    Path::new(&format!("/proc/{}", process.pid)).exists()
}

#[test]
fn a_started_service_serves_in_its_directory_with_the_token_and_nothing_attached() {
    let launcher = Launcher::new();
    let process = launcher.start("node server.js").unwrap();
    let answer = launcher.get().unwrap();
    assert!(answer.contains("/app\"}"), "{answer}");
    assert!(environment_of(process.pid).contains("VERS_AUTH_TOKEN=s3cret-of-the-test"));
    let argv = fs::read_to_string(format!("/proc/{}/cmdline", process.pid)).unwrap();
    assert_eq!(argv, "node\0server.js\0");
    // Standard input, output and error are not pipes of the connection.
    for fd in 0..3 {
        let target = fs::read_link(format!("/proc/{}/fd/{fd}", process.pid)).unwrap();
        let target = target.to_string_lossy().into_owned();
        assert!(
            target == "/dev/null" || target.ends_with("service.log"),
            "{fd}: {target}"
        );
    }
    let marker: RunningMarker =
        serde_json::from_str(&launcher.read("app/.vdeploy/running.json")).unwrap();
    assert!(marker.is_about(&process), "{marker:?}");
    assert_eq!((marker.sha.as_str(), marker.run.as_str()), ("abc", "run-1"));
    assert!(marker.started_at_ms > 1_600_000_000_000 && marker.node.starts_with('v'));
}

#[test]
fn starting_twice_in_one_run_makes_one_process_and_another_run_makes_its_own() {
    let mut launcher = Launcher::new();
    let first = launcher.start("node server.js").unwrap();
    let again = launcher.call(serde_json::json!({})).unwrap();
    assert_eq!(again["adopted"], true);
    assert_eq!(listener(&again), first);
    assert_eq!(launcher.read("service.log.previous"), "");
    launcher.run = "run-2".into();
    let taken = launcher.start("node server.js").unwrap_err();
    assert_eq!(taken.code, "restart.port-taken");
    assert!(
        taken
            .message
            .contains(&format!("port {} is taken (EADDRINUSE)", launcher.port)),
        "{taken}"
    );
    assert!(runs(&first));
}

#[test]
fn the_process_behind_npm_start_is_the_one_that_is_named() {
    let launcher = Launcher::new();
    let process = launcher
        .start("sh -c 'node server.js; true'; true")
        .unwrap();
    let argv = fs::read_to_string(format!("/proc/{}/cmdline", process.pid)).unwrap();
    assert_eq!(argv, "node\0server.js\0");
    assert_eq!(launcher.stop(&process, 5), "Stopped");
    assert!(launcher.get().is_none());
}

#[test]
fn the_log_of_the_last_process_is_kept() {
    let launcher = Launcher::new();
    fs::write(launcher.path("service.log"), "why the last one crashed\n").unwrap();
    launcher.start("node server.js").unwrap();
    assert_eq!(
        launcher.read("service.log.previous"),
        "why the last one crashed\n"
    );
    assert!(launcher.read("service.log").contains("running on"));
}

#[test]
fn an_open_server_is_stopped_at_once() {
    let launcher = Launcher::new();
    let error = launcher.start("FORGET_TOKEN=1 node server.js").unwrap_err();
    assert_eq!(error.code, "restart.open-server");
    assert!(
        error
            .message
            .contains("accepts requests without a token, so it was stopped"),
        "{error}"
    );
    assert!(launcher.get().is_none());
    let marker: RunningMarker =
        serde_json::from_str(&launcher.read("app/.vdeploy/running.json")).unwrap();
    assert!(!Path::new(&format!("/proc/{}", marker.pid)).exists());
}

#[test]
fn a_crash_at_the_start_shows_exit_code_and_log() {
    let launcher = Launcher::new();
    let error = launcher.start("CRASH=1 node server.js").unwrap_err();
    assert_eq!(error.code, "restart.died");
    assert!(error.message.contains("exit code 3"), "{error}");
    assert!(error.message.contains("no such table: tasks"), "{error}");
    assert!(error.maybe_applied);
}

#[test]
fn a_slow_start_is_waited_for() {
    let launcher = Launcher::new();
    let process = launcher.start("DELAY=700 node server.js").unwrap();
    assert!(runs(&process));
}

#[test]
fn a_ready_line_without_the_port_is_not_ready_and_leaves_nothing() {
    let launcher = Launcher::new();
    let quiet = launcher
        .call(serde_json::json!({ "command": "QUIET=1 DELAY=1 node -e 'require(\"./server.js\"); setInterval(() => {}, 1000)'", "seconds": 5 }))
        .unwrap_err();
    assert_eq!(quiet.code, "restart.not-ready");
    assert!(
        quiet
            .message
            .contains("printed the ready line, but does not listen"),
        "{quiet}"
    );
    let mute = launcher
        .call(serde_json::json!({ "command": "DELAY=60000 node server.js", "seconds": 1 }))
        .unwrap_err();
    assert!(
        mute.message
            .contains("never had `vers-agent-services running on`"),
        "{mute}"
    );
    let marker: RunningMarker =
        serde_json::from_str(&launcher.read("app/.vdeploy/running.json")).unwrap();
    assert!(!Path::new(&format!("/proc/{}", marker.pid)).exists());
}

#[test]
fn a_process_that_ignores_term_is_killed_and_stopping_twice_is_harmless() {
    let launcher = Launcher::new();
    let process = launcher.start("STUBBORN=1 node server.js").unwrap();
    assert_eq!(launcher.stop(&process, 1), format!("{:?}", Ended::Killed));
    assert!(launcher.get().is_none());
    assert_eq!(launcher.stop(&process, 1), format!("{:?}", Ended::Gone));
}

#[test]
fn a_reused_pid_is_never_ended() {
    let launcher = Launcher::new();
    let process = launcher.start("node server.js").unwrap();
    let earlier = Listener {
        start_ticks: process.start_ticks - 1,
        ..process.clone()
    };
    let other_port = free_port();
    let answer = launcher
        .call(serde_json::json!({ "stop": earlier, "port": other_port }))
        .unwrap();
    assert_eq!(answer["ended"], "Gone");
    assert!(launcher.get().is_some());
}

#[test]
fn a_directory_or_log_that_cannot_be_used_is_named() {
    let launcher = Launcher::new();
    let nowhere = launcher
        .call(serde_json::json!({ "app_dir": "elsewhere" }))
        .unwrap_err();
    assert_eq!(nowhere.code, "restart.no-directory");
    let no_log = launcher
        .call(serde_json::json!({ "log": "/proc/none/service.log" }))
        .unwrap_err();
    assert_eq!(no_log.code, "restart.no-log");
}
