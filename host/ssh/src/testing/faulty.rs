//! A server that misbehaves as OpenSSH would not.

use super::fixture::{Front, new_key};
use russh::server::{self, Auth, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Clone, Copy, PartialEq)]
pub enum Fault {
    NoStatus,
    RefusesCommands,
    RefusesSessions,
    DropsConnectionOnce,
    DropsAfterStatus,
    /// A command ends when the next session is opened, and not before.
    EndsWithTheNextSession,
    ClosesSecondSession,
    RefusesSecondSession,
}

struct Faulty {
    fault: Fault,
    commands: Arc<AtomicUsize>,
    sessions: Arc<AtomicUsize>,
    running: Option<ChannelId>,
}

impl Faulty {
    fn end(channel: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        session.exit_status_request(channel, 0)?;
        session.eof(channel)?;
        session.close(channel)
    }
}

impl server::Handler for Faulty {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        _: &str,
        _: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: server::ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let earlier = self.sessions.fetch_add(1, Ordering::Relaxed);
        match self.fault {
            Fault::RefusesSessions => drop(reply),
            Fault::DropsConnectionOnce if earlier == 0 => return Err(russh::Error::Disconnect),
            Fault::RefusesSecondSession if earlier == 1 => drop(reply),
            _ => reply.accept().await,
        }
        if self.fault == Fault::ClosesSecondSession && earlier == 1 {
            channel.close().await?;
        }
        if let Some(running) = self.running.take() {
            Self::end(running, session)?;
        }
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.commands.fetch_add(1, Ordering::Relaxed);
        if self.fault == Fault::RefusesCommands {
            return session.channel_failure(channel);
        }
        session.channel_success(channel)?;
        session.data(channel, b"hello\n".to_vec())?;
        if self.fault == Fault::EndsWithTheNextSession {
            self.running = Some(channel);
            return Ok(());
        }
        if self.fault == Fault::DropsAfterStatus {
            session.exit_status_request(channel, 4)?;
            return session.disconnect(russh::Disconnect::ByApplication, "bye", "");
        }
        if self.fault != Fault::NoStatus {
            session.exit_status_request(channel, 0)?;
        }
        session.eof(channel)?;
        session.close(channel)
    }
}

/// A server that lets everyone in.
pub async fn open_door() -> Front {
    faulty(Fault::NoStatus).await.0
}

pub async fn faulty(fault: Fault) -> (Front, Arc<AtomicUsize>) {
    let (front, commands, _) = counting(fault).await;
    (front, commands)
}

/// A server, the commands that it took, and the sessions that it was asked for.
pub async fn counting(fault: Fault) -> (Front, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let commands: Arc<AtomicUsize> = Arc::default();
    let sessions: Arc<AtomicUsize> = Arc::default();
    let (counted, opened) = (commands.clone(), sessions.clone());
    let config = Arc::new(server::Config {
        keys: vec![new_key()],
        ..Default::default()
    });
    let front = Front::start(move |stream| {
        let handler = Faulty {
            fault,
            commands: counted.clone(),
            sessions: opened.clone(),
            running: None,
        };
        let config = config.clone();
        async move {
            if let Ok(running) = server::run_stream(config, stream, handler).await {
                let _ = running.await;
            }
        }
    })
    .await;
    (front, commands, sessions)
}
