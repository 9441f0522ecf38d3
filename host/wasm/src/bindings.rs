//! The contract's imports, generated from `wit/`, with the host's own types
//! behind the resources.

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "vdeploy:plugin/capabilities",
    imports: { default: async | trappable },
    with: {
        "vdeploy:plugin/secrets.secret": vdeploy_core::capability::secrets::Secret,
        "vdeploy:plugin/ssh.command": crate::imports::ssh::CommandDraft,
        "vdeploy:plugin/ssh.output": vdeploy_core::capability::ssh::Output,
        "vdeploy:plugin/http.request": crate::imports::http::RequestDraft,
        "vdeploy:plugin/http.response": vdeploy_core::capability::http::Response,
    },
});
