//! Commands as a plugin runs them: through the gate, with masking, journal and
//! events, over the connection of a run.

use super::sshd::{Sshd, Way};
use anyhow::Result;
use async_trait::async_trait;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use vdeploy_core::capability::EffectError;
use vdeploy_core::capability::secrets::SecretValue;
use vdeploy_core::capability::ssh::{Command, Ssh as _};
use vdeploy_core::event::Phase;
use vdeploy_core::ids::VmId;
use vdeploy_core::target::TargetHandle;
use vdeploy_gate::{Budget, Gate};
use vdeploy_net::tls::{Tls, TlsOptions};
use vdeploy_run::testing::Stage;
use vdeploy_scope::{Grants, SshScope};
use vdeploy_ssh::{HostKeyPolicy, KeySource, MemoryHostKeys, RusshSsh, SshConfig};

/// Longer than any row.
const HOUR: Duration = Duration::from_secs(3600);

/// The key is in a file.
#[derive(Debug)]
struct FileKey(PathBuf);

#[async_trait]
impl KeySource for FileKey {
    async fn private_key(&self, _: &VmId) -> Result<SecretValue, EffectError> {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        Ok(SecretValue::new(text))
    }
}

/// How the server is found, for this process or another.
pub struct Place {
    pub tls: SocketAddr,
    pub dir: PathBuf,
    pub user: String,
}

impl Place {
    pub fn of(sshd: &Sshd, way: Way) -> Self {
        Self {
            tls: way.tls,
            dir: sshd.dir().to_owned(),
            user: sshd.user.clone(),
        }
    }
}

/// A run's way to the target.
pub struct Ours {
    ssh: Arc<RusshSsh>,
    gate: Gate,
    _dir: TempDir,
}

impl Ours {
    /// Nothing is connected yet.
    pub fn new(place: &Place) -> Result<Self> {
        let tls = Tls::new(&TlsOptions {
            ca_file: Some(place.dir.join("ca.pem")),
            verify: true,
        })?;
        let mut config = SshConfig::new("vm.localhost", tls);
        config.gateway = Some(place.tls.to_string());
        config.user.clone_from(&place.user);
        let target = TargetHandle::vers("infra".into(), "vm-1".into(), "https://{vm}.vm.localhost");
        let host_keys = HostKeyPolicy::Stored {
            store: Arc::new(MemoryHostKeys::default()),
            first_use: true,
        };
        let key = Arc::new(FileKey(place.dir.join("key")));
        let ssh = Arc::new(RusshSsh::new(target, config, host_keys, key));
        let dir = TempDir::new()?;
        let mut stage = Stage::on_disk(ssh.clone(), &dir.path().join("state.db"))?;
        // One gate makes every call.
        stage.budget = Some(Budget::new(u64::MAX, u64::MAX));
        let any = SshScope::parse("* **").map_err(anyhow::Error::msg)?;
        let grants = Arc::new(Grants {
            ssh: vec![any],
            ..Grants::default()
        });
        let gate = stage.gate(&"bench".into(), &grants, Phase::Run, HOUR);
        Ok(Self {
            ssh,
            gate,
            _dir: dir,
        })
    }

    pub async fn connect(&self) -> Result<()> {
        Ok(self.ssh.connect().await?)
    }

    /// A probe of at most an hour.
    pub async fn probe(&self, program: &str, args: &[&str]) -> Result<()> {
        self.command(program, args, true).await
    }

    /// A change, which survives the connection: a job on the target.
    pub async fn change(&self, program: &str, args: &[&str]) -> Result<()> {
        self.command(program, args, false).await
    }

    async fn command(&self, program: &str, args: &[&str], probe: bool) -> Result<()> {
        let mut command = Command::new(program);
        command.args = args.iter().map(|&arg| arg.to_owned()).collect();
        command.timeout = HOUR;
        let output = self.gate.ssh(command, probe).await?;
        anyhow::ensure!(output.exit_code == Some(0), "{program}: {output:?}");
        Ok(())
    }

    pub async fn close(&self) {
        self.ssh.close().await;
    }
}
