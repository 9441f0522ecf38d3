//! What a run pays to the target, against what others pay, in one process and
//! turn by turn: start-up, commands in a row, much output. Each row is a line
//! of the table in docs/performance.md, which says what they mean.
//!
//! `--quick` takes fewer turns; any other word is a part of the names of the
//! groups to measure (`start`, `row`, `output`).

mod child;
mod delay;
mod front;
mod ours;
mod output;
mod row;
mod samples;
mod sshd;
mod start;
mod theirs;

use anyhow::Result;
use sshd::Sshd;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("--child", rest)) = args.split_first().map(|(a, rest)| (a.as_str(), rest)) {
        return child::main(rest);
    }
    let quick = args.iter().any(|a| a == "--quick");
    let words: Vec<&String> = args.iter().filter(|a| !a.starts_with("--")).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|w| name.contains(w.as_str()));
    let sshd = Sshd::start()?;
    sshd.describe()?;
    if wanted("start") {
        start::measure(&sshd, quick)?;
    }
    if wanted("row") {
        row::measure(&sshd, quick)?;
    }
    if wanted("output") {
        output::measure(&sshd, quick)?;
    }
    Ok(())
}
