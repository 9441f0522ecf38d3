//! SSH to the run's target: one connection, many commands.
//!
//! Owns the connection: it is made when first needed, kept alive, made again
//! when it died or when the target moved to another VM. Knows nothing of
//! grants, journals or WASM; where keys come from is a [`KeySource`].

mod ahead;
mod capture;
mod command_line;
mod connect;
mod error;
mod group;
mod host_key;
mod private_key;
mod session;
#[cfg(test)]
pub(crate) mod tests;

pub use host_key::{HostKeyPolicy, HostKeyStore, MemoryHostKeys};
pub use private_key::KeySource;

use crate::backoff::{Backoff, deadline};
use crate::capability::snapshot::{NoProgress, Progress};
use crate::capability::ssh::{Command, LiveOutput, Output, Ssh};
use crate::capability::{EffectError, ErrorKind};
use crate::ids::VmId;
use crate::target::TargetHandle;
use crate::tls::Tls;
use ahead::NoSession;
use async_trait::async_trait;
use connect::Connection;
use error::ConnectError;
use private_key::LoadedKey;
use session::Ran;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// How long a target that was reached before may be away.
const OUTAGE: Duration = Duration::from_secs(60);

/// How the target is reached.
#[derive(Clone, Debug)]
pub struct SshConfig {
    /// A VM's host name is `{vm}.{vm_domain}`.
    pub vm_domain: String,
    /// `host:port` to dial instead of the VM's name on port 443. The VM's
    /// name is still what TLS asks for.
    pub gateway: Option<String>,
    /// The user to log in as.
    pub user: String,
    /// TLS around SSH.
    pub tls: Tls,
    /// For one connection: name, TCP, TLS, SSH and key together.
    pub connect_timeout: Duration,
    /// Silence after which the server is asked whether it is there.
    pub keepalive: Duration,
    /// Unanswered questions after which the connection counts as dead.
    pub keepalive_misses: usize,
    /// Commands at once; sshd allows 10 on a connection unless told otherwise.
    pub max_channels: usize,
}

impl SshConfig {
    /// The defaults: user `root`, 30 s to connect, a keepalive each 10 s.
    pub fn new(vm_domain: impl Into<String>, tls: Tls) -> Self {
        Self {
            vm_domain: vm_domain.into(),
            gateway: None,
            user: "root".to_owned(),
            tls,
            connect_timeout: Duration::from_secs(30),
            keepalive: Duration::from_secs(10),
            keepalive_misses: 6,
            max_channels: 8,
        }
    }

    fn russh(&self) -> Arc<russh::client::Config> {
        Arc::new(russh::client::Config {
            window_size: 4 * 1024 * 1024,
            keepalive_interval: Some(self.keepalive),
            keepalive_max: self.keepalive_misses,
            ..Default::default()
        })
    }
}

/// The connection to the run's target.
pub struct RusshSsh {
    target: TargetHandle,
    config: SshConfig,
    host_keys: HostKeyPolicy,
    keys: Arc<dyn KeySource>,
    /// Held while connecting, so that commands that start together share one
    /// connection.
    slot: Mutex<Slot>,
    /// Whether the target has answered once.
    reached: AtomicBool,
}

#[derive(Default)]
struct Slot {
    connection: Option<Arc<Connection>>,
    key: Option<(VmId, LoadedKey)>,
}

impl std::fmt::Debug for RusshSsh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RusshSsh")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl RusshSsh {
    /// Nothing is connected before the first call.
    pub fn new(
        target: TargetHandle,
        config: SshConfig,
        host_keys: HostKeyPolicy,
        keys: Arc<dyn KeySource>,
    ) -> Self {
        Self {
            target,
            config,
            host_keys,
            keys,
            slot: Mutex::default(),
            reached: AtomicBool::new(false),
        }
    }

    /// Connects to the run's target, again and again until it answers or
    /// `limit` is over.
    pub async fn wait_reachable(
        &self,
        limit: Duration,
        progress: &dyn Progress,
    ) -> Result<(), EffectError> {
        let vm = self.target.facts().vm.ok_or(ConnectError::NoVm)?;
        self.wait_reachable_vm(&vm, limit, progress).await
    }

    /// The same for a VM that is not the target yet. The connection is kept
    /// for the case that the target moves there.
    pub async fn wait_reachable_vm(
        &self,
        vm: &VmId,
        limit: Duration,
        progress: &dyn Progress,
    ) -> Result<(), EffectError> {
        const REFUSALS: usize = 5;
        let deadline = deadline(limit);
        let mut backoff = Backoff::up_to(Duration::from_secs(2));
        let mut refusals = 0;
        let mut last: Option<ConnectError> = None;
        progress.doing(&format!("waiting for SSH on {vm}"));
        loop {
            match timeout_at(deadline, self.connection_to(vm)).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => {
                    refusals += usize::from(matches!(error, ConnectError::Auth { .. }));
                    if error.is_final() || refusals >= REFUSALS {
                        return Err(error.into());
                    }
                    tracing::debug!(%vm, %error, "not reachable yet");
                    progress.doing(&format!("waiting for SSH on {vm}: {error}"));
                    last = Some(error);
                }
                Err(_) => break,
            }
            let wait = backoff.next_wait();
            if Instant::now() + wait >= deadline {
                break;
            }
            sleep(wait).await;
        }
        let why = last.map_or("no answer".to_owned(), |e| e.to_string());
        Err(EffectError::new(
            ErrorKind::Timeout,
            "ssh.unreachable",
            format!("no SSH on {vm} within {} s: {why}", limit.as_secs_f64()),
        ))
    }

    /// `to` was made from a snapshot of `from`: it has its host key.
    pub fn carry_host_key(&self, from: &VmId, to: &VmId) -> Result<(), EffectError> {
        self.host_keys.carry(from, to)
    }

    async fn connection(&self) -> Result<Arc<Connection>, ConnectError> {
        let vm = self.target.facts().vm.ok_or(ConnectError::NoVm)?;
        self.connection_to(&vm).await
    }

    async fn connection_to(&self, vm: &VmId) -> Result<Arc<Connection>, ConnectError> {
        let mut slot = self.slot.lock().await;
        if let Some(connection) = &slot.connection
            && connection.vm == *vm
            && !connection.handle.is_closed()
        {
            return Ok(connection.clone());
        }
        slot.connection = None;
        let kept = slot.key.take().filter(|(of, _)| of == vm);
        let fresh = kept.is_none();
        let key = match kept {
            Some((_, key)) => key,
            None => LoadedKey::load(&*self.keys, vm).await?,
        };
        let opened = match self.open(vm, &key).await {
            // The key may have changed since it was asked for.
            Err(ConnectError::Auth { .. }) if !fresh => {
                let key = LoadedKey::load(&*self.keys, vm).await?;
                self.open(vm, &key).await.map(|c| (c, key))
            }
            other => other.map(|c| (c, key)),
        };
        let (connection, key) = opened?;
        slot.key = Some((vm.clone(), key));
        slot.connection = Some(connection.clone());
        self.reached.store(true, Ordering::Relaxed);
        Ok(connection)
    }

    async fn open(&self, vm: &VmId, key: &LoadedKey) -> Result<Arc<Connection>, ConnectError> {
        let expected = self.host_keys.expected(vm).map_err(ConnectError::Key)?;
        let (connection, shown) = Connection::open(vm, &self.config, key, expected).await?;
        self.host_keys
            .learn(vm, &shown)
            .map_err(ConnectError::Key)?;
        tracing::debug!(%vm, host_key = %shown, "connected");
        Ok(Arc::new(connection))
    }

    /// The next call connects anew.
    async fn forget(&self, dead: &Arc<Connection>) {
        let mut slot = self.slot.lock().await;
        if slot
            .connection
            .as_ref()
            .is_some_and(|c| Arc::ptr_eq(c, dead))
        {
            slot.connection = None;
        }
    }

    async fn run_before(
        &self,
        command: &Command,
        deadline: Instant,
        live: &dyn LiveOutput,
    ) -> Result<Output, EffectError> {
        let late = || {
            EffectError::new(
                ErrorKind::Timeout,
                "ssh.timeout",
                format!(
                    "`{}` could not be started within {} s",
                    command.program,
                    command.timeout.as_secs_f64()
                ),
            )
        };
        let line = command_line::build(command)?;
        let mut last = String::new();
        for _ in 0..3 {
            let connection = match timeout_at(deadline, self.connection()).await {
                Err(_) => return Err(late()),
                Ok(Ok(connection)) => connection,
                // It was there before: a short outage is waited out. Nothing
                // was asked of the target yet, so this is safe.
                Ok(Err(error)) if self.reached.load(Ordering::Relaxed) && !error.is_final() => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    self.wait_reachable(left.min(OUTAGE), &NoProgress).await?;
                    timeout_at(deadline, self.connection())
                        .await
                        .map_err(|_| late())??
                }
                Ok(Err(error)) => return Err(error.into()),
            };
            let opened = match timeout_at(deadline, connection.session()).await {
                Err(_) => return Err(late()),
                Ok(Ok(opened)) => opened,
                Ok(Err(NoSession::Refused(reason))) => {
                    return Err(EffectError::new(
                        ErrorKind::Unavailable,
                        "ssh.refused",
                        format!(
                            "{} refused one more session ({reason:?}); check MaxSessions of its \
                             SSH server",
                            connection.vm
                        ),
                    ));
                }
                // Nothing was asked of the target yet: a new connection is safe.
                Ok(Err(NoSession::Dead(why))) => {
                    last = why;
                    self.forget(&connection).await;
                    continue;
                }
            };
            let Some((channel, _permit)) = opened.begin() else {
                continue;
            };
            match session::run(&connection, channel, &line, command, deadline, live).await {
                // One that was opened ahead may have stood open for too long.
                Ran::Nothing => last = "it was closed before the command".to_owned(),
                Ran::To(result) => {
                    if result.is_ok() {
                        connection.heard();
                    }
                    return result;
                }
            }
        }
        Err(EffectError::new(
            ErrorKind::Unavailable,
            "ssh.unreachable",
            format!("no session on the target: {last}; nothing was run"),
        ))
    }
}

#[async_trait]
impl Ssh for RusshSsh {
    async fn connect(&self) -> Result<(), EffectError> {
        let connection = self.connection().await?;
        if !connection.is_quiet() {
            return Ok(());
        }
        // A dead peer is noticed here instead of by the first command.
        let answered = timeout(self.config.connect_timeout, connection.handle.send_ping()).await;
        if !matches!(answered, Ok(Ok(()))) {
            self.forget(&connection).await;
            self.connection().await?;
        }
        Ok(())
    }

    async fn run(&self, command: &Command, live: &dyn LiveOutput) -> Result<Output, EffectError> {
        self.run_before(command, deadline(command.timeout), live)
            .await
    }

    async fn close(&self) {
        let connection = self.slot.lock().await.connection.take();
        if let Some(connection) = connection {
            let bye = russh::Disconnect::ByApplication;
            let _ = connection.handle.disconnect(bye, "done", "").await;
        }
    }
}
