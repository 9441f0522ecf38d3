//! The traits of a plugin, and their JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Cx, Error, ResultExt};

/// One step of a plan. There is no `self`: each call gets a fresh instance, so a
/// step keeps nothing in memory between calls.
pub trait Step {
    /// The configuration, as `[config]` of the manifest describes it.
    type Config: DeserializeOwned;
    /// Readable by later steps. Must serialise to a JSON object; the unit type
    /// counts as an empty one. The key `summary` is printed.
    type Output: Serialize;

    /// Runs before all steps; probes only. An error refuses the whole run.
    ///
    /// # Errors
    /// Why the step cannot run.
    fn check(cx: &Cx<Self::Config>) -> Result<(), Error> {
        let _ = cx;
        Ok(())
    }

    /// Must be idempotent: it is called again after a crash.
    ///
    /// # Errors
    /// Why the step failed; a rollback follows if the plan says so.
    fn run(cx: &Cx<Self::Config>) -> Result<Self::Output, Error>;
}

/// A step that can undo its effect.
pub trait Undo: Step<Output: DeserializeOwned> {
    /// Called in a rollback. `output` is what `run` returned, or `None` when
    /// `run` did not finish. Must be idempotent.
    ///
    /// # Errors
    /// Why the effect remains. The rollback continues and reports it.
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

/// Reads an output; `{}` also reads as the unit type.
pub(crate) fn decode<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    match serde_json::from_str(text) {
        Ok(value) => Ok(value),
        Err(error) if text.trim() == "{}" => {
            serde_json::from_value(Value::Null).map_err(|_| error.into())
        }
        Err(error) => Err(error.into()),
    }
}
