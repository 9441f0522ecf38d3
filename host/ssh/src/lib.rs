//! SSH to the run's target: one connection, many commands.
//!
//! Owns the connection: connects on first use, keeps it alive, and reconnects
//! when it dies or when the target moves to another VM. Connects to the VMs of a
//! platform, or to one server over plain TCP. Knows nothing of grants, journals
//! or WASM; the keys of a VM come from a [`KeySource`].

mod auth;
mod connection;
mod error;
mod exec;
mod host_key;
mod jobs;
pub mod openssh;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod transport;

pub use auth::identity::{Agent, Identities, IdentityFile};
pub use auth::private_key::KeySource;
pub use connection::limits::ConnectionLimits;
pub use connection::server::{Hop, ServerConfig};
pub use connection::vm::SshConfig;
pub use host_key::{HostKeyPolicy, HostKeyStore, MemoryHostKeys};

use async_trait::async_trait;
use connection::connect::Connection;
use connection::server::ServerDialer;
use connection::vm::VmDialer;
use error::ConnectError;
use jobs::{DetachedJobs, Jobs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use transport::Endpoint;
use vdeploy_core::backoff::{Backoff, Patience, deadline};
use vdeploy_core::capability::snapshot::Progress;
use vdeploy_core::capability::ssh::{Command, JobId, LiveOutput, Output, Ssh};
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::ids::{RunId, VmId};
use vdeploy_core::target::TargetHandle;

/// How long an outage of a target that has answered once is waited out.
const OUTAGE: Duration = Duration::from_secs(60);

/// Handshakes in a row that the server may cut before the target counts as
/// unreachable; 1.5 s with the waits in between.
const HANDSHAKE_TRIES: usize = 5;

enum Dialer {
    Vm(VmDialer),
    Server(ServerDialer),
}

/// The connection to the run's target.
pub struct RusshSsh {
    target: TargetHandle,
    dialer: Dialer,
    /// Held while connecting, so that commands that start together share one
    /// connection.
    slot: Mutex<Slot>,
    /// Whether the target has answered once.
    reached: AtomicBool,
    detached: DetachedJobs,
}

#[derive(Default)]
struct Slot {
    connection: Option<Arc<Connection>>,
}

impl std::fmt::Debug for RusshSsh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RusshSsh")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl RusshSsh {
    /// To the VMs of a platform. Connects on the first call.
    pub fn new(
        target: TargetHandle,
        config: SshConfig,
        host_keys: HostKeyPolicy,
        keys: Arc<dyn KeySource>,
    ) -> Self {
        let dialer = VmDialer::new(config, host_keys, keys);
        Self::with_dialer(target, Dialer::Vm(dialer))
    }

    /// To one server. Connects on the first call.
    pub fn to_server(target: TargetHandle, config: ServerConfig) -> Self {
        Self::with_dialer(target, Dialer::Server(ServerDialer::new(config)))
    }

    fn with_dialer(target: TargetHandle, dialer: Dialer) -> Self {
        Self {
            target,
            dialer,
            slot: Mutex::default(),
            reached: AtomicBool::new(false),
            detached: DetachedJobs::default(),
        }
    }

    fn jobs(&self) -> Jobs<'_> {
        Jobs {
            transport: self,
            detached: &self.detached,
        }
    }

    /// Where the target is now.
    fn current_endpoint(&self) -> Result<Endpoint, ConnectError> {
        match &self.dialer {
            Dialer::Vm(_) => {
                let vm = self.target.facts().vm.ok_or(ConnectError::NoVm)?;
                Ok(Endpoint::Vm(vm))
            }
            Dialer::Server(dialer) => Ok(dialer.endpoint()),
        }
    }

    fn limits(&self) -> &ConnectionLimits {
        match &self.dialer {
            Dialer::Vm(dialer) => &dialer.config.limits,
            Dialer::Server(dialer) => dialer.limits(),
        }
    }

    /// Connects to the run's target, retrying until it answers or `limit` is
    /// over.
    pub async fn wait_reachable(
        &self,
        limit: Duration,
        progress: &dyn Progress,
    ) -> Result<(), EffectError> {
        self.wait_for(&self.current_endpoint()?, limit, progress)
            .await
    }

    /// The same for a VM that is not the target yet. Keeps the connection, since
    /// the target is about to move there.
    pub async fn wait_reachable_vm(
        &self,
        vm: &VmId,
        limit: Duration,
        progress: &dyn Progress,
    ) -> Result<(), EffectError> {
        self.wait_for(&Endpoint::Vm(vm.clone()), limit, progress)
            .await
    }

    async fn wait_for(
        &self,
        endpoint: &Endpoint,
        limit: Duration,
        progress: &dyn Progress,
    ) -> Result<(), EffectError> {
        const MAX_REFUSALS: usize = 5;
        let deadline = deadline(limit);
        let mut backoff = Backoff::up_to(Duration::from_secs(2));
        let mut refusals = 0;
        let mut last: Option<ConnectError> = None;
        let mut patience = Patience::start();
        let mut reported = String::new();
        progress.doing(&format!("waiting for SSH on {endpoint}"));
        loop {
            match timeout_at(deadline, self.connection_to(endpoint)).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => {
                    refusals += usize::from(error.is_refusal());
                    if error.is_final() || refusals >= MAX_REFUSALS {
                        return Err(error.into());
                    }
                    tracing::debug!(%endpoint, %error, "not reachable yet");
                    let now = error.to_string();
                    if reported != now || patience.is_due() {
                        let since = match patience.seconds() {
                            0 => String::new(),
                            seconds => format!(", for {seconds} s"),
                        };
                        progress.doing(&format!("waiting for SSH on {endpoint}{since}: {now}"));
                        reported = now;
                    }
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
            format!(
                "no SSH on {endpoint} within {} s: {why}",
                limit.as_secs_f64()
            ),
        ))
    }

    /// `to` was restored from a snapshot of `from`, so it has its host key.
    pub fn carry_host_key(&self, from: &VmId, to: &VmId) -> Result<(), EffectError> {
        match &self.dialer {
            Dialer::Vm(dialer) => dialer.carry(from, to),
            Dialer::Server(_) => Ok(()),
        }
    }

    async fn connection(&self) -> Result<Arc<Connection>, ConnectError> {
        self.connection_to(&self.current_endpoint()?).await
    }

    /// Retries a handshake that the server cuts: nothing was sent that could
    /// happen twice.
    async fn connect_with_retry(&self) -> Result<Arc<Connection>, ConnectError> {
        let mut backoff = Backoff::up_to(Duration::from_secs(1));
        for _ in 0..HANDSHAKE_TRIES {
            match self.connection().await {
                Err(error) if error.is_handshake_cut() => {
                    tracing::debug!(%error, "the server cut the handshake; retrying");
                    sleep(backoff.next_wait()).await;
                }
                connected => return connected,
            }
        }
        self.connection().await
    }

    async fn connection_to(&self, endpoint: &Endpoint) -> Result<Arc<Connection>, ConnectError> {
        let mut slot = self.slot.lock().await;
        if let Some(connection) = &slot.connection
            && connection.endpoint == *endpoint
            && connection.is_alive()
        {
            return Ok(connection.clone());
        }
        slot.connection = None;
        let opened = match (&self.dialer, endpoint) {
            (Dialer::Vm(dialer), Endpoint::Vm(vm)) => dialer.open(vm).await?,
            (Dialer::Server(dialer), Endpoint::Server(_)) => dialer.open().await?,
            _ => return Err(ConnectError::NoVm),
        };
        let connection = Arc::new(opened);
        slot.connection = Some(connection.clone());
        self.reached.store(true, Ordering::Relaxed);
        Ok(connection)
    }

    /// Pings the target, however recently it answered, and reconnects when the
    /// connection is dead.
    pub async fn verify_connection(&self) -> Result<(), EffectError> {
        let connection = self.connection().await?;
        let answered = timeout(self.limits().connect_timeout, connection.ping()).await;
        if !matches!(answered, Ok(Ok(()))) {
            connection.mark_dead();
            self.connection().await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Ssh for RusshSsh {
    async fn connect(&self) -> Result<(), EffectError> {
        let connection = self.connect_with_retry().await?;
        match connection.is_quiet() {
            // A dead peer is noticed here instead of by the first command.
            true => self.verify_connection().await,
            false => Ok(()),
        }
    }

    async fn run(&self, command: &Command, live: &dyn LiveOutput) -> Result<Output, EffectError> {
        if let Some(job) = &command.job {
            return self.jobs().run(command, job, live).await;
        }
        self.run_probe(command, deadline(command.timeout), live)
            .await
    }

    fn expect_jobs(&self) {
        self.detached.expect();
    }

    async fn forget_jobs(&self, run: &RunId) -> Result<(), EffectError> {
        self.jobs().remove_files(run).await
    }

    async fn jobs_of(&self, run: &RunId) -> Result<Vec<u64>, EffectError> {
        self.jobs().list(run).await
    }

    async fn end_jobs_of(&self, run: &RunId) -> Result<Vec<JobId>, EffectError> {
        self.jobs().stop_orphans(run).await
    }

    async fn close(&self) {
        self.jobs().close().await;
        let connection = self.slot.lock().await.connection.take();
        if let Some(connection) = connection.filter(|connection| connection.is_alive()) {
            let bye = russh::Disconnect::ByApplication;
            let _ = connection.handle.disconnect(bye, "done", "").await;
        }
    }
}
