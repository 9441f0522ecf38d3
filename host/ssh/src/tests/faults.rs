//! Against a server that does what OpenSSH would not.

use super::fixture::{Front, client, new_key, shell};
use crate::capability::ssh::{NoLiveOutput, Ssh};
use russh::server::{self, Auth, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Clone, Copy, PartialEq)]
enum Fault {
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
pub(crate) async fn open_door() -> Front {
    faulty(Fault::NoStatus).await.0
}

async fn faulty(fault: Fault) -> (Front, Arc<AtomicUsize>) {
    let (front, commands, _) = counting(fault).await;
    (front, commands)
}

/// A server, the commands that it took, and the sessions that it was asked for.
async fn counting(fault: Fault) -> (Front, Arc<AtomicUsize>, Arc<AtomicUsize>) {
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

#[tokio::test]
async fn without_a_status_there_is_no_exit_code() {
    let (front, _) = faulty(Fault::NoStatus).await;
    let c = client(&front, &new_key());
    let out = c.ssh.run(&shell("x"), &NoLiveOutput).await.unwrap();
    assert_eq!((out.exit_code, out.signal), (None, None));
    assert_eq!(out.stdout, b"hello\n");
}

#[tokio::test]
async fn a_refused_command_was_certainly_not_run() {
    let (front, _) = faulty(Fault::RefusesCommands).await;
    let c = client(&front, &new_key());
    let error = c.ssh.run(&shell("x"), &NoLiveOutput).await.unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.maybe_applied),
        ("ssh.refused", false)
    );
}

#[tokio::test]
async fn a_refused_session_says_what_to_check() {
    let (front, commands) = faulty(Fault::RefusesSessions).await;
    let c = client(&front, &new_key());
    let error = c.ssh.run(&shell("x"), &NoLiveOutput).await.unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.maybe_applied),
        ("ssh.refused", false)
    );
    assert!(error.message.contains("MaxSessions"), "{error}");
    assert_eq!(commands.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_connection_that_dies_before_the_command_is_made_again_and_it_runs_once() {
    let (front, commands) = faulty(Fault::DropsConnectionOnce).await;
    let c = client(&front, &new_key());
    // Each connection of this server has a host key of the same process.
    let out = c.ssh.run(&shell("x"), &NoLiveOutput).await.unwrap();
    assert_eq!(out.exit_code, Some(0));
    assert_eq!(commands.load(Ordering::Relaxed), 1);
    assert_eq!(front.connections(), 2);
}

#[tokio::test]
async fn a_status_that_arrived_counts_although_the_connection_died_after_it() {
    let (front, commands) = faulty(Fault::DropsAfterStatus).await;
    let c = client(&front, &new_key());
    let out = c.ssh.run(&shell("x"), &NoLiveOutput).await.unwrap();
    assert_eq!((out.exit_code, out.truncated), (Some(4), true));
    assert_eq!(commands.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn the_session_of_the_next_command_is_opened_while_one_runs() {
    let (front, commands, sessions) = counting(Fault::EndsWithTheNextSession).await;
    let c = client(&front, &new_key());
    // Each would run until its limit if none were opened.
    for _ in 0..3 {
        let out = c.ssh.run(&shell("x"), &NoLiveOutput).await.unwrap();
        assert_eq!(out.exit_code, Some(0));
    }
    assert_eq!(commands.load(Ordering::Relaxed), 3);
    assert_eq!(sessions.load(Ordering::Relaxed), 4);
    assert_eq!(front.connections(), 1);
}

#[tokio::test]
async fn a_session_closed_before_its_command_is_replaced_and_the_command_runs_once() {
    let (front, commands, sessions) = counting(Fault::ClosesSecondSession).await;
    let c = client(&front, &new_key());
    for _ in 0..2 {
        let out = c.ssh.run(&shell("x"), &NoLiveOutput).await.unwrap();
        assert_eq!(out.exit_code, Some(0));
    }
    assert_eq!(commands.load(Ordering::Relaxed), 2);
    assert!(sessions.load(Ordering::Relaxed) >= 3);
    assert_eq!(front.connections(), 1);
}

#[tokio::test]
async fn a_server_that_allows_no_session_ahead_is_asked_for_one_once() {
    let (front, commands, sessions) = counting(Fault::RefusesSecondSession).await;
    let c = client(&front, &new_key());
    for _ in 0..3 {
        let out = c.ssh.run(&shell("x"), &NoLiveOutput).await.unwrap();
        assert_eq!(out.exit_code, Some(0));
    }
    assert_eq!(commands.load(Ordering::Relaxed), 3);
    assert_eq!(sessions.load(Ordering::Relaxed), 4);
}
