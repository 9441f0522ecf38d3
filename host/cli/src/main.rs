//! The program: arguments in, exit code out.

use std::process::ExitCode;
use std::time::Duration;
use vdeploy::{Arguments, CliError};

/// So long a task that does not end may hold up the end of the process.
const LAST_TASKS: Duration = Duration::from_secs(5);
/// Threads for tasks, also on a machine with one core: signals and deadlines are
/// heard beside one that keeps its thread.
const MIN_WORKERS: usize = 4;

fn main() -> ExitCode {
    if let Some(code) = vdeploy::only_compiles() {
        return ExitCode::from(code);
    }
    let arguments = match Arguments::read() {
        Ok(arguments) => arguments,
        Err(exit) => return exit.into(),
    };
    if let Err(error) = vdeploy::forbid_core_dumps(&arguments.cli) {
        let message = format!("core dumps, which would hold secrets, cannot be forbidden: {error}");
        CliError::new(vdeploy::ExitCode::Internal, message).show(arguments.json);
        return vdeploy::ExitCode::Internal.into();
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.max(MIN_WORKERS))
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            let message = format!("the runtime cannot be started: {error}");
            CliError::new(vdeploy::ExitCode::Internal, message).show(arguments.json);
            return vdeploy::ExitCode::Internal.into();
        }
    };
    let code = runtime.block_on(vdeploy::main(arguments));
    runtime.shutdown_timeout(LAST_TASKS);
    code.into()
}
