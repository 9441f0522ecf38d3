//! Where the service's log is on the target, and how it is opened: in a directory
//! of the login user's own, through no link, readable by that user alone.

const LOG: &str = include_str!("log.sh");

/// `text` with the shell functions about the log in front.
pub fn with_functions(text: &str) -> String {
    format!("{LOG}\n{text}")
}
