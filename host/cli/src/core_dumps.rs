//! A crash leaves no copy of the memory behind: secrets are in it.

use crate::{Cli, Command};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

/// Forbids core dumps of this process, and reading its memory to other
/// processes of the same user. To be called first, while there is one thread.
///
/// The first setting ends with `exec` and is what holds where the kernel hands
/// dumps to a program. The second one is inherited by the programs that vdeploy
/// starts; the services of a local cloud keep the limit that they would have.
///
/// # Errors
/// The kernel refuses.
pub fn forbid_core_dumps(cli: &Cli) -> std::io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    if !matches!(cli.command, Command::Local(_)) {
        let maximum = getrlimit(Resource::Core).maximum;
        let none = Rlimit {
            current: Some(0),
            maximum,
        };
        setrlimit(Resource::Core, none)?;
    }
    Ok(())
}
