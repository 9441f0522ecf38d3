//! One session on the target, in one attempt.

use crate::RusshSsh;
use crate::connection::connect::Connection;
use crate::connection::session_pool::SessionError;
use crate::error::ConnectError;
use crate::transport::endpoint::Endpoint;
use russh::Channel;
use russh::client::Msg;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::OwnedSemaphorePermit;
use vdeploy_core::capability::{EffectError, ErrorKind};

/// A channel on which nothing was asked for yet.
pub(crate) struct OpenSession {
    connection: Arc<Connection>,
    channel: Channel<Msg>,
    permit: Option<OwnedSemaphorePermit>,
}

/// Why there is none.
pub(crate) struct OpenError {
    pub(crate) error: EffectError,
    /// Whether trying again cannot help.
    pub(crate) last: bool,
}

impl From<ConnectError> for OpenError {
    fn from(error: ConnectError) -> Self {
        Self {
            last: error.is_final(),
            error: error.into(),
        }
    }
}

/// The permit is held as long as the channel is in use.
pub(crate) type Parts = (Arc<Connection>, Channel<Msg>, Option<OwnedSemaphorePermit>);

impl OpenSession {
    pub(crate) fn into_parts(self) -> Parts {
        (self.connection, self.channel, self.permit)
    }
}

impl RusshSsh {
    /// Whether the target has answered once.
    pub(crate) fn was_reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }

    /// Opens a session there; a connection that turns out to be dead is
    /// forgotten.
    pub(crate) async fn open_session(&self, place: &Endpoint) -> Result<OpenSession, OpenError> {
        let connection = self.connection_to(place).await?;
        let unavailable = |code, why: String| {
            let text = format!("no session on the target: {why}");
            EffectError::new(ErrorKind::Unavailable, code, text)
        };
        let again = |why: String| OpenError {
            error: unavailable("ssh.unreachable", why),
            last: false,
        };
        let why = match connection.session().await {
            Ok(opened) => match opened.begin() {
                Some((channel, permit)) => {
                    return Ok(OpenSession {
                        connection,
                        channel,
                        permit,
                    });
                }
                None => "it was closed".to_owned(),
            },
            Err(SessionError::Refused(reason)) => {
                let why = format!(
                    "{place} refused one more session ({reason:?}); check MaxSessions of its SSH \
                     server"
                );
                return Err(OpenError {
                    error: unavailable("ssh.refused", why),
                    last: true,
                });
            }
            Err(SessionError::Dead(why)) => why,
        };
        self.forget(&connection).await;
        Err(again(why))
    }
}
