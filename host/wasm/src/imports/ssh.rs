//! ssh: building a command and running it.

use super::error;
use crate::bindings::vdeploy::plugin::{ssh, types};
use crate::call::state::{HANDLE, HostState};
use std::time::Duration;
use vdeploy_core::capability::secrets::Secret;
use vdeploy_core::capability::ssh::{Command, Output};
use wasmtime::Result;
use wasmtime::component::Resource;

/// Most output a plugin can ask for, for each stream.
const MAX_OUTPUT: usize = 4 << 20;

/// A command being built by a plugin.
#[derive(Debug)]
pub struct CommandDraft {
    command: Command,
    held: usize,
}

/// What an output takes in the host.
fn size(output: &Output) -> usize {
    HANDLE + output.stdout.len() + output.stderr.len()
}

impl HostState {
    fn draft(&mut self, command: &Resource<CommandDraft>) -> Result<&mut Command> {
        Ok(&mut self.table.get_mut(command)?.command)
    }

    /// As `draft`, for a part that takes `bytes`.
    fn grow(&mut self, command: &Resource<CommandDraft>, bytes: usize) -> Result<&mut Command> {
        self.hold(bytes)?;
        let draft = self.table.get_mut(command)?;
        draft.held += bytes;
        Ok(&mut draft.command)
    }

    async fn ssh(
        &mut self,
        command: Resource<CommandDraft>,
        probe: bool,
    ) -> Result<Result<Resource<Output>, types::Error>> {
        let draft = self.table.delete(command)?;
        self.release(draft.held);
        self.last_call = Some(format!("ssh {}", draft.command.display()));
        match self.gate.ssh(draft.command, probe).await {
            Ok(output) => {
                self.hold(size(&output))?;
                Ok(Ok(self.table.push(output)?))
            }
            Err(e) => Ok(Err(error(e))),
        }
    }
}

impl ssh::HostCommand for HostState {
    async fn new(&mut self, program: String) -> Result<Resource<CommandDraft>> {
        let mut command = Command::new(program);
        command.timeout = self.gate.time_left();
        let held = HANDLE + command.program.len();
        self.hold(held)?;
        Ok(self.table.push(CommandDraft { command, held })?)
    }
    async fn arg(&mut self, command: Resource<CommandDraft>, value: String) -> Result<()> {
        self.grow(&command, HANDLE + value.len())?.args.push(value);
        Ok(())
    }
    async fn env(
        &mut self,
        command: Resource<CommandDraft>,
        name: String,
        value: String,
    ) -> Result<()> {
        let bytes = HANDLE + name.len() + value.len();
        self.grow(&command, bytes)?.env.push((name, value));
        Ok(())
    }
    async fn secret_env(
        &mut self,
        command: Resource<CommandDraft>,
        name: String,
        value: Resource<Secret>,
    ) -> Result<()> {
        let secret = self.table.get(&value)?.clone();
        let bytes = HANDLE + name.len();
        self.grow(&command, bytes)?.secret_env.push((name, secret));
        Ok(())
    }
    async fn cwd(&mut self, command: Resource<CommandDraft>, path: String) -> Result<()> {
        let draft = self.grow(&command, path.len())?;
        draft.cwd = Some(path);
        Ok(())
    }
    async fn stdin(&mut self, command: Resource<CommandDraft>, bytes: Vec<u8>) -> Result<()> {
        let draft = self.grow(&command, bytes.len())?;
        draft.stdin = bytes;
        Ok(())
    }
    async fn timeout_ms(&mut self, command: Resource<CommandDraft>, duration: u64) -> Result<()> {
        self.draft(&command)?.timeout = Duration::from_millis(duration);
        Ok(())
    }
    async fn idle_timeout_ms(
        &mut self,
        command: Resource<CommandDraft>,
        duration: u64,
    ) -> Result<()> {
        self.draft(&command)?.idle_timeout = Some(Duration::from_millis(duration));
        Ok(())
    }
    async fn max_output_bytes(
        &mut self,
        command: Resource<CommandDraft>,
        limit: u64,
    ) -> Result<()> {
        self.draft(&command)?.max_output =
            usize::try_from(limit).map_or(MAX_OUTPUT, |l| l.min(MAX_OUTPUT));
        Ok(())
    }
    async fn drop(&mut self, command: Resource<CommandDraft>) -> Result<()> {
        let held = self.table.delete(command)?.held;
        self.release(held);
        Ok(())
    }
}

impl ssh::HostOutput for HostState {
    async fn exit_code(&mut self, output: Resource<Output>) -> Result<Option<u32>> {
        Ok(self.table.get(&output)?.exit_code)
    }
    async fn signal(&mut self, output: Resource<Output>) -> Result<Option<String>> {
        Ok(self.table.get(&output)?.signal.clone())
    }
    async fn stdout(&mut self, output: Resource<Output>) -> Result<Vec<u8>> {
        Ok(self.table.get(&output)?.stdout.clone())
    }
    async fn stderr(&mut self, output: Resource<Output>) -> Result<Vec<u8>> {
        Ok(self.table.get(&output)?.stderr.clone())
    }
    async fn truncated(&mut self, output: Resource<Output>) -> Result<bool> {
        Ok(self.table.get(&output)?.truncated)
    }
    async fn drop(&mut self, output: Resource<Output>) -> Result<()> {
        let held = size(&self.table.delete(output)?);
        self.release(held);
        Ok(())
    }
}

impl ssh::Host for HostState {
    async fn probe(
        &mut self,
        command: Resource<CommandDraft>,
    ) -> Result<Result<Resource<Output>, types::Error>> {
        self.ssh(command, true).await
    }
    async fn exec(
        &mut self,
        command: Resource<CommandDraft>,
    ) -> Result<Result<Resource<Output>, types::Error>> {
        self.ssh(command, false).await
    }
}
