//! The table as a document for people, `docs/failure-modes.md`. It is written
//! from the rows, which the tests insist on, and a test compares it.

use crate::platform::row::{End, OLD, Row};
use crate::platform::{network, servers, table, words};
use anyhow::{Context as _, Result, ensure};
use std::fmt::Write as _;
use std::path::Path;

const BEGIN: &str = "<!-- The tables below are written by `cargo xtask failure-modes`. -->\n";

/// Set by `cargo xtask failure-modes`: the document is written, not compared.
const WRITE: &str = "VDEPLOY_TESTS_WRITE";

/// Whether the document is what the rows say.
pub fn compare() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/failure-modes.md");
    let there = std::fs::read_to_string(&path).context("read docs/failure-modes.md")?;
    let (by_hand, tables) = there
        .split_once(BEGIN)
        .context("docs/failure-modes.md lacks the line before the tables")?;
    let wanted = render()?;
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, format!("{by_hand}{BEGIN}{wanted}"))?;
        return Ok(());
    }
    ensure!(
        tables == wanted,
        "docs/failure-modes.md is not what the tests insist on; run `cargo xtask failure-modes`"
    );
    Ok(())
}

fn render() -> Result<String> {
    let mut text = String::new();
    let mut heading = "";
    let rows = table::TABLE.iter().chain(network::TABLE);
    let rows = rows.chain(servers::TABLE);
    let mut rows: Vec<&Row> = rows.collect();
    // Rows stand in the order in which they are best run.
    rows.sort_by_key(|row| (words::target(row) != FIRST, words::target(row), row.plan));
    for row in rows {
        if words::target(row) != heading {
            heading = words::target(row);
            write!(
                text,
                "\n## {heading}\n\n\
                 | what is wrong | run | how it ends | exit code | live afterwards | the message has | id |\n\
                 |---|---|---|---|---|---|---|\n"
            )?;
        }
        let wrong = words::wrong(row).map_err(anyhow::Error::msg)?;
        let says: Vec<String> = row.says.iter().map(|says| said(says)).collect();
        writeln!(
            text,
            "| {wrong} | {} | {} | {} `{}` | {} | {} | `{}` |",
            words::run(row),
            end(row),
            row.code,
            row.outcome,
            live(row),
            says.join(", "),
            row.title()
        )?;
    }
    Ok(text)
}

const FIRST: &str = "A VM of the platform";

/// A part of a message, which may have backquotes itself.
fn said(text: &str) -> String {
    match text.contains('`') {
        true => format!("`` {text} ``"),
        false => format!("`{text}`"),
    }
}

fn live(row: &Row) -> &'static str {
    match row.live {
        "" => "what was before; it does not answer",
        OLD => "the old version",
        _ => "the new version",
    }
}

fn end(row: &Row) -> &'static str {
    match row.end {
        End::OldGood if row.live.is_empty() => "never touched",
        End::OldGood => "old and good",
        End::NewVerified => "new and verified",
        End::Untouched => "nothing changed",
        End::Loud => "loud",
    }
}
