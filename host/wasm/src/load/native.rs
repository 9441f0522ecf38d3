//! Compiled code becomes a component that can be called. The one place of the
//! host that is not safe by its types: the code runs with all the rights of this
//! process.
#![allow(unsafe_code)]

use wasmtime::Engine;
use wasmtime::component::Component;

/// Native code that this vdeploy has compiled. It is made in two places: by
/// `compiler`, from the answer of the compiler that it has called or started,
/// and by `cache`, from a file that carries this user's mark.
pub struct Code(Vec<u8>);

impl Code {
    /// What the compiler made, or what was kept of that and is unchanged.
    pub(crate) fn compiled(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// To keep it.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Loads it. The error is a fragment: code of another version of wasmtime, or
/// for another machine.
pub fn component(engine: &Engine, code: Code) -> Result<Component, String> {
    // SAFETY: `deserialize` asks for the unchanged bytes of
    // `Engine::precompile_component`. A `Code` holds nothing else: `compiler`
    // makes it of what that function returned, in this process or, over a pipe
    // that nobody else has, in a process of the same program; `cache` makes it
    // of a file whose HMAC over name and contents it has checked on this very
    // copy, with a key that only this user reads. Whether the version of
    // wasmtime and its settings are the same is checked by `deserialize`.
    unsafe { Component::deserialize(engine, code.bytes()) }.map_err(|error| format!("{error:#}"))
}
