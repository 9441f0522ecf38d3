//! Sessions of a connection: one for each command, and one opened ahead for the
//! next command.
//!
//! Opening a session costs a round trip, and a command costs another. With the
//! session opened ahead, a command costs one. That session counts for sshd's
//! `MaxSessions`, so it holds a permit like a running command.

use crate::connection::connect::Connection;
use russh::client::Msg;
use russh::{Channel, ChannelOpenFailure};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use vdeploy_core::backoff::Backoff;

/// Opening a session is one round trip.
const OPEN: Duration = Duration::from_secs(15);
/// After this much silence the server is pinged before a session opened ahead
/// is used: a command sent to a dead connection is in doubt, a ping is not. A
/// ping costs what opening a session costs.
const QUIET: Duration = Duration::from_secs(1);

/// sshd frees a session some time after it has reported its end. For so long a
/// refusal is retried on a server that allowed sessions before; a refused
/// session ran nothing.
const FREE_WITHIN: Duration = Duration::from_secs(5);

/// OpenSSH sends at most three packets of its own after a login; one more for
/// good measure.
const ACKNOWLEDGEMENTS: usize = 4;

/// A request without an answer. russh's `send_keepalive(false)` sends the same
/// bytes but waits for an answer that never comes: then each later answer counts
/// for an older request, and a ping waits for as many keepalives.
const UNANSWERED: &str = "keepalive@openssh.com";

pub(crate) enum SessionError {
    /// The server allows no more sessions.
    Refused(ChannelOpenFailure),
    /// The connection is dead; nothing was run.
    Dead(String),
}

/// An open session in which nothing runs yet.
pub(crate) struct IdleSession {
    channel: Option<Channel<Msg>>,
    permit: Option<OwnedSemaphorePermit>,
}

impl IdleSession {
    /// The channel, and the permit to hold while it is in use.
    pub(crate) fn take(mut self) -> Option<(Channel<Msg>, Option<OwnedSemaphorePermit>)> {
        Some((self.channel.take()?, self.permit.take()))
    }
}

impl Drop for IdleSession {
    /// An unused session must not count on the server any longer.
    fn drop(&mut self) {
        let (Some(channel), permit) = (self.channel.take(), self.permit.take()) else {
            return;
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _ = channel.close().await;
                drop(permit);
            });
        }
    }
}

/// The session opened ahead, and when the server answered last.
pub(crate) struct SessionPool {
    next: Mutex<Option<JoinHandle<Option<IdleSession>>>>,
    /// The server allows no more sessions than are in use.
    refused: AtomicBool,
    /// The server has allowed a session before.
    allowed: AtomicBool,
    last_active: Mutex<Instant>,
}

impl SessionPool {
    pub(crate) fn new() -> Self {
        Self {
            next: Mutex::default(),
            refused: AtomicBool::new(false),
            allowed: AtomicBool::new(false),
            last_active: Mutex::new(Instant::now()),
        }
    }
}

fn closed() -> SessionError {
    SessionError::Dead("the connection was closed".to_owned())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl Connection {
    /// The server has just answered.
    pub(crate) fn mark_active(&self) {
        *lock(&self.pool.last_active) = Instant::now();
    }

    /// Whether the server was silent for so long that it may be dead.
    pub(crate) fn is_quiet(&self) -> bool {
        lock(&self.pool.last_active).elapsed() > QUIET
    }

    /// One round trip: whether the server answers.
    pub(crate) async fn ping(&self) -> Result<(), SessionError> {
        let asked = self.handle.send_ping().await;
        asked.map_err(|e| SessionError::Dead(e.to_string()))?;
        // A connection that was closed meanwhile gives no answer and no error.
        if self.handle.is_closed() {
            return Err(closed());
        }
        self.mark_active();
        Ok(())
    }

    /// Starts to open the session of the next command, unless there is one or
    /// all are in use.
    pub(crate) fn open_ahead(self: &Arc<Self>) {
        let mut next = lock(&self.pool.next);
        if next.is_some() || self.pool.refused.load(Ordering::Relaxed) {
            return;
        }
        let Ok(permit) = self.channels.clone().try_acquire_owned() else {
            return;
        };
        let connection = self.clone();
        *next = Some(tokio::spawn(async move {
            match connection.handle.channel_open_session().await {
                Ok(channel) => {
                    connection.mark_active();
                    Some(IdleSession {
                        channel: Some(channel),
                        permit: Some(permit),
                    })
                }
                Err(russh::Error::ChannelOpenFailure(_)) => {
                    connection.pool.refused.store(true, Ordering::Relaxed);
                    None
                }
                Err(_) => None,
            }
        }));
    }

    /// A session for a command: the one opened ahead, or a new one once a permit
    /// is free.
    pub(crate) async fn session(&self) -> Result<IdleSession, SessionError> {
        let no_answer = |_| SessionError::Dead("no answer".to_owned());
        let next = lock(&self.pool.next).take();
        if let Some(next) = next
            && let Ok(Some(opened)) = timeout(OPEN, next).await.map_err(no_answer)?
        {
            if self.is_quiet() {
                let asked = timeout(OPEN, self.ping()).await;
                asked.map_err(no_answer)??;
            }
            if self.handle.is_closed() {
                return Err(closed());
            }
            return Ok(opened);
        }
        let dead = |e: russh::Error| SessionError::Dead(e.to_string());
        let permit = self.channels.clone().acquire_owned().await;
        let permit = permit.map_err(|e| SessionError::Dead(e.to_string()))?;
        let mut backoff = Backoff::up_to(Duration::from_millis(200));
        let deadline = Instant::now() + FREE_WITHIN;
        loop {
            let opened = timeout(OPEN, self.open()).await;
            match opened.map_err(no_answer)? {
                Ok(channel) => {
                    self.pool.allowed.store(true, Ordering::Relaxed);
                    return Ok(IdleSession {
                        channel: Some(channel),
                        permit: Some(permit),
                    });
                }
                Err(russh::Error::ChannelOpenFailure(reason)) => {
                    let before = self.pool.allowed.load(Ordering::Relaxed);
                    if !before || Instant::now() >= deadline {
                        return Err(SessionError::Refused(reason));
                    }
                }
                Err(error) => return Err(dead(error)),
            }
            sleep(backoff.next_wait()).await;
        }
    }

    /// Opens a session. After a login OpenSSH announces its host keys and the
    /// options of `authorized_keys` in small packets. Each waits until the one
    /// before is acknowledged (Nagle's algorithm, until the first command), and so
    /// does the answer to the first session. An idle client acknowledges after
    /// 40 ms; one that sends something does so at once.
    async fn open(&self) -> Result<Channel<Msg>, russh::Error> {
        let acknowledge = async {
            self.announced.notified().await;
            let mut wait = Duration::from_millis(2);
            for _ in 0..ACKNOWLEDGEMENTS {
                let _ = self
                    .handle
                    .send_global_request(UNANSWERED, &[], false)
                    .await;
                sleep(wait).await;
                wait *= 2;
            }
            std::future::pending().await
        };
        tokio::select! {
            // The request for the session goes out first.
            biased;
            opened = self.handle.channel_open_session() => opened,
            never = acknowledge => never,
        }
    }
}
