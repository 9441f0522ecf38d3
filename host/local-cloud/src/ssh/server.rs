//! The SSH server of a VM: who may log in and what a channel may ask for.
//!
//! Only `root` with the VM's own key. Channels run commands; there is no terminal, no forwarding and
//! no subsystem. `command` owns the running command.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::PublicKey;
use russh::server::{self, Auth, ChannelOpenHandle, Handle, Handler, Msg, Session};
use russh::{Channel, ChannelId, MethodKind, MethodSet, Pty, Sig, SshId};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::core::Core;
use crate::ssh::command::{CommandLine, Input, RunningCommand};
use crate::vm::Vm;

/// The only user of a VM.
const USER: &str = "root";

/// Serves one SSH connection to a VM until it ends.
pub(crate) async fn serve<S>(core: Arc<Core>, vm: Arc<Vm>, stream: S) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let config = server::Config {
        server_id: SshId::Standard("SSH-2.0-vdeploy_local".into()),
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        auth_rejection_time: Duration::from_millis(100),
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![vm.host_key.clone()],
        // A command may be silent for as long as it likes.
        inactivity_timeout: None,
        ..server::Config::default()
    };
    let connection = Connection {
        core,
        vm,
        channels: HashMap::new(),
    };
    let running = server::run_stream(Arc::new(config), stream, connection).await;
    let ended = match running {
        Ok(running) => running.await,
        Err(error) => Err(error),
    };
    ended.map_err(io::Error::other)
}

/// One connection and its channels. When it is dropped, its commands are hung up.
struct Connection {
    core: Arc<Core>,
    vm: Arc<Vm>,
    channels: HashMap<ChannelId, Slot>,
}

/// What there is to a channel.
struct Slot {
    /// Where the command will write to; taken when it starts.
    channel: Option<Channel<Msg>>,
    env: Vec<(String, String)>,
    input: Input,
    command: Option<RunningCommand>,
}

impl Connection {
    fn may_log_in(&self, user: &str, key: &PublicKey) -> Auth {
        if user == USER && key.key_data() == self.vm.ssh_key.public_key().key_data() {
            Auth::Accept
        } else {
            Auth::reject()
        }
    }

    /// Starts a command on a channel; `false` when the channel cannot take one. While the VM is
    /// being copied this waits: nothing may start on a suspended VM.
    async fn start(&mut self, id: ChannelId, line: CommandLine<'_>, session: Handle) -> bool {
        let _lifecycle = self.vm.lifecycle.lock().await;
        let Some(slot) = self.channels.get_mut(&id) else {
            return false;
        };
        if !self.core.is_running(self.vm.id) {
            return false;
        }
        let (Some(channel), Some(stdin)) = (slot.channel.take(), slot.input.take_reader()) else {
            return false;
        };
        let mut env = self.vm.env(&self.core.path);
        for (name, value) in slot.env.drain(..) {
            env.insert(name.into(), value.into());
        }
        let (_, write) = channel.split();
        match RunningCommand::start(line, &env, &self.vm.home(), stdin, write, session) {
            Ok(command) => {
                slot.command = Some(command);
                true
            }
            Err(error) => {
                tracing::warn!(%error, vm = %self.vm.id, "a command did not start");
                false
            }
        }
    }
}

/// Answers a request on a channel.
fn answer(ok: bool, id: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
    if ok {
        session.channel_success(id)
    } else {
        session.channel_failure(id)
    }
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: server::PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(self.may_log_in(user, offer.public_key))
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: server::VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(self.may_log_in(user, key.public_key))
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels
            .retain(|_, slot| !slot.command.as_ref().is_some_and(RunningCommand::is_over));
        let slot = Slot {
            env: vec![],
            input: Input::new(),
            command: None,
            channel: Some(channel),
        };
        if let Some(channel) = &slot.channel {
            self.channels.insert(channel.id(), slot);
        }
        reply.accept().await;
        Ok(())
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let wanted = name == "LANG" || name.starts_with("LC_");
        let slot = self.channels.get_mut(&id).filter(|_| wanted);
        let ok = slot.map(|slot| slot.env.push((name.to_owned(), value.to_owned())));
        answer(ok.is_some(), id, session)
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let ok = self
            .start(id, CommandLine::Command(command), session.handle())
            .await;
        answer(ok, id, session)
    }

    async fn shell_request(
        &mut self,
        id: ChannelId,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let ok = self.start(id, CommandLine::Shell, session.handle()).await;
        answer(ok, id, session)
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        _name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        answer(false, id, session)
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        answer(false, id, session)
    }

    async fn x11_request(
        &mut self,
        id: ChannelId,
        _single: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        answer(false, id, session)
    }

    async fn data(
        &mut self,
        id: ChannelId,
        data: &[u8],
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        if let Some(slot) = self.channels.get(&id) {
            slot.input.push(data).await;
        }
        Ok(())
    }

    async fn channel_eof(
        &mut self,
        id: ChannelId,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        if let Some(slot) = self.channels.get_mut(&id) {
            slot.input.finish();
        }
        Ok(())
    }

    async fn signal(
        &mut self,
        id: ChannelId,
        signal: Sig,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let command = self
            .channels
            .get(&id)
            .and_then(|slot| slot.command.as_ref());
        let ok = command.is_some_and(|command| command.signal(&signal));
        answer(ok, id, session)
    }

    async fn channel_close(
        &mut self,
        id: ChannelId,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        // Dropping the command hangs it up.
        self.channels.remove(&id);
        Ok(())
    }
}
