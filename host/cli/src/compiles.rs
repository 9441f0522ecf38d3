//! The vdeploy that only compiles a plugin, and the words about it.

use crate::error::CliError;
use crate::exit::ExitCode;
use crate::terminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use vdeploy_ops::Notice;
use vdeploy_ops::options::OnNotice;
use vdeploy_wasm::compiler::{self, ARGUMENT};

/// The exit code of this process, if it was started by another vdeploy to
/// compile a plugin. Then that is all it does.
pub fn only_compiles() -> Option<u8> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != ARGUMENT {
        return None;
    }
    Some(compiler::child(
        arguments,
        std::io::stdin().lock(),
        std::io::stdout().lock(),
    ))
}

/// Where this program is, also when its file was replaced meanwhile.
pub fn own_program() -> Result<PathBuf, CliError> {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() {
        return Ok(running);
    }
    std::env::current_exe().map_err(|e| {
        CliError::new(
            ExitCode::Internal,
            format!("where this program is, is not known: {e}"),
        )
    })
}

/// One line on standard error for a plugin that is compiled, and one for all
/// that are built in.
pub fn notices() -> OnNotice {
    let announced = AtomicBool::new(false);
    Arc::new(move |notice| match notice {
        Notice::Compiling { plugin, builtin } => {
            if !builtin {
                let name = plugin.as_str().escape_debug();
                terminal::error_line(&format!("compiling plugin `{name}` (first use) …"));
            } else if !announced.swap(true, Ordering::SeqCst) {
                terminal::error_line("compiling the built-in plugins (first use) …");
            }
        }
        Notice::Doing(text) => terminal::error_line(&text),
        Notice::CacheUnused(why) => terminal::error_line(&format!(
            "warning: compiled plugins are not kept, which costs time: {why}"
        )),
    })
}
