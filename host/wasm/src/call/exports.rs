//! What a plugin exports, with its types. Checked when the plugin is loaded, so
//! that a wrong `undo` does not surface in the middle of a rollback.

use crate::bindings::vdeploy::plugin::types::Error;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentNamedList, Lift, Lower};

/// What `check` and `undo` return.
pub type Done = (Result<(), Error>,);
/// What `run` returns.
pub type Output = (Result<String, Error>,);
/// What `undo` is given: what `run` returned.
pub type Given = (Option<String>,);

/// The full name of an exported interface.
pub fn full_name(interface: &str) -> String {
    format!("vdeploy:plugin/{interface}@1.0.0")
}

/// Whether everything is there and has the right type; the error is a
/// fragment that says what is not.
pub fn verify(component: &Component, undo: bool) -> Result<(), String> {
    function::<(), Done>(component, "step", "check")?;
    function::<(), Output>(component, "step", "run")?;
    if undo {
        function::<Given, Done>(component, "undo", "undo")?;
    }
    Ok(())
}

fn function<P, R>(component: &Component, interface: &str, name: &str) -> Result<(), String>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift,
{
    let full = full_name(interface);
    let missing = || format!("it does not export the function `{name}` of `{full}`");
    let instance = component.get_export_index(None, &full);
    let instance = instance.ok_or_else(missing)?;
    let found = component.get_export(Some(&instance), name);
    let Some((ComponentItem::ComponentFunc(found), _)) = found else {
        return Err(missing());
    };
    found
        .typecheck::<P, R>(&component.component_type().instance_type())
        .map_err(|e| format!("its function `{name}` of `{full}` has another type: {e:#}"))
}
