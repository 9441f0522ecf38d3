//! One session on the target, in one attempt.

use super::RusshSsh;
use super::ahead::NoSession;
use super::connect::Connection;
use super::error::ConnectError;
use super::place::Place;
use russh::Channel;
use russh::client::Msg;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::OwnedSemaphorePermit;
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::codes;

/// A channel on which nothing was asked for yet.
pub(super) struct OpenSession {
    connection: Arc<Connection>,
    channel: Channel<Msg>,
    permit: Option<OwnedSemaphorePermit>,
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

/// The permit is held as long as the channel is in use.
pub(super) type Parts = (Arc<Connection>, Channel<Msg>, Option<OwnedSemaphorePermit>);

impl OpenSession {
    pub(super) fn into_parts(self) -> Parts {
        (self.connection, self.channel, self.permit)
    }
}

impl RusshSsh {
    /// Whether the target has answered once.
    pub(super) fn was_reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }

    /// Opens a session there; a connection that turns out to be dead is
    /// forgotten.
    pub(super) async fn open_session(&self, place: &Place) -> Result<OpenSession, Unopened> {
        let connection = self.connection_to(place).await?;
        let unavailable = |code, why: String| {
            let text = format!("no session on the target: {why}");
            EffectError::new(ErrorKind::Unavailable, code, text)
        };
        let again = |why: String| Unopened {
            error: unavailable(codes::SSH_UNREACHABLE, why),
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
            Err(NoSession::Refused(reason)) => {
                let why = format!(
                    "{place} refused one more session ({reason:?}); check MaxSessions of its SSH \
                     server"
                );
                return Err(Unopened {
                    error: unavailable(codes::SSH_REFUSED, why),
                    last: true,
                });
            }
            Err(NoSession::Dead(why)) => why,
        };
        self.forget(&connection).await;
        Err(again(why))
    }
}
