//! One operation from its options to the exit code: reporters, signals, and the
//! operation itself.

use crate::error::CliError;
use crate::exit::ExitCode;
use crate::invocation::GlobalFlags;
use crate::output::{self, OutputArgs};
use crate::{Global, options, signals};
use vdeploy_ops::{Cancel, Operation};

pub async fn execute(
    global: &Global,
    operation: Operation,
    args: &OutputArgs,
) -> Result<ExitCode, CliError> {
    let prepared = options::session(global)?.prepare(operation).await?;
    let flags = GlobalFlags::of(global);
    let bus = output::start(args, global.verbose, &flags)?;
    let cancel = Cancel::new();
    let watch = signals::watch(prepared.run().clone(), cancel.clone(), flags, args.json)
        .map_err(|e| CliError::new(ExitCode::Internal, format!("signals: {e}")))?;
    let finished = prepared.execute(bus.sender(), cancel).await;
    drop(watch);
    bus.finish().await;
    Ok(finished.outcome.into())
}
