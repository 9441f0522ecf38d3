//! What the VMs of an account find outside of themselves: a git server and an
//! npm registry, each on a port of the VM's loopback, since there is no route
//! out of a VM. A server that is down is a closed port.

use super::machine::Network;
use anyhow::{Context as _, Result};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

/// Where the VMs find the remote; the project's repository is `remote.git`.
pub const REMOTE: &str = "git://127.0.0.1/remote.git";
/// Where the VMs find the registry.
pub const REGISTRY: &str = "http://127.0.0.1:4873/";

const GIT_PORT: u16 = 9418;
const REGISTRY_PORT: u16 = 4873;

/// Both servers.
#[derive(Debug)]
pub struct Outer {
    git: Server,
    npm: Server,
}

#[derive(Debug)]
struct Server {
    port: u16,
    kind: Kind,
    /// What it serves.
    dir: PathBuf,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Git,
    Npm,
}

#[derive(Debug, Default)]
struct State {
    down: bool,
    networks: Vec<Network>,
    open: Vec<Arc<TcpListener>>,
}

impl Outer {
    /// Repositories in one directory, tarballs of packages in the other.
    pub fn new(repositories: &Path, packages: &Path) -> Self {
        let server = |kind, port, dir: &Path| Server {
            port,
            kind,
            dir: dir.to_owned(),
            state: Mutex::default(),
        };
        Self {
            git: server(Kind::Git, GIT_PORT, repositories),
            npm: server(Kind::Npm, REGISTRY_PORT, packages),
        }
    }

    /// Offers both to one more VM.
    pub fn connect(&self, network: Network) -> Result<()> {
        self.git.offer(network.clone())?;
        self.npm.offer(network)
    }

    /// Closes the git server's port on every VM.
    pub fn git_down(&self) {
        self.git.close();
    }

    /// Closes the registry's port on every VM.
    pub fn npm_down(&self) {
        self.npm.close();
    }

    /// Opens what was closed.
    pub fn up(&self) -> Result<()> {
        self.git.open()?;
        self.npm.open()
    }
}

impl Drop for Outer {
    fn drop(&mut self) {
        self.git.close();
        self.npm.close();
    }
}

impl Server {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn offer(&self, network: Network) -> Result<()> {
        let mut state = self.state();
        if !state.down {
            state.open.push(self.listen(&network)?);
        }
        state.networks.push(network);
        Ok(())
    }

    fn open(&self) -> Result<()> {
        let mut state = self.state();
        if std::mem::take(&mut state.down) {
            let opened: Result<Vec<_>> = state.networks.iter().map(|n| self.listen(n)).collect();
            state.open = opened?;
        }
        Ok(())
    }

    fn close(&self) {
        let mut state = self.state();
        state.down = true;
        for listener in state.open.drain(..) {
            // Ends the wait in `accept`, and with it the thread.
            let _ = rustix::net::shutdown(&*listener, rustix::net::Shutdown::Both);
        }
    }

    fn listen(&self, network: &Network) -> Result<Arc<TcpListener>> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let listener = network.listen(address).context("a port of the VM")?;
        let listener = Arc::new(listener);
        let (kind, dir, own) = (self.kind, self.dir.clone(), listener.clone());
        std::thread::spawn(move || {
            while let Ok((stream, _)) = own.accept() {
                let dir = dir.clone();
                std::thread::spawn(move || {
                    let served = match kind {
                        Kind::Git => serve_git(stream, &dir),
                        Kind::Npm => serve_package(&stream, &dir),
                    };
                    if let Err(error) = served {
                        eprintln!("a client of the {kind:?} server was disconnected: {error:#}");
                    }
                });
            }
        });
        Ok(listener)
    }
}

/// One connection, by git's own server.
fn serve_git(stream: TcpStream, dir: &Path) -> Result<()> {
    let (input, output) = (OwnedFd::from(stream.try_clone()?), OwnedFd::from(stream));
    Command::new("git")
        .args(["daemon", "--inetd", "--export-all", "--informative-errors"])
        .arg(format!("--base-path={}", dir.display()))
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(output))
        .stderr(Stdio::null())
        .status()
        .context("cannot start `git daemon`")?;
    Ok(())
}

/// One request for a tarball: with a lock file npm asks for nothing else.
fn serve_package(mut stream: &TcpStream, dir: &Path) -> Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().context("no request")??;
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    let file = path.rsplit('/').next().unwrap_or_default();
    let (status, body) = match std::fs::read(dir.join(file)) {
        Ok(bytes) => ("200 OK", bytes),
        Err(_) => ("404 Not Found", b"{\"error\":\"not found\"}".to_vec()),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    stream.write_all(&body)?;
    Ok(())
}
