//! Benchmarks of what a run pays to the host itself: loading plugins, calling
//! one, taking an effect through the gate, masking output. Nothing here leaves
//! the process but the journal and the cache of compiled plugins, which are on
//! disk as in a real run. docs/performance.md has what was measured.

mod calls;
mod load;
mod masker;
mod plugins;

use anyhow::Result;
use criterion::Criterion;

fn main() -> Result<()> {
    let mut criterion = Criterion::default().configure_from_args();
    load::measure(&mut criterion)?;
    calls::measure(&mut criterion)?;
    masker::measure(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}
