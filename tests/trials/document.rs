//! Documents and lists that name trials, against the trials.

use crate::long_run;
use crate::platform;
use crate::trial::Trial;
use anyhow::{Context as _, Result, ensure};
use std::path::Path;

pub fn trials(names: &[String]) -> Vec<Trial> {
    let [one, other] = [names.to_vec(), names.to_vec()];
    vec![
        Trial::new(
            "document::failure-modes-are-those-of-the-table",
            platform::compare,
        ),
        Trial::new("document::trials-that-hazards-name-exist", move || {
            hazards(&one)
        }),
        Trial::new(
            "document::what-left-the-short-run-has-a-place-there",
            move || long_run::check(&other),
        ),
    ]
}

/// What stands in backquotes in the last cell of a row, with `::` in it, is the
/// name of a trial.
fn hazards(names: &[String]) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/hazards.md");
    let text = std::fs::read_to_string(path).context("read docs/hazards.md")?;
    let rows = text.lines().filter_map(|line| line.strip_suffix('|'));
    let cells = rows.filter_map(|row| row.rsplit('|').next());
    let spans = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let named: Vec<&str> = spans.filter(|span| span.contains("::")).collect();
    ensure!(named.len() > 50, "only {} trials are named", named.len());
    for name in named {
        ensure!(names.iter().any(|known| known == name), "no trial `{name}`");
        ensure!(!long_run::has(name), "`{name}` is not in the short run");
    }
    Ok(())
}
