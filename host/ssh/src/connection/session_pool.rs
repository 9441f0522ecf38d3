//! Sessions of a connection: the one of a command, and the one of the next
//! command, which is opened while this one runs.
//!
//! Opening a session costs a round trip, and a command costs another. With the
//! session opened ahead, a command costs one. It counts among the sessions
//! that sshd allows (`MaxSessions`), so it holds a permit like a running
//! command, and it is what the next command gets.

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

/// For a server that is there, opening a session is one round trip.
const OPEN: Duration = Duration::from_secs(15);
/// A server not heard for so long is asked whether it is there before a
/// session opened ahead is used: a command that was sent to a dead connection
/// is in doubt, a question is not. It costs what opening a session costs.
const QUIET: Duration = Duration::from_secs(1);

/// sshd frees an ended session some time after it has said that it ended. A
/// server that allowed sessions before is asked again for so long; a session
/// that was refused ran nothing.
const FREED: Duration = Duration::from_secs(5);

/// What OpenSSH says by itself after a login is in so many packets at most, and
/// one more for good measure.
const ACKNOWLEDGED: usize = 4;

/// A request that wants no answer. russh's `send_keepalive(false)` sends the
/// same bytes, but then russh expects an answer, which never comes: each later
/// answer counts for an older request, and a ping waits for as many keepalives as
/// were sent that way.
const UNANSWERED: &str = "keepalive@openssh.com";

/// Why there is no session.
pub(crate) enum SessionError {
    /// The server is there and allows no more.
    Refused(ChannelOpenFailure),
    /// The connection is of no use; nothing was run.
    Dead(String),
}

/// An open session in which nothing runs yet.
pub(crate) struct IdleSession {
    channel: Option<Channel<Msg>>,
    permit: Option<OwnedSemaphorePermit>,
}

impl IdleSession {
    /// The channel, and the permit to hold as long as it is in use.
    pub(crate) fn begin(mut self) -> Option<(Channel<Msg>, Option<OwnedSemaphorePermit>)> {
        Some((self.channel.take()?, self.permit.take()))
    }
}

impl Drop for IdleSession {
    /// One that nobody uses must not go on counting on the server.
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

/// The session opened ahead, and when the server was heard last.
pub(crate) struct SessionPool {
    next: Mutex<Option<JoinHandle<Option<IdleSession>>>>,
    /// The server allows no more sessions than are used.
    refused: AtomicBool,
    /// The server has allowed one.
    allowed: AtomicBool,
    heard: Mutex<Instant>,
}

impl SessionPool {
    /// Of a connection that was just made.
    pub(crate) fn new() -> Self {
        Self {
            next: Mutex::default(),
            refused: AtomicBool::new(false),
            allowed: AtomicBool::new(false),
            heard: Mutex::new(Instant::now()),
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
    /// The server has just answered something.
    pub(crate) fn heard(&self) {
        *lock(&self.pool.heard) = Instant::now();
    }

    /// Whether the server was silent for so long that it may be gone.
    pub(crate) fn is_quiet(&self) -> bool {
        lock(&self.pool.heard).elapsed() > QUIET
    }

    /// One round trip: whether the server is there.
    pub(crate) async fn ping(&self) -> Result<(), SessionError> {
        let asked = self.handle.send_ping().await;
        asked.map_err(|e| SessionError::Dead(e.to_string()))?;
        // One that was closed meanwhile has no answer and no error.
        if self.handle.is_closed() {
            return Err(closed());
        }
        self.heard();
        Ok(())
    }

    /// Begins to open the session of the next command, unless there is one or
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
                    connection.heard();
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

    /// A session for a command: the one opened ahead, or a new one as soon as
    /// there may be one more.
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
        let deadline = Instant::now() + FREED;
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

    /// Opens a session. After a login OpenSSH says its keys and then, for a key
    /// of `authorized_keys`, what it allows: small packets, each of which waits
    /// for an acknowledgement of the one before (Nagle's algorithm, until the
    /// first command), and so does the answer to the first session. An idle
    /// client acknowledges 40 ms later; one that sends something does at once.
    async fn open(&self) -> Result<Channel<Msg>, russh::Error> {
        let acknowledge = async {
            self.announced.notified().await;
            let mut wait = Duration::from_millis(2);
            for _ in 0..ACKNOWLEDGED {
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
            // It is asked for before anything else is sent.
            biased;
            opened = self.handle.channel_open_session() => opened,
            never = acknowledge => never,
        }
    }
}
