//! The project file `vdeploy.toml`: reads it, reports everything that is wrong
//! with it by place, and builds the plans, plugins, grants, targets and
//! secrets that a run uses.
//!
//! Knows files and the environment; knows no network, no plugin bytes and no
//! journal. Four rules make the language:
//!
//! 1. The built-in project lies beneath the file. Its plans, plugins and
//!    secrets are there unless the file has the same name; its targets are
//!    there unless the file has targets.
//! 2. `[plugins.NAME]` with `source` or `path` stands alone. Without either it
//!    adds grants to the built-in plugin of that name.
//! 3. A plan without `extends` is its steps in order. A plan with `extends`
//!    takes the other plan and changes it: `drop` first, then entry by entry
//!    `before`/`after` insert, `replaces` puts another step in the place, and
//!    an entry with the id of an existing step and no plugin changes its
//!    settings. A plan that extends its own name extends the built-in one.
//! 4. Paths are relative to the file.
//!
//! A project file is code: it names programs and plugins that run as the
//! caller. One that was found and not named is judged first (`found`).

pub mod builtin;
mod found;
mod plans;
pub mod plugins;
pub mod project;
pub mod read;
pub mod secrets;
pub mod targets;

pub use plans::overrides::{Overrides, apply_on_failure, apply_ref, apply_set};
pub use plans::render::render_plan;
pub use plugins::{PluginConfig, PluginSource};
pub use project::Project;
pub use read::span::{ConfigError, Place, Problem};
pub use secrets::{
    MissingSecret, SecretNeeds, SecretSource, USUAL_SECRET_VARIABLES, fetch_secrets,
    secret_variables,
};
pub use targets::{
    HostKey, LocalTarget, RegistrySource, ServerKey, SshTarget, TargetConfig, TargetKind,
    UserConfig, VersTarget, VmSource,
};

#[cfg(test)]
mod tests;
