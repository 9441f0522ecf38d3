//! From the command line and the environment to the options of a session.

use super::Global;
use super::compiles;
use super::error::CliError;
use super::exit::ExitCode;
use crate::ops::session::check_state_dir;
use crate::ops::{Actor, Environment, Session, SessionOptions};
use std::path::PathBuf;

/// The project and the state directory that this command line means.
pub fn session(global: &Global) -> Result<Session, CliError> {
    Ok(Session::open(session_options(global)?)?)
}

pub fn session_options(global: &Global) -> Result<SessionOptions, CliError> {
    let environment: Environment = std::env::vars_os().collect();
    Ok(SessionOptions {
        project: global.project.clone(),
        command_secrets: !global.no_command_secrets,
        helper: Some(compiles::own_program()?),
        code_cache: path("VDEPLOY_CACHE"),
        code_cache_key: path("VDEPLOY_CACHE_KEY"),
        actor: Actor::of_process(|name| environment.text(name)),
        on_notice: compiles::notices(),
        environment,
        ..SessionOptions::new(current_dir()?, state_dir(global)?)
    })
}

pub fn current_dir() -> Result<PathBuf, CliError> {
    std::env::current_dir().map_err(|e| CliError::usage(format!("the current directory: {e}")))
}

/// The state directory: as given, or the user's.
pub fn state_dir(global: &Global) -> Result<PathBuf, CliError> {
    if let Some(dir) = &global.state {
        return Ok(dir.clone());
    }
    path("XDG_STATE_HOME")
        .or_else(|| path("HOME").map(|home| home.join(".local/state")))
        .map(|base| base.join("vdeploy"))
        .ok_or_else(|| {
            CliError::new(ExitCode::Usage, "neither XDG_STATE_HOME nor HOME is set")
                .hint("say where the state is kept: --state DIR")
        })
}

fn path(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// The state directory, if only its owner can write there.
pub fn private_state_dir(global: &Global) -> Result<PathBuf, CliError> {
    let options = SessionOptions::new("", state_dir(global)?);
    check_state_dir(&options)?;
    Ok(options.state_dir)
}
