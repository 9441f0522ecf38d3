//! One session on the target, in one attempt.

use super::RusshSsh;
use super::connect::Connection;
use super::error::ConnectError;
use crate::capability::{EffectError, ErrorKind};
use crate::ids::VmId;
use russh::Channel;
use russh::client::Msg;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

/// A channel on which nothing was asked for yet.
pub(super) struct OpenSession {
    connection: Arc<Connection>,
    channel: Channel<Msg>,
    permit: OwnedSemaphorePermit,
}

/// Why there is none.
pub(super) struct Unopened {
    pub(super) error: EffectError,
    /// Whether trying again cannot help.
    pub(super) last: bool,
}

impl From<ConnectError> for Unopened {
    fn from(error: ConnectError) -> Self {
        Self {
            last: error.is_final(),
            error: error.into(),
        }
    }
}

impl OpenSession {
    pub(super) fn into_parts(self) -> (Arc<Connection>, Channel<Msg>, OwnedSemaphorePermit) {
        (self.connection, self.channel, self.permit)
    }
}

impl RusshSsh {
    /// Where the target is now.
    pub(super) fn vm(&self) -> Result<VmId, EffectError> {
        let vm = self.target.facts().vm;
        Ok(vm.ok_or(ConnectError::NoVm)?)
    }

    /// Whether the target has answered once.
    pub(super) fn was_reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }

    /// Opens a session on `vm`; a connection that turns out to be dead is
    /// forgotten.
    pub(super) async fn open_session(&self, vm: &VmId) -> Result<OpenSession, Unopened> {
        /// For a server that is there, opening a channel is one round trip.
        const OPEN: Duration = Duration::from_secs(15);
        let connection = self.connection_to(vm).await?;
        let unavailable = |code, why: String| {
            let text = format!("no session on the target: {why}");
            EffectError::new(ErrorKind::Unavailable, code, text)
        };
        let again = |why: String| Unopened {
            error: unavailable("ssh.unreachable", why),
            last: false,
        };
        let permit = connection.channels.clone().acquire_owned().await;
        let permit = permit.map_err(|e| again(e.to_string()))?;
        let opened = timeout(OPEN, connection.handle.channel_open_session()).await;
        let why = match opened {
            Ok(Ok(channel)) => {
                return Ok(OpenSession {
                    connection,
                    channel,
                    permit,
                });
            }
            Ok(Err(russh::Error::ChannelOpenFailure(reason))) => {
                let why = format!(
                    "{vm} refused one more session ({reason:?}); check MaxSessions of its SSH \
                     server"
                );
                return Err(Unopened {
                    error: unavailable("ssh.refused", why),
                    last: true,
                });
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        self.forget(&connection).await;
        Err(again(why))
    }
}
