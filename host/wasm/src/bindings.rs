//! The contract's imports, generated from `wit/`, with the host's own types
//! behind the resources.

wasmtime::component::bindgen!({
    path: "../wit",
    world: "vdeploy:plugin/capabilities",
    imports: { default: async | trappable },
    with: {
        "vdeploy:plugin/secrets.secret": crate::capability::secrets::Secret,
        "vdeploy:plugin/ssh.command": crate::plugin::imports::ssh::CommandDraft,
        "vdeploy:plugin/ssh.output": crate::capability::ssh::Output,
        "vdeploy:plugin/http.request": crate::plugin::imports::http::RequestDraft,
        "vdeploy:plugin/http.response": crate::capability::http::Response,
    },
});
