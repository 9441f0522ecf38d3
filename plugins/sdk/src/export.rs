//! The contract's exports, for the `register` macros. Not an API.
//!
//! A plugin must export `undo` only when it has one. Each world is therefore
//! bound with `pub_export_macro`: this crate's own type sections carry imports
//! only, and the sections with exports come from the macro that a plugin
//! calls. The contract's `undoable-step-plugin` repeats the export `step`,
//! whose macro would then exist twice, so `undo` has a world of its own here;
//! the component encoder unites both into exactly `undoable-step-plugin`.

use crate::{Error, Level, Step, Undo, backend, step};

#[doc(hidden)]
#[allow(unsafe_code)]
pub mod step_world {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "step-plugin",
        pub_export_macro: true,
        export_macro_name: "export_step",
    });
}

#[doc(hidden)]
#[allow(unsafe_code)]
pub mod undo_world {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package vdeploy:sdk;
            world undo-export {
                export vdeploy:plugin/undo@1.0.0;
            }
        ",
        with: {
            "vdeploy:plugin/types@1.0.0": crate::export::step_world::vdeploy::plugin::types,
            "vdeploy:plugin/undo@1.0.0": generate,
        },
        pub_export_macro: true,
        export_macro_name: "export_undo",
    });
}

pub use step_world::export_step;
pub use step_world::exports::vdeploy::plugin::step::Guest as StepGuest;
pub use step_world::vdeploy::plugin::types::Error as WitError;
pub use undo_world::export_undo;
pub use undo_world::exports::vdeploy::plugin::undo::Guest as UndoGuest;

pub fn check<S: Step>() -> Result<(), WitError> {
    log_panics();
    step::check::<S>().map_err(WitError::from)
}

pub fn run<S: Step>() -> Result<String, WitError> {
    log_panics();
    step::run::<S>().map_err(WitError::from)
}

pub fn undo<S: Undo>(output: Option<String>) -> Result<(), WitError> {
    log_panics();
    step::undo::<S>(output.as_deref()).map_err(WitError::from)
}

/// A panic ends in a trap without a message; this logs message and place first.
fn log_panics() {
    std::panic::set_hook(Box::new(|info| {
        let what = info.payload_as_str().unwrap_or("no message");
        let message = match info.location() {
            Some(place) => format!(
                "the plugin panicked: {what}, at {}:{}:{}",
                place.file(),
                place.line(),
                place.column()
            ),
            None => format!("the plugin panicked: {what}"),
        };
        backend::log(Level::Error, &message);
    }));
}

impl From<Error> for WitError {
    fn from(error: Error) -> Self {
        Self {
            kind: backend::to_wit_kind(error.kind),
            code: error.code,
            message: error.message,
            maybe_applied: error.maybe_applied,
        }
    }
}
