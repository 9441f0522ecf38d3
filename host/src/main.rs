//! The program: arguments in, exit code out.

use clap::Parser as _;
use std::process::ExitCode;
use vdeploy::cli::{self, Cli};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the runtime cannot be started: {error}");
            return ExitCode::from(cli::ExitCode::Internal.code());
        }
    };
    let code = runtime.block_on(cli::main(cli));
    ExitCode::from(code.code())
}
