//! SSH to the run's target: one connection, many commands.
//!
//! Owns the connection: it is made when first needed, kept alive, made again
//! when it died or when the target moved to another VM. There are two ways: to
//! the VMs of a platform, and to a server by plain TCP. Knows nothing of
//! grants, journals or WASM; where a VM's keys come from is a [`KeySource`].

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
use connection::open::{OpenError, OpenSession};
use connection::server::ServerDialer;
use connection::session_pool::SessionError;
use connection::vm::VmDialer;
use error::ConnectError;
use exec::probe::ProbeEnd;
use exec::retry::Retry;
use jobs::DetachedJobs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use transport::endpoint::Endpoint;
use vdeploy_core::backoff::{Backoff, Patience, deadline};
use vdeploy_core::capability::snapshot::{NoProgress, Progress};
use vdeploy_core::capability::ssh::{Command, JobId, LiveOutput, Output, Ssh};
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::ids::{RunId, VmId};
use vdeploy_core::target::TargetHandle;

/// How long a target that was reached before may be away.
const OUTAGE: Duration = Duration::from_secs(60);

/// So many handshakes in a row may be broken off before the target is said not to
/// be reached; with the waits in between it takes 1.5 s.
const HANDSHAKE_TRIES: usize = 5;

/// How the target is reached.
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
    /// To the VMs of a platform. Nothing is connected before the first call.
    pub fn new(
        target: TargetHandle,
        config: SshConfig,
        host_keys: HostKeyPolicy,
        keys: Arc<dyn KeySource>,
    ) -> Self {
        let way = VmDialer::new(config, host_keys, keys);
        Self::by(target, Dialer::Vm(way))
    }

    /// To one server. Nothing is connected before the first call.
    pub fn to_server(target: TargetHandle, config: ServerConfig) -> Self {
        Self::by(target, Dialer::Server(ServerDialer::new(config)))
    }

    fn by(target: TargetHandle, dialer: Dialer) -> Self {
        Self {
            target,
            dialer,
            slot: Mutex::default(),
            reached: AtomicBool::new(false),
            detached: DetachedJobs::default(),
        }
    }

    /// Where the target is now.
    fn place(&self) -> Result<Endpoint, ConnectError> {
        match &self.dialer {
            Dialer::Vm(_) => {
                let vm = self.target.facts().vm.ok_or(ConnectError::NoVm)?;
                Ok(Endpoint::Vm(vm))
            }
            Dialer::Server(way) => Ok(way.place()),
        }
    }

    fn limits(&self) -> &ConnectionLimits {
        match &self.dialer {
            Dialer::Vm(way) => &way.config.limits,
            Dialer::Server(way) => way.limits(),
        }
    }

    /// Connects to the run's target, again and again until it answers or
    /// `limit` is over.
    pub async fn wait_reachable(
        &self,
        limit: Duration,
        progress: &dyn Progress,
    ) -> Result<(), EffectError> {
        self.wait_for(&self.place()?, limit, progress).await
    }

    /// The same for a VM that is not the target yet. The connection is kept
    /// for the case that the target moves there.
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
        place: &Endpoint,
        limit: Duration,
        progress: &dyn Progress,
    ) -> Result<(), EffectError> {
        const REFUSALS: usize = 5;
        let deadline = deadline(limit);
        let mut backoff = Backoff::up_to(Duration::from_secs(2));
        let mut refusals = 0;
        let mut last: Option<ConnectError> = None;
        let mut patience = Patience::start();
        let mut said = String::new();
        progress.doing(&format!("waiting for SSH on {place}"));
        loop {
            match timeout_at(deadline, self.connection_to(place)).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => {
                    refusals += usize::from(error.is_refusal());
                    if error.is_final() || refusals >= REFUSALS {
                        return Err(error.into());
                    }
                    tracing::debug!(%place, %error, "not reachable yet");
                    let now = error.to_string();
                    if said != now || patience.is_due() {
                        let since = match patience.seconds() {
                            0 => String::new(),
                            seconds => format!(", for {seconds} s"),
                        };
                        progress.doing(&format!("waiting for SSH on {place}{since}: {now}"));
                        said = now;
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
            format!("no SSH on {place} within {} s: {why}", limit.as_secs_f64()),
        ))
    }

    /// `to` was made from a snapshot of `from`: it has its host key.
    pub fn carry_host_key(&self, from: &VmId, to: &VmId) -> Result<(), EffectError> {
        match &self.dialer {
            Dialer::Vm(way) => way.carry(from, to),
            Dialer::Server(_) => Ok(()),
        }
    }

    async fn connection(&self) -> Result<Arc<Connection>, ConnectError> {
        self.connection_to(&self.place()?).await
    }

    /// A handshake that the other end breaks off is begun again a few times:
    /// nothing was sent that could be done twice.
    async fn connect_with_retry(&self) -> Result<Arc<Connection>, ConnectError> {
        let mut backoff = Backoff::up_to(Duration::from_secs(1));
        for _ in 0..HANDSHAKE_TRIES {
            match self.connection().await {
                Err(error) if error.is_handshake_cut() => {
                    tracing::debug!(%error, "broken off, begun again");
                    sleep(backoff.next_wait()).await;
                }
                connected => return connected,
            }
        }
        self.connection().await
    }

    async fn connection_to(&self, place: &Endpoint) -> Result<Arc<Connection>, ConnectError> {
        let mut slot = self.slot.lock().await;
        if let Some(connection) = &slot.connection
            && connection.place == *place
            && !connection.handle.is_closed()
        {
            return Ok(connection.clone());
        }
        slot.connection = None;
        let opened = match (&self.dialer, place) {
            (Dialer::Vm(way), Endpoint::Vm(vm)) => way.open(vm).await?,
            (Dialer::Server(way), Endpoint::Server(_)) => way.open().await?,
            _ => return Err(ConnectError::NoVm),
        };
        let connection = Arc::new(opened);
        slot.connection = Some(connection.clone());
        self.reached.store(true, Ordering::Relaxed);
        Ok(connection)
    }

    /// Asks the target whether the connection still stands, however lately it
    /// was heard, and makes it again when it does not.
    pub async fn still_connected(&self) -> Result<(), EffectError> {
        let connection = self.connection().await?;
        let answered = timeout(self.limits().connect_timeout, connection.ping()).await;
        if !matches!(answered, Ok(Ok(()))) {
            self.forget(&connection).await;
            self.connection().await?;
        }
        Ok(())
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

    /// A command that may be asked for again: one that only looks, or one of
    /// the lease. A change is a job. While the connection is lost again and
    /// again it is asked for as long as a target may be away.
    async fn run_probe(
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
        let line = exec::command_line::build(command)?;
        let nothing = |why: &str| {
            EffectError::new(
                ErrorKind::Unavailable,
                "ssh.unreachable",
                format!("no session on the target: {why}; nothing was run"),
            )
        };
        let mut again = Retry::until(deadline);
        loop {
            let connection = match timeout_at(deadline, self.connection()).await {
                Err(_) => return Err(again.error().unwrap_or_else(late)),
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
                Err(_) => return Err(again.error().unwrap_or_else(late)),
                Ok(Ok(opened)) => opened.begin(),
                Ok(Err(SessionError::Refused(reason))) => {
                    return Err(EffectError::new(
                        ErrorKind::Unavailable,
                        "ssh.refused",
                        format!(
                            "{} refused one more session ({reason:?}); check MaxSessions of its \
                             SSH server",
                            connection.place
                        ),
                    ));
                }
                // Nothing was asked of the target yet: a new connection is safe.
                Ok(Err(SessionError::Dead(why))) => {
                    self.forget(&connection).await;
                    again.after(nothing(&why)).await?;
                    continue;
                }
            };
            let ran = match opened {
                Some((channel, _permit)) => {
                    exec::probe::run(&connection, channel, &line, command, deadline, live).await
                }
                None => ProbeEnd::NotRun,
            };
            match ran {
                // One that was opened ahead may have stood open for too long.
                ProbeEnd::NotRun => {
                    let why = "it was closed before the command";
                    again.after(nothing(why)).await?;
                }
                ProbeEnd::Lost(error) => {
                    self.forget(&connection).await;
                    let doing = format!("{error}; asking again");
                    again.after(error).await?;
                    live.doing(&doing);
                }
                ProbeEnd::Done(result) => {
                    if result.is_ok() {
                        connection.heard();
                    }
                    return result;
                }
            }
        }
    }
}

#[async_trait]
impl Ssh for RusshSsh {
    async fn connect(&self) -> Result<(), EffectError> {
        let connection = self.connect_with_retry().await?;
        match connection.is_quiet() {
            // A dead peer is noticed here instead of by the first command.
            true => self.still_connected().await,
            false => Ok(()),
        }
    }

    async fn run(&self, command: &Command, live: &dyn LiveOutput) -> Result<Output, EffectError> {
        if let Some(job) = &command.job {
            return self.run_job(command, job, live).await;
        }
        self.run_probe(command, deadline(command.timeout), live)
            .await
    }

    fn expect_jobs(&self) {
        self.detached.expect();
    }

    async fn forget_jobs(&self, run: &RunId) -> Result<(), EffectError> {
        self.remove_jobs(run).await
    }

    async fn jobs_of(&self, run: &RunId) -> Result<Vec<u64>, EffectError> {
        self.list_jobs(run).await
    }

    async fn end_jobs_of(&self, run: &RunId) -> Result<Vec<JobId>, EffectError> {
        self.stop_orphans(run).await
    }

    async fn close(&self) {
        self.stop_detached_on_close().await;
        let connection = self.slot.lock().await.connection.take();
        if let Some(connection) = connection {
            let bye = russh::Disconnect::ByApplication;
            let _ = connection.handle.disconnect(bye, "done", "").await;
        }
    }
}
