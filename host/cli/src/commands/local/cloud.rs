//! Starts, stops and describes the embedded cloud.

use super::{DirArgs, LocalCommand};
use crate::error::CliError;
use crate::exit::ExitCode;
use crate::{Global, options, terminal};
use serde::Serialize;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use vdeploy_config::USUAL_SECRET_VARIABLES;
use vdeploy_files::{Judge, make_private_dir};
use vdeploy_local_cloud::{
    Cloud, CloudOptions, Endpoints, LocalError, VmSummary, read_endpoints, read_vms,
};
use vdeploy_ops::OpsError;
use vdeploy_ops::session::{local_cloud_dir, not_private};

/// How long a cloud may take to come up or go down.
const PATIENCE: Duration = Duration::from_secs(30);

/// Does it.
pub async fn main(global: &Global, command: LocalCommand) -> Result<ExitCode, CliError> {
    match command {
        LocalCommand::Up(args) => {
            let root = root(global, &args.place)?;
            if let Some(running) = read_endpoints(&root)? {
                terminal::say(&format!("already up (pid {})", running.pid));
            } else if args.detach {
                detach(&root).await?;
            } else {
                return foreground(root).await;
            }
            describe(&root)?;
            Ok(ExitCode::Success)
        }
        LocalCommand::Down(args) => down(&root(global, &args)?).await,
        LocalCommand::Status(args) => status(&root(global, &args.place)?, args.json),
    }
}

/// The cloud's directory.
fn root(global: &Global, args: &DirArgs) -> Result<PathBuf, CliError> {
    let dir = match &args.dir {
        Some(dir) => dir.clone(),
        None => local_cloud_dir(&options::private_state_dir(global)?),
    };
    // Processes on the VMs get paths below it and run in directories of their own.
    let dir =
        std::path::absolute(&dir).map_err(|e| internal(&format!("{}: {e}", dir.display())))?;
    // It has keys, and processes are started and ended as its files say.
    match Judge::of_process().private_dir(&dir) {
        Ok(()) => Ok(dir),
        Err(found) => {
            let what = "the directory of the local cloud";
            Err(not_private(what, &dir, &found, "--dir DIR").into())
        }
    }
}

async fn foreground(root: PathBuf) -> Result<ExitCode, CliError> {
    let stop_signals = |kind| signal(kind).map_err(|e| internal(&format!("signals: {e}")));
    let mut interrupt = stop_signals(SignalKind::interrupt())?;
    let mut terminate = stop_signals(SignalKind::terminate())?;
    let cloud = Cloud::start(CloudOptions {
        root: root.clone(),
        api_key: None,
        api_port: 0,
        gateway_port: 0,
        router_port: 0,
    })
    .await?;
    if cloud.vms().await.is_empty() {
        cloud.create_vm().await?;
    }
    describe(&root)?;
    terminal::say("stop it with Ctrl-C or `vdeploy local down`");
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    cloud.shutdown(true).await?;
    terminal::say("the local cloud is down; its VMs are kept on disk");
    Ok(ExitCode::Success)
}

/// Starts `vdeploy local up` as a process of its own and waits until it is
/// ready.
async fn detach(root: &Path) -> Result<(), CliError> {
    make_private_dir(root).map_err(|e| internal(&format!("{}: {e}", root.display())))?;
    let log_path = root.join("cloud.log");
    let log = std::fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&log_path)
        .map_err(|e| internal(&format!("{}: {e}", log_path.display())))?;
    let errors = log
        .try_clone()
        .map_err(|e| internal(&format!("{}: {e}", log_path.display())))?;
    let program = std::env::current_exe().map_err(|e| internal(&format!("own path: {e}")))?;
    let mut cloud = tokio::process::Command::new(program);
    // It has keys of its own, and lives long.
    for variable in USUAL_SECRET_VARIABLES {
        cloud.env_remove(variable);
    }
    let mut child = cloud
        .args(["local", "up", "--dir"])
        .arg(root)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .process_group(0)
        .spawn()
        .map_err(|e| internal(&format!("the cloud cannot be started: {e}")))?;
    let ready = async {
        let mut pause = Duration::from_millis(20);
        loop {
            if let Some(endpoints) = read_endpoints(root)?
                && !read_vms(root)?.is_empty()
            {
                return Ok::<Endpoints, CliError>(endpoints);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(500));
        }
    };
    let log_hint = format!("its log is {}", log_path.display());
    tokio::select! {
        ready = tokio::time::timeout(PATIENCE, ready) => match ready {
            Ok(ready) => ready.map(|_| ()),
            Err(_) => Err(internal("the local cloud is not ready after 30 s").hint(log_hint)),
        },
        exit = child.wait() => {
            let exit = exit.map_or_else(|e| e.to_string(), |status| status.to_string());
            let text = match last_line(&log_path) {
                Some(line) => format!("the local cloud ended at once ({exit}): {line}"),
                None => format!("the local cloud ended at once ({exit})"),
            };
            Err(internal(&text).hint(log_hint))
        }
    }
}

/// The last thing that was said in a log.
fn last_line(log: &Path) -> Option<String> {
    let text = std::fs::read(log).ok()?;
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().rfind(|line| !line.trim().is_empty())?;
    Some(line.trim().to_owned())
}

async fn down(root: &Path) -> Result<ExitCode, CliError> {
    let Some(endpoints) = read_endpoints(root)? else {
        terminal::say("the local cloud is not running");
        return Ok(ExitCode::Success);
    };
    let pid = i32::try_from(endpoints.pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .ok_or_else(|| internal("the cloud's pid is out of range"))?;
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)
        .map_err(|e| internal(&format!("pid {}: {e}", endpoints.pid)))?;
    let gone = async {
        let mut pause = Duration::from_millis(20);
        while read_endpoints(root)?.is_some() {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(500));
        }
        Ok::<(), CliError>(())
    };
    match tokio::time::timeout(PATIENCE, gone).await {
        Ok(gone) => gone?,
        Err(_) => {
            return Err(internal(&format!(
                "the local cloud (pid {}) still runs after 30 s",
                endpoints.pid
            )));
        }
    }
    terminal::say("the local cloud is down; its VMs are kept on disk");
    Ok(ExitCode::Success)
}

/// What `status --json` prints.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Status {
    running: bool,
    pid: Option<u32>,
    dir: PathBuf,
    api_url: Option<String>,
    gateway: Option<String>,
    vm_domain: Option<String>,
    router_port: Option<u16>,
    ca_file: Option<PathBuf>,
    vms: Vec<VmSummary>,
}

fn status(root: &Path, json: bool) -> Result<ExitCode, CliError> {
    if !json {
        describe(root)?;
        return Ok(ExitCode::Success);
    }
    let endpoints = read_endpoints(root)?;
    let status = Status {
        running: endpoints.is_some(),
        pid: endpoints.as_ref().map(|e| e.pid),
        dir: root.to_owned(),
        api_url: endpoints.as_ref().map(|e| e.api_url.clone()),
        gateway: endpoints.as_ref().map(|e| e.gateway.clone()),
        vm_domain: endpoints.as_ref().map(|e| e.vm_domain.clone()),
        router_port: endpoints.as_ref().map(|e| e.router_port),
        ca_file: endpoints.map(|e| e.ca_file),
        vms: read_vms(root)?,
    };
    let status = serde_json::to_value(&status).map_err(|e| internal(&e.to_string()))?;
    terminal::say_json(&status);
    Ok(ExitCode::Success)
}

/// For people: where it is and what is on it.
fn describe(root: &Path) -> Result<(), CliError> {
    let Some(endpoints) = read_endpoints(root)? else {
        terminal::say("the local cloud is not running; start it with `vdeploy local up`");
        return Ok(());
    };
    terminal::say(&format!(
        "local cloud up (pid {}), loopback only, no security boundary\n\
         API      {}/api/v1\nSSH      {} (TLS, by name)\nVMs in   {}",
        endpoints.pid,
        endpoints.api_url,
        endpoints.gateway,
        root.display()
    ));
    for vm in read_vms(root)? {
        terminal::say(&format!(
            "VM {}  {}\n  service  http://{}.{}:{}\n  home     {}",
            vm.vm_id,
            vm.state,
            vm.vm_id,
            endpoints.vm_domain,
            endpoints.router_port,
            vm.home.display()
        ));
    }
    Ok(())
}

fn internal(message: &str) -> CliError {
    CliError::new(ExitCode::Internal, message)
}

impl From<LocalError> for CliError {
    fn from(error: LocalError) -> Self {
        OpsError::from(error).into()
    }
}
