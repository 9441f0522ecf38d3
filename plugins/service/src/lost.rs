//! What a restore will lose: what the service has written to `data/` since the
//! baseline was taken. It is said before it happens.

use vdeploy_plugin::{Cx, Error, ErrorKind};

use crate::baseline::Baseline;
use crate::facts::{self, Place};
use crate::written;

/// What a deploy has written since its own preflight, for a rollback that comes
/// later.
pub const RECORDS: &str = " (the deploy's own records in ledger, feed and registry among them)";

/// Looks, and warns of each file. `records` are lines that do not count, and
/// `note` says what is among the rest. None when it is not known: no failure of
/// the look stops the way back, except that the run is being stopped.
///
/// # Errors
/// When the run is being stopped.
pub fn look<C>(
    cx: &Cx<C>,
    before: &Baseline,
    snapshot: &str,
    records: &[&str],
    note: &str,
) -> Result<Option<Vec<String>>, Error> {
    let unknown = |why: String| {
        cx.warn(format!(
            "what was written since snapshot {snapshot} was taken is not known: {why}"
        ));
        Ok(None)
    };
    let place = Place {
        app_dir: before.app_dir.clone(),
        port: Some(before.port),
        log: before.log.clone(),
    };
    let now = match facts::look_with_data(cx, &place) {
        Ok(facts) => facts.data_files,
        Err(error) if error.kind == ErrorKind::Cancelled => return Err(error),
        Err(error) => return unknown(error.to_string()),
    };
    let (Some(old), Some(now)) = (&before.data_files, now) else {
        return unknown("the files in `data` were not listed then, or are too many".to_owned());
    };
    let mut lost = written::since(old, &now);
    lost.retain(|line| !records.contains(&line.as_str()));
    if !lost.is_empty() {
        cx.warn(format!(
            "snapshot {snapshot} does not have what was written since the run's preflight{note}: {}",
            lost.join("; ")
        ));
    }
    Ok(Some(lost))
}
