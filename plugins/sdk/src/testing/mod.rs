//! A fake host for `cargo test`: scripted answers, recorded calls, fake time, and
//! the rules of the real gate.
//!
//! ```
//! # use serde::{Deserialize, Serialize};
//! # use vdeploy_plugin::{Cx, Error, Step};
//! use vdeploy_plugin::testing::{self, FakeHost, FakeOutput};
//! # #[derive(Deserialize)] struct Config {}
//! # #[derive(Serialize)] struct Head { sha: String }
//! # struct ReadHead;
//! # impl Step for ReadHead {
//! #     type Config = Config;
//! #     type Output = Head;
//! #     fn run(cx: &Cx<Config>) -> Result<Head, Error> {
//! #         let out = cx.ssh("git").args(["rev-parse", "HEAD"]).probe()?.into_success("git")?;
//! #         Ok(Head { sha: out.stdout_text().trim().to_owned() })
//! #     }
//! # }
//!
//! let host = FakeHost::new().on_ssh("git rev-parse HEAD", FakeOutput::ok("abc123\n"));
//! let output = testing::run::<ReadHead>(&host).map(|head| head.sha);
//! assert_eq!(output, Ok("abc123".to_owned()));
//! assert_eq!(host.call_lines(), ["probe git rev-parse HEAD"]);
//! ```
//!
//! A command or request without a script fails the whole call, even when the
//! step ignores the error. With [`FakeHost::manifest`] the configuration gets
//! its defaults and every call must be covered by a `[[request]]`.

mod call;
pub(crate) mod gate;
mod host;
pub(crate) mod host_state;
mod local;
mod manifest;
mod pattern;

use crate::{Error, Step, Undo, step};

pub use call::{Answer, Call, CheckReport, FakeCommand, FakeOutput, FakeRequest, FakeResponse};
pub use host::FakeHost;
pub use local::local_shell;

use host_state::Phase;

/// Calls the step's `check`.
///
/// # Errors
/// What the step answered, or what was not scripted.
pub fn check<S: Step>(host: &FakeHost) -> Result<(), Error> {
    host.enter(Phase::Check, step::check::<S>)
}

/// Calls the step's `run`.
///
/// # Errors
/// What the step answered, or what was not scripted. An output that is not a
/// JSON object is `output.invalid`, as on the real host.
pub fn run<S: Step>(host: &FakeHost) -> Result<S::Output, Error> {
    host.enter(Phase::Run, || {
        let output = S::run(&crate::Cx::load()?)?;
        step::encode(&output)?;
        Ok(output)
    })
}

/// Calls the step's `run` and returns the output as later steps see it.
///
/// # Errors
/// As [`run`].
pub fn run_json<S: Step>(host: &FakeHost) -> Result<serde_json::Value, Error> {
    let text = host.enter(Phase::Run, step::run::<S>)?;
    Ok(serde_json::from_str(&text)?)
}

/// Calls the step's `undo` with the JSON that `run` returned.
///
/// # Errors
/// As [`check`].
pub fn undo<S: Undo>(host: &FakeHost, output: Option<serde_json::Value>) -> Result<(), Error> {
    let output = output.map(|value| value.to_string());
    host.enter(Phase::Undo, || step::undo::<S>(output.as_deref()))
}
