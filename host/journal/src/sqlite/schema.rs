//! The tables, as a list of steps from an empty file to today. A step that was
//! released is never edited: a change of the tables is a new step at the end.

use rusqlite_migration::{M, Migrations};

/// Version of the tables that this build knows: the number of steps.
pub(super) const KNOWN: u32 = STEPS.len() as u32;

const STEPS: &[M<'static>] = &[M::up(
    "
    CREATE TABLE run (
        id          TEXT PRIMARY KEY,
        format      INTEGER NOT NULL,
        target      TEXT NOT NULL,
        plan        TEXT NOT NULL,
        started_by  TEXT NOT NULL,
        started_at  INTEGER NOT NULL,
        finished_at INTEGER,
        outcome     TEXT,
        dry_run     INTEGER NOT NULL,
        record      TEXT NOT NULL
    ) STRICT;
    CREATE INDEX run_by_start ON run (started_at);
    CREATE INDEX run_by_target ON run (target, started_at);

    CREATE TABLE journal (
        run    TEXT NOT NULL REFERENCES run (id) ON DELETE CASCADE,
        seq    INTEGER NOT NULL,
        at     INTEGER NOT NULL,
        format INTEGER NOT NULL,
        entry  TEXT NOT NULL,
        PRIMARY KEY (run, seq)
    ) STRICT;

    -- A released lease keeps its row, so that the token never goes back.
    CREATE TABLE lease (
        target  TEXT PRIMARY KEY,
        token   INTEGER NOT NULL,
        run     TEXT,
        who     TEXT,
        since   INTEGER,
        expires INTEGER,
        ttl     INTEGER
    ) STRICT;

    CREATE TABLE fact (
        target TEXT NOT NULL,
        key    TEXT NOT NULL,
        value  TEXT NOT NULL,
        PRIMARY KEY (target, key)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE plugin_state (
        plugin TEXT NOT NULL,
        target TEXT NOT NULL,
        key    TEXT NOT NULL,
        value  BLOB NOT NULL,
        PRIMARY KEY (plugin, target, key)
    ) STRICT;
    ",
)];

/// The steps, ready to run.
pub(super) const ALL: Migrations<'static> = Migrations::from_slice(STEPS);

#[cfg(test)]
mod tests {
    #[test]
    fn every_step_runs() {
        super::ALL.validate().unwrap();
    }
}
