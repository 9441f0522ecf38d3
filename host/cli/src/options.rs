//! From the command line and the environment to the options of a session.

use crate::Global;
use crate::compiles;
use crate::error::CliError;
use crate::exit::ExitCode;
use std::path::PathBuf;
use vdeploy_lease::{LeaseTimes, process};
use vdeploy_ops::session::check_state_dir;
use vdeploy_ops::{Environment, Session, SessionOptions};

/// How long a lease on a target lasts, in seconds.
const LEASE_SECONDS: &str = "VDEPLOY_LEASE_SECONDS";

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
        actor: process::this_process(|name| environment.text(name)),
        lease_times: lease_times(&environment)?,
        on_notice: compiles::notices(),
        environment,
        ..SessionOptions::new(current_dir()?, state_dir(global)?)
    })
}

/// `VDEPLOY_LEASE_SECONDS`, if it is set.
fn lease_times(environment: &Environment) -> Result<LeaseTimes, CliError> {
    let Some(text) = environment.text(LEASE_SECONDS) else {
        return Ok(LeaseTimes::default());
    };
    let times = text.parse().ok().and_then(LeaseTimes::from_seconds);
    times.ok_or_else(|| {
        let (from, to) = LeaseTimes::SECONDS.into_inner();
        CliError::usage(format!(
            "{LEASE_SECONDS} is `{text}`, and not a number from {from} to {to}"
        ))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lease_times_come_from_the_environment_and_nonsense_is_refused() {
        let times = |text: &str| lease_times(&Environment::from_iter([(LEASE_SECONDS, text)]));
        assert_eq!(times("").unwrap(), LeaseTimes::default());
        assert_eq!(times("4").unwrap().on_target.as_secs(), 4);
        for wrong in ["1", "601", "-3", "4s"] {
            let error = times(wrong).unwrap_err();
            assert!(error.to_string().contains("from 2 to 600"), "{error}");
        }
    }
}
