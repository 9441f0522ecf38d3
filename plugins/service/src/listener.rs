//! Who listens on a port of the target: process, program, directory, manager.
//!
//! This module must not judge whether that is the right process.

use std::time::Duration;

use vdeploy_plugin::{Cx, Error};

use crate::baseline::Listener;
use crate::facts::pairs;

const LISTENER: &str = concat!(
    include_str!("sockets.sh"),
    "\n",
    include_str!("listener.sh")
);
const PATIENCE: Duration = Duration::from_secs(60);

/// Who has a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Port {
    Free,
    Owned(Listener),
    /// Somebody listens whom the login user may not look at.
    Hidden {
        /// User id of the socket's owner.
        uid: String,
    },
}

/// Looks who listens on `port`. A probe. Of several processes that share the
/// socket it is the one the others come from.
///
/// # Errors
/// Those of ssh, and `command.failed` when the target has no working shell.
pub fn find<C>(cx: &Cx<C>, port: u16) -> Result<Port, Error> {
    let output = cx
        .script("listener", LISTENER)
        .arg(port.to_string())
        .timeout(PATIENCE)
        .probe()?
        .into_success("look who listens")?;
    Ok(parse(&output.stdout_text()))
}

fn parse(text: &str) -> Port {
    let mut found: Vec<Listener> = Vec::new();
    let mut hidden = None;
    for (key, value) in pairs(text) {
        match key {
            "hidden" => hidden = Some(value.to_owned()),
            "pid" => found.push(Listener {
                pid: value.parse().unwrap_or(0),
                ..Listener::default()
            }),
            _ => {
                if let Some(listener) = found.last_mut() {
                    set(listener, key, value);
                }
            }
        }
    }
    let first = found
        .iter()
        .position(|one| !found.iter().any(|other| other.pid == one.ppid))
        .unwrap_or(0);
    match (found.into_iter().nth(first), hidden) {
        (Some(listener), _) => Port::Owned(listener),
        (None, Some(uid)) => Port::Hidden { uid },
        (None, None) => Port::Free,
    }
}

fn set(listener: &mut Listener, key: &str, value: &str) {
    match key {
        "start" => listener.start_ticks = value.parse().unwrap_or(0),
        "ppid" => listener.ppid = value.parse().unwrap_or(0),
        "uid" => listener.uid = value.parse().unwrap_or(0),
        "user" => value.clone_into(&mut listener.user),
        "since" => value.clone_into(&mut listener.since),
        // The kernel marks a directory or program that was removed since.
        "cwd" => listener.cwd = value.trim_end_matches(" (deleted)").to_owned(),
        "exe" => listener.exe = value.trim_end_matches(" (deleted)").to_owned(),
        "unit" => listener.unit = Some(value.to_owned()),
        "user-unit" => listener.user_unit = Some(value.to_owned()),
        "arg" => listener.argv.push(value.to_owned()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_stands_for_its_workers() {
        let text = "pid=12\nstart=5\nppid=10\narg=worker\npid=10\nstart=4\nppid=1\nunit=a.service\narg=node\narg=x=y\n";
        let Port::Owned(listener) = parse(text) else {
            panic!("nobody found")
        };
        assert_eq!((listener.pid, listener.start_ticks), (10, 4));
        assert_eq!(listener.argv, ["node", "x=y"]);
        assert_eq!(listener.unit.as_deref(), Some("a.service"));
    }

    #[test]
    fn nobody_and_somebody_hidden_are_told_apart() {
        assert_eq!(parse(""), Port::Free);
        let hidden = Port::Hidden { uid: "0".into() };
        assert_eq!(parse("hidden=0\n"), hidden);
    }
}
