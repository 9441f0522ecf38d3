//! The embedded default store: one SQLite file that several processes use at
//! once. Owns the file, its permissions and its tables; knows nothing of how
//! runs are executed.
//!
//! The file is in write-ahead mode and every commit is synced, so what a call
//! has returned survives a power cut. Writes take the write lock at their
//! beginning: a second process waits (up to ten seconds) and never fails
//! half-way.

mod compact;
mod error;
mod facts;
mod file;
mod lease;
mod prune;
mod runs;
mod schema;

use super::entry::Entry;
use super::lease_breaks::{self, LeaseBreak};
use super::prune::PruneCandidate;
use super::store::{Compacted, Granted, Holder, RunRecord, RunSummary, Store, StoreError, Stored};
use rusqlite::{
    Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use vdeploy_core::ids::{PluginName, RunId, TargetName};

/// How long a call waits for another process's transaction.
const BUSY: Duration = Duration::from_secs(10);

/// Wall-clock time in milliseconds since 1970.
pub type Now = Arc<dyn Fn() -> u64 + Send + Sync>;

/// A [`Store`] in one SQLite file.
pub struct SqliteStore {
    path: String,
    db: Mutex<Connection>,
    now: Now,
    /// None for one in memory.
    file: Option<file::Identity>,
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens the database at `path`, making it (0600) and its directory (0700)
    /// where they are missing, with its tables.
    ///
    /// # Errors
    /// `TooOld` or `TooNew` for a file of another vdeploy, else `Database`; each
    /// says what to do.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let shown = path.display().to_string();
        let real = file::make_private(path, &shown)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let db = Connection::open_with_flags(&real, flags)
            .map_err(|error| error::database(&shown, &error))?;
        Self::prepare(db, shown, true)
    }

    /// A store that is gone when it is dropped, for tests and dry trials.
    ///
    /// # Errors
    /// `Database`, when there is no memory for it.
    pub fn in_memory() -> Result<Self, StoreError> {
        let shown = ":memory:".to_owned();
        let db = Connection::open_in_memory().map_err(|error| error::database(&shown, &error))?;
        Self::prepare(db, shown, false)
    }

    /// The same store with another clock.
    #[must_use]
    pub fn with_clock(mut self, now: Now) -> Self {
        self.now = now;
        self
    }

    fn prepare(mut db: Connection, path: String, on_disk: bool) -> Result<Self, StoreError> {
        configure(&db, &path, on_disk)?;
        schema::prepare(&mut db, &path)?;
        let file = match on_disk {
            true => Some(file::Identity::of(&path)?),
            false => None,
        };
        Ok(Self {
            path,
            db: Mutex::new(db),
            now: Arc::new(system_now),
            file,
        })
    }

    fn db(&self) -> MutexGuard<'_, Connection> {
        // A panic inside a transaction rolled it back: the connection is good.
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(&self, f: impl FnOnce(&Connection) -> Result<T, Failure>) -> Result<T, StoreError> {
        f(&self.db()).map_err(|failure| failure.at(&self.path))
    }

    fn write<T>(
        &self,
        f: impl FnOnce(&Transaction<'_>, u64) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        let mut db = self.db();
        if let Some(file) = &self.file {
            file.is_still_at(&self.path)?;
        }
        let tried = (|| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            // Read after the wait for the lock: leases compare with it.
            let value = f(&tx, (self.now)())?;
            tx.commit()?;
            Ok(value)
        })();
        tried.map_err(|failure: Failure| failure.at(&self.path))
    }
}

fn system_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}

fn configure(db: &Connection, path: &str, on_disk: bool) -> Result<(), StoreError> {
    let failed = |error: rusqlite::Error| error::database(path, &error);
    db.busy_timeout(BUSY).map_err(failed)?;
    db.pragma_update(None, "foreign_keys", true)
        .map_err(failed)?;
    db.pragma_update(None, "synchronous", "FULL")
        .map_err(failed)?;
    if !on_disk {
        return Ok(());
    }
    // The change of mode does not use the busy timeout.
    let mode = patiently(error::is_busy, || {
        db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))
    })
    .map_err(failed)?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(StoreError::Database {
            path: path.to_owned(),
            message: format!(
                "the file system allows no write-ahead log (mode `{mode}`); put the state on a local disk with `--state`"
            ),
        });
    }
    Ok(())
}

/// Tries again while `again` says so, from 50 ms on, until the busy time is up.
fn patiently<T, E>(
    again: impl Fn(&E) -> bool,
    mut f: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    let deadline = Instant::now() + BUSY;
    let mut wait = Duration::from_millis(50);
    loop {
        match f() {
            Err(error) if again(&error) && Instant::now() < deadline => {
                std::thread::sleep(wait);
                wait = (wait * 2).min(Duration::from_secs(1));
            }
            done => return done,
        }
    }
}

/// Why a call inside a transaction failed, before the path is known.
enum Failure {
    Sqlite(rusqlite::Error),
    Store(StoreError),
    Refused(String),
}

impl Failure {
    fn at(self, path: &str) -> StoreError {
        match self {
            Self::Sqlite(error) => error::database(path, &error),
            Self::Store(StoreError::Corrupt { what, message }) => StoreError::Corrupt {
                what,
                message: format!("{message}; {}", error::damaged(path)),
            },
            Self::Store(error) => error,
            Self::Refused(message) => StoreError::Database {
                path: path.to_owned(),
                message,
            },
        }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// SQLite's integers are signed; times and tokens stay far below the limit.
fn to_db(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn from_db(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn json<T: Serialize>(what: &str, value: &T) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| corrupt(what, &error))
}

fn unjson<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| corrupt(what, &error))
}

fn corrupt(what: &str, error: &serde_json::Error) -> Failure {
    StoreError::Corrupt {
        what: what.to_owned(),
        message: error.to_string(),
    }
    .into()
}

impl Store for SqliteStore {
    fn place(&self) -> String {
        format!("state database {}", self.path)
    }

    fn create_run(&self, record: &RunRecord) -> Result<(), StoreError> {
        self.write(|tx, _| runs::create(tx, record))
    }

    fn append(
        &self,
        run: &RunId,
        lease: Option<&Granted>,
        entry: &Entry,
    ) -> Result<u64, StoreError> {
        self.write(|tx, now| runs::append(tx, now, run, lease, std::slice::from_ref(entry)))
    }

    fn append_all(
        &self,
        run: &RunId,
        lease: Option<&Granted>,
        entries: &[Entry],
    ) -> Result<(), StoreError> {
        self.write(|tx, now| runs::append(tx, now, run, lease, entries).map(drop))
    }

    fn run(&self, id_or_prefix: &str) -> Result<RunRecord, StoreError> {
        self.read(|db| runs::find(db, id_or_prefix))
    }

    fn runs(&self, target: Option<&TargetName>, limit: u32) -> Result<Vec<RunSummary>, StoreError> {
        self.read(|db| runs::list(db, target, limit))
    }

    fn journal(&self, run: &RunId) -> Result<Vec<Stored>, StoreError> {
        self.read(|db| runs::journal(db, run))
    }

    fn survey(&self, target: Option<&TargetName>) -> Result<Vec<PruneCandidate>, StoreError> {
        self.read(|db| prune::survey(db, (self.now)(), target))
    }

    fn remove_run(&self, run: &PruneCandidate) -> Result<bool, StoreError> {
        let removed = self.write(|tx, now| prune::remove(tx, now, run))?;
        self.read(|db| {
            compact::empty_log(db);
            Ok(removed)
        })
    }

    fn size(&self) -> Result<u64, StoreError> {
        self.read(|db| compact::size(db, &self.path))
    }

    fn compact(&self) -> Result<Compacted, StoreError> {
        self.read(|db| compact::compact(db, (self.now)(), &self.path))
    }

    fn acquire_lease(
        &self,
        target: &TargetName,
        run: &RunId,
        who: &str,
        ttl: Duration,
    ) -> Result<Result<Granted, Holder>, StoreError> {
        self.write(|tx, now| lease::acquire(tx, now, target, run, who, ttl))
    }

    fn renew_lease(&self, lease: &Granted, ttl: Duration) -> Result<(), StoreError> {
        self.write(|tx, now| lease::renew(tx, now, lease, ttl))
    }

    fn release_lease(&self, lease: &Granted) -> Result<(), StoreError> {
        self.write(|tx, _| lease::release(tx, lease))
    }

    fn break_lease(
        &self,
        target: &TargetName,
        run: &RunId,
        by: &str,
        reason: &str,
    ) -> Result<Option<LeaseBreak>, StoreError> {
        self.write(|tx, now| lease::break_held(tx, now, target, run, by, reason))
    }

    fn lease_holder(&self, target: &TargetName) -> Result<Option<Holder>, StoreError> {
        self.read(|db| lease::holder(db, (self.now)(), target))
    }

    fn fact(&self, target: &TargetName, key: &str) -> Result<Option<String>, StoreError> {
        self.read(|db| facts::read(db, target, key))
    }

    fn set_fact(
        &self,
        target: &TargetName,
        key: &str,
        value: Option<&str>,
    ) -> Result<(), StoreError> {
        self.write(|tx, _| facts::write(tx, target, key, value))
    }

    fn plugin_state(
        &self,
        plugin: &PluginName,
        target: &TargetName,
        key: &str,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|db| {
            Ok(db
                .prepare(
                    "SELECT value FROM plugin_state WHERE plugin = ?1 AND target = ?2 AND key = ?3",
                )?
                .query_row(params![plugin.as_str(), target.as_str(), key], |row| {
                    row.get(0)
                })
                .optional()?)
        })
    }

    fn set_plugin_state(
        &self,
        plugin: &PluginName,
        target: &TargetName,
        key: &str,
        value: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        self.write(|tx, _| {
            match value {
                Some(value) => tx
                    .prepare(
                        "INSERT INTO plugin_state (plugin, target, key, value)
                         VALUES (?1, ?2, ?3, ?4)
                         ON CONFLICT DO UPDATE SET value = excluded.value",
                    )?
                    .execute(params![plugin.as_str(), target.as_str(), key, value])?,
                None => tx
                    .prepare(
                        "DELETE FROM plugin_state WHERE plugin = ?1 AND target = ?2 AND key = ?3",
                    )?
                    .execute(params![plugin.as_str(), target.as_str(), key])?,
            };
            Ok(())
        })
    }
}

/// For tests that break or block a store.
#[cfg(any(test, feature = "testing"))]
#[allow(clippy::unwrap_used)]
impl SqliteStore {
    /// Runs statements past every rule of the store.
    pub fn execute(&self, sql: &str) {
        self.db().execute_batch(sql).unwrap();
    }

    /// Keeps the database locked in this process while `during` runs.
    pub fn hold(&self, during: impl FnOnce()) {
        let _db = self.db();
        during();
    }
}

#[cfg(test)]
mod tests;
