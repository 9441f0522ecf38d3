//! Where the log of the service is on the target and how it is opened: in a
//! private directory of the login user, never through a link, readable only by
//! that user.

const LOG: &str = include_str!("log.sh");

/// Prepends the shell functions about the log to `text`.
pub fn with_functions(text: &str) -> String {
    format!("{LOG}\n{text}")
}
