//! The lease on a target: one row a target, changed in immediate transactions
//! only, so that of two processes one waits and then sees the other's row.
//!
//! Expiry is wall-clock time, because it is compared between processes. Two
//! things make a wrong clock harmless: every journal write checks the token,
//! and a lease that ends later than its own length from now (the clock was set
//! back) is cut to that length.

use super::{Failure, facts, from_db, to_db};
use crate::StoreError;
use crate::lease_breaks::{self, LeaseBreak};
use crate::store::{Granted, Holder};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use std::time::Duration;
use vdeploy_core::ids::{RunId, TargetName};

struct Stored {
    token: u64,
    /// None when it was released.
    holder: Option<Holder>,
    ttl: u64,
}

pub(super) fn acquire(
    tx: &Transaction<'_>,
    now: u64,
    target: &TargetName,
    run: &RunId,
    who: &str,
    ttl: Duration,
) -> Result<Result<Granted, Holder>, Failure> {
    let stored = read(tx, target)?;
    let mut token = 1;
    if let Some(stored) = stored {
        if let Some(mut holder) = stored.holder.filter(|holder| holder.expires > now) {
            let latest = now.saturating_add(stored.ttl);
            if holder.expires > latest {
                holder.expires = latest;
                tx.prepare("UPDATE lease SET expires = ?2 WHERE target = ?1")?
                    .execute(params![target.as_str(), to_db(latest)])?;
            }
            return Ok(Err(holder));
        }
        token = stored.token.saturating_add(1);
    }
    let ttl = millis(ttl);
    let holder = Holder {
        run: run.clone(),
        who: who.to_owned(),
        since: now,
        expires: now.saturating_add(ttl),
    };
    tx.prepare(
        "INSERT INTO lease (target, token, run, who, since, expires, ttl)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (target) DO UPDATE SET token = excluded.token, run = excluded.run,
           who = excluded.who, since = excluded.since, expires = excluded.expires,
           ttl = excluded.ttl",
    )?
    .execute(params![
        target.as_str(),
        to_db(token),
        holder.run.as_str(),
        holder.who,
        to_db(holder.since),
        to_db(holder.expires),
        to_db(ttl),
    ])?;
    Ok(Ok(Granted {
        target: target.clone(),
        token,
        holder,
    }))
}

pub(super) fn renew(
    tx: &Transaction<'_>,
    now: u64,
    lease: &Granted,
    ttl: Duration,
) -> Result<(), Failure> {
    check(tx, now, lease)?;
    let ttl = millis(ttl);
    tx.prepare("UPDATE lease SET expires = ?2, ttl = ?3 WHERE target = ?1")?
        .execute(params![
            lease.target.as_str(),
            to_db(now.saturating_add(ttl)),
            to_db(ttl)
        ])?;
    Ok(())
}

pub(super) fn release(tx: &Transaction<'_>, lease: &Granted) -> Result<(), Failure> {
    free(tx, &lease.target, lease.token)
}

/// The row stays, so that the token never goes back.
fn free(tx: &Transaction<'_>, target: &TargetName, token: u64) -> Result<(), Failure> {
    tx.prepare(
        "UPDATE lease SET run = NULL, who = NULL, since = NULL, expires = NULL, ttl = NULL
         WHERE target = ?1 AND token = ?2",
    )?
    .execute(params![target.as_str(), to_db(token)])?;
    Ok(())
}

pub(super) fn break_held(
    tx: &Transaction<'_>,
    now: u64,
    target: &TargetName,
    run: &RunId,
    by: &str,
    reason: &str,
) -> Result<Option<LeaseBreak>, Failure> {
    let Some(Stored {
        token,
        holder: Some(holder),
        ..
    }) = read(tx, target)?
    else {
        return Ok(None);
    };
    if holder.run != *run {
        return Ok(None);
    }
    let broken = LeaseBreak {
        run: holder.run,
        who: holder.who,
        by: by.to_owned(),
        reason: reason.to_owned(),
        at: now,
        token,
    };
    free(tx, target, token)?;
    let text = lease_breaks::text(&broken)?;
    for key in [&lease_breaks::key(run), lease_breaks::NEWEST] {
        facts::write(tx, target, key, Some(&text))?;
    }
    Ok(Some(broken))
}

pub(super) fn holder(
    db: &Connection,
    now: u64,
    target: &TargetName,
) -> Result<Option<Holder>, Failure> {
    Ok(read(db, target)?
        .and_then(|stored| stored.holder)
        .filter(|holder| holder.expires > now))
}

/// Refuses unless `lease` is the newest grant and was not released. One that
/// ran out but that nobody took over is still good.
pub(super) fn check(db: &Connection, now: u64, lease: &Granted) -> Result<(), Failure> {
    let stored = read(db, &lease.target)?;
    let holder = match stored {
        Some(stored) if stored.token == lease.token && stored.holder.is_some() => return Ok(()),
        Some(stored) => stored.holder.filter(|holder| holder.expires > now),
        None => None,
    };
    let broken = facts::read(db, &lease.target, &lease_breaks::key(&lease.holder.run))?
        .map(|text| lease_breaks::parse(&text))
        .transpose()?
        // A run that was resumed may have lost another lease before.
        .filter(|broken| broken.token == lease.token)
        .map_or(String::new(), |broken| {
            format!("{} broke it: {}; ", broken.by, broken.reason)
        });
    Err(StoreError::Fenced {
        target: lease.target.clone(),
        token: lease.token,
        holder: match holder {
            Some(holder) => format!("{broken}run {} ({}) holds it now", holder.run, holder.who),
            None => format!("{broken}nobody holds it now"),
        },
    }
    .into())
}

fn read(db: &Connection, target: &TargetName) -> Result<Option<Stored>, Failure> {
    Ok(db
        .prepare("SELECT token, run, who, since, expires, ttl FROM lease WHERE target = ?1")?
        .query_row([target.as_str()], |row| {
            let run: Option<String> = row.get(1)?;
            let holder = match run {
                None => None,
                Some(run) => Some(Holder {
                    run: RunId::new(run),
                    who: row.get(2)?,
                    since: from_db(row.get(3)?),
                    expires: from_db(row.get(4)?),
                }),
            };
            Ok(Stored {
                token: from_db(row.get(0)?),
                holder,
                ttl: row.get::<_, Option<i64>>(5)?.map_or(0, from_db),
            })
        })
        .optional()?)
}

fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
}
