//! What a plugin implements, and the JSON at its edge.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Cx, Error, ResultExt};

/// One step of a plan. There is no `self`: a step keeps nothing in memory
/// between calls, because each call gets a fresh instance.
pub trait Step {
    /// The step's configuration, as the manifest's `[config]` describes it.
    type Config: DeserializeOwned;
    /// What later steps can read. Must serialise to a JSON object; the unit
    /// type counts as an empty one. The key `summary` is shown to the person.
    type Output: Serialize;

    /// Preflight: probes only. An error here refuses the whole run.
    ///
    /// # Errors
    /// Why the step could not be run.
    fn check(cx: &Cx<Self::Config>) -> Result<(), Error> {
        let _ = cx;
        Ok(())
    }

    /// Does the step. Must be idempotent: it is called again after a crash.
    ///
    /// # Errors
    /// Why the step failed; a rollback follows if the plan says so.
    fn run(cx: &Cx<Self::Config>) -> Result<Self::Output, Error>;
}

/// A step that can take its effect back.
pub trait Undo: Step<Output: DeserializeOwned> {
    /// Called in a rollback. `output` is what `run` returned, or `None` when
    /// `run` did not finish. Must be idempotent.
    ///
    /// # Errors
    /// Why the effect stands. The rollback goes on and reports it.
    fn undo(cx: &Cx<Self::Config>, output: Option<Self::Output>) -> Result<(), Error>;
}

pub(crate) fn check<S: Step>() -> Result<(), Error> {
    S::check(&Cx::load()?)
}

pub(crate) fn run<S: Step>() -> Result<String, Error> {
    encode(&S::run(&Cx::load()?)?)
}

pub(crate) fn undo<S: Undo>(output: Option<&str>) -> Result<(), Error> {
    let output = output.map(decode::<S::Output>).transpose()?;
    S::undo(&Cx::load()?, output)
}

pub(crate) fn encode(output: &impl Serialize) -> Result<String, Error> {
    match serde_json::to_value(output).context("encode the step's output")? {
        Value::Null => Ok("{}".to_owned()),
        value @ Value::Object(_) => Ok(value.to_string()),
        other => Err(Error::invalid(
            "output.invalid",
            format!("the step's output must be a JSON object, not {other}"),
        )),
    }
}

/// Reads an output; `{}` also stands for the unit type.
pub(crate) fn decode<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    match serde_json::from_str(text) {
        Ok(value) => Ok(value),
        Err(error) if text.trim() == "{}" => {
            serde_json::from_value(Value::Null).map_err(|_| error.into())
        }
        Err(error) => Err(error.into()),
    }
}
