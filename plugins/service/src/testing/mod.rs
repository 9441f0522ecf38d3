//! A stage for tests of plugins: a login home with a checkout, a real service on
//! a free port, and handlers that connect a fake host to both.
//!
//! Not in the WASM build.

mod http;

use std::cell::RefCell;
use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use vdeploy_plugin::testing::{FakeHost, local_shell};

use crate::listener::Listener;
use crate::outputs::{RUNNING_MARKER, RunningMarker};

/// The token of the services on the stage.
pub const TOKEN: &str = "s3cret-of-the-test";
/// A service with the endpoints of the runbook, and its faults.
const SERVER: &str = include_str!("server.js");

/// A login home with an app. Drop terminates the started processes.
#[derive(Debug)]
pub struct Stage {
    home: tempfile::TempDir,
    port: u16,
    children: RefCell<Vec<Child>>,
}

impl Stage {
    /// An app with `dist/server.js`, and a free port.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn new() -> io::Result<Self> {
        let home = tempfile::tempdir()?;
        fs::create_dir_all(home.path().join("app/dist"))?;
        fs::write(home.path().join("app/dist/server.js"), SERVER)?;
        let port = TcpListener::bind("[::]:0")?.local_addr()?.port();
        let children = RefCell::default();
        Ok(Self {
            home,
            port,
            children,
        })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// A path under the home.
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The app directory, absolute.
    pub fn app(&self) -> String {
        self.path("app").to_string_lossy().into_owned()
    }

    /// The log, absolute.
    pub fn log(&self) -> String {
        self.path("service.log").to_string_lossy().into_owned()
    }

    /// The text of a file under the home; empty when there is none.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// A host whose commands run in the home and whose requests go to the
    /// service, whatever host their URL names.
    pub fn host(&self) -> FakeHost {
        self.behind(FakeHost::new())
    }

    /// As [`Stage::host`], after the existing answers of `host`.
    pub fn behind(&self, host: FakeHost) -> FakeHost {
        host.secret("auth-token", TOKEN)
            .snapshot_taken(true)
            .ssh(local_shell(self.home.path()))
            .http(http::to_port(self.port))
    }

    /// Starts a service without a plugin, as if by hand, with the faults in
    /// `env`. Waits until it listens.
    ///
    /// # Errors
    /// When it cannot be started or does not listen within 20 s.
    pub fn serve(&self, env: &[(&str, &str)]) -> io::Result<Listener> {
        self.serve_in("app", env)
    }

    /// As [`Stage::serve`], from another directory under the home.
    ///
    /// # Errors
    /// Those of [`Stage::serve`].
    pub fn serve_in(&self, dir: &str, env: &[(&str, &str)]) -> io::Result<Listener> {
        let program = self.path(dir).join("dist/server.js");
        if !program.exists() {
            fs::create_dir_all(self.path(dir).join("dist"))?;
            fs::copy(self.path("app/dist/server.js"), program)?;
        }
        let log = fs::File::create(self.path("service.log"))?;
        let child = Command::new("node")
            .arg("dist/server.js")
            .current_dir(self.path(dir))
            .env("PORT", self.port.to_string())
            .env("VERS_AUTH_TOKEN", TOKEN)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let pid = child.id();
        self.children.borrow_mut().push(child);
        let end = Instant::now() + Duration::from_secs(20);
        let mut pause = Duration::from_millis(10);
        while !self.answers() {
            if Instant::now() > end {
                return Err(io::Error::other("the service does not listen"));
            }
            std::thread::sleep(pause);
            pause = pause.saturating_mul(2).min(Duration::from_millis(500));
        }
        Ok(Listener {
            pid,
            start_ticks: start_ticks(pid)?,
            cwd: self.path(dir).to_string_lossy().into_owned(),
            argv: vec!["node".to_owned(), "dist/server.js".to_owned()],
            ..Listener::default()
        })
    }

    /// Whether somebody listens on the port.
    pub fn answers(&self) -> bool {
        TcpStream::connect(("localhost", self.port)).is_ok()
    }

    /// Kills a service process and waits until it has ended and the port is free;
    /// either can come first.
    pub fn end(&self, process: &Listener) {
        while self.runs(process) || self.answers() {
            drop(
                Command::new("kill")
                    .args(["-KILL", &process.pid.to_string()])
                    .stderr(Stdio::null())
                    .status(),
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn runs(&self, process: &Listener) -> bool {
        start_ticks(process.pid).is_ok_and(|ticks| ticks == process.start_ticks)
    }

    pub fn marker(&self) -> Option<RunningMarker> {
        serde_json::from_str(&self.read(&format!("app/{RUNNING_MARKER}"))).ok()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for child in self.children.get_mut() {
            // It may have ended already.
            drop(child.kill());
            drop(child.wait());
        }
        // A process of a plugin is not a child; its directory identifies it.
        if let Some(marker) = self.marker() {
            let cwd = fs::read_link(format!("/proc/{}/cwd", marker.pid)).unwrap_or_default();
            if cwd.starts_with(self.home.path()) {
                drop(
                    Command::new("kill")
                        .args(["-KILL", &marker.pid.to_string()])
                        .status(),
                );
            }
        }
    }
}

fn start_ticks(pid: u32) -> io::Result<u64> {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"))?;
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    if fields.starts_with('Z') {
        return Err(io::Error::from(io::ErrorKind::NotFound));
    }
    let ticks = fields
        .split(' ')
        .nth(19)
        .and_then(|field| field.parse().ok());
    ticks.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}
