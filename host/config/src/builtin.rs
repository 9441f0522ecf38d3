//! The built-in project: the same language, read by the same parser.

/// Its text.
pub const BUILTIN_TOML: &str = include_str!("builtin.toml");
/// Its name in messages.
pub const BUILTIN_FILE: &str = "builtin.toml";
/// The plugins that are part of the host binary.
pub const BUILTIN_PLUGINS: [&str; 9] = [
    "preflight",
    "snapshot",
    "git-pull",
    "npm-build",
    "restart",
    "smoke",
    "announce",
    "rollback",
    "archive",
];
