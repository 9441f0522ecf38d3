//! The transport of jobs over russh.

use crate::RusshSsh;
use crate::connection::connect::Connection;
use crate::connection::session_pool::SessionError;
use crate::error::{ConnectError, too_many_sessions};
use crate::transport::{
    Channel, ChannelEvent, ChannelReader, ChannelWriter, Disconnected, Endpoint, Link, OpenError,
    Transport,
};
use async_trait::async_trait;
use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::OwnedSemaphorePermit;
use vdeploy_core::capability::ssh::{Command, NoLiveOutput, Output, Ssh as _, Stream};
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_core::codes;

#[async_trait]
impl Transport for RusshSsh {
    fn endpoint(&self) -> Result<Endpoint, EffectError> {
        Ok(self.current_endpoint()?)
    }

    fn was_reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }

    async fn open_channel(&self, endpoint: &Endpoint) -> Result<Channel, OpenError> {
        let connection = self.connection_to(endpoint).await?;
        let why = match connection.session().await {
            Ok(session) => match session.take() {
                Some((channel, permit)) => {
                    let (read, write) = channel.split();
                    return Ok(Channel {
                        link: Box::new(connection.clone()),
                        reader: Box::new(read),
                        writer: Box::new(Writer {
                            write,
                            _permit: permit,
                            _connection: connection,
                        }),
                    });
                }
                None => "it was closed".to_owned(),
            },
            Err(SessionError::Refused(reason)) => {
                return Err(OpenError {
                    error: too_many_sessions(endpoint, &reason),
                    is_final: true,
                });
            }
            Err(SessionError::Dead(why)) => why,
        };
        connection.mark_dead();
        Err(OpenError {
            error: EffectError::new(
                ErrorKind::Unavailable,
                codes::SSH_UNREACHABLE,
                format!("no session on the target: {why}"),
            ),
            is_final: false,
        })
    }

    async fn probe(&self, command: &Command) -> Result<Output, EffectError> {
        self.run(command, &NoLiveOutput).await
    }
}

impl From<ConnectError> for OpenError {
    fn from(error: ConnectError) -> Self {
        Self {
            is_final: error.is_final(),
            error: error.into(),
        }
    }
}

impl Link for Arc<Connection> {
    fn mark_active(&self) {
        Connection::mark_active(self);
    }

    fn mark_dead(&self) {
        Connection::mark_dead(self);
    }

    fn open_ahead(&self) {
        Connection::open_ahead(self);
    }
}

#[async_trait]
impl ChannelReader for ChannelReadHalf {
    async fn next(&mut self) -> Option<ChannelEvent> {
        Some(match self.wait().await? {
            ChannelMsg::Data { data } => ChannelEvent::Output(Stream::Stdout, data.to_vec()),
            ChannelMsg::ExtendedData { data, ext: 1 } => {
                ChannelEvent::Output(Stream::Stderr, data.to_vec())
            }
            ChannelMsg::ExitStatus { exit_status } => ChannelEvent::ExitStatus(exit_status),
            ChannelMsg::Failure => ChannelEvent::Refused,
            ChannelMsg::Close => ChannelEvent::Closed,
            _ => ChannelEvent::Other,
        })
    }
}

struct Writer {
    write: ChannelWriteHalf<Msg>,
    /// Counts the session as long as the channel is in use.
    _permit: Option<OwnedSemaphorePermit>,
    /// A channel lives no longer than its connection.
    _connection: Arc<Connection>,
}

#[async_trait]
impl ChannelWriter for Writer {
    async fn exec(&self, line: &str) -> Result<(), Disconnected> {
        self.write.exec(true, line).await.map_err(|_| Disconnected)
    }

    async fn send(&self, bytes: &[u8]) -> Result<(), Disconnected> {
        self.write.data(bytes).await.map_err(|_| Disconnected)
    }

    async fn close(&self) {
        // A connection that is gone needs no close.
        let _ = self.write.close().await;
    }
}
