//! Who listens on a port of the target.
use vdeploy_plugin::{Cx, Error};
use crate::baseline::Listener;
use crate::process::{field, with_functions};

/// temporary
pub fn find<C>(cx: &Cx<C>, port: u16) -> Result<Option<Listener>, Error> {
    let text = cx.script("listener", &with_functions(include_str!("listener.sh"))).arg(port.to_string()).probe()?.into_success("listener")?.stdout_text();
    let Some(pid) = field(&text, "pid").and_then(|p| p.parse().ok()) else { return Ok(None) };
    let get = |k: &str| field(&text, k).unwrap_or_default().to_owned();
    Ok(Some(Listener { pid, start_ticks: get("start").parse().unwrap_or_default(), ppid: 0, uid: 0, cwd: get("cwd"), exe: get("exe"), argv: get("argv").split_whitespace().map(str::to_owned).collect(), unit: None }))
}
